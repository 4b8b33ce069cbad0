"""A tick of the pipeline in real time, in two halves: until it is known whether to fetch the book, and from the book on.

The stages, the books and the queues are those of core.replay. What differs is the time of the exchange model: it is kept
``response_ns`` behind the local clock, because an event of the exchange is known only once it has arrived. Rows come from
market.live, where none happened longer than that before its arrival; so whatever could still answer by now is known, and a
session fills exactly as a replay of its recording does.
"""

from __future__ import annotations

from mmlib.core._jit import jit_borrowing as jit
from mmlib.core.book import clear_all, has_both_sides
from mmlib.core.replay import DONE, OUTPUT_FULL, advance, begin_tick, end_tick, on_response
from mmlib.core.state import FREE

HIT, MISS, NO_BOOK, FULL = 0, 1, 2, 3
"""What the first half of a tick came to: the cache serves, a fetch is needed, no book to quote on yet, ``fills`` is full."""


@jit
def begin(market, arms, events, start_ns, fills):
    """Take in what has arrived by ``start_ns`` and decide whether the cache serves the tick.

    Args:
        market: state.Market. arms: state.Arms.
        events: EVENT[n], the rows not yet consumed; none arrives before one that is already there.
        start_ns: when the tick really begins, local clock.
        fills: FILL[k], output; CONTROL ``n_fills`` rows are valid.

    Returns:
        HIT, MISS, NO_BOOK or FULL. Before the first whole book a tick is skipped; after HIT and MISS ``end`` must follow.
    """
    control = market.control[0]
    params = arms.params[0]
    if advance(market, arms, events, True, start_ns, start_ns - params["response_ns"], fills) == OUTPUT_FULL:
        return FULL
    if control["started"] == 0:
        if not has_both_sides(market.local):
            control["tick_index"] += 1
            return NO_BOOK
        control["started"] = 1
    control["start_ns"] = start_ns
    begin_tick(market, params)
    control["refresh_failed"] = 0
    return HIT if control["cache_hit"] == 1 else MISS


@jit
def end(market, arms, events, decide_ns, failed, errors, rss_mb, ticks, fills):
    """The book is there (or the fetch has failed): run the pipeline of every arm and write its TICK rows.

    Args:
        events: as ``begin``, with what has arrived since.
        decide_ns: when the fetch ended; the start of the tick where the cache served.
        failed: 1 when the fetch brought nothing.
        errors: errors met since the tick before, that of a failed fetch included.

    Returns:
        DONE, or OUTPUT_FULL when ``fills`` must be emptied before another try.
    """
    control = market.control[0]
    behind_ns = arms.params[0]["response_ns"]
    if advance(market, arms, events, True, decide_ns, decide_ns - behind_ns, fills) == OUTPUT_FULL:
        return OUTPUT_FULL
    control["errors"] += errors
    if failed == 1:
        control["refresh_failed"] = 1
    elif control["cache_hit"] == 0:
        market.stats[0]["invalid"] = 0  # the book was fetched; begin_tick knows modelled refreshes only
    control["decide_ns"] = decide_ns
    control["refresh_ns"] = decide_ns - control["start_ns"]
    end_tick(market, arms, ticks, rss_mb)
    return DONE


@jit
def restart(market, arms):
    """After a restart: no order of before is at work and both books are empty. Position, cash and averages stay."""
    clear_all(market.exchange)
    clear_all(market.local)
    for arm in range(len(arms.state)):
        state = arms.state[arm]
        while state["resp_count"] > 0:  # a fill that was under way to us is a fill
            on_response(arms, arm)
        state["req_count"] = 0
        state["n_resting"] = 0
        for slot in range(len(arms.orders[arm])):
            order = arms.orders[arm, slot]
            order["local"] = FREE
            order["resting"] = 0
    market.control[0]["exch_cursor"] = 0
    market.control[0]["local_cursor"] = 0
