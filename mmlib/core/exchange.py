"""The exchange side: own orders resting among the recorded market, matched by price, queue position and trades.

Own orders never change the book; trades fill what they pass and shorten queues at their price; a best that rises through an
own sell (falls through an own buy) fills it. Source: hftbacktest 2.4 ``NoPartialFillExchange`` for L2 data.
Oracle: ``tests/naive_exchange.py``.
"""

from __future__ import annotations

from mmlib.core import queue
from mmlib.core._jit import jit_borrowing as jit
from mmlib.core._jit import jit_within
from mmlib.core.book import (
    BEST_ASK,
    BEST_BID,
    NO_ASK,
    NO_BID,
    clear_all,
    clear_asks,
    clear_bids,
    mid_ticks,
    set_ask,
    set_bid,
)
from mmlib.core.state import (
    ACCEPTED,
    BUS,
    CANCEL,
    CANCELED,
    EXPIRED,
    FILLED,
    GTX,
    REJECTED,
)
from mmlib.dtypes import EVENT_KIND_MASK, FLAG_BUY, FLAG_SELL, KIND_CLEAR, KIND_TRADE, Liquidity

_MAKER = int(Liquidity.MAKER)
_TAKER = int(Liquidity.TAKER)
_BUY = 1


@jit
def push(ring, head, count, at_ns, order_id, slot, what, price, qty, fee):
    """Queue a message behind those still under way (first in, first out); returns False when the ring is full."""
    if count >= BUS:
        return False
    arrival = at_ns
    if count > 0:
        arrival = max(at_ns, ring[(head + count - 1) % BUS]["at_ns"])
    message = ring[(head + count) % BUS]
    message["at_ns"] = arrival
    message["order_id"] = order_id
    message["slot"] = slot
    message["what"] = what
    message["price"] = price
    message["qty"] = qty
    message["fee"] = fee
    return True


@jit
def _respond(arms, arm, ts_ns, order_id, slot, what, price, qty, fee):
    state = arms.state[arm]
    at_ns = ts_ns + arms.params[arm]["response_ns"]
    if push(
        arms.responses[arm],
        state["resp_head"],
        state["resp_count"],
        at_ns,
        order_id,
        slot,
        what,
        price,
        qty,
        fee,
    ):
        state["resp_count"] += 1


@jit
def _remove(arms, arm, slot):
    """Take an order out of the book."""
    state = arms.state[arm]
    n = state["n_resting"]
    for i in range(n):
        if arms.resting[arm, i] == slot:
            arms.resting[arm, i] = arms.resting[arm, n - 1]
            state["n_resting"] = n - 1
            break
    arms.orders[arm, slot]["resting"] = 0


@jit
def _fill(arms, arm, slot, ts_ns, price_ticks, mid, liquidity, control, fills):
    """Fill an order whole, record it and send the answer."""
    state = arms.state[arm]
    order = arms.orders[arm, slot]
    params = arms.params[arm]
    price = price_ticks * params["tick_size"]
    qty = order["qty"]
    fee_bps = params["maker_bps"] if liquidity == _MAKER else params["taker_bps"]
    fee = fee_bps * 1e-4 * price * qty
    row = fills[control["n_fills"]]
    row["ts_ns"] = ts_ns
    row["order_id"] = order["order_id"]
    row["fill_id"] = state["next_fill_id"]
    row["price"] = price
    row["qty"] = qty
    row["fee"] = fee
    row["quote_price"] = order["price_ticks"] * params["tick_size"]
    row["mid_at_quote"] = order["mid_at_quote"]
    row["mid_at_fill"] = mid * params["tick_size"]
    row["queue_ahead_qty"] = order["front_at_entry"] if liquidity == _MAKER else 0.0
    row["latency_ms"] = (order["arrived_ns"] - order["decided_ns"]) * 1e-6
    row["arm"] = arm
    row["side"] = order["side"]
    row["liquidity"] = liquidity
    control["n_fills"] += 1
    state["next_fill_id"] += 1
    _respond(arms, arm, ts_ns, order["order_id"], slot, FILLED, price, order["side"] * qty, fee)


@jit
def _fill_crossed(arms, side, limit_ticks, ts_ns, mid, control, fills):
    """Fill every own order of ``side`` that a best price has reached, at its own price."""
    for arm in range(len(arms.state)):
        i = 0
        while i < arms.state[arm]["n_resting"]:
            slot = arms.resting[arm, i]
            order = arms.orders[arm, slot]
            if order["side"] == side and side * (order["price_ticks"] - limit_ticks) >= 0:
                _remove(arms, arm, slot)
                _fill(arms, arm, slot, ts_ns, order["price_ticks"], mid, _MAKER, control, fills)
            else:
                i += 1


@jit
def _update_queues(arms, side, tick, before, now):
    for arm in range(len(arms.state)):
        params = arms.params[arm]
        for i in range(arms.state[arm]["n_resting"]):
            order = arms.orders[arm, arms.resting[arm, i]]
            if order["side"] == side and order["price_ticks"] == tick:
                queue.on_depth(params["queue_model"], params["queue_exponent"], order, before, now)


@jit
def _on_trade(arms, taker_side, tick, qty, ts_ns, mid, control, fills):
    """A trade of ``qty`` at ``tick``; own orders on the other side that it passes are filled, those at it wait in the queue."""
    for arm in range(len(arms.state)):
        params = arms.params[arm]
        i = 0
        while i < arms.state[arm]["n_resting"]:
            slot = arms.resting[arm, i]
            order = arms.orders[arm, slot]
            through = taker_side * (tick - order["price_ticks"])
            filled = False
            if order["side"] == -taker_side:
                if through > 0:
                    filled = True
                elif through == 0:
                    queue.on_trade(params["queue_model"], order, qty)
                    filled = queue.is_filled(order, params["lot_size"])
            if filled:
                _remove(arms, arm, slot)
                _fill(arms, arm, slot, ts_ns, order["price_ticks"], mid, _MAKER, control, fills)
            else:
                i += 1


@jit_within
def apply_to_book(book, flags, tick, qty):
    """Apply a depth, snapshot or clear row to a book; returns the quantity that stood at the level before."""
    if flags & EVENT_KIND_MASK == KIND_CLEAR:
        if flags & FLAG_BUY:
            clear_bids(book, max(tick, 0))
        elif flags & FLAG_SELL:
            clear_asks(book, min(tick, len(book.ask_qty) - 1))
        else:
            clear_all(book)
        return 0.0
    if flags & FLAG_BUY:
        return set_bid(book, tick, qty)
    return set_ask(book, tick, qty)


@jit
def own_prices(arms):
    """Lowest and highest price of the bids and of the asks that rest for any arm [ticks]; crossed where there are none."""
    bid_low, bid_high, ask_low, ask_high = NO_ASK, NO_BID, NO_ASK, NO_BID
    for arm in range(len(arms.state)):
        for i in range(arms.state[arm]["n_resting"]):
            order = arms.orders[arm, arms.resting[arm, i]]
            if order["side"] == _BUY:
                bid_low, bid_high = min(bid_low, order["price_ticks"]), max(bid_high, order["price_ticks"])
            else:
                ask_low, ask_high = min(ask_low, order["price_ticks"]), max(ask_high, order["price_ticks"])
    return bid_low, bid_high, ask_low, ask_high


@jit_within
def concerns_own(flags, tick, bid_low, bid_high, ask_low, ask_high):
    """Whether a row may touch an own order: its queue, or its price from the other side."""
    kind = flags & EVENT_KIND_MASK
    if kind == KIND_CLEAR:
        return False
    if flags & FLAG_BUY:
        return tick >= ask_low or (kind != KIND_TRADE and bid_low <= tick <= bid_high)
    return tick <= bid_high or (kind != KIND_TRADE and ask_low <= tick <= ask_high)


@jit
def on_market_row(market, arms, flags, tick, qty, ts_ns, fills):
    """One row of the recording at the exchange: book first, then queues, then fills."""
    book = market.exchange
    control = market.control[0]
    kind = flags & EVENT_KIND_MASK
    mid = mid_ticks(book)
    if kind == KIND_TRADE:
        _on_trade(arms, 1 if flags & FLAG_BUY else -1, tick, qty, ts_ns, mid, control, fills)
        return
    best_bid = book.top[BEST_BID]
    best_ask = book.top[BEST_ASK]
    before = apply_to_book(book, flags, tick, qty)
    if kind == KIND_CLEAR:
        return
    if flags & FLAG_BUY:
        _update_queues(arms, _BUY, tick, before, qty)
        if book.top[BEST_BID] > best_bid and book.top[BEST_BID] == tick:
            _fill_crossed(arms, -1, tick, ts_ns, mid, control, fills)
    else:
        _update_queues(arms, -1, tick, before, qty)
        if book.top[BEST_ASK] < best_ask and book.top[BEST_ASK] == tick:
            _fill_crossed(arms, _BUY, tick, ts_ns, mid, control, fills)


@jit
def _on_new(market, arms, arm, slot, ts_ns, fills):
    """A new order reaches the exchange."""
    book = market.exchange
    order = arms.orders[arm, slot]
    order["arrived_ns"] = ts_ns
    best_bid = book.top[BEST_BID]
    best_ask = book.top[BEST_ASK]
    buy = order["side"] == _BUY
    if order["tif"] == GTX:
        tick = order["price_ticks"]
        crosses = (
            (best_ask != NO_ASK and tick >= best_ask) if buy else (best_bid != NO_BID and tick <= best_bid)
        )
        if crosses or tick < 0 or tick >= len(book.bid_qty):
            _respond(arms, arm, ts_ns, order["order_id"], slot, EXPIRED, 0.0, 0.0, 0.0)
            return
        order["front"] = book.bid_qty[tick] if buy else book.ask_qty[tick]
        order["cum"] = 0.0
        order["front_at_entry"] = order["front"]
        order["resting"] = 1
        state = arms.state[arm]
        arms.resting[arm, state["n_resting"]] = slot
        state["n_resting"] += 1
        _respond(arms, arm, ts_ns, order["order_id"], slot, ACCEPTED, 0.0, 0.0, 0.0)
        return
    tick = best_ask if buy else best_bid
    beyond_limit = order["side"] * (tick - order["price_ticks"]) > 0
    if tick == NO_ASK or tick == NO_BID or beyond_limit:
        _respond(arms, arm, ts_ns, order["order_id"], slot, EXPIRED, 0.0, 0.0, 0.0)
        return
    _fill(arms, arm, slot, ts_ns, tick, mid_ticks(book), _TAKER, market.control[0], fills)


@jit
def on_request(market, arms, arm, fills):
    """Serve the oldest message on an arm's request bus at its time of arrival."""
    state = arms.state[arm]
    message = arms.requests[arm, state["req_head"]]
    state["req_head"] = (state["req_head"] + 1) % BUS
    state["req_count"] -= 1
    slot = message["slot"]
    if message["what"] != CANCEL:
        _on_new(market, arms, arm, slot, message["at_ns"], fills)
        return
    order = arms.orders[arm, slot]
    answer = REJECTED
    if order["resting"] == 1 and order["order_id"] == message["order_id"]:
        _remove(arms, arm, slot)
        answer = CANCELED
    _respond(arms, arm, message["at_ns"], message["order_id"], slot, answer, 0.0, 0.0, 0.0)
