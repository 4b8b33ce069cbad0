"""Limit order book as two vectors over price ticks, with the best prices kept beside them.

Rules: a depth row sets a level; deleting the best scans to the next level that still has quantity, no further than the
outermost level seen since a deletion last emptied that side; a new best that reaches the other side hides the levels it crosses
(they stay stored). Source: the L2 market depth of hftbacktest 2.4 (``HashMapMarketDepth``). Oracle: ``tests/naive_book.py``.
"""

from __future__ import annotations

from mmap import mmap
from typing import Any, NamedTuple

import numpy as np

from mmlib.core._jit import jit_borrowing as jit
from mmlib.core._jit import jit_within

BEST_BID, BEST_ASK = 0, 1
LOW_BID, HIGH_ASK = 2, 3  # outermost level since a deletion emptied that side: no scan goes further
BID_FROM, BID_TO, ASK_FROM, ASK_TO = 4, 5, 6, 7  # extent ever written since everything was cleared
NO_BID = -1
NO_ASK = 2**31 - 1


class Book(NamedTuple):
    """One side-by-side book.

    Attributes:
        bid_qty: float64[n], base units resting at each price tick.
        ask_qty: float64[n], likewise.
        top: int64[8], best bid, best ask (``NO_BID``/``NO_ASK`` when empty) and the outermost ticks seen.
    """

    bid_qty: Any
    ask_qty: Any
    top: Any


def sparse_zeros(length: int, dtype: Any) -> Any:
    """Zeros of which only the pages written to take memory and time (NumPy's own come in pages of 2 MB)."""
    kind = np.dtype(dtype)
    return np.frombuffer(mmap(-1, max(length * kind.itemsize, 1)), kind, length)


def empty_book(capacity_ticks: int) -> Book:
    """Allocate a book for ticks ``0 .. capacity_ticks - 1``; untouched pages cost no memory."""
    top = np.array([NO_BID, NO_ASK, NO_ASK, NO_BID, NO_ASK, NO_BID, NO_ASK, NO_BID], dtype=np.int64)
    return Book(sparse_zeros(capacity_ticks, np.float64), sparse_zeros(capacity_ticks, np.float64), top)


def grow_book(book: Book, capacity_ticks: int) -> Book:
    """Return the same book with room for more ticks."""
    wider = empty_book(capacity_ticks)._replace(top=book.top)
    for qty, before, (first, last) in (
        (wider.bid_qty, book.bid_qty, book.top[[BID_FROM, BID_TO]]),
        (wider.ask_qty, book.ask_qty, book.top[[ASK_FROM, ASK_TO]]),
    ):
        if last != NO_BID:
            qty[first : last + 1] = before[first : last + 1]
    return wider


@jit
def _next_bid(bid_qty, start, low):
    tick = start
    while tick >= low:
        if bid_qty[tick] > 0.0:
            return tick
        tick -= 1
    return NO_BID


@jit
def _next_ask(ask_qty, start, high):
    tick = start
    while tick <= high:
        if ask_qty[tick] > 0.0:
            return tick
        tick += 1
    return NO_ASK


@jit
def _set_best_bid(top, tick):
    top[BEST_BID] = tick
    if tick == NO_BID:
        top[LOW_BID] = NO_ASK


@jit
def _set_best_ask(top, tick):
    top[BEST_ASK] = tick
    if tick == NO_ASK:
        top[HIGH_ASK] = NO_BID


@jit_within
def set_bid(book, tick, qty):
    """Bid level := qty (0 deletes); returns the quantity that stood there before."""
    top = book.top
    before = book.bid_qty[tick]
    book.bid_qty[tick] = qty
    if qty > 0.0:
        top[LOW_BID] = min(top[LOW_BID], tick)
        top[BID_FROM] = min(top[BID_FROM], tick)
        top[BID_TO] = max(top[BID_TO], tick)
        if tick > top[BEST_BID]:
            top[BEST_BID] = tick
            if tick >= top[BEST_ASK]:
                top[BEST_ASK] = _next_ask(book.ask_qty, tick + 1, top[HIGH_ASK])
    elif tick == top[BEST_BID]:
        _set_best_bid(top, _next_bid(book.bid_qty, tick - 1, top[LOW_BID]))
    return before


@jit_within
def set_ask(book, tick, qty):
    """Ask level := qty (0 deletes); returns the quantity that stood there before."""
    top = book.top
    before = book.ask_qty[tick]
    book.ask_qty[tick] = qty
    if qty > 0.0:
        top[HIGH_ASK] = max(top[HIGH_ASK], tick)
        top[ASK_FROM] = min(top[ASK_FROM], tick)
        top[ASK_TO] = max(top[ASK_TO], tick)
        if tick < top[BEST_ASK]:
            top[BEST_ASK] = tick
            if tick <= top[BEST_BID]:
                top[BEST_BID] = _next_bid(book.bid_qty, tick - 1, top[LOW_BID])
    elif tick == top[BEST_ASK]:
        _set_best_ask(top, _next_ask(book.ask_qty, tick + 1, top[HIGH_ASK]))
    return before


@jit
def clear_bids(book, tick):
    """Delete bids from the best down to and including ``tick``."""
    top = book.top
    if top[BEST_BID] == NO_BID:
        return
    if tick <= top[BEST_BID]:
        book.bid_qty[tick : top[BEST_BID] + 1] = 0.0
        _set_best_bid(top, _next_bid(book.bid_qty, tick - 1, top[LOW_BID]))


@jit
def clear_asks(book, tick):
    """Delete asks from the best up to and including ``tick``."""
    top = book.top
    if top[BEST_ASK] == NO_ASK:
        return
    if tick >= top[BEST_ASK]:
        book.ask_qty[top[BEST_ASK] : tick + 1] = 0.0
        _set_best_ask(top, _next_ask(book.ask_qty, tick + 1, top[HIGH_ASK]))


@jit
def clear_all(book):
    """Empty both sides, hidden levels included."""
    top = book.top
    if top[BID_TO] != NO_BID:
        book.bid_qty[top[BID_FROM] : top[BID_TO] + 1] = 0.0
    if top[ASK_TO] != NO_BID:
        book.ask_qty[top[ASK_FROM] : top[ASK_TO] + 1] = 0.0
    top[BEST_BID] = top[HIGH_ASK] = top[BID_TO] = top[ASK_TO] = NO_BID
    top[BEST_ASK] = top[LOW_BID] = top[BID_FROM] = top[ASK_FROM] = NO_ASK


@jit
def has_both_sides(book):
    """Whether a mid price exists."""
    return book.top[BEST_BID] != NO_BID and book.top[BEST_ASK] != NO_ASK


@jit
def mid_ticks(book):
    """Mid price [ticks]; NaN when a side is empty."""
    if not has_both_sides(book):
        return np.nan
    return 0.5 * (book.top[BEST_BID] + book.top[BEST_ASK])
