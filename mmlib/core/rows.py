"""Decoded columns to event rows: whole ticks, levels without a whole lot as deletions, and the merge of two clocks."""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import jit_borrowing
from mmlib.dtypes import EVENT_KIND_MASK, FLAG_EXCH, FLAG_LOCAL, KIND_TRADE


@jit_borrowing
def fill_rows(segments, price, qty, first, index, processors, tick_size, lot_size, shift_ns, out):
    """Write the rows of segments in the order given.

    Args:
        segments: columns.SEGMENT[m]. price, qty: float64[n], rows of all segments; prices within int32 ticks where used.
        first: int64[m], where the rows of a segment begin.
        index: int64[k], which segment comes when. processors: uint8[k], FLAG_EXCH, FLAG_LOCAL or both.
        tick_size: quote currency. lot_size: base units; a level of under half a lot is a deletion.
        shift_ns: added to local times.
        out: EVENT[rows of all k].

    Returns:
        How many prices, each counted once, look off the grid of ``tick_size`` by over a millionth of it.

    Oracle: events.round_half_away and events.count_off_grid, in tests/test_market_decode.py.
    """
    n = 0
    off_grid = 0
    for i in range(len(index)):
        segment = segments[index[i]]
        start = first[index[i]]
        kind = segment["flags"] & EVENT_KIND_MASK
        flags = np.uint8(segment["flags"] | processors[i])
        exch_ns = segment["exch_ns"]
        local_ns = segment["local_ns"] + shift_ns
        for k in range(start, start + segment["count"]):
            scaled = price[k] / tick_size
            amount = qty[k]
            if kind != KIND_TRADE and np.floor(amount / lot_size + 0.5) == 0.0:
                amount = 0.0
            if flags & FLAG_LOCAL and abs(scaled - np.rint(scaled)) > 1e-6:
                off_grid += 1
            row = out[n]
            row["exch_ts_ns"] = exch_ns
            row["local_ts_ns"] = local_ns
            row["qty"] = amount
            row["price_ticks"] = np.int32(np.floor(scaled + 0.5))
            row["flags"] = flags
            row["_pad"][0] = 0
            row["_pad"][1] = 0
            row["_pad"][2] = 0
            n += 1
    return off_grid


@jit_borrowing
def merge_clocks(exch_ns, local_ns, by_exch, by_local, index, processors):
    """Merge two orders of the same things: a head that both have becomes one entry, otherwise the exchange head
    goes where it is earlier (by exchange time, then by arrival), and the local one where it is not.

    Args:
        exch_ns, local_ns: int64[n]. by_exch, by_local: int64[n], places in the order of each clock.
        index: int64[2 n], which thing stands where, written. processors: uint8[2 n], whom it is for, written.

    Returns:
        Entries written.

    Source: hftbacktest 2.4 ``correct_event_order``. Oracle: naive_market.merge_order.
    """
    n = len(exch_ns)
    e = 0
    k = 0
    m = 0
    while e < n or k < n:
        a = by_exch[e] if e < n else -1
        b = by_local[k] if k < n else -1
        if a >= 0 and b >= 0 and exch_ns[a] == exch_ns[b] and local_ns[a] == local_ns[b]:
            index[m] = a
            processors[m] = FLAG_EXCH | FLAG_LOCAL
            e += 1
            k += 1
        elif b < 0 or (
            a >= 0 and (exch_ns[a] < exch_ns[b] or (exch_ns[a] == exch_ns[b] and local_ns[a] < local_ns[b]))
        ):
            index[m] = a
            processors[m] = FLAG_EXCH
            e += 1
        else:
            index[m] = b
            processors[m] = FLAG_LOCAL
            k += 1
        m += 1
    return m
