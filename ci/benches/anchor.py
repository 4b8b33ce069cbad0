"""The bench strategy on hftbacktest, and its recordings in the shape that ours reads; needs the bench dependency group."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import hftbacktest as hft
import numpy as np
from numba import njit

from mmlib.dtypes import EVENT
from mmlib.strategy.gridstate import SIGHTING

QUEUES: Mapping[str, tuple[str, str, tuple[float, ...]]] = {
    "risk": ("risk", "risk_adverse_queue_model", ()),
    "log": ("log", "log_prob_queue_model", ()),
    "log2": ("log2", "log_prob_queue_model2", ()),
    "power2": ("power", "power_prob_queue_model", (2.0,)),
    "power2_2": ("power2", "power_prob_queue_model2", (2.0,)),
    "power3_3": ("power3", "power_prob_queue_model3", (3.0,)),
}
"""A queue model and its exponent: our name of the model, the builder's method and its arguments."""

_ROI = 0.05
"""Its vector book is given the range that traded and this share beyond, which is what makes it fast."""


@njit
def _note(hbt, now, seen, n):
    """Write down what is filled."""
    orders = hbt.orders(0).values()
    while orders.has_next():
        order = orders.get()
        if order.status == hft.FILLED:
            row = seen[n]
            row["exch_ns"] = order.exch_timestamp
            row["seen_ns"] = now
            row["qty"] = order.exec_qty
            row["price_ticks"] = order.exec_price_tick
            row["side"] = order.side
            row["maker"] = order.arr[0].maker
            n += 1
    return n


@njit
def _cancel(hbt, bid_tick, ask_tick, bids, asks, interval):
    """Cancel what is not in the new grid."""
    orders = hbt.orders(0).values()
    while orders.has_next():
        order = orders.get()
        if order.cancellable:
            buy = order.side == hft.BUY
            away = bid_tick - order.price_tick if buy else order.price_tick - ask_tick
            deep = bids if buy else asks
            if away < 0 or away >= deep * interval or away % interval != 0:
                hbt.cancel(0, order.order_id, False)


@njit
def quote_grid(hbt, levels, interval, half_spread, skew, qty, max_position, tick_size, step_ns, seen):
    """The strategy; returns how many rows of ``seen`` are filled. The type of ``hbt`` decides the book."""
    n = 0
    while hbt.elapse(step_ns) == 0:
        n = _note(hbt, hbt.current_timestamp, seen, n)
        hbt.clear_inactive_orders(0)
        depth = hbt.depth(0)
        bid, ask = depth.best_bid, depth.best_ask
        if not (bid < math.inf and ask < math.inf):
            continue
        position = hbt.position(0)
        fair = (bid + ask) / 2.0 - skew * tick_size * position
        apart, half = interval * tick_size, half_spread * tick_size
        bid_tick = np.int64(math.floor(min(fair - half, bid) / apart) * apart / tick_size + 0.5)
        ask_tick = np.int64(math.ceil(max(fair + half, ask) / apart) * apart / tick_size + 0.5)
        bids = levels if position < max_position else 0
        asks = levels if position > -max_position else 0
        _cancel(hbt, bid_tick, ask_tick, bids, asks, interval)
        orders = hbt.orders(0)
        for k in range(bids):
            tick = bid_tick - k * interval
            if np.uint64(tick) not in orders:
                hbt.submit_buy_order(0, tick, tick * tick_size, qty, hft.GTX, hft.LIMIT, False)
        for k in range(asks):
            tick = ask_tick + k * interval
            if np.uint64(tick) not in orders:
                hbt.submit_sell_order(0, tick, tick * tick_size, qty, hft.GTX, hft.LIMIT, False)
    return n


@njit
def feed_only(hbt, step_ns):
    """Nothing but the market."""
    while hbt.elapse(step_ns) == 0:
        pass


def asset(
    data: np.ndarray, queue: str, tick_size: float, lot_size: float, latency: np.ndarray | None, const_ns: int
) -> Any:
    """An asset of hftbacktest over rows in memory. It keeps no reference to ``data`` and ``latency`` (of ``latency_rows``)."""
    _, name, arguments = QUEUES[queue]
    built = hft.BacktestAsset().data(data).linear_asset(1.0)
    if latency is None:
        built = built.constant_order_latency(const_ns, const_ns)
    else:
        built = built.intp_order_latency(latency)
    built = (
        getattr(built, name)(*arguments).no_partial_fill_exchange().trading_value_fee_model(-0.00005, 0.0007)
    )
    traded = data["px"][data["ev"] & 0xFF == hft.TRADE_EVENT]
    low, high = traded.min() * (1.0 - _ROI), traded.max() * (1.0 + _ROI)
    return built.tick_size(tick_size).lot_size(lot_size).roi_lb(low).roi_ub(high)


def latency_rows(table: np.ndarray) -> np.ndarray:
    """hftbacktest's rows of an int64[n, 3] order latency table."""
    rows = np.zeros((len(table), 4), np.int64)
    rows[:, :3] = table
    return rows


def to_events(data: np.ndarray, tick_size: float) -> np.ndarray:
    """EVENT rows of rows of hftbacktest."""
    ev = data["ev"]
    rows = np.zeros(len(data), EVENT)
    rows["exch_ts_ns"], rows["local_ts_ns"], rows["qty"] = data["exch_ts"], data["local_ts"], data["qty"]
    rows["price_ticks"] = np.floor(data["px"] / tick_size + 0.5)
    rows["flags"] = (ev & 0x0F) | (ev >> 24 & 0xF0)
    return rows


def sightings(rows: int) -> np.ndarray:
    """Room for what the strategy sees."""
    return np.zeros(rows, SIGHTING)
