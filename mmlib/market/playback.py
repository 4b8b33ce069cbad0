"""A source's window played chunk by chunk: left and taken up again at any chunk, with what incidents do to the market.

Of the incidents in ``core.incidents`` these act here: a feed gap withholds rows from us and hands them over in bursts, on any
source; on a simulated market a volatility spike multiplies the volatility of its price, and in a one-sided book nobody offers
for a part of every ten seconds. All others happen to the bot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

import numpy as np

from mmlib._io import UserError
from mmlib.core.flow import ROWS_PER_MESSAGE
from mmlib.core.incidents import FEED_GAP, KINDS, ONE_SIDED_BOOK, VOLATILITY_SPIKE
from mmlib.dtypes import (
    EVENT,
    EVENT_KIND_MASK,
    FLAG_BUY,
    FLAG_EXCH,
    FLAG_LOCAL,
    FLAG_SELL,
    KIND_CLEAR,
    KIND_TRADE,
)
from mmlib.market.simulated import NEVER_NS, SimulatedSource
from mmlib.market.source import Source

CHUNK_ROWS = 65_536
"""Rows that are simulated at once: 2 MiB stay in the processor's cache on the way to the bot."""
_PERIOD_NS = 10_000_000_000  # of a one-sided book
_S = 1e9


class Playback:
    """Chunks of a source's window ``[start_ns, end_ns)`` of local time.

    Args:
        source: any; a simulated one must begin at ``start_ns``.
        incidents: ``INCIDENT[i]``.

    Raises:
        UserError: an incident that only a simulated market can have.
    """

    def __init__(self, source: Source, start_ns: int, end_ns: int, incidents: np.ndarray) -> None:
        self._source, self._start_ns, self._end_ns = source, start_ns, end_ns
        self._gaps = incidents[incidents["kind"] == FEED_GAP]
        own = incidents[(incidents["kind"] == VOLATILITY_SPIKE) | (incidents["kind"] == ONE_SIDED_BOOK)]
        self._simulation = None
        if isinstance(source, SimulatedSource):
            self._simulation = _Simulation(source, end_ns, own)
        elif len(own):
            kind = KINDS[int(own["kind"][0])]
            raise UserError(f"{kind}: only a simulated market can have it; {source.uri} is what it was")
        self._played = 0
        self._recorded: Iterator[np.ndarray] | None = None

    def next(self) -> np.ndarray | None:
        """The next ``EVENT[<= CHUNK_ROWS]`` in processing order, valid until the next call; None behind the last one."""
        if self._simulation is not None:
            chunk = self._simulation.next()
        else:
            if self._recorded is None:
                self._recorded = islice(self._source.chunks(self._start_ns, self._end_ns), self._played, None)
            chunk = next(self._recorded, None)
        self._played += chunk is not None
        return chunk if chunk is None or not len(self._gaps) else _withheld(chunk, self._gaps)

    def state(self) -> dict[str, np.ndarray]:
        """What `restore` needs to go on behind the last chunk: plain arrays by name."""
        held = {"played": np.array(self._played)}
        return held if self._simulation is None else held | self._simulation.state()

    def restore(self, held: Mapping[str, np.ndarray]) -> None:
        """Go on from a `state`; only before the first `next`.

        Raises:
            UserError: the state of another version of the simulated market.
        """
        self._played = int(held["played"])
        if self._simulation is not None:
            self._simulation.restore(held)


class _Simulation:
    """The simulated market, cut where its incidents begin and end."""

    def __init__(self, source: SimulatedSource, end_ns: int, incidents: np.ndarray) -> None:
        self._stream = source.stream()
        self._volatility = self._stream.params["vol_per_sqrt_s"].copy()
        self._lot_size = source.instrument.lot_size
        self._rate, self._start_ns, self._end_ns = source.rate_per_s, source.start_ns, end_ns
        self._incidents = incidents
        self._quality = source.quality
        self._begun = self._one_sided = self._ended = False
        self._out = np.zeros(self._room(), EVENT)

    def state(self) -> dict[str, np.ndarray]:
        flags = np.array([self._begun, self._one_sided, self._ended])
        return {"flags": flags, "rows": np.array(self._quality["rows"]), **self._stream.state()}

    def restore(self, held: Mapping[str, np.ndarray]) -> None:
        self._stream.restore(held)
        self._begun, self._one_sided, self._ended = (bool(flag) for flag in held["flags"])
        self._quality["rows"] = int(held["rows"])

    def next(self) -> np.ndarray | None:
        if self._ended:
            return None
        stream = self._stream
        out = self._out[: self._room()]
        n = 0
        if not self._begun:
            n = _put(out, 0, stream.book_rows(self._lot_size, self._start_ns, self._start_ns))
            self._begun = True
        while n + 2 * ROWS_PER_MESSAGE <= len(out) and stream.local_ns < self._end_ns:
            n = self._enter(out, n)
            until = self._next_edge()
            filled = stream.fill(out[n:], until)
            if self._one_sided:
                filled = _without_offers(out[n : n + filled])
            n += filled
            if stream.exch_ns < until:
                break  # full
        chunk = out[:n]
        self._ended = stream.local_ns >= self._end_ns
        if self._ended:
            chunk = chunk[: int(np.searchsorted(chunk["local_ts_ns"], self._end_ns))]
        self._quality["rows"] += len(chunk)
        return chunk

    def _room(self) -> int:
        """Rows to ask for at once: a whole chunk, or a rough upper estimate where the window is shorter."""
        expected = 4.0 * self._rate * (self._end_ns - self._stream.local_ns) / _S
        return int(min(CHUNK_ROWS, 1024 + max(expected, 0.0)))

    def _enter(self, out: np.ndarray, n: int) -> int:
        """Bring volatility and the offers to what the incidents of now want; rows written until now."""
        now, factor, one_sided = self._stream.exch_ns, 1.0, False
        for one in self._incidents:
            if not one["start_ns"] <= now < one["end_ns"]:
                continue
            if one["kind"] == VOLATILITY_SPIKE:
                factor *= float(one["strength"])
            else:
                one_sided |= bool((now - one["start_ns"]) % _PERIOD_NS < one["strength"] * _S)
        self._stream.params["vol_per_sqrt_s"] = self._volatility * factor
        if one_sided == self._one_sided:
            return n
        self._one_sided = one_sided
        offers = self._stream.book_rows(self._lot_size, self._stream.exch_ns, self._stream.local_ns)
        offers = offers[offers["flags"] & FLAG_SELL != 0]
        if one_sided:
            offers = offers[-1:]
            offers["flags"] = KIND_CLEAR | FLAG_SELL | FLAG_EXCH | FLAG_LOCAL
        return _put(out, n, offers)

    def _next_edge(self) -> int:
        """The next exchange time at which an incident begins, ends or changes."""
        now, edge = self._stream.exch_ns, NEVER_NS
        for one in self._incidents:
            start, end = int(one["start_ns"]), int(one["end_ns"])
            edges = [start, end]
            if one["kind"] == ONE_SIDED_BOOK and start <= now < end:
                period = start + (now - start) // _PERIOD_NS * _PERIOD_NS
                edges += [period + int(one["strength"] * _S), period + _PERIOD_NS]
            edge = min([edge, *(at for at in edges if at > now)])
        return edge


def _put(out: np.ndarray, n: int, rows: np.ndarray) -> int:
    out[n : n + len(rows)] = rows
    return n + len(rows)


def _without_offers(rows: np.ndarray) -> int:
    """Leave, at the front and in place, the rows that a market without offers has; returns how many."""
    kind = rows["flags"] & EVENT_KIND_MASK
    side = np.where(kind == KIND_TRADE, FLAG_BUY, FLAG_SELL)  # a buyer trades with an offer
    kept = rows[rows["flags"] & side == 0]
    rows[: len(kept)] = kept
    return len(kept)


def _withheld(chunk: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """The rows as they reach us when the feed falls silent again and again, and catches up in between."""
    local_ns = chunk["local_ts_ns"]
    for gap in gaps:
        start, end, silence = int(gap["start_ns"]), int(gap["end_ns"]), int(gap["strength"] * _S)
        inside = (local_ns >= start) & (local_ns < end)
        burst = start + ((local_ns[inside] - start) // silence + 1) * silence
        local_ns[inside] = np.minimum(burst, end)
    return chunk
