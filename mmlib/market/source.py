"""What a market source is, and how a URI is turned into one."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mmlib._io import UserError
from mmlib.dtypes import Grade

KINDS = ("simulated", "recording", "live", "feeds")
CHUNK_ROWS = 262_144
"""Largest number of rows that a source hands out at once (8 MiB)."""
QUANTILES = 1001
"""Length of a latency table: quantiles at probabilities 0, 0.001, ... 1."""


@dataclass(frozen=True)
class Instrument:
    """What is traded: ``tick_size`` in quote currency, ``lot_size`` in base units."""

    symbol: str
    tick_size: float
    lot_size: float


@dataclass(frozen=True)
class FeedLatency:
    """The lognormal feed latency of sources that carry none, and what a corrected clock gives its fastest message."""

    median_ms: float
    sigma: float
    base_ms: float


class Source(Protocol):
    """A stream of market events of one symbol."""

    symbol: str
    instrument: Instrument
    grade: Grade
    uri: str
    description: str
    sha256: str
    """Of what was read; empty for a simulated source."""
    start_ns: int
    end_ns: int | None
    """First local time after the last event; None is endless."""
    refresh_ms: np.ndarray
    """``float64[1001]``: quantiles of what a synchronous refresh of the book takes, request and answer."""
    refresh_label: str
    """Says where ``refresh_ms`` comes from: measured, or the name of the model."""
    quality: dict[str, int]
    """What was met while reading, counted."""

    def chunks(self, start_ns: int | None = None, end_ns: int | None = None) -> Iterator[np.ndarray]:
        """Yield ``EVENT[<= CHUNK_ROWS]`` in processing order, local times in ``[start_ns, end_ns)``.

        A window that begins inside the stream begins with a clear and a snapshot of the book there; one
        beyond its end yields nothing. Every call starts afresh.
        """
        ...


def parse_uri(uri: str) -> tuple[str, str]:
    """Split a source URI into its kind and the rest.

    Raises:
        UserError: not one of ``simulated``, ``recording:PATH``, ``live:EXCHANGE``, ``feeds:DIR``.
    """
    kind, colon, rest = uri.strip().partition(":")
    if kind not in KINDS:
        close = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        expected = "simulated, recording:PATH, live:EXCHANGE or feeds:DIR"
        raise UserError(f"source {uri!r}: unknown kind; expected {expected}{hint}")
    if kind == "simulated" and colon:
        raise UserError(f"source {uri!r}: a simulated market takes no argument; expected simulated")
    if kind != "simulated" and not rest:
        raise UserError(f"source {uri!r}: nothing after the colon; expected {_form(kind)}")
    return kind, rest


def open_source(
    uri: str,
    symbol: str,
    *,
    seed: int = 0,
    start_ns: int | None = None,
    instruments: Mapping[str, tuple[float, float]] | None = None,
    latency: Mapping[str, Any] | None = None,
    market: Mapping[str, Any] | None = None,
    quarantine_dir: Path | None = None,
    tiles: int = 1,
) -> Source:
    """Open one symbol of a source.

    Args:
        uri: ``simulated`` or ``recording:PATH``.
        symbol: as the recording spells it, upper or lower case.
        seed: of whatever is random: the simulated market, or modelled latencies.
        start_ns: where a simulated market begins; recordings begin where they begin.
        instruments: symbol to (tick_size, lot_size), overriding what the recording suggests.
        latency: ``feed_median_ms`` and ``feed_sigma`` of the lognormal feed latency, used where none was
            recorded.
        market: ``preset``, ``rate_per_s`` and ``regime`` of a simulated market.
        quarantine_dir: where lines that cannot be read are kept, with their reasons.
        tiles: play a recording this many times over, shifted by whole seconds; its grade sinks to tiled.

    Raises:
        UserError: unknown or unavailable source, unreadable recording, symbol not in it, bad parameter.
    """
    kind, rest = parse_uri(uri)
    if not symbol.strip():
        raise UserError(f"source {uri!r}: empty symbol; expected for example BTCUSDT")
    symbol = symbol.strip().upper()
    if tiles < 1 or (tiles > 1 and kind != "recording"):
        raise UserError(f"source {uri!r}: tiles is {tiles}; expected 1, or more for a recording")
    instrument = _instrument(symbol, instruments)
    feed = _latency(latency or {})
    if kind == "simulated":
        from mmlib.market.simulated import SimulatedSource

        return SimulatedSource(
            symbol,
            seed=seed,
            start_ns=start_ns,
            instrument=instrument,
            latency=feed,
            market=market or {},
        )
    if kind == "recording":
        from mmlib.market.recorded import ReaderOptions, open_recording

        options = ReaderOptions(symbol, seed, instrument, feed, quarantine_dir)
        return open_recording(Path(rest).expanduser(), options, tiles)
    if kind == "live":
        raise UserError(
            f"source {uri!r}: a live market cannot be read twice; expected simulated or recording:PATH"
        )
    raise UserError(f"source {uri!r}: feeds are no market; expected simulated or recording:PATH")


def _form(kind: str) -> str:
    return {"recording": "recording:PATH", "live": "live:EXCHANGE", "feeds": "feeds:DIR"}[kind]


def _instrument(symbol: str, instruments: Mapping[str, tuple[float, float]] | None) -> Instrument | None:
    """The instrument that the caller declares for ``symbol``, if any."""
    declared = {name.upper(): sizes for name, sizes in (instruments or {}).items()}.get(symbol)
    if declared is None:
        return None
    tick_size, lot_size = float(declared[0]), float(declared[1])
    for name, value in (("tick_size", tick_size), ("lot_size", lot_size)):
        if not (math.isfinite(value) and value > 0.0):
            raise UserError(f"instruments.{symbol}.{name}: {value}; expected a number above 0")
    return Instrument(symbol, tick_size, lot_size)


def _latency(latency: Mapping[str, Any]) -> FeedLatency:
    """Check the latency parameters; keys that belong to others (orders) are left alone."""
    feed = FeedLatency(
        float(latency.get("feed_median_ms", 5.0)),
        float(latency.get("feed_sigma", 0.5)),
        float(latency.get("base_latency_ms", 0.0)),
    )
    for name, value in (("feed_median_ms", feed.median_ms), ("base_latency_ms", feed.base_ms)):
        if not 0.0 <= value <= 60_000.0:
            raise UserError(f"latency.{name}: {value}; expected milliseconds from 0 to 60000")
    if not 0.0 <= feed.sigma <= 5.0:
        raise UserError(f"latency.feed_sigma: {feed.sigma}; expected a number from 0 to 5")
    return feed
