"""Requests of every kind on hftbacktest: new orders that rest or take, cancels and replacements, written down as they are sent.

Replacements change the price alone: hftbacktest 2.4.4 takes a changed quantity down, but goes on to execute the one before.
"""

from __future__ import annotations

import math

import hftbacktest as hft
import numpy as np
from hftbacktest.order import FOK, IOC
from numba import njit

from mmlib.dtypes import ORDER_ROW
from mmlib.strategy.gridstate import SIGHTING

_REACH = 4  # ticks around the best prices


@njit
def _draw(state, n):
    """A whole number below ``n`` from a linear congruential generator (Knuth's MMIX)."""
    state[0] = state[0] * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
    return np.int64((state[0] >> np.uint64(33)) % np.uint64(n))


@njit
def _log(row, now, order_id, action, side, tick, qty, tif, kind):
    row["ts_ns"] = now
    row["order_id"] = order_id
    row["qty"] = qty
    row["price_ticks"] = tick
    row["action"] = action
    row["side"] = side
    row["tif"] = tif
    row["kind"] = kind


@njit
def _note(hbt, now, seen, n):
    orders = hbt.orders(0).values()
    while orders.has_next():
        order = orders.get()
        if order.status == hft.FILLED:
            row = seen[n]
            row["exch_ns"] = order.exch_timestamp
            row["seen_ns"] = now
            row["qty"] = order.exec_qty
            row["price_ticks"] = order.exec_price_tick
            row["account"] = order.order_id
            row["side"] = order.side
            row["maker"] = order.arr[0].maker
            n += 1
    return n


@njit
def _change(hbt, now, bid, ask, tick_size, state, sent, m):
    """Cancel or replace some of the orders that can be."""
    orders = hbt.orders(0).values()
    while orders.has_next():
        order = orders.get()
        if not order.cancellable:
            continue
        what = _draw(state, 10)
        side = 1 if order.side == hft.BUY else -1
        if what == 0:
            _log(sent[m], now, order.order_id, 1, side, 0, 0.0, 0, 0)
            m += 1
            hbt.cancel(0, order.order_id, False)
        elif what <= 2:
            tick = (bid if side > 0 else ask) + _draw(state, 2 * _REACH + 1) - _REACH
            _log(sent[m], now, order.order_id, 2, side, tick, order.qty, 0, 0)
            m += 1
            hbt.modify(0, order.order_id, tick * tick_size, order.qty, False)
    return m


@njit
def send_orders(hbt, tick_size, lot_size, step_ns, end_ns, state, sent, seen):
    """Trade at random up to ``end_ns``; how many rows of ``sent`` and ``seen`` are filled, and the time of the last step."""
    n, m, last = 0, 0, 0
    next_id = 1
    while hbt.elapse(step_ns) == 0:
        last = hbt.current_timestamp
        n = _note(hbt, last, seen, n)
        hbt.clear_inactive_orders(0)
        depth = hbt.depth(0)
        if last > end_ns or not (depth.best_bid < math.inf and depth.best_ask < math.inf):
            continue
        bid, ask = depth.best_bid_tick, depth.best_ask_tick
        m = _change(hbt, last, bid, ask, tick_size, state, sent, m)
        for _ in range(_draw(state, 3)):
            side = 1 if _draw(state, 2) else -1
            tif = _draw(state, 4)
            kind = 1 if _draw(state, 12) == 0 else 0
            tick = (bid if side > 0 else ask) + _draw(state, 2 * _REACH + 1) - _REACH
            qty = lot_size * (1 + _draw(state, 30))
            _log(sent[m], last, next_id, 0, side, tick, qty, tif, kind)
            m += 1
            their_tif = hft.GTC if tif == 0 else hft.GTX if tif == 1 else IOC if tif == 2 else FOK
            their_kind = hft.MARKET if kind else hft.LIMIT
            if side > 0:
                hbt.submit_buy_order(0, next_id, tick * tick_size, qty, their_tif, their_kind, False)
            else:
                hbt.submit_sell_order(0, next_id, tick * tick_size, qty, their_tif, their_kind, False)
            next_id += 1
    return m, n, last


def room(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Room for requests and for fills."""
    return np.zeros(rows, ORDER_ROW), np.zeros(rows, SIGHTING)


def same_fills(theirs: np.ndarray, ours: np.ndarray, tick_size: float, lot_size: float) -> bool:
    """Whether SIGHTING rows of ``send_orders`` and ORDER_FILL rows say the same: time, order, price, quantity, liquidity."""
    ticks, lots = (
        np.rint(values / size).astype(np.int64)
        for values, size in ((ours["price"], tick_size), (ours["qty"], lot_size))
    )
    found = zip(ours["exch_ts_ns"], ours["order_id"], ticks, lots, ours["liquidity"] == 0, strict=True)
    their_lots = np.rint(theirs["qty"] / lot_size).astype(np.int64)
    names = ("exch_ns", "account", "price_ticks")
    expected = zip(*(theirs[name] for name in names), their_lots, theirs["maker"] == 1, strict=True)
    return sorted(tuple(map(int, row)) for row in found) == sorted(tuple(map(int, row)) for row in expected)
