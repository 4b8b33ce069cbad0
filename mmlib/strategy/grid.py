"""Grids of post-only quotes on both sides, at a fixed step of local time: K settings on one book in one pass.

At each step: what arrived by then is taken in; filled orders are noted and inactive ones dropped; live orders that are not in
the new grid are cancelled; grid prices without an order are quoted. The exchange runs ahead of the local view to the same
time, which changes nothing, since nothing local reaches it in between. Accounts share book, local view and steps; one whose
grid and orders are as they were at the step before is passed over. Oracle: the same strategy on hftbacktest (``ci/bench``),
account by account, and tests/naive_grid.py.
"""

from __future__ import annotations

import math

import numpy as np

from mmlib.core._jit import jit_borrowing as jit
from mmlib.core.book import BEST_ASK, BEST_BID, NO_ASK, NO_BID
from mmlib.dtypes import Liquidity, OrderKind, TimeInForce
from mmlib.exchange.marketpass import local_until
from mmlib.exchange.requests import DONE
from mmlib.exchange.venue import (
    ACCEPTED,
    FILLED,
    MAX_TICKS,
    NEED_ROWS,
    NEED_TICKS,
    REACHED,
    REJECTED,
)
from mmlib.strategy.gridrequests import dispatch, send, serve_until
from mmlib.strategy.gridstate import (
    ASKED_CANCEL,
    ASKED_NEW,
    LIVE,
    SETTLE,
    STEP_DECIDE,
    STEP_SERVE,
)

NEED_ROOM = 5
"""Slots, lists or the queue of requests must grow (the other reasons to come back are those of ``venue`` and DONE)."""

_TAKER = int(Liquidity.TAKER)


@jit
def _drop(desk, a, slot):
    """Forget an order that is no longer active; its slot stays taken while a cancel of it is under way."""
    grid, order = desk.grids[a], desk.orders[slot]
    place, last = order["place"], grid["n_active"] - 1
    waits = desk.states[a, place] == ASKED_CANCEL
    moved = desk.slots[a, last]
    desk.slots[a, place] = moved
    desk.ticks[a, place] = desk.ticks[a, last]
    desk.sides[a, place] = desk.sides[a, last]
    desk.states[a, place] = desk.states[a, last]
    desk.orders[moved]["place"] = place
    grid["n_active"] = last
    order["place"] = -1
    return waits


@jit
def _free(desk, slot):
    run = desk.run[0]
    desk.free[run["n_free"]] = slot
    run["n_free"] += 1


@jit
def _book_fill(desk, a, seen, report, now_ns):
    """Position, money and the row of the output."""
    grid = desk.grids[a]
    side = desk.sides[a, desk.orders[report["slot"]]["place"]]
    value = report["qty"] * report["price_ticks"] * desk.run[0]["tick_size"]
    rate = grid["taker_bps"] if report["liquidity"] == _TAKER else grid["maker_bps"]
    grid["position"] += report["qty"] * side
    grid["cash"] -= value * side
    grid["fees"] += value * rate * 1e-4
    grid["traded"] += value
    grid["n_fills"] += 1
    seen["exch_ns"] = report["exch_ns"]
    seen["seen_ns"] = now_ns
    seen["qty"] = report["qty"]
    seen["price_ticks"] = report["price_ticks"]
    seen["side"] = side
    seen["maker"] = 1 - report["liquidity"]
    seen["account"] = a


@jit
def _hear(desk, a, report, now_ns, sightings):
    """One report reaches its account."""
    run, order = desk.run[0], desk.orders[report["slot"]]
    what, place = report["what"], order["place"]
    if place < 0:  # the answer to a cancel of an order that is known to be done
        if what == REJECTED:
            _free(desk, report["slot"])
        return
    state = desk.states[a, place]
    if what == ACCEPTED:
        desk.states[a, place] = LIVE
    elif what == REJECTED:
        if state == ASKED_CANCEL and order["sent_ns"] == report["sent_ns"]:
            desk.states[a, place] = LIVE
        elif state == ASKED_NEW:
            _drop(desk, a, report["slot"])
            _free(desk, report["slot"])
    else:
        if what == FILLED:
            _book_fill(desk, a, sightings[run["n_sightings"]], report, now_ns)
            run["n_sightings"] += 1
            order["leaves"] -= report["qty"]
            if order["leaves"] >= 0.5 * desk.venue.control[0]["lot_size"]:
                return
        if not _drop(desk, a, report["slot"]) or what != FILLED:
            _free(desk, report["slot"])


@jit
def _take_in(desk, now_ns, sightings):
    """Apply the reports that have arrived, keep the others."""
    control, reports = desk.venue.control[0], desk.venue.reports
    kept = 0
    for k in range(control["n_reports"]):
        report = reports[k]
        a = report["account"]
        if report["at_ns"] > now_ns:
            reports[kept] = reports[k]
            kept += 1
        elif desk.grids[a]["ended"] == 0:
            desk.grids[a]["stirred"] = 1
            _hear(desk, a, report, now_ns, sightings)
    control["n_reports"] = kept


@jit
def _quote(desk, a, side, tick, now_ns):
    """Send a new post-only order."""
    grid, run = desk.grids[a], desk.run[0]
    run["n_free"] -= 1
    slot = desk.free[run["n_free"]]
    place = grid["n_active"]
    grid["n_active"] += 1
    desk.slots[a, place] = slot
    desk.ticks[a, place] = tick
    desk.sides[a, place] = side
    desk.states[a, place] = ASKED_NEW
    desk.orders[slot]["place"] = place
    desk.orders[slot]["leaves"] = grid["order_qty"]
    own = desk.venue.own[slot]
    own["account"] = a
    own["price_ticks"] = tick
    own["side"] = side
    own["qty"] = grid["order_qty"]
    own["leaves"] = grid["order_qty"]
    own["tif"] = TimeInForce.GTX
    own["kind"] = OrderKind.LIMIT
    send(desk, a, slot, now_ns)


@jit
def _cancel_outside(desk, a, bid_tick, ask_tick, bids, asks, now_ns):
    """Cancel live orders outside the grid; ``there`` says which of its prices have an order, of either side."""
    there, states, ticks, sides = desk.there, desk.states[a], desk.ticks[a], desk.sides[a]
    interval = desk.grids[a]["interval_ticks"]
    bid_span, ask_span = bids * interval, asks * interval
    for k in range(bids):
        there[0, k] = 0
    for k in range(asks):
        there[1, k] = 0
    for k in range(desk.grids[a]["n_active"]):
        below, above = bid_tick - ticks[k], ticks[k] - ask_tick
        in_bids = 0 <= below < bid_span
        if in_bids:
            level = below // interval
            in_bids = level * interval == below
            if in_bids:
                there[0, level] = 1
        in_asks = 0 <= above < ask_span
        if in_asks:
            level = above // interval
            in_asks = level * interval == above
            if in_asks:
                there[1, level] = 1
        if states[k] == LIVE and not (in_bids if sides[k] > 0 else in_asks):
            states[k] = ASKED_CANCEL
            send(desk, a, desk.slots[a, k], now_ns)


@jit
def _requote(desk, a, bid_tick, ask_tick, bids, asks, now_ns):
    """Cancel what is not in the new grid, quote what is missing."""
    grid = desk.grids[a]
    _cancel_outside(desk, a, bid_tick, ask_tick, bids, asks, now_ns)
    interval = grid["interval_ticks"]
    for k in range(bids):
        tick = bid_tick - k * interval
        if tick > 0 and desk.there[0, k] == 0:
            _quote(desk, a, 1, tick, now_ns)
    for k in range(asks):
        tick = ask_tick + k * interval
        if 0 < tick < MAX_TICKS and desk.there[1, k] == 0:
            _quote(desk, a, -1, tick, now_ns)
    if grid["batch_first"] != 0:
        dispatch(desk, a, now_ns)


@jit
def _has_room(desk, a):
    """Whether whatever one account may send at one step has room everywhere."""
    run = desk.run[0]
    most = 2 * desk.there.shape[1]
    active = desk.grids[a]["n_active"]
    reports = desk.venue.control[0]["n_reports"] + active + most
    lists = active + most <= desk.slots.shape[1] and run["n_free"] >= most
    return lists and run["n_waiting"] < len(desk.queue) and reports <= len(desk.venue.reports)


@jit
def _decide(desk, now_ns):
    """Every account whose grid or orders changed quotes anew; returns REACHED, NEED_TICKS or NEED_ROOM (call again)."""
    run, top = desk.run[0], desk.prices.top
    if top[BEST_BID] == NO_BID or top[BEST_ASK] == NO_ASK:
        return REACHED
    same = run["last_bid"] == top[BEST_BID] and run["last_ask"] == top[BEST_ASK]
    tick_size = run["tick_size"]
    bid, ask = top[BEST_BID] * tick_size, top[BEST_ASK] * tick_size
    for a in range(run["decided"], len(desk.grids)):
        grid = desk.grids[a]
        if (same and grid["stirred"] == 0) or grid["ended"]:
            continue
        fair = (bid + ask) / 2.0 - grid["skew"] * tick_size * grid["position"]
        apart = grid["interval_ticks"] * tick_size
        half = grid["half_spread_ticks"] * tick_size
        bid_tick = np.int64(math.floor(min(fair - half, bid) / apart) * apart / tick_size + 0.5)
        ask_tick = np.int64(math.ceil(max(fair + half, ask) / apart) * apart / tick_size + 0.5)
        if grid["stirred"] == 0 and grid["bid_tick"] == bid_tick and grid["ask_tick"] == ask_tick:
            continue
        levels = grid["levels"]
        run["decided"] = a
        if ask_tick + levels * grid["interval_ticks"] >= len(desk.venue.bid_head):
            if len(desk.venue.bid_head) < MAX_TICKS:
                return NEED_TICKS
        if not _has_room(desk, a):
            return NEED_ROOM
        bids = levels if grid["position"] < grid["max_position"] else 0
        asks = levels if grid["position"] > -grid["max_position"] else 0
        _requote(desk, a, bid_tick, ask_tick, bids, asks, now_ns)
        grid["bid_tick"] = bid_tick
        grid["ask_tick"] = ask_tick
        grid["stirred"] = 0
    run["last_bid"] = top[BEST_BID]
    run["last_ask"] = top[BEST_ASK]
    return REACHED


@jit
def _end(desk, now_ns):
    """Accounts for which nothing follows any more: the step under way does not happen for them. Returns whether that is all."""
    going = 0
    for a in range(len(desk.grids)):
        grid = desk.grids[a]
        if grid["n_waiting"] == 0 and desk.venue.accounts[a]["last_report_ns"] <= now_ns:
            grid["ended"] = 1
        going += 1 - grid["ended"]
    return going == 0


@jit
def quote_grids(desk, rows, exchange_row, local_row, final, sightings):
    """Run the strategy over market rows.

    Args:
        desk: gridstate.Desk. rows: EVENT[n].
        exchange_row: first row that the exchange has not processed; local_row: likewise for the local view.
        final: whether no rows follow.
        sightings: SIGHTING[m], output; RUN ``n_sightings`` rows are valid.

    Returns:
        ``(exchange_row, local_row, why)`` with NEED_ROWS, REPORTS_FULL, SETTLE (too little room in ``sightings``), NEED_TICKS,
        NEED_ROOM or DONE.
    """
    run, control = desk.run[0], desk.venue.control[0]
    i, j = exchange_row, local_row
    while True:
        now_ns = run["next_ns"]
        if run["phase"] == STEP_SERVE:
            i, why = serve_until(desk, rows, i, final, now_ns)
            if why != REACHED:
                return i, j, why
            j, why = local_until(desk.prices, rows, j, now_ns)
            if why != REACHED and (why != NEED_ROWS or not final):
                return i, j, why
            if run["n_sightings"] + control["n_reports"] > len(sightings):
                return i, j, SETTLE
            if final and i >= len(rows) and j >= len(rows):
                if _end(desk, now_ns):
                    return i, j, DONE
            _take_in(desk, now_ns, sightings)
            run["phase"] = STEP_DECIDE
            run["decided"] = 0
        why = _decide(desk, now_ns)
        if why != REACHED:
            return i, j, why
        run["phase"] = STEP_SERVE
        run["next_ns"] += run["step_ns"]
