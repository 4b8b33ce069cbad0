"""Decoded columns to event rows: ticks and lots, and the order that serves both clocks."""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import jit
from mmlib.dtypes import EVENT_KIND_MASK, FLAG_EXCH, FLAG_LOCAL, KIND_TRADE

MAX_TICKS = 2**31 - 1
_FLAGS = 28  # offset of the flags in an EVENT row


@jit
def fill_rows(segments, price, qty, keep, tick_size, lot_size, shift_ns, out):
    """Write the rows of the segments kept, in their order, without processor flags.

    Args:
        segments: decode.SEGMENT[m]. price, qty: float64[n], rows of all segments.
        keep: bool[m]; a segment with a price beyond int32 ticks is taken out of it.
        tick_size: quote currency. lot_size: base units; a level of under half a lot is a deletion.
        shift_ns: added to local times.
        out: EVENT[>= rows kept].

    Returns:
        Rows written, segments taken out, prices that look off the grid of ``tick_size`` (to a millionth of it).

    Oracle: the column arithmetic of events.round_half_away, in tests/test_market_decode.py.
    """
    n = 0
    first = 0
    taken_out = 0
    off_grid = 0
    for i in range(len(segments)):
        segment = segments[i]
        count = segment["count"]
        if keep[i]:
            flags = segment["flags"]
            trade = flags & EVENT_KIND_MASK == KIND_TRADE
            exch_ns = segment["exch_ns"]
            local_ns = segment["local_ns"] + shift_ns
            begun = n
            for k in range(first, first + count):
                scaled = price[k] / tick_size
                if abs(scaled - np.rint(scaled)) > 1e-6:
                    off_grid += 1
                ticks = np.floor(scaled + 0.5)
                if ticks > MAX_TICKS:
                    keep[i] = False
                    continue
                amount = qty[k]
                if not trade and np.floor(amount / lot_size + 0.5) == 0.0:
                    amount = 0.0
                row = out[n]
                row["exch_ts_ns"] = exch_ns
                row["local_ts_ns"] = local_ns
                row["qty"] = amount
                row["price_ticks"] = np.int32(ticks)
                row["flags"] = flags
                n += 1
            if not keep[i]:
                n = begun
                taken_out += 1
        first += count
    return n, taken_out, off_grid


@jit
def find_overtaken(exch_ns, late):
    """Mark rows that happened before one that arrived earlier; returns how many.

    Args:
        exch_ns: int64[n], in order of arrival. late: bool[n], overwritten.
    """
    latest = exch_ns[0] if len(exch_ns) else np.int64(0)
    n = 0
    for i in range(len(exch_ns)):
        late[i] = exch_ns[i] < latest
        if late[i]:
            n += 1
        else:
            latest = exch_ns[i]
    return n


@jit
def merge_overtaken(words, flags, exch_ns, late, overtaken, out_words, out_flags):
    """Rows in order of arrival, and the overtaken ones once more, for the exchange, where they stood by exchange time.

    Args:
        words: int64[n, 4], the rows as words. flags: uint8[n, 32], the same rows as bytes. exch_ns: int64[n].
        late: bool[n], the rows overtaken. overtaken: int64[k], their places by exchange time.
        out_words, out_flags: int64[n + k, 4] and uint8[n + k, 32], written.
    """
    latest = np.int64(-(2**62))
    j = 0
    o = 0
    for i in range(len(words)):
        latest = max(latest, exch_ns[i])
        while j < len(overtaken) and exch_ns[overtaken[j]] < latest:
            for w in range(4):
                out_words[o, w] = words[overtaken[j], w]
            out_flags[o, _FLAGS] = flags[overtaken[j], _FLAGS] | FLAG_EXCH
            o += 1
            j += 1
        for w in range(4):
            out_words[o, w] = words[i, w]
        out_flags[o, _FLAGS] = flags[i, _FLAGS] | (FLAG_LOCAL if late[i] else FLAG_EXCH | FLAG_LOCAL)
        o += 1
