"""Decoded columns to event rows: whole ticks, and levels without a whole lot as deletions."""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import jit
from mmlib.dtypes import EVENT_KIND_MASK, FLAG_LOCAL, KIND_TRADE


@jit
def fill_rows(segments, price, qty, first, index, processors, tick_size, lot_size, shift_ns, out):
    """Write the rows of segments in the order given.

    Args:
        segments: decode.SEGMENT[m]. price, qty: float64[n], rows of all segments; prices within int32 ticks where used.
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
