"""Rows of market events: how they are built, put in order, corrected and folded into a book."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from mmlib.core.rows import merge_clocks
from mmlib.dtypes import (
    EVENT,
    EVENT_KIND_MASK,
    FLAG_BUY,
    FLAG_EXCH,
    FLAG_LOCAL,
    FLAG_SELL,
    KIND_CLEAR,
    KIND_DEPTH,
    KIND_SNAPSHOT,
)

BOTH = FLAG_EXCH | FLAG_LOCAL
_SCALE = 10**8  # prices and quantities are whole multiples of 1e-8


def correct_clock(events: np.ndarray, base_latency_ns: int = 0) -> int:
    """Shift local times in place so that no event arrives before it happened.

    Where the smallest ``local - exch`` is negative, the local clock runs behind: every local time is moved
    by its opposite plus ``base_latency_ns``. Otherwise nothing changes, and ``base_latency_ns`` is not
    used.

    Args:
        events: ``EVENT[n]``.
        base_latency_ns: latency that the fastest event is given.

    Returns:
        The shift [ns], 0 for none.
    """
    shift = clock_shift(events["local_ts_ns"] - events["exch_ts_ns"], base_latency_ns)
    events["local_ts_ns"] += shift
    return shift


def clock_shift(latency_ns: np.ndarray, base_latency_ns: int) -> int:
    """By how much local times must move so that no ``int64[n]`` latency is negative [ns]; see `correct_clock`."""
    smallest = int(latency_ns.min()) if len(latency_ns) else 0
    return -smallest + base_latency_ns if smallest < 0 else 0


def merge_order(rows: np.ndarray) -> np.ndarray:
    """Put rows in an order that serves both the exchange and the local processor.

    Each processor must meet its rows in the order of its own clock. A row that stands in the same place for
    both stays one row with both flags; an overtaken one is split into an exchange row, at its place by
    exchange time, and a local row.

    Args:
        rows: ``EVENT[n]`` in any order, which decides between equal times, without ``FLAG_EXCH``, ``FLAG_LOCAL``.

    Returns:
        ``EVENT[m]``, n <= m <= 2n, with the flags set.

    Oracle: the two-headed merge of naive_market.merge_order.
    """
    index, processors = processing_order(rows["exch_ts_ns"], rows["local_ts_ns"])
    merged = rows[index]
    merged["flags"] |= processors
    return merged


def processing_order(exch_ns: np.ndarray, local_ns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order of `merge_order` for things that have two times.

    Args:
        exch_ns: ``int64[n]``.
        local_ns: ``int64[n]``.

    Returns:
        ``int64[m]``, which thing stands where, and ``uint8[m]``, the processors it is for.
    """
    if (np.diff(local_ns) < 0).any():
        return _merged(np.ascontiguousarray(exch_ns), np.ascontiguousarray(local_ns))
    order = np.arange(len(local_ns))
    processors = np.full(len(order), BOTH, np.uint8)
    if not len(order):
        return order, processors
    latest_ns = np.maximum.accumulate(exch_ns)
    late = np.flatnonzero(exch_ns < latest_ns)
    processors[late] = FLAG_LOCAL
    late = late[np.argsort(exch_ns[late], kind="stable")]
    # At the exchange it stood before the first arrival of something that happened later.
    places = np.searchsorted(latest_ns, exch_ns[late], side="right")
    return np.insert(order, places, late), np.insert(processors, places, FLAG_EXCH)


def _merged(exch_ns: np.ndarray, local_ns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`processing_order` of things in no order; equal times keep the order given."""
    n = len(exch_ns)
    index, processors = np.empty(2 * n, np.int64), np.empty(2 * n, np.uint8)
    by_exch, by_local = (np.argsort(times, kind="stable") for times in (exch_ns, local_ns))
    m = merge_clocks(exch_ns, local_ns, by_exch, by_local, index, processors)
    return index[:m], processors[:m]


def snapshot_rows(
    bid_ticks: np.ndarray,
    bid_qty: np.ndarray,
    ask_ticks: np.ndarray,
    ask_qty: np.ndarray,
    exch_ns: int,
    local_ns: int,
) -> np.ndarray:
    """A clear of both sides followed by the levels of a book.

    Args:
        bid_ticks: ``int[n]``, best first, as are the asks.
        bid_qty: ``float64[n]``, base units.
        ask_ticks: ``int[m]``.
        ask_qty: ``float64[m]``.
        exch_ns: exchange time of all rows.
        local_ns: local time of all rows.

    Returns:
        ``EVENT[1 + n + m]`` with both processor flags.
    """
    n, m = len(bid_ticks), len(ask_ticks)
    rows = np.zeros(1 + n + m, EVENT)
    rows["exch_ts_ns"] = exch_ns
    rows["local_ts_ns"] = local_ns
    rows["flags"][0] = KIND_CLEAR | BOTH
    rows["flags"][1 : 1 + n] = KIND_SNAPSHOT | FLAG_BUY | BOTH
    rows["flags"][1 + n :] = KIND_SNAPSHOT | FLAG_SELL | BOTH
    rows["price_ticks"][1:] = np.concatenate([bid_ticks, ask_ticks])
    rows["qty"][1:] = np.concatenate([bid_qty, ask_qty])
    return rows


def book_before(events: np.ndarray, ts_ns: int) -> np.ndarray:
    """The book left by the events that arrived before ``ts_ns``, as a clear and a snapshot.

    The last quantity of each price since the last clear counts, in exchange order; a level that a later
    quote of the other side ran over is hidden, as in the book itself, so the snapshot is never crossed.

    Args:
        events: ``EVENT[n]`` in processing order.
        ts_ns: local time; the rows returned carry it.

    Returns:
        ``EVENT[1 + levels]``, best levels first.

    Oracle: the dictionaries of naive_market.book_before.
    """
    seen = events[(events["local_ts_ns"] < ts_ns) & (events["flags"] & FLAG_EXCH != 0)]
    kind = seen["flags"] & EVENT_KIND_MASK
    cleared = np.flatnonzero((kind == KIND_CLEAR) & (seen["flags"] & (FLAG_BUY | FLAG_SELL) == 0))
    if len(cleared):
        seen, kind = seen[cleared[-1] + 1 :], kind[cleared[-1] + 1 :]
    bid, ask = _side(seen, kind, FLAG_BUY, -1), _side(seen, kind, FLAG_SELL, 1)
    return snapshot_rows(*_visible(bid, ask, -1), *_visible(ask, bid, 1), ts_ns, ts_ns)


@dataclass(frozen=True)
class _Side:
    """What happened on one side of a book, under a key that ascends away from the touch."""

    quotes: np.ndarray  # places of depth and snapshot rows
    keys: np.ndarray  # their keys
    qty: np.ndarray
    clears: np.ndarray  # places of clears of this side
    clear_keys: np.ndarray  # the farthest key they reach


def _side(seen: np.ndarray, kind: np.ndarray, flag: int, sign: int) -> _Side:
    mine = seen["flags"] & flag != 0
    quotes = np.flatnonzero(mine & ((kind == KIND_DEPTH) | (kind == KIND_SNAPSHOT)))
    clears = np.flatnonzero(mine & (kind == KIND_CLEAR))
    ticks = sign * seen["price_ticks"].astype(np.int64)
    return _Side(quotes, ticks[quotes], seen["qty"][quotes], clears, ticks[clears])


def _visible(own: _Side, other: _Side, sign: int) -> tuple[np.ndarray, np.ndarray]:
    """Ticks and quantities of the levels of ``own`` that can be seen, best first.

    A level is hidden while the last quote of the other side at or through it is newer than the last quote
    of its own side at it or nearer the touch.
    """
    keys, last = np.unique(own.keys[::-1], return_index=True)
    last = len(own.keys) - 1 - last
    live, other_live = own.qty > 0.0, other.qty > 0.0
    shown = _latest(own.keys[live], own.quotes[live], keys)
    hidden = _latest(other.keys[other_live], other.quotes[other_live], -keys)
    cleared = _latest(-own.clear_keys, own.clears, -keys)
    keep = live[last] & (own.quotes[last] > cleared) & (shown > hidden)
    return sign * keys[keep], own.qty[last][keep]


def _latest(keys: np.ndarray, places: np.ndarray, upto: np.ndarray) -> np.ndarray:
    """For each value of ``upto``: the latest place whose key is at most that value, -1 for none."""
    order = np.argsort(keys, kind="stable")
    newest = np.concatenate([[-1], np.maximum.accumulate(places[order])])
    return newest[np.searchsorted(keys[order], upto, side="right")]


def infer_instrument(prices: np.ndarray, quantities: np.ndarray) -> tuple[float, float]:
    """Tick and lot size: the largest usual step of which 99.9 % of the values are multiples.

    Usual are 1, 2, 2.5 and 5 times a power of ten for ticks, powers of ten for lots. The few exceptions
    allowed keep one damaged number from making the grid finer than the market's. A short recording may
    suggest too coarse a step for what it does not hold; declare the instrument then.

    Args:
        prices: ``float64[n]``, above 0, whole multiples of 1e-8.
        quantities: ``float64[m]``; zeros are ignored.

    Returns:
        ``(tick_size, lot_size)``; 1e-8 where there is nothing to infer from.
    """
    return _step(prices, (20, 10, 8, 4)), _step(quantities, (4,))


def _step(values: np.ndarray, quarters: tuple[int, ...]) -> float:
    """The largest ``quarters / 4`` times a power of ten that divides nearly all values."""
    units = np.rint(np.asarray(values, np.float64) * _SCALE).astype(np.int64)
    units = units[units > 0]
    if not len(units):
        return 1.0 / _SCALE
    steps = [q * 10**k // 4 for k in range(17, -1, -1) for q in quarters if q * 10**k % 4 == 0]
    allowed = len(units) // 1000
    few = units[:1000]
    for step in steps:
        if (few % step != 0).sum() <= allowed and (units % step != 0).sum() <= allowed:
            return step / _SCALE
    return 1.0 / _SCALE


def count_off_grid(values: np.ndarray, step: float) -> int:
    """How many values are no multiple of ``step``, to a millionth of it (or what a float64 can tell)."""
    scaled = np.asarray(values, np.float64) / step
    tolerance = np.maximum(1e-6, 4.0 * np.spacing(np.abs(scaled)))
    return int((np.abs(scaled - np.rint(scaled)) > tolerance).sum())


def round_half_away(values: np.ndarray) -> np.ndarray:
    """Nearest whole number, halves away from zero, as ``float64[n]``."""
    return np.sign(values) * np.floor(np.abs(values) + 0.5)


def longest_in_order(times: np.ndarray) -> np.ndarray:
    """The largest set of rows whose times never go back, so that one wild time costs one row, not the rest.

    Args:
        times: ``float64[n]`` or ``int64[n]``.

    Returns:
        ``bool[n]``, True for the rows to keep.
    """
    values = times.tolist()
    if not (np.diff(times) < 0).any():
        return np.ones(len(values), bool)
    tails: list[float] = []
    ends: list[int] = []
    before = [-1] * len(values)
    for i, value in enumerate(values):
        at = bisect_right(tails, value)
        before[i] = ends[at - 1] if at else -1
        tails[at : at + 1] = [value]
        ends[at : at + 1] = [i]
    keep = np.zeros(len(values), bool)
    i = ends[-1]
    while i >= 0:
        keep[i] = True
        i = before[i]
    return keep
