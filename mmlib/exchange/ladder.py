"""The order book of ``book`` once more, for loops that keep its best prices in registers.

Same rules; the functions here take and return best prices and bounds as numbers instead of writing them to an array, and a
byte a block of ticks says where anything was ever written, so that clearing a wide book touches little memory. Quantities may
be float64 (the exchange) or uint8 (a view that only asks whether a level is there). Oracle: ``tests/naive_book.py``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mmlib.core._jit import jit_borrowing as jit
from mmlib.core.book import BEST_ASK, BEST_BID, HIGH_ASK, LOW_BID, NO_ASK, NO_BID, sparse_zeros
from mmlib.dtypes import FLAG_BUY, FLAG_SELL

BLOCK_BITS = 10
_BLOCK = 1 << BLOCK_BITS


class Ladder(NamedTuple):
    """Both sides of a book.

    Attributes:
        bid_qty: float64[n] or uint8[n], by price tick; ask_qty: likewise.
        top: int64[4], best bid, best ask, and the outermost tick of each side since a deletion emptied it.
        blocks: uint8[n >> BLOCK_BITS + 1], 1 where either side was written to.
    """

    bid_qty: Any
    ask_qty: Any
    top: Any
    blocks: Any


def empty_ladder(capacity_ticks: int, dtype: Any) -> Ladder:
    """A book for ticks ``0 .. capacity_ticks - 1``; untouched pages cost no memory."""
    return Ladder(
        sparse_zeros(capacity_ticks, dtype),
        sparse_zeros(capacity_ticks, dtype),
        np.array([NO_BID, NO_ASK, NO_ASK, NO_BID], np.int64),
        np.zeros((capacity_ticks >> BLOCK_BITS) + 1, np.uint8),
    )


def grow_ladder(ladder: Ladder, capacity_ticks: int) -> Ladder:
    """The same book with room for more ticks."""
    wider = empty_ladder(capacity_ticks, ladder.bid_qty.dtype)._replace(top=ladder.top)
    for block in np.flatnonzero(ladder.blocks):
        part = slice(block * _BLOCK, min((block + 1) * _BLOCK, len(ladder.bid_qty)))
        wider.bid_qty[part], wider.ask_qty[part] = ladder.bid_qty[part], ladder.ask_qty[part]
    wider.blocks[: len(ladder.blocks)] = ladder.blocks
    return wider


@jit
def next_bid(bid_qty, tick, low):
    """First level with quantity from ``tick`` down to ``low``."""
    while tick >= low:
        if bid_qty[tick] > 0:
            return tick
        tick -= 1
    return np.int64(NO_BID)


@jit
def next_ask(ask_qty, tick, high):
    """First level with quantity from ``tick`` up to ``high``."""
    while tick <= high:
        if ask_qty[tick] > 0:
            return tick
        tick += 1
    return np.int64(NO_ASK)


@jit
def after_bid(bid_qty, ask_qty, tick, gone, best_bid, best_ask, low, high):
    """Best prices and low bound after the bid level ``tick`` was written; ``gone`` is 1 for a deletion."""
    if gone == 0:
        low = min(low, tick)
        if tick > best_bid:
            best_bid = tick
            if tick >= best_ask:
                best_ask = next_ask(ask_qty, tick + 1, high)
    elif tick == best_bid:
        best_bid = next_bid(bid_qty, tick - 1, low)
        if best_bid == NO_BID:
            low = np.int64(NO_ASK)
    return best_bid, best_ask, low


@jit
def after_ask(bid_qty, ask_qty, tick, gone, best_bid, best_ask, low, high):
    """Best prices and high bound after the ask level ``tick`` was written."""
    if gone == 0:
        high = max(high, tick)
        if tick < best_ask:
            best_ask = tick
            if tick <= best_bid:
                best_bid = next_bid(bid_qty, tick - 1, low)
    elif tick == best_ask:
        best_ask = next_ask(ask_qty, tick + 1, high)
        if best_ask == NO_ASK:
            high = np.int64(NO_BID)
    return best_bid, best_ask, high


@jit
def clear_bids(ladder, tick):
    """Delete bids from the best down to and including ``tick``."""
    top = ladder.top
    tick = max(tick, 0)
    if top[BEST_BID] != NO_BID and tick <= top[BEST_BID]:
        ladder.bid_qty[tick : top[BEST_BID] + 1] = 0
        top[BEST_BID] = next_bid(ladder.bid_qty, np.int64(tick - 1), top[LOW_BID])
        if top[BEST_BID] == NO_BID:
            top[LOW_BID] = NO_ASK


@jit
def clear_asks(ladder, tick):
    """Delete asks from the best up to and including ``tick``."""
    top = ladder.top
    tick = min(tick, len(ladder.ask_qty) - 1)
    if top[BEST_ASK] != NO_ASK and tick >= top[BEST_ASK]:
        ladder.ask_qty[top[BEST_ASK] : tick + 1] = 0
        top[BEST_ASK] = next_ask(ladder.ask_qty, np.int64(tick + 1), top[HIGH_ASK])
        if top[BEST_ASK] == NO_ASK:
            top[HIGH_ASK] = NO_BID


@jit
def clear_all(ladder):
    """Empty both sides, hidden levels included."""
    for block in range(len(ladder.blocks)):
        if ladder.blocks[block]:
            ladder.bid_qty[block * _BLOCK : (block + 1) * _BLOCK] = 0
            ladder.ask_qty[block * _BLOCK : (block + 1) * _BLOCK] = 0
            ladder.blocks[block] = 0
    ladder.top[BEST_BID] = ladder.top[HIGH_ASK] = NO_BID
    ladder.top[BEST_ASK] = ladder.top[LOW_BID] = NO_ASK


@jit
def clear_row(ladder, flags, tick):
    """A clear of one side up to ``tick``, or of both."""
    if flags & FLAG_BUY:
        clear_bids(ladder, tick)
    elif flags & FLAG_SELL:
        clear_asks(ladder, tick)
    else:
        clear_all(ladder)
