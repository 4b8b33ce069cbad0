"""Runs the bot over one symbol's market events, chunk by chunk, in bounded memory; can be left and taken up between chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import psutil

from mmlib.core import replay as kernel
from mmlib.core import saved
from mmlib.core.state import Arms, Market, grow_market, new_arms, new_market
from mmlib.dtypes import EVENT, FILL, TICK

_TICK_ROWS = 16_384
_FILL_ROWS = 16_384
_ROOM = 4  # the book reaches from 0 to this multiple of the price; rows beyond are counted, not kept
_SAMPLE = 16  # every so many rows tell the price well enough

Sink = Callable[[np.ndarray, np.ndarray, int], None]
"""Takes TICK rows, FILL rows and the time reached [ns]; the arrays are views, valid during the call only."""


@dataclass(frozen=True)
class ReplayCounts:
    """What a replay of one symbol processed."""

    events: int
    ticks: int
    fills: int
    out_of_range: int
    dropped_orders: int


class Replay:
    """The bot on one symbol, fed with chunks of events.

    Args:
        params: PARAMS[a], one row an arm.
        refresh_ms: float64[m], quantile table of a synchronous book refresh [ms].
        start_ns: scheduled time of the first tick; end_ns: exclusive end of the schedule.
        seed: decides the refresh drawn and the ticks traced.
        sink: takes ticks and fills as they come.
        incidents: INCIDENT[i], what was scripted; None for nothing.
    """

    def __init__(
        self,
        params: np.ndarray,
        refresh_ms: np.ndarray,
        *,
        start_ns: int,
        end_ns: int,
        seed: int,
        sink: Sink,
        incidents: np.ndarray | None = None,
    ) -> None:
        self._refresh_ms, self._seed, self._sink, self._incidents = refresh_ms, seed, sink, incidents
        self._start_ns, self._end_ns = start_ns, end_ns
        self._market: Market | None = None
        self._arms: Arms = new_arms(params)
        self._ticks, self._fills = np.zeros(_TICK_ROWS, TICK), np.zeros(_FILL_ROWS, FILL)
        self._events = np.zeros(
            0, EVENT
        )  # the rows not yet consumed, and room for those of a chunk behind them
        self._held = 0
        self._counted = np.zeros(3, np.int64)  # events, ticks, fills
        self._process = psutil.Process()

    def take(self, chunk: np.ndarray, *, final: bool = False) -> bool:
        """Process ``EVENT[n]`` that follow on those before; False when the schedule has ended."""
        market = self._market_for(chunk)
        control = market.control[0]
        self._counted[0] += len(chunk)
        events = self._behind_held(chunk)
        code = kernel.OUTPUT_FULL
        while code == kernel.OUTPUT_FULL:
            code = kernel.run(
                market, self._arms, events, final, self._resident_mb(), self._ticks, self._fills
            )
            n_ticks, n_fills = int(control["n_ticks"]), int(control["n_fills"])
            self._counted[1:] += n_ticks, n_fills
            self._sink(self._ticks[:n_ticks], self._fills[:n_fills], int(control["last_event_ns"]))
            control["n_ticks"] = control["n_fills"] = 0
        if code == kernel.DONE:
            return False
        used = int(min(control["exch_cursor"], control["local_cursor"]))
        self._held = len(events) - used
        _bytes(self._events[: self._held])[:] = _bytes(events[used:])
        control["exch_cursor"] -= used
        control["local_cursor"] -= used
        return True

    def finish(self) -> None:
        """No chunk follows: process what was held back."""
        self.take(np.empty(0, EVENT), final=True)

    @property
    def counts(self) -> ReplayCounts:
        """What was processed so far."""
        events, ticks, fills = (int(count) for count in self._counted)
        lost = 0 if self._market is None else int(self._market.control[0]["out_of_range"])
        return ReplayCounts(events, ticks, fills, lost, int(self._arms.state["dropped_orders"].sum()))

    def state(self) -> dict[str, np.ndarray]:
        """What `restore` needs to go on behind the last chunk: plain arrays by name."""
        held = {"held": self._events[: self._held].copy(), "counted": self._counted.copy()}
        return held if self._market is None else held | saved.save(self._market, self._arms)

    def restore(self, held: Mapping[str, np.ndarray]) -> None:
        """Go on from a `state`, bit for bit as the replay that gave it; only before the first `take`.

        Raises:
            ValueError: the state of another version.
        """
        self._events, self._held = held["held"].copy(), len(held["held"])
        self._counted = held["counted"].copy()
        if "capacity" in held:
            market = new_market(int(held["capacity"]), self._refresh_ms, self._seed, self._incidents)
            saved.restore(market, self._arms, held)
            self._market = market

    def _behind_held(self, chunk: np.ndarray) -> np.ndarray:
        """The rows held back and those of the chunk, in memory that every call uses anew."""
        n = self._held + len(chunk)
        if n > len(self._events):
            roomier = np.zeros(n + n // 8, EVENT)
            _bytes(roomier[: self._held])[:] = _bytes(self._events[: self._held])
            self._events = roomier
        _bytes(self._events[self._held : n])[:] = _bytes(np.ascontiguousarray(chunk))
        return self._events[:n]

    def _resident_mb(self) -> float:
        return float(self._process.memory_info().rss) / 1e6

    def _market_for(self, chunk: np.ndarray) -> Market:
        """The market with room for the chunk's prices."""
        if self._market is None:
            self._market = new_market(_capacity(chunk), self._refresh_ms, self._seed, self._incidents)
            self._market.control["t0_ns"], self._market.control["end_ns"] = self._start_ns, self._end_ns
        elif _capacity(chunk) > 2 * len(self._market.exchange.bid_qty):
            self._market = grow_market(self._market, _capacity(chunk))
        return self._market


def replay_symbol(
    chunks: Iterable[np.ndarray],
    params: np.ndarray,
    refresh_ms: np.ndarray,
    *,
    start_ns: int,
    end_ns: int,
    seed: int,
    sink: Sink,
) -> ReplayCounts:
    """Replay EVENT chunks, in processing order, against the pipeline; arguments as for `Replay`."""
    replay = Replay(params, refresh_ms, start_ns=start_ns, end_ns=end_ns, seed=seed, sink=sink)
    for chunk in chunks:
        if not replay.take(chunk):
            return replay.counts
    replay.finish()
    return replay.counts


def _capacity(events: np.ndarray) -> int:
    return max(int(np.median(events["price_ticks"][::_SAMPLE])) * _ROOM, 1024) if len(events) else 1024


def _bytes(events: np.ndarray) -> np.ndarray:
    """The memory of rows: NumPy copies a structured array field by field, which takes six times as long."""
    return events.view(np.uint8)
