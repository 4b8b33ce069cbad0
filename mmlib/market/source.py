"""What a market source is: its contract, its instrument, and the URI that names it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

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
    caveat: str
    """What weakens its evidence beside others of its grade; empty for nothing."""

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


def _form(kind: str) -> str:
    return {"recording": "recording:PATH", "live": "live:EXCHANGE", "feeds": "feeds:DIR"}[kind]
