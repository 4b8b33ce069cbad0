"""The event loop: market rows, requests and responses in time order, and a tick of the pipeline on a fixed schedule.

Order at equal times: local feed, local order responses, exchange feed, exchange requests. Between two ticks nobody decides, so
exchange and local side are each done in one go. The loop can stop after any event
and go on with the next chunk; all it knows is in the state arrays. Source of the order: hftbacktest 2.4 ``Backtest``.
"""

from __future__ import annotations

import numpy as np

from mmlib.core import emit, incidents, stages
from mmlib.core._jit import clock_ns, jit_within
from mmlib.core._jit import jit_borrowing as jit
from mmlib.core.book import BEST_ASK, BEST_BID, has_both_sides
from mmlib.core.exchange import apply_to_book, concerns_own, on_market_row, on_request, own_prices
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


@jit_within
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
def _answers_until(arms, until_ns):
    """Take in every answer that has reached an arm by ``until_ns``."""
    for arm in range(len(arms.state)):
        state = arms.state[arm]
        while state["resp_count"] > 0 and arms.responses[arm, state["resp_head"]]["at_ns"] <= until_ns:
            on_response(arms, arm)


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
def _local_until(market, params, events, final, until_ns):
    """Let every row in that reaches us by ``until_ns``; DONE, or NEED_EVENTS when the chunk ends before."""
    control = market.control[0]
    n = len(events)
    capacity = len(market.local.bid_qty)
    local = control["local_cursor"]
    code = DONE if final else NEED_EVENTS
    while local < n:
        row = events[local]
        flags = row["flags"]
        if flags & FLAG_LOCAL:
            ts_ns = row["local_ts_ns"]
            if ts_ns > until_ns:
                code = DONE
                break
            tick = row["price_ticks"]
            if 0 <= tick < capacity or flags & EVENT_KIND_MASK == KIND_CLEAR:
                _on_local_row(market, params, flags, tick, row["qty"], ts_ns, ts_ns - row["exch_ts_ns"])
            else:
                control["out_of_range"] += 1
            control["last_event_ns"] = ts_ns
        local += 1
    control["local_cursor"] = local
    return code


@jit
def _exchange_until(market, arms, events, final, until_ns, fills):
    """Have the exchange do every row and request up to ``until_ns``; NEED_EVENTS when the chunk ends before, or OUTPUT_FULL."""
    control = market.control[0]
    n = len(events)
    room = len(fills) - _MARGIN * len(arms.state)
    capacity = len(market.exchange.bid_qty)
    exch = control["exch_cursor"]
    req_ns, req_arm = _next_request(arms)
    bid_low, bid_high, ask_low, ask_high = own_prices(arms)
    code = DONE
    while True:
        while exch < n and events[exch]["flags"] & FLAG_EXCH == 0:
            exch += 1
        if exch >= n and not final:
            code = NEED_EVENTS
            break
        if control["n_fills"] > room:
            code = OUTPUT_FULL
            break
        ts_ns = events[exch]["exch_ts_ns"] if exch < n else _NEVER
        if min(ts_ns, req_ns) > until_ns:
            break
        if req_ns < ts_ns:
            on_request(market, arms, req_arm, fills)
            req_ns, req_arm = _next_request(arms)
            bid_low, bid_high, ask_low, ask_high = own_prices(arms)
            continue
        row = events[exch]
        exch += 1
        flags, tick = row["flags"], row["price_ticks"]
        if not (0 <= tick < capacity or flags & EVENT_KIND_MASK == KIND_CLEAR):
            continue
        if concerns_own(flags, tick, bid_low, bid_high, ask_low, ask_high):
            filled = control["n_fills"]
            on_market_row(market, arms, flags, tick, row["qty"], ts_ns, fills)
            if control["n_fills"] != filled:
                bid_low, bid_high, ask_low, ask_high = own_prices(arms)
        elif flags & EVENT_KIND_MASK != KIND_TRADE:
            apply_to_book(market.exchange, flags, tick, row["qty"])
    control["exch_cursor"] = exch
    return code


@jit
def advance(market, arms, events, final, until_ns, exch_until_ns, fills):
    """Process everything up to and including ``until_ns``, at the exchange up to and including ``exch_until_ns``.

    First the exchange, then the rows that reach us, then the answers: no one of these looks at what another one changes, except
    that the exchange writes answers, so that this order comes to the same as that of time.

    The exchange may be kept behind (core.live), as long as none of its answers could have arrived by ``until_ns``; a replay
    gives both the same time.

    Returns DONE when that moment is reached, NEED_EVENTS when the chunk ends before it (and is not the last one),
    OUTPUT_FULL when ``fills`` must be emptied first.
    """
    there = _exchange_until(market, arms, events, final, exch_until_ns, fills)
    if there == OUTPUT_FULL:
        return OUTPUT_FULL
    here = _local_until(market, arms.params[0], events, final, until_ns)
    _answers_until(arms, until_ns)
    return NEED_EVENTS if NEED_EVENTS in (there, here) else DONE


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
    emit.emit(market, arms, arm)
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
