"""What a market row or a request does at the exchange.

Without partial fills the rules are those of hftbacktest 2.4 ``NoPartialFillExchange`` for L2 data: a fill is always whole, own
orders never change the book, and every own order at a price sees the whole of a trade there. With partial fills (our own
option) a trade is shared out: own orders at its price take from it in order of arrival what their queue leaves them, never
more than it holds, and orders that take walk the visible levels. Accounts do not meet: each sees the whole of every trade.
Oracle: ``tests/naive_venue.py``.
"""

from __future__ import annotations

import numpy as np

from mmlib.core import queue
from mmlib.core._jit import jit_borrowing as jit
from mmlib.core.book import BEST_ASK, BEST_BID, HIGH_ASK, LOW_BID, NO_ASK, NO_BID
from mmlib.dtypes import (
    EVENT_KIND_MASK,
    FLAG_BUY,
    FLAG_SELL,
    KIND_CLEAR,
    KIND_DEPTH,
    KIND_SNAPSHOT,
    KIND_TRADE,
    Liquidity,
    OrderKind,
    TimeInForce,
)
from mmlib.exchange.ladder import BLOCK_BITS, after_ask, after_bid, clear_row
from mmlib.exchange.resting import execute, insert, remove, report
from mmlib.exchange.venue import (
    ACCEPTED,
    CANCELED,
    EXPIRED,
    MAX_TICKS,
    N_ASKS,
    N_BIDS,
    NEED_TICKS,
    OWN_ASK,
    OWN_BID,
    REACHED,
    REJECTED,
    REPORTS_FULL,
)

_MAKER, _TAKER = int(Liquidity.MAKER), int(Liquidity.TAKER)
_GTC, _GTX, _FOK = int(TimeInForce.GTC), int(TimeInForce.GTX), int(TimeInForce.FOK)
_MARKET = int(OrderKind.MARKET)


@jit
def _fill_whole(venue, slot, ts_ns):
    order = venue.own[slot]
    remove(venue, slot)
    execute(venue, slot, ts_ns, order["price_ticks"], order["leaves"], _MAKER)


@jit
def _fill_through(venue, side, tick, ts_ns):
    """Fill whole every own order of ``side`` that lies beyond ``tick`` or, for a best price, at it, innermost first."""
    edge = venue.edge
    if side > 0:
        while edge[N_BIDS] > 0 and edge[OWN_BID] >= tick:
            _fill_whole(venue, venue.bid_head[edge[OWN_BID]] - 1, ts_ns)
    else:
        while edge[N_ASKS] > 0 and edge[OWN_ASK] <= tick:
            _fill_whole(venue, venue.ask_head[edge[OWN_ASK]] - 1, ts_ns)


@jit
def _left_of_trade(venue, account, qty):
    """What a trade of ``qty`` has left for the orders of an account that shares trades out."""
    if account["trade"] != venue.control[0]["n_trades"]:
        account["trade"] = venue.control[0]["n_trades"]
        account["trade_left"] = qty
    return account["trade_left"]


@jit
def _trade_at(venue, slot, qty, ts_ns):
    """A trade of ``qty`` meets the own orders of one price, first in the chain ``slot``."""
    control = venue.control[0]
    control["n_trades"] += 1
    lot = control["lot_size"]
    at = slot + 1
    while at != 0:
        order = venue.own[at - 1]
        account = venue.accounts[order["account"]]
        after = order["next"]
        reaches = _left_of_trade(venue, account, qty) if account["partial_fills"] else qty
        queue.on_trade(account["queue_model"], order, reaches)
        past = -order["front"] / lot
        if past >= 0.5:
            order["front"] = 0.0
            taken = order["leaves"]
            if account["partial_fills"]:
                taken = min(taken, reaches, int(past + 0.5) * lot)
                account["trade_left"] -= taken
            if taken > order["leaves"] - 0.5 * lot:
                _fill_whole(venue, at - 1, ts_ns)
            elif taken > 0.0:
                execute(venue, at - 1, ts_ns, order["price_ticks"], taken, _MAKER)
        at = after


@jit
def _on_trade(venue, taker_side, tick, qty, ts_ns):
    """A trade fills the own orders on the other side that it passes; those at its price wait in the queue."""
    if taker_side > 0:
        _fill_through(venue, -1, tick - 1, ts_ns)
        if venue.edge[OWN_ASK] == tick:
            _trade_at(venue, venue.ask_head[tick] - 1, qty, ts_ns)
    else:
        _fill_through(venue, 1, tick + 1, ts_ns)
        if venue.edge[OWN_BID] == tick:
            _trade_at(venue, venue.bid_head[tick] - 1, qty, ts_ns)


@jit
def _update_queues(venue, head, tick, before, now):
    """The level at ``tick`` went from ``before`` to ``now``; neighbours that came together are alike and worked out once."""
    at = head[tick]
    model, exponent, front, cum = -1, 0.0, 0.0, 0.0
    ahead = 0.0
    while at != 0:
        order = venue.own[at - 1]
        account = venue.accounts[order["account"]]
        alike = front == order["front"] and cum == order["cum"]
        if alike and model == account["queue_model"] and exponent == account["queue_exponent"]:
            order["front"] = ahead
            order["cum"] = 0.0
        else:
            model, exponent = account["queue_model"], account["queue_exponent"]
            front, cum = order["front"], order["cum"]
            queue.on_depth(model, exponent, order, before, now)
            ahead = order["front"]
        at = order["next"]


@jit
def _on_level(venue, side, tick, qty, ts_ns):
    """A level changes: the book, then the queues at it, then what a best price that moved inwards fills."""
    book, top = venue.book, venue.book.top
    best_bid, best_ask = top[BEST_BID], top[BEST_ASK]
    low, high = top[LOW_BID], top[HIGH_ASK]
    gone = np.int64(qty == 0.0)
    book.blocks[tick >> BLOCK_BITS] = 1
    if side > 0:
        before = book.bid_qty[tick]
        book.bid_qty[tick] = qty
        top[BEST_BID], top[BEST_ASK], top[LOW_BID] = after_bid(
            book.bid_qty, book.ask_qty, tick, gone, best_bid, best_ask, low, high
        )
        _update_queues(venue, venue.bid_head, tick, before, qty)
        if top[BEST_BID] > best_bid:
            _fill_through(venue, -1, top[BEST_BID], ts_ns)
    else:
        before = book.ask_qty[tick]
        book.ask_qty[tick] = qty
        top[BEST_BID], top[BEST_ASK], top[HIGH_ASK] = after_ask(
            book.bid_qty, book.ask_qty, tick, gone, best_bid, best_ask, low, high
        )
        _update_queues(venue, venue.ask_head, tick, before, qty)
        if top[BEST_ASK] < best_ask:
            _fill_through(venue, 1, top[BEST_ASK], ts_ns)


@jit
def on_row(venue, flags, tick, qty, ts_ns):
    """One row of the recording; returns REACHED, or why the row could not be processed and must come again."""
    control = venue.control[0]
    if control["n_reports"] + venue.edge[N_BIDS] + venue.edge[N_ASKS] > len(venue.reports):
        return REPORTS_FULL
    kind = flags & EVENT_KIND_MASK
    if kind == KIND_CLEAR:
        clear_row(venue.book, flags, tick)
        return REACHED
    if flags & (FLAG_BUY | FLAG_SELL) == 0:
        return REACHED
    side = 1 if flags & FLAG_BUY else -1
    if kind == KIND_TRADE:
        _on_trade(venue, side, tick, qty, ts_ns)
    elif kind == KIND_DEPTH or kind == KIND_SNAPSHOT:
        if tick < 0 or tick >= MAX_TICKS:
            control["out_of_range"] += 1
        elif tick >= len(venue.bid_head):
            return NEED_TICKS
        else:
            _on_level(venue, side, tick, qty, ts_ns)
    return REACHED


@jit
def _rest(venue, slot, ts_ns):
    order = venue.own[slot]
    tick = order["price_ticks"]
    order["front"] = venue.book.bid_qty[tick] if order["side"] > 0 else venue.book.ask_qty[tick]
    order["cum"] = 0.0
    insert(venue, slot)
    report(venue, slot, ts_ns, ACCEPTED, tick, order["front"], _MAKER)


@jit
def _reachable(venue, slot, price_ticks, leaves):
    """Levels and quantity that an order of this price and open quantity may take from the visible book."""
    order = venue.own[slot]
    book = venue.book
    levels = 0
    total = 0.0
    wanted = leaves - 0.5 * venue.control[0]["lot_size"]
    market = order["kind"] == _MARKET
    if order["side"] > 0:
        last = book.top[HIGH_ASK] if market else min(book.top[HIGH_ASK], price_ticks)
        for tick in range(book.top[BEST_ASK], last + 1):
            if book.ask_qty[tick] > 0.0 and total < wanted:
                levels += 1
                total += book.ask_qty[tick]
    else:
        last = book.top[LOW_BID] if market else max(book.top[LOW_BID], price_ticks)
        for tick in range(book.top[BEST_BID], last - 1, -1):
            if book.bid_qty[tick] > 0.0 and total < wanted:
                levels += 1
                total += book.bid_qty[tick]
    return levels, total


@jit
def _walk(venue, slot, ts_ns):
    """Take level by level until the order is done or nothing is in reach."""
    order = venue.own[slot]
    side = order["side"]
    levels, _ = _reachable(venue, slot, order["price_ticks"], order["leaves"])
    tick = venue.book.top[BEST_ASK] if side > 0 else venue.book.top[BEST_BID]
    while levels > 0:
        here = venue.book.ask_qty[tick] if side > 0 else venue.book.bid_qty[tick]
        if here > 0.0:
            execute(venue, slot, ts_ns, tick, min(here, order["leaves"]), _TAKER)
            levels -= 1
        tick += side


@jit
def _take(venue, slot, ts_ns, best):
    """An order that crosses: whole at the best price, or level by level with partial fills."""
    order = venue.own[slot]
    control = venue.control[0]
    if venue.accounts[order["account"]]["partial_fills"] == 0:
        execute(venue, slot, ts_ns, best, order["leaves"], _TAKER)
        return
    small = 0.5 * control["lot_size"]
    _, total = _reachable(venue, slot, order["price_ticks"], order["leaves"])
    if order["kind"] == _MARKET or order["tif"] != _FOK or total >= order["leaves"] - small:
        _walk(venue, slot, ts_ns)
    if order["leaves"] < small:
        return
    if order["kind"] != _MARKET and order["tif"] == _GTC:
        _rest(venue, slot, ts_ns)
    else:
        report(venue, slot, ts_ns, EXPIRED, order["price_ticks"], order["leaves"], _TAKER)


@jit
def room_for_new(venue, slot, price_ticks, qty):
    """How many reports a new order of a slot, or a replacement, can cause at most."""
    if venue.accounts[venue.own[slot]["account"]]["partial_fills"] == 0:
        return 1
    levels, _ = _reachable(venue, slot, price_ticks, qty)
    return levels + 1


@jit
def on_new(venue, slot, ts_ns):
    """A new order reaches the exchange."""
    order = venue.own[slot]
    top = venue.book.top
    tick = order["price_ticks"]
    best = top[BEST_ASK] if order["side"] > 0 else top[BEST_BID]
    there = best != NO_ASK and best != NO_BID
    market = order["kind"] == _MARKET
    crosses = there and (market or order["side"] * (tick - best) >= 0)
    rests = not market and (order["tif"] == _GTC or order["tif"] == _GTX)
    if crosses and (market or order["tif"] != _GTX):
        _take(venue, slot, ts_ns, best)
    elif rests and not crosses:
        _rest(venue, slot, ts_ns)
    else:
        report(venue, slot, ts_ns, EXPIRED, tick, order["leaves"], _TAKER)


@jit
def on_cancel(venue, slot, ts_ns):
    """A cancel reaches the exchange; it is refused when the order does not rest there."""
    order = venue.own[slot]
    if order["resting"] == 0:
        report(venue, slot, ts_ns, REJECTED, order["price_ticks"], 0.0, _MAKER)
        return
    remove(venue, slot)
    report(venue, slot, ts_ns, CANCELED, order["price_ticks"], order["leaves"], _MAKER)


@jit
def on_replace(venue, slot, price_ticks, qty, ts_ns):
    """A change of price and quantity reaches the exchange, or is refused as above.

    At the same price, and for no more than before, the order keeps its place in the queue; otherwise it goes to the end, and
    may take. ``qty`` counts what is executed already: an order with nothing left is cancelled. Source: hftbacktest 2.4.4
    ``ack_modify``; for partly executed orders, Binance's "Modify Order" (USD-M futures).
    """
    order = venue.own[slot]
    if order["resting"] == 0:
        report(venue, slot, ts_ns, REJECTED, order["price_ticks"], 0.0, _MAKER)
        return
    leaves = order["leaves"] + qty - order["qty"]
    if leaves < 0.5 * venue.control[0]["lot_size"]:
        on_cancel(venue, slot, ts_ns)
        return
    stays = price_ticks == order["price_ticks"] and qty <= order["qty"]
    if not stays:
        remove(venue, slot)
    order["price_ticks"] = price_ticks
    order["qty"] = qty
    order["leaves"] = leaves
    if stays:
        report(venue, slot, ts_ns, ACCEPTED, price_ticks, order["front"], _MAKER)
    else:
        on_new(venue, slot, ts_ns)
