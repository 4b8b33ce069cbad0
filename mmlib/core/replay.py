"""The event loop: market rows, requests and responses in time order, and a tick of the pipeline on a fixed schedule.

Order at equal times: local feed, local order responses, exchange feed, exchange requests. The loop can stop after any event
and go on with the next chunk; all it knows is in the state arrays. Source of the order: hftbacktest 2.4 ``Backtest``.
"""

from __future__ import annotations

import numpy as np

from mmlib.core import incidents, stages
from mmlib.core._jit import clock_ns
from mmlib.core._jit import jit_borrowing as jit
from mmlib.core.book import BEST_ASK, BEST_BID, has_both_sides
from mmlib.core.exchange import apply_to_book, on_market_row, on_request
from mmlib.core.state import (
    ACCEPTED,
    BUS,
    FILLED,
    FREE,
    IOC,
    LIVE,
    PENDING_NEW,
    REJECTED,
    SLOTS,
)
from mmlib.dtypes import EVENT_KIND_MASK, FLAG_BUY, FLAG_EXCH, FLAG_LOCAL, KIND_CLEAR, KIND_TRADE

NEED_EVENTS, OUTPUT_FULL, DONE = 0, 1, 2
"""Why a call of ``run`` came back."""

_WAIT, _FETCH = 0, 1  # phases of a tick
_NEVER = np.int64(2**62)
_MARGIN = 2 * SLOTS  # rows that one event can write, at most, per arm


@jit
def _on_local_row(market, params, flags, tick, qty, ts_ns, latency_ns):
    """One row reaches us: keep the local book current and count what traded."""
    stats = market.stats[0]
    kind = flags & EVENT_KIND_MASK
    stats["feed_latency_ms"] = latency_ns * 1e-6
    if kind == KIND_TRADE:
        if flags & FLAG_BUY:
            stats["buy_qty"] += qty
        else:
            stats["sell_qty"] += qty
        return
    apply_to_book(market.local, flags, tick, qty)
    silence_ns = ts_ns - stats["last_depth_ns"]
    if kind == KIND_CLEAR and stats["last_depth_ns"] > 0 and silence_ns > params["gap_ns"]:
        stats["invalid"] = 1
    stats["last_depth_ns"] = ts_ns


@jit
def on_response(arms, arm):
    """The oldest answer of the exchange reaches an arm: status, position, cash."""
    state = arms.state[arm]
    message = arms.responses[arm, state["resp_head"]]
    state["resp_head"] = (state["resp_head"] + 1) % BUS
    state["resp_count"] -= 1
    order = arms.orders[arm, message["slot"]]
    what = message["what"]
    if what == FILLED:
        notional = message["price"] * abs(message["qty"])
        state["position"] += message["qty"]
        state["cash"] -= message["price"] * message["qty"] + message["fee"]
        newest = stages.roll_traded(state, message["at_ns"], arms.params[arm]["taker_window_s"])
        state["total_notional"][newest] += notional
        if order["order_id"] == message["order_id"] and order["tif"] == IOC:
            state["taker_notional"][newest] += notional
    if order["order_id"] != message["order_id"]:
        return
    if what == ACCEPTED:
        if order["local"] == PENDING_NEW:
            order["local"] = LIVE
    elif what != REJECTED:  # a cancel that came too late is settled by its fill
        order["local"] = FREE


@jit
def _next_response(arms):
    best_ns = _NEVER
    best_arm = -1
    for arm in range(len(arms.state)):
        state = arms.state[arm]
        if state["resp_count"] > 0 and arms.responses[arm, state["resp_head"]]["at_ns"] < best_ns:
            best_ns = arms.responses[arm, state["resp_head"]]["at_ns"]
            best_arm = arm
    return best_ns, best_arm


@jit
def _next_request(arms):
    best_ns = _NEVER
    best_arm = -1
    for arm in range(len(arms.state)):
        state = arms.state[arm]
        if state["req_count"] > 0 and arms.requests[arm, state["req_head"]]["at_ns"] < best_ns:
            best_ns = arms.requests[arm, state["req_head"]]["at_ns"]
            best_arm = arm
    return best_ns, best_arm


@jit
def _skip(events, cursor, flag):
    """First row at or after ``cursor`` that carries ``flag``."""
    n = len(events)
    while cursor < n and events[cursor]["flags"] & flag == 0:
        cursor += 1
    return cursor


@jit
def advance(market, arms, events, final, until_ns, exch_until_ns, fills):
    """Process everything up to and including ``until_ns``, at the exchange up to and including ``exch_until_ns``.

    The exchange may be kept behind (core.live), as long as none of its answers could have arrived by ``until_ns``; a replay
    gives both the same time.

    Returns DONE when that moment is reached, NEED_EVENTS when the chunk ends before it (and is not the last one),
    OUTPUT_FULL when ``fills`` must be emptied first.
    """
    control = market.control[0]
    n = len(events)
    room = len(fills) - _MARGIN * len(arms.state)
    exch = control["exch_cursor"]
    local = control["local_cursor"]
    capacity = len(market.exchange.bid_qty)
    code = DONE
    while True:
        exch = _skip(events, exch, FLAG_EXCH)
        local = _skip(events, local, FLAG_LOCAL)
        if not final and (exch >= n or local >= n):
            code = NEED_EVENTS
            break
        if control["n_fills"] > room:
            code = OUTPUT_FULL
            break
        local_ns = events[local]["local_ts_ns"] if local < n else _NEVER
        exch_ns = events[exch]["exch_ts_ns"] if exch < n else _NEVER
        resp_ns, resp_arm = _next_response(arms)
        req_ns, req_arm = _next_request(arms)
        if min(exch_ns, req_ns) > exch_until_ns:
            exch_ns = req_ns = _NEVER
        now = min(min(local_ns, resp_ns), min(exch_ns, req_ns))
        if now > until_ns:
            break
        if local_ns == now:
            row = events[local]
            tick = row["price_ticks"]
            if 0 <= tick < capacity or row["flags"] & EVENT_KIND_MASK == KIND_CLEAR:
                latency = row["local_ts_ns"] - row["exch_ts_ns"]
                _on_local_row(market, arms.params[0], row["flags"], tick, row["qty"], local_ns, latency)
            else:
                control["out_of_range"] += 1
            control["last_event_ns"] = now
            local += 1
        elif resp_ns == now:
            on_response(arms, resp_arm)
        elif exch_ns == now:
            row = events[exch]
            tick = row["price_ticks"]
            if 0 <= tick < capacity or row["flags"] & EVENT_KIND_MASK == KIND_CLEAR:
                on_market_row(market, arms, row["flags"], tick, row["qty"], exch_ns, fills)
            exch += 1
        else:
            on_request(market, arms, req_arm, fills)
    control["exch_cursor"] = exch
    control["local_cursor"] = local
    return code


@jit
def begin_tick(market, params):
    """Start the tick that is due: measure FetchMD, fix when its book is there."""
    control = market.control[0]
    stats = market.stats[0]
    t0 = clock_ns(market.timespec)
    stages.fetch_md(market, params)
    control["decide_ns"] = control["start_ns"] + control["refresh_ns"]
    control["errors"] = 0
    if len(market.incidents) > 0:
        unit = stages.hash_unit(control["seed"] + np.uint64(2), control["tick_index"])
        control["decide_ns"] += incidents.stall_ns(market.incidents, control["start_ns"], unit)
        control["errors"] += incidents.refusals(market.incidents, control["start_ns"], unit)
    if control["cache_age_ns"] > params["max_age_ns"]:
        control["errors"] += 1  # the stream is silent: the refresh brings nothing new
    control["fetch_measured_ns"] = clock_ns(market.timespec) - t0
    if control["refresh_ns"] > 0:
        stats["invalid"] = 0


@jit
def _tick_arm(market, arms, arm, whole, traced, row):
    """Stages two to six for one arm, each timed; writes the TICK row but for the shared fields."""
    stats = market.stats[0]
    control = market.control[0]
    state = arms.state[arm]
    params = arms.params[arm]
    quote = arms.quote[arm]
    spec = market.timespec
    t0 = clock_ns(spec)
    stages.spread(stats, state, params, quote)
    t1 = clock_ns(spec) if traced else t0
    breaker_open = stages.guards(control, stats, state, params, whole, quote)
    t2 = clock_ns(spec) if traced else t0
    stages.inventory(control, state, params, quote)
    t3 = clock_ns(spec) if traced else t0
    stages.queue_aware(market, state, params, quote)
    t4 = clock_ns(spec) if traced else t0
    stages.emit(market, arms, arm)
    t5 = clock_ns(spec)
    row["spread_ms"] = (t1 - t0) * 1e-6 if traced else np.nan
    row["guards_ms"] = (t2 - t1) * 1e-6 if traced else np.nan
    row["inventory_ms"] = (t3 - t2) * 1e-6 if traced else np.nan
    row["queue_aware_ms"] = (t4 - t3) * 1e-6 if traced else np.nan
    row["emit_ms"] = (t5 - t4) * 1e-6 if traced else np.nan
    row["guard_level"] = quote["guard_level"]
    row["breaker_open"] = 1 if breaker_open else 0
    row["inventory"] = state["position"]
    return t5 - t0


@jit
def end_tick(market, arms, ticks, rss_mb):
    """The book is there: run the pipeline of every arm and write its TICK row."""
    control = market.control[0]
    stats = market.stats[0]
    book = market.local
    params = arms.params[0]
    if control["refresh_ns"] > 0 and control["refresh_failed"] == 0:
        stats["last_refresh_ns"] = control["decide_ns"]
    whole = stages.observe(market, params)
    if not whole:
        control["errors"] += 1
    traced = stages.hash_unit(control["seed"] + np.uint64(1), control["tick_index"]) < params["trace_share"]
    scheduled = control["t0_ns"] + control["tick_index"] * params["tick_interval_ns"]
    modelled_ns = control["decide_ns"] - scheduled
    for arm in range(len(arms.state)):
        row = ticks[control["n_ticks"]]
        control["n_ticks"] += 1
        own_ns = _tick_arm(market, arms, arm, whole, traced, row)
        row["ts_ns"] = control["start_ns"]
        row["scheduled_ns"] = scheduled
        row["fetch_md_ms"] = (control["fetch_measured_ns"] + control["refresh_ns"]) * 1e-6
        row["tick_total_ms"] = (modelled_ns + control["fetch_measured_ns"] + own_ns) * 1e-6
        row["modelled_ms"] = modelled_ns * 1e-6
        row["cache_age_ms"] = control["cache_age_ns"] * 1e-6
        row["mid"] = stats["mid"] if whole else np.nan
        row["spread_bps"] = np.nan
        if whole:
            width = (book.top[BEST_ASK] - book.top[BEST_BID]) * params["tick_size"]
            row["spread_bps"] = width / stats["mid"] * 1e4
        row["rss_mb"] = rss_mb + incidents.leaked_mb(market.incidents, control["start_ns"])
        row["errors"] = control["errors"]
        row["arm"] = arm
        row["cache_hit"] = control["cache_hit"]
        row["used_stale"] = control["used_stale"]
        row["deadline_miss"] = 1 if row["tick_total_ms"] > params["deadline_ms"] else 0
    control["busy_until_ns"] = control["decide_ns"]
    control["tick_index"] += 1


@jit
def run(market, arms, events, final, rss_mb, ticks, fills):
    """Replay a chunk of events with a pipeline tick every ``tick_interval_ns``.

    Args:
        market: state.Market. arms: state.Arms.
        events: EVENT[n] from the unconsumed rows on; the cursors in CONTROL count from its start.
        final: whether no chunk follows.
        rss_mb: resident memory of the process, written into the ticks.
        ticks: TICK[m], fills: FILL[k]: output; CONTROL ``n_ticks`` and ``n_fills`` rows are valid on return.

    Returns:
        NEED_EVENTS, OUTPUT_FULL or DONE (the end time is reached, or the last event is consumed).
    """
    control = market.control[0]
    params = arms.params[0]
    while True:
        if control["n_ticks"] + len(arms.state) > len(ticks):
            return OUTPUT_FULL
        if control["phase"] == _WAIT:
            scheduled = control["t0_ns"] + control["tick_index"] * params["tick_interval_ns"]
            if scheduled >= control["end_ns"]:
                return advance(market, arms, events, final, control["end_ns"], control["end_ns"], fills)
            start = max(scheduled, control["busy_until_ns"])
            code = advance(market, arms, events, final, start, start, fills)
            if code != DONE:
                return code
            if final and control["local_cursor"] >= len(events) and scheduled > control["last_event_ns"]:
                return DONE
            if control["started"] == 0:
                if not has_both_sides(market.local):
                    control["tick_index"] += 1
                    continue
                control["started"] = 1
                control["end_ns"] += scheduled - control["t0_ns"]  # the window counts from the first tick
            control["start_ns"] = start
            begin_tick(market, params)
            control["phase"] = _FETCH
        code = advance(market, arms, events, final, control["decide_ns"], control["decide_ns"], fills)
        if code != DONE:
            return code
        end_tick(market, arms, ticks, rss_mb)
        control["phase"] = _WAIT
