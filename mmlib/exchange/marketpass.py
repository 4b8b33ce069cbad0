"""The passes over market rows: one keeps the exchange current, one the local view of best prices.

Nearly all rows change a level that no own order rests at. A tight loop without calls does those, best prices in registers, rows
fetched ahead; it stops at every other row, which ``matching`` (exchange) or ``ladder`` (local view) then does.
"""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import jit_borrowing as jit
from mmlib.core._jit import prefetch
from mmlib.core.book import BEST_ASK, BEST_BID, HIGH_ASK, LOW_BID
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
from mmlib.exchange.ladder import BLOCK_BITS, after_ask, after_bid, clear_row
from mmlib.exchange.matching import on_row
from mmlib.exchange.venue import MAX_TICKS, NEED_ROWS, NEED_TICKS, OWN_ASK, OWN_BID, REACHED

_BOOK_KINDS = (1 << KIND_DEPTH) | (1 << KIND_SNAPSHOT)
_AHEAD = 64  # rows
_OTHER = -1  # the row is not for the tight loop


@jit
def _exchange_rows(rows, start, limit_ns, book, bid_head, ask_head, edge):
    """The tight loop of ``exchange_until``; why it stopped is REACHED, NEED_ROWS or _OTHER."""
    top, blocks, bid_qty, ask_qty = book.top, book.blocks, book.bid_qty, book.ask_qty
    all_flags, times, ticks, quantities = rows["flags"], rows["exch_ts_ns"], rows["price_ticks"], rows["qty"]
    best_bid, best_ask, low, high = top[BEST_BID], top[BEST_ASK], top[LOW_BID], top[HIGH_ASK]
    own_bid, own_ask, capacity = edge[OWN_BID], edge[OWN_ASK], np.uint64(len(bid_head))
    why = NEED_ROWS
    n = np.uint64(len(all_flags))
    i = np.uint64(start)
    while i < n:
        prefetch(all_flags, i + np.uint64(_AHEAD))
        flags = all_flags[i]
        if flags & FLAG_EXCH != 0:
            if times[i] > limit_ns:
                why = REACHED
                break
            kind = flags & EVENT_KIND_MASK
            tick = np.int64(ticks[i])
            at = np.uint64(tick)
            if (_BOOK_KINDS >> kind) & 1 == 0 or at >= capacity:
                if kind == KIND_TRADE and own_bid < tick < own_ask:
                    i += np.uint64(1)
                    continue
                why = _OTHER
                break
            qty = quantities[i]
            gone = np.int64(qty == 0.0)
            if flags & FLAG_BUY:
                if bid_head[at] != 0 or (tick >= own_ask and tick + gone > best_bid):
                    why = _OTHER
                    break
                bid_qty[at] = qty
                blocks[at >> np.uint64(BLOCK_BITS)] = 1
                if tick + gone > best_bid or tick < low:
                    best_bid, best_ask, low = after_bid(
                        bid_qty, ask_qty, tick, gone, best_bid, best_ask, low, high
                    )
            elif flags & FLAG_SELL:
                if ask_head[at] != 0 or (tick <= own_bid and tick - gone < best_ask):
                    why = _OTHER
                    break
                ask_qty[at] = qty
                blocks[at >> np.uint64(BLOCK_BITS)] = 1
                if tick - gone < best_ask or tick > high:
                    best_bid, best_ask, high = after_ask(
                        bid_qty, ask_qty, tick, gone, best_bid, best_ask, low, high
                    )
        i += np.uint64(1)
    top[BEST_BID], top[BEST_ASK], top[LOW_BID], top[HIGH_ASK] = best_bid, best_ask, low, high
    return np.int64(i), why


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
    i = start
    while True:
        i, why = _exchange_rows(rows, i, limit_ns, venue.book, venue.bid_head, venue.ask_head, venue.edge)
        if why != _OTHER:
            return i, why
        row = rows[i]
        why = on_row(venue, row["flags"], np.int64(row["price_ticks"]), row["qty"], row["exch_ts_ns"])
        if why != REACHED:
            return i, why
        i += 1


@jit
def _local_rows(rows, start, limit_ns, prices):
    """The tight loop of ``local_until``; why it stopped is REACHED, NEED_ROWS or _OTHER."""
    top, blocks, bid_there, ask_there = prices.top, prices.blocks, prices.bid_qty, prices.ask_qty
    all_flags, times, ticks, quantities = rows["flags"], rows["local_ts_ns"], rows["price_ticks"], rows["qty"]
    best_bid, best_ask, low, high = top[BEST_BID], top[BEST_ASK], top[LOW_BID], top[HIGH_ASK]
    capacity = np.uint64(len(bid_there))
    why = NEED_ROWS
    n = np.uint64(len(all_flags))
    i = np.uint64(start)
    while i < n:
        flags = all_flags[i]
        if flags & FLAG_LOCAL != 0:
            if times[i] > limit_ns:
                why = REACHED
                break
            kind = flags & EVENT_KIND_MASK
            if kind == KIND_TRADE:
                i += np.uint64(1)
                continue
            tick = np.int64(ticks[i])
            at = np.uint64(tick)
            if (_BOOK_KINDS >> kind) & 1 == 0 or at >= capacity:
                why = _OTHER
                break
            gone = np.int64(quantities[i] == 0.0)
            blocks[at >> np.uint64(BLOCK_BITS)] = 1
            if flags & FLAG_BUY:
                bid_there[at] = 1 - gone
                if tick + gone > best_bid or tick < low:
                    best_bid, best_ask, low = after_bid(
                        bid_there, ask_there, tick, gone, best_bid, best_ask, low, high
                    )
            elif flags & FLAG_SELL:
                ask_there[at] = 1 - gone
                if tick - gone < best_ask or tick > high:
                    best_bid, best_ask, high = after_ask(
                        bid_there, ask_there, tick, gone, best_bid, best_ask, low, high
                    )
        i += np.uint64(1)
    top[BEST_BID], top[BEST_ASK], top[LOW_BID], top[HIGH_ASK] = best_bid, best_ask, low, high
    return np.int64(i), why


@jit
def local_until(prices, rows, start, limit_ns):
    """Bring the local view up to and including ``limit_ns`` (local time).

    Args:
        prices: ladder.Ladder of uint8.
        rows, start, limit_ns: as for ``exchange_until``.

    Returns:
        ``(row, why)`` with REACHED, NEED_ROWS or NEED_TICKS.
    """
    i = start
    while True:
        i, why = _local_rows(rows, i, limit_ns, prices)
        if why != _OTHER:
            return i, why
        row = rows[i]
        tick = np.int64(row["price_ticks"])
        if row["flags"] & EVENT_KIND_MASK == KIND_CLEAR:
            clear_row(prices, row["flags"], tick)
        elif (_BOOK_KINDS >> (row["flags"] & EVENT_KIND_MASK)) & 1 and 0 <= tick < MAX_TICKS:
            return i, NEED_TICKS
        i += 1
