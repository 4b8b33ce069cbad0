"""The last stage of the quoting pipeline: live orders are brought to the quote that ``stages`` decided."""

from __future__ import annotations

from mmlib.core._jit import jit_borrowing as jit
from mmlib.core.book import BEST_ASK, BEST_BID, NO_ASK, NO_BID
from mmlib.core.exchange import push
from mmlib.core.stages import NO_QUOTE
from mmlib.core.state import (
    BUS,
    CANCEL,
    FREE,
    GTX,
    IOC,
    LIVE,
    NEW,
    PENDING_CANCEL,
    PENDING_NEW,
    SLOTS,
)
from mmlib.dtypes import GuardLevel

_HARD = int(GuardLevel.HARD)


@jit
def _send(arms, arm, now_ns, order_id, slot, what):
    state = arms.state[arm]
    at_ns = now_ns + arms.params[arm]["entry_ns"]
    ring = arms.requests[arm]
    if push(ring, state["req_head"], state["req_count"], at_ns, order_id, slot, what, 0.0, 0.0, 0.0):
        state["req_count"] += 1
        return True
    return False


@jit
def _submit(arms, arm, now_ns, side, tick, qty, tif, mid):
    """Send a new order; without a free slot it is dropped and counted."""
    state = arms.state[arm]
    for slot in range(SLOTS):
        order = arms.orders[arm, slot]
        if order["local"] == FREE and state["req_count"] < BUS:
            order["order_id"] = state["next_order_id"]
            state["next_order_id"] += 1
            order["decided_ns"] = now_ns
            order["price_ticks"] = tick
            order["qty"] = qty
            order["mid_at_quote"] = mid
            order["side"] = side
            order["tif"] = tif
            order["local"] = PENDING_NEW
            order["resting"] = 0
            _send(arms, arm, now_ns, order["order_id"], slot, NEW)
            return
    state["dropped_orders"] += 1


@jit
def _keep_or_cancel(arms, arm, now_ns, side, tick, qty, requote_ticks):
    """Cancel live orders of a side that are not near the wanted price; returns whether one stays (or is on its way)."""
    stays = False
    for slot in range(SLOTS):
        order = arms.orders[arm, slot]
        if order["side"] != side or order["tif"] != GTX:
            continue
        if order["local"] == PENDING_NEW:
            stays = True
        elif order["local"] == LIVE:
            wanted = qty > 0.0 and tick != NO_QUOTE and abs(order["price_ticks"] - tick) <= requote_ticks
            if wanted and not stays:
                stays = True
            elif _send(arms, arm, now_ns, order["order_id"], slot, CANCEL):
                order["local"] = PENDING_CANCEL
    return stays


@jit
def _taker_in_flight(arms, arm):
    for slot in range(SLOTS):
        order = arms.orders[arm, slot]
        if order["local"] != FREE and order["tif"] == IOC:
            return True
    return False


@jit
def emit(market, arms, arm):
    """Bring the live orders to the wanted quote: keep, cancel, submit; then the taker order, if any."""
    quote = arms.quote[arm]
    params = arms.params[arm]
    now = market.control[0]["decide_ns"]
    book = market.local
    hard = quote["guard_level"] == _HARD
    bid_qty = 0.0 if hard else quote["bid_qty"]
    ask_qty = 0.0 if hard else quote["ask_qty"]
    if (
        not _keep_or_cancel(arms, arm, now, 1, quote["bid_ticks"], bid_qty, params["requote_ticks"])
        and bid_qty > 0.0
    ):
        _submit(arms, arm, now, 1, quote["bid_ticks"], bid_qty, GTX, quote["mid"])
    if (
        not _keep_or_cancel(arms, arm, now, -1, quote["ask_ticks"], ask_qty, params["requote_ticks"])
        and ask_qty > 0.0
    ):
        _submit(arms, arm, now, -1, quote["ask_ticks"], ask_qty, GTX, quote["mid"])
    taker = quote["taker_qty"]
    if taker != 0.0 and not hard and not _taker_in_flight(arms, arm):
        side = 1 if taker > 0.0 else -1
        touch = book.top[BEST_ASK] if side > 0 else book.top[BEST_BID]
        if touch != NO_ASK and touch != NO_BID:
            _submit(arms, arm, now, side, touch, abs(taker), IOC, quote["mid"])
