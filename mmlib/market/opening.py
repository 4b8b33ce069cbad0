"""A market source from its URI: the one door to simulated markets and recordings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmlib._io import UserError
from mmlib.dtypes import Grade
from mmlib.market.formats import read_any
from mmlib.market.live.rawlog import read_header, recorded_grade
from mmlib.market.live.venues import recorded_venue
from mmlib.market.quality import quality_of
from mmlib.market.recorded import ReaderOptions, RecordedSource
from mmlib.market.source import FeedLatency, Instrument, Source, parse_uri


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
        options = ReaderOptions(symbol, seed, instrument, feed, quarantine_dir)
        return _open_recording(Path(rest).expanduser(), options, tiles)
    if kind == "live":
        raise UserError(
            f"source {uri!r}: a live market cannot be read twice; expected simulated or recording:PATH"
        )
    raise UserError(f"source {uri!r}: feeds are no market; expected simulated or recording:PATH")


def _open_recording(path: Path, options: ReaderOptions, tiles: int) -> RecordedSource:
    """Find the format of a recording and read it.

    Raises:
        UserError: missing, of no known format, empty, or without the symbol.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or directory; expected a recording")
    source = RecordedSource(f"recording:{path}", read_any(path, options), tiles)
    header = read_header(path)
    if header is not None:  # what a session recorded of a rehearsal is worth no more than the rehearsal
        source.grade = Grade.weakest([source.grade, recorded_grade(header)]) or source.grade
        source.caveat = recorded_venue(str(header.get("exchange"))).caveat
    if quality_of(source.quality, source.instrument.tick_size).status == "void":
        source.grade = Grade.SIMULATED  # the fills on it are worth no more
    return source


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
