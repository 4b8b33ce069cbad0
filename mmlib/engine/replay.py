"""Runs the bot over one symbol's market events, chunk by chunk, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import psutil

from mmlib.core import replay as kernel
from mmlib.core.state import Arms, Market, grow_market, new_arms, new_market
from mmlib.dtypes import EVENT, FILL, TICK

_TICK_ROWS = 16_384
_FILL_ROWS = 16_384
_ROOM = 4  # the book reaches from 0 to this multiple of the price; rows beyond are counted, not kept

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


def _with_final(chunks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, bool]]:
    """Each chunk with whether it is the last; an empty stream is one empty last chunk."""
    held: np.ndarray | None = None
    for chunk in chunks:
        if held is not None:
            yield held, False
        held = chunk
    yield (np.empty(0, EVENT) if held is None else held), True


def _capacity(events: np.ndarray) -> int:
    return max(int(np.median(events["price_ticks"])) * _ROOM, 1024) if len(events) else 1024


def _resident_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6


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
    """Replay EVENT chunks against the pipeline and hand ticks and fills to ``sink`` as they come.

    Args:
        chunks: EVENT arrays in processing order.
        params: PARAMS[a], one row an arm.
        refresh_ms: float64[m], quantile table of a synchronous book refresh [ms].
        start_ns: scheduled time of the first tick; end_ns: exclusive end of the schedule.
        seed: decides the refresh drawn and the ticks traced.
    """
    market: Market | None = None
    arms: Arms = new_arms(params)
    ticks, fills = np.zeros(_TICK_ROWS, TICK), np.zeros(_FILL_ROWS, FILL)
    n_events = n_ticks = n_fills = 0
    held = np.empty(0, EVENT)
    for chunk, final in _with_final(chunks):
        if market is None:
            market = new_market(_capacity(chunk), refresh_ms, seed)
            market.control["t0_ns"], market.control["end_ns"] = start_ns, end_ns
        elif _capacity(chunk) > 2 * len(market.exchange.bid_qty):
            market = grow_market(market, _capacity(chunk))
        control = market.control[0]
        n_events += len(chunk)
        events = np.concatenate([held, chunk]) if len(held) else chunk
        code = kernel.OUTPUT_FULL
        while code == kernel.OUTPUT_FULL:
            code = kernel.run(market, arms, events, final, _resident_mb(), ticks, fills)
            n_ticks += int(control["n_ticks"])
            n_fills += int(control["n_fills"])
            sink(ticks[: control["n_ticks"]], fills[: control["n_fills"]], int(control["last_event_ns"]))
            control["n_ticks"] = control["n_fills"] = 0
        if code == kernel.DONE:
            break
        used = int(min(control["exch_cursor"], control["local_cursor"]))
        held = events[used:]
        control["exch_cursor"] -= used
        control["local_cursor"] -= used
    assert market is not None
    return ReplayCounts(
        n_events,
        n_ticks,
        n_fills,
        int(market.control[0]["out_of_range"]),
        int(arms.state["dropped_orders"].sum()),
    )
