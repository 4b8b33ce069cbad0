"""The tight loops over market rows: one keeps the exchange current, one the local view of best prices.

Most rows change a level behind the best that no own order rests at; they cost one comparison chain and one store. All others
go to ``matching.on_row`` (exchange) or ``book`` (local view).
"""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import jit
from mmlib.core.book import BEST_ASK, BEST_BID, HIGH_ASK, LOW_BID, set_ask, set_bid
from mmlib.core.exchange import apply_to_book
from mmlib.core.matching import on_row
from mmlib.core.venue import MAX_TICKS, NEED_ROWS, NEED_TICKS, OWN_ASK, OWN_BID, REACHED
from mmlib.dtypes import (
    EVENT_KIND_MASK,
    FLAG_BUY,
    FLAG_EXCH,
    FLAG_LOCAL,
    FLAG_SELL,
    KIND_CLEAR,
    KIND_DEPTH,
    KIND_SNAPSHOT,
    KIND_TRADE,
)

_BID_ROW = KIND_DEPTH | FLAG_BUY
_ASK_ROW = KIND_DEPTH | FLAG_SELL
_BUY_TRADE = KIND_TRADE | FLAG_BUY
_SELL_TRADE = KIND_TRADE | FLAG_SELL
_WHAT = EVENT_KIND_MASK | FLAG_BUY | FLAG_SELL


@jit
def exchange_until(venue, rows, start, limit_ns):
    """Process exchange rows up to and including ``limit_ns``.

    Args:
        venue: venue.Venue.
        rows: EVENT[n]; start: first row not yet processed.
        limit_ns: exchange time.

    Returns:
        ``(row, why)``: the next row to process, and REACHED (it is later), NEED_ROWS (there is none), REPORTS_FULL or
        NEED_TICKS (it could not be processed).
    """
    top, edge = venue.book.top, venue.edge
    bid_qty, ask_qty = venue.book.bid_qty, venue.book.ask_qty
    bid_head, ask_head = venue.bid_head, venue.ask_head
    best_bid, best_ask, low, high = top[BEST_BID], top[BEST_ASK], top[LOW_BID], top[HIGH_ASK]
    own_bid, own_ask = edge[OWN_BID], edge[OWN_ASK]
    n = len(rows)
    i = start
    while i < n:
        row = rows[i]
        flags = row["flags"]
        if flags & FLAG_EXCH == 0:
            i += 1
            continue
        if row["exch_ts_ns"] > limit_ns:
            return i, REACHED
        what = flags & _WHAT
        tick = np.int64(row["price_ticks"])
        qty = row["qty"]
        gone = np.int64(qty == 0.0)
        if what == _BID_ROW and tick + gone <= best_bid and tick >= low and bid_head[tick] == 0:
            bid_qty[tick] = qty
        elif what == _ASK_ROW and tick - gone >= best_ask and tick <= high and ask_head[tick] == 0:
            ask_qty[tick] = qty
        elif (what == _BUY_TRADE and tick < own_ask) or (what == _SELL_TRADE and tick > own_bid):
            pass
        else:
            why = on_row(venue, flags, tick, qty, row["exch_ts_ns"])
            if why != REACHED:
                return i, why
            best_bid, best_ask, low, high = top[BEST_BID], top[BEST_ASK], top[LOW_BID], top[HIGH_ASK]
            own_bid, own_ask = edge[OWN_BID], edge[OWN_ASK]
        i += 1
    return n, NEED_ROWS


@jit
def local_until(view, rows, start, limit_ns):
    """Bring the local view up to and including ``limit_ns`` (local time).

    Args:
        view: book.Book whose vectors are uint8: whether a level has quantity is all that a best price asks.
        rows, start, limit_ns: as for ``exchange_until``.

    Returns:
        ``(row, why)`` with REACHED, NEED_ROWS or NEED_TICKS.
    """
    top = view.top
    bid_there, ask_there = view.bid_qty, view.ask_qty
    best_bid, best_ask, low, high = top[BEST_BID], top[BEST_ASK], top[LOW_BID], top[HIGH_ASK]
    n = len(rows)
    i = start
    while i < n:
        row = rows[i]
        flags = row["flags"]
        if flags & FLAG_LOCAL == 0:
            i += 1
            continue
        if row["local_ts_ns"] > limit_ns:
            return i, REACHED
        what = flags & _WHAT
        tick = np.int64(row["price_ticks"])
        gone = np.int64(row["qty"] == 0.0)
        if what == _BID_ROW and tick + gone <= best_bid and tick >= low:
            bid_there[tick] = 1 - gone
        elif what == _ASK_ROW and tick - gone >= best_ask and tick <= high:
            ask_there[tick] = 1 - gone
        elif flags & EVENT_KIND_MASK != KIND_TRADE:
            if flags & EVENT_KIND_MASK != KIND_CLEAR and len(bid_there) <= tick < MAX_TICKS:
                return i, NEED_TICKS
            _local_row(view, flags, tick, np.uint8(1 - gone))
            best_bid, best_ask, low, high = top[BEST_BID], top[BEST_ASK], top[LOW_BID], top[HIGH_ASK]
        i += 1
    return n, NEED_ROWS


@jit
def _local_row(view, flags, tick, there):
    kind = flags & EVENT_KIND_MASK
    if kind == KIND_CLEAR:
        apply_to_book(view, flags, tick, there)
    elif (kind == KIND_DEPTH or kind == KIND_SNAPSHOT) and 0 <= tick < MAX_TICKS:
        if flags & FLAG_BUY:
            set_bid(view, tick, there)
        elif flags & FLAG_SELL:
            set_ask(view, tick, there)
