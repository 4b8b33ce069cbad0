"""What the best prices did: one row a change of the touch, and pictures of the levels behind it.

Oracle: the dictionaries of ``tests/naive_market.Book``.
"""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import jit_borrowing as jit
from mmlib.core.book import (
    BEST_ASK,
    BEST_BID,
    clear_all,
    clear_asks,
    clear_bids,
    has_both_sides,
    set_ask,
    set_bid,
)
from mmlib.dtypes import EVENT_KIND_MASK, FLAG_BUY, FLAG_EXCH, FLAG_SELL, KIND_CLEAR, KIND_TRADE

TOUCH = np.dtype(
    [
        ("exch_ns", "i8"),
        ("bid_ticks", "i8"),
        ("ask_ticks", "i8"),
        ("bid_qty", "f8"),  # base units
        ("ask_qty", "f8"),
    ]
)


@jit
def _apply(book, flags, tick, qty):
    """One row that is no trade; rows beyond the book are left out."""
    if flags & EVENT_KIND_MASK == KIND_CLEAR:
        if flags & FLAG_BUY:
            clear_bids(book, tick)
        elif flags & FLAG_SELL:
            clear_asks(book, tick)
        else:
            clear_all(book)
    elif 0 <= tick < len(book.bid_qty):
        if flags & FLAG_BUY:
            set_bid(book, tick, qty)
        else:
            set_ask(book, tick, qty)


@jit
def _picture(book, out):
    """Distance [ticks] and quantity of the levels behind the touch, nearest first; what is missing stays NaN."""
    levels = out.shape[1]
    for d in range(2):
        quantities = book.bid_qty if d == 0 else book.ask_qty
        best = book.top[BEST_BID] if d == 0 else book.top[BEST_ASK]
        step = -1 if d == 0 else 1
        tick, found, last = best + step, 0, step * 4096 + best
        while found < levels and tick != last and 0 <= tick < len(quantities):
            if quantities[tick] > 0.0:
                out[d, found, 0] = abs(tick - best)
                out[d, found, 1] = quantities[tick]
                found += 1
            tick += step


@jit
def touch_path(rows, book, picture_ns, out, pictures):
    """The touch after each moment of the exchange at which it changed, and the levels behind it now and then.

    Args:
        rows: ``EVENT[n]`` in processing order; those without the exchange flag are passed over.
        book: book.Book, continued from call to call; a moment must not straddle two calls.
        picture_ns: time between two pictures.
        out: ``TOUCH[m]``, m >= n; rows whose sides are not both there are not written.
        pictures: ``float64[k, 2, levels, 2]``, filled with NaN; by side, distance [ticks] and quantity.

    Returns:
        Rows of ``out`` written, pictures taken.
    """
    n, k = 0, 0
    next_ns = np.int64(0)
    for i in range(len(rows)):
        flags = rows[i]["flags"]
        if flags & FLAG_EXCH == 0 or flags & EVENT_KIND_MASK == KIND_TRADE:
            continue
        _apply(book, flags, np.int64(rows[i]["price_ticks"]), rows[i]["qty"])
        now_ns = rows[i]["exch_ts_ns"]
        j = i + 1
        while j < len(rows) and (
            rows[j]["flags"] & FLAG_EXCH == 0 or rows[j]["flags"] & EVENT_KIND_MASK == KIND_TRADE
        ):
            j += 1
        if (j < len(rows) and rows[j]["exch_ts_ns"] == now_ns) or not has_both_sides(book):
            continue
        bid, ask = book.top[BEST_BID], book.top[BEST_ASK]
        same = (
            n > 0
            and out[n - 1]["bid_ticks"] == bid
            and out[n - 1]["ask_ticks"] == ask
            and out[n - 1]["bid_qty"] == book.bid_qty[bid]
            and out[n - 1]["ask_qty"] == book.ask_qty[ask]
        )
        if not same:
            out[n]["exch_ns"] = now_ns
            out[n]["bid_ticks"] = bid
            out[n]["ask_ticks"] = ask
            out[n]["bid_qty"] = book.bid_qty[bid]
            out[n]["ask_qty"] = book.ask_qty[ask]
            n += 1
        if now_ns >= next_ns and k < len(pictures):
            _picture(book, pictures[k])
            next_ns = now_ns + picture_ns
            k += 1
    return n, k
