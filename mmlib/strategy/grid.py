"""A grid of post-only quotes on both sides, at a fixed step of local time: the strategy that two engines are compared by.

At each step: what arrived by then is taken in; filled orders are noted and inactive ones dropped; live orders that are not in
the new grid are cancelled; grid prices without an order are quoted. The exchange runs ahead of the local view to the same
time, which changes nothing, since nothing local reaches it in between. Oracle: the same strategy on hftbacktest (``ci/bench``).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from mmlib.core._jit import jit_borrowing as jit
from mmlib.core.book import BEST_ASK, BEST_BID, NO_ASK, NO_BID, sparse_zeros
from mmlib.dtypes import Action, OrderKind, TimeInForce
from mmlib.exchange.ladder import Ladder, empty_ladder, grow_ladder
from mmlib.exchange.latency import entry_latency_ns
from mmlib.exchange.marketpass import exchange_until, local_until
from mmlib.exchange.matching import on_cancel, on_new
from mmlib.exchange.requests import DONE, REQUEST
from mmlib.exchange.venue import ACCEPTED, FILLED, NEED_ROWS, REACHED, REJECTED, REPORTS_FULL, Venue

SLOTS = 1024
_RING = 8192  # requests under way
_NEW, _CANCEL = int(Action.NEW), int(Action.CANCEL)
_FREE, _PENDING_NEW, _LIVE, _PENDING_CANCEL = 0, 1, 2, 3

SIGHTING = np.dtype(
    [
        ("exch_ns", "i8"),  # when the order was filled
        ("seen_ns", "i8"),  # step at which the strategy saw it
        ("qty", "f8"),
        ("price_ticks", "i4"),
        ("side", "i1"),
        ("maker", "u1"),
        ("_pad", "u1", (2,)),
    ]
)

GRID = np.dtype(
    [
        ("tick_size", "f8"),
        ("order_qty", "f8"),
        ("max_position", "f8"),
        ("skew", "f8"),
        ("levels", "i8"),
        ("interval_ticks", "i8"),
        ("half_spread_ticks", "i8"),
        ("step_ns", "i8"),
        ("next_ns", "i8"),  # of the coming step
        ("position", "f8"),
        ("n_active", "i8"),
        ("n_free", "i8"),
        ("reports_read", "i8"),
        ("request_head", "i8"),
        ("request_tail", "i8"),
        ("n_sightings", "i8"),
        ("n_requests", "i8"),
        ("dropped", "i8"),  # quotes wanted but not sent: no slot, or a price that the book does not reach
    ]
)


class Quoter(NamedTuple):
    """The strategy and what it knows.

    Attributes:
        venue: the exchange.
        prices: best prices as we see them (vectors of uint8).
        grid: GRID[1].
        status: uint8[SLOTS], our orders as we know them; side: int8[SLOTS]; price_ticks: int64[SLOTS].
        sent_ns: int64[SLOTS], of the latest request; place: int32[SLOTS], in ``active``.
        active: int32[SLOTS], the slots in use come first; free: int32[SLOTS], a stack of the others.
        slot_at: int16[capacity], slot + 1 of our order at each tick, 0 for none.
        requests: REQUEST[_RING], under way.
    """

    venue: Venue
    prices: Ladder
    grid: Any
    status: Any
    side: Any
    price_ticks: Any
    sent_ns: Any
    place: Any
    active: Any
    free: Any
    slot_at: Any
    requests: Any


def new_quoter(venue: Venue, grid: np.ndarray, start_ns: int) -> Quoter:
    """A strategy that has not quoted yet; its first step is one step after ``start_ns``."""
    grid = grid.copy()
    grid["next_ns"], grid["n_free"] = start_ns + grid["step_ns"], SLOTS
    capacity = len(venue.bid_head)
    return Quoter(
        venue,
        empty_ladder(capacity, np.uint8),
        grid,
        np.zeros(SLOTS, np.uint8),
        np.zeros(SLOTS, np.int8),
        np.zeros(SLOTS, np.int64),
        np.zeros(SLOTS, np.int64),
        np.zeros(SLOTS, np.int32),
        np.zeros(SLOTS, np.int32),
        np.arange(SLOTS, dtype=np.int32)[::-1].copy(),
        sparse_zeros(capacity, np.int16),
        np.zeros(_RING, REQUEST),
    )


def grow_quoter(quoter: Quoter, venue: Venue) -> Quoter:
    """The same strategy on a venue that was given room for more ticks."""
    capacity = len(venue.bid_head)
    slot_at = sparse_zeros(capacity, np.int16)
    slot_at[: len(quoter.slot_at)] = quoter.slot_at
    return quoter._replace(venue=venue, prices=grow_ladder(quoter.prices, capacity), slot_at=slot_at)


@jit
def _send(quoter, slot, action, now_ns):
    """Queue a request behind those under way."""
    grid = quoter.grid[0]
    arrives_ns = now_ns + entry_latency_ns(quoter.venue.latency, now_ns)
    tail = grid["request_tail"]
    if tail > grid["request_head"]:
        arrives_ns = max(arrives_ns, quoter.requests[(tail - 1) % _RING]["arrives_ns"])
    request = quoter.requests[tail % _RING]
    request["sent_ns"] = now_ns
    request["arrives_ns"] = arrives_ns
    request["slot"] = slot
    request["action"] = action
    grid["request_tail"] = tail + 1
    grid["n_requests"] += 1
    quoter.sent_ns[slot] = now_ns
    quoter.status[slot] = _PENDING_NEW if action == _NEW else _PENDING_CANCEL


@jit
def _drop(quoter, slot):
    """Forget an order that is no longer active."""
    grid = quoter.grid[0]
    quoter.slot_at[quoter.price_ticks[slot]] = 0
    quoter.status[slot] = _FREE
    last = quoter.active[grid["n_active"] - 1]
    quoter.active[quoter.place[slot]] = last
    quoter.place[last] = quoter.place[slot]
    grid["n_active"] -= 1
    quoter.free[grid["n_free"]] = slot
    grid["n_free"] += 1


@jit
def _quote(quoter, side, tick, now_ns):
    """Send a new post-only order."""
    grid = quoter.grid[0]
    if tick <= 0 or tick >= len(quoter.slot_at) or grid["n_free"] == 0:
        grid["dropped"] += 1
        return
    grid["n_free"] -= 1
    slot = quoter.free[grid["n_free"]]
    quoter.slot_at[tick] = slot + 1
    quoter.price_ticks[slot] = tick
    quoter.side[slot] = side
    quoter.place[slot] = grid["n_active"]
    quoter.active[grid["n_active"]] = slot
    grid["n_active"] += 1
    order = quoter.venue.own[slot]
    order["price_ticks"] = tick
    order["side"] = side
    order["qty"] = grid["order_qty"]
    order["leaves"] = grid["order_qty"]
    order["tif"] = TimeInForce.GTX
    order["kind"] = OrderKind.LIMIT
    _send(quoter, slot, _NEW, now_ns)


@jit
def _serve_until(quoter, rows, start, final, now_ns):
    """Bring the exchange up to ``now_ns``: rows, and requests as they arrive."""
    grid = quoter.grid[0]
    venue = quoter.venue
    i = start
    while True:
        due = grid["request_tail"] > grid["request_head"]
        limit_ns = now_ns
        if due:
            limit_ns = min(now_ns, quoter.requests[grid["request_head"] % _RING]["arrives_ns"])
        i, why = exchange_until(venue, rows, i, limit_ns)
        if why != REACHED and (why != NEED_ROWS or not final):
            return i, why
        if not due:
            return i, REACHED
        request = quoter.requests[grid["request_head"] % _RING]
        if request["arrives_ns"] > now_ns:
            return i, REACHED
        if venue.control[0]["n_reports"] + SLOTS >= len(venue.reports):
            return i, REPORTS_FULL
        venue.own[request["slot"]]["sent_ns"] = request["sent_ns"]
        if request["action"] == _NEW:
            on_new(venue, request["slot"], request["arrives_ns"])
        else:
            on_cancel(venue, request["slot"], request["arrives_ns"])
        grid["request_head"] += 1


@jit
def _take_in(quoter, now_ns, sightings):
    """Apply the reports that have arrived; note fills."""
    grid = quoter.grid[0]
    control = quoter.venue.control[0]
    at = grid["reports_read"]
    while at < control["n_reports"] and quoter.venue.reports[at]["at_ns"] <= now_ns:
        told = quoter.venue.reports[at]
        at += 1
        slot = told["slot"]
        what = told["what"]
        if what == ACCEPTED:
            quoter.status[slot] = _LIVE
        elif what == REJECTED:
            if quoter.status[slot] != _FREE and quoter.sent_ns[slot] == told["sent_ns"]:
                quoter.status[slot] = _LIVE
        else:
            if what == FILLED:
                grid["position"] += told["qty"] * quoter.side[slot]
                seen = sightings[grid["n_sightings"]]
                seen["exch_ns"] = told["exch_ns"]
                seen["seen_ns"] = now_ns
                seen["qty"] = told["qty"]
                seen["price_ticks"] = told["price_ticks"]
                seen["side"] = quoter.side[slot]
                seen["maker"] = 1 - told["liquidity"]
                grid["n_sightings"] += 1
            _drop(quoter, slot)
    grid["reports_read"] = at


@jit
def _forget_read(quoter):
    """Move the reports not yet read to the front, now and then."""
    grid = quoter.grid[0]
    control = quoter.venue.control[0]
    read, n = grid["reports_read"], control["n_reports"]
    if read == n or 2 * read > len(quoter.venue.reports):
        for k in range(read, n):
            quoter.venue.reports[k - read] = quoter.venue.reports[k]
        control["n_reports"] = n - read
        grid["reports_read"] = 0


@jit
def _decide(quoter, now_ns):
    """Cancel what is not in the new grid, quote what is missing."""
    grid = quoter.grid[0]
    top = quoter.prices.top
    if top[BEST_BID] == NO_BID or top[BEST_ASK] == NO_ASK:
        return
    tick_size = grid["tick_size"]
    bid, ask = top[BEST_BID] * tick_size, top[BEST_ASK] * tick_size
    fair = (bid + ask) / 2.0 - grid["skew"] * tick_size * grid["position"]
    apart = grid["interval_ticks"] * tick_size
    half = grid["half_spread_ticks"] * tick_size
    bid_tick = np.int64(math.floor(min(fair - half, bid) / apart) * apart / tick_size + 0.5)
    ask_tick = np.int64(math.ceil(max(fair + half, ask) / apart) * apart / tick_size + 0.5)
    interval, levels = grid["interval_ticks"], grid["levels"]
    bids = levels if grid["position"] < grid["max_position"] else 0
    asks = levels if grid["position"] > -grid["max_position"] else 0
    active, status, side_of, tick_of = quoter.active, quoter.status, quoter.side, quoter.price_ticks
    for k in range(grid["n_active"]):
        slot = active[k]
        if status[slot] == _LIVE:
            if side_of[slot] > 0:
                away, span = bid_tick - tick_of[slot], bids * interval
            else:
                away, span = tick_of[slot] - ask_tick, asks * interval
            if away < 0 or away >= span or away % interval != 0:
                _send(quoter, slot, _CANCEL, now_ns)
    for k in range(bids):
        tick = bid_tick - k * interval
        if not 0 <= tick < len(quoter.slot_at) or quoter.slot_at[tick] == 0:
            _quote(quoter, 1, tick, now_ns)
    for k in range(asks):
        tick = ask_tick + k * interval
        if not 0 <= tick < len(quoter.slot_at) or quoter.slot_at[tick] == 0:
            _quote(quoter, -1, tick, now_ns)


@jit
def quote_grid(quoter, rows, exchange_row, local_row, final, sightings):
    """Run the strategy over market rows.

    Args:
        quoter: Quoter. rows: EVENT[n].
        exchange_row: first row that the exchange has not processed; local_row: likewise for the local view.
        final: whether no rows follow.
        sightings: SIGHTING[m], output; GRID ``n_sightings`` rows are valid.

    Returns:
        ``(exchange_row, local_row, why)`` with NEED_ROWS, REPORTS_FULL (or too little room in ``sightings``), NEED_TICKS or
        DONE.
    """
    grid = quoter.grid[0]
    control = quoter.venue.control[0]
    i, j = exchange_row, local_row
    while True:
        now_ns = grid["next_ns"]
        i, why = _serve_until(quoter, rows, i, final, now_ns)
        if why != REACHED:
            return i, j, why
        j, why = local_until(quoter.prices, rows, j, now_ns)
        if why != REACHED and (why != NEED_ROWS or not final):
            return i, j, why
        if grid["n_sightings"] + control["n_reports"] - grid["reports_read"] > len(sightings):
            return i, j, REPORTS_FULL
        under_way = grid["request_tail"] > grid["request_head"] or control["last_report_ns"] > now_ns
        if final and i >= len(rows) and j >= len(rows) and not under_way:
            return i, j, DONE  # nothing follows: the step under way does not happen
        _take_in(quoter, now_ns, sightings)
        _forget_read(quoter)
        _decide(quoter, now_ns)
        grid["next_ns"] += grid["step_ns"]
