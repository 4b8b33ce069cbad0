"""The tight loops over market rows: one keeps the exchange current, one the local view of best prices.

Nearly all rows change a level that no own order rests at; they are done in place, with the best prices in registers. Rows that
touch own orders, clears and what is out of range go to ``matching``.
"""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import jit_borrowing as jit
from mmlib.core.book import BEST_ASK, BEST_BID, HIGH_ASK, LOW_BID
from mmlib.core.ladder import BLOCK_BITS, after_ask, after_bid, clear_row
from mmlib.core.matching import fill_through, on_trade, update_queues
from mmlib.core.venue import (
    MAX_TICKS,
    N_ASKS,
    N_BIDS,
    NEED_ROWS,
    NEED_TICKS,
    OWN_ASK,
    OWN_BID,
    REACHED,
    REPORTS_FULL,
)
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

_BOOK_KINDS = (1 << KIND_DEPTH) | (1 << KIND_SNAPSHOT)


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
    book, edge = venue.book, venue.edge
    top, blocks, bid_qty, ask_qty = book.top, book.blocks, book.bid_qty, book.ask_qty
    bid_head, ask_head = venue.bid_head, venue.ask_head
    all_flags, times, ticks, quantities = rows["flags"], rows["exch_ts_ns"], rows["price_ticks"], rows["qty"]
    best_bid, best_ask, low, high = top[BEST_BID], top[BEST_ASK], top[LOW_BID], top[HIGH_ASK]
    own_bid, own_ask = edge[OWN_BID], edge[OWN_ASK]
    capacity = len(bid_head)
    room = len(venue.reports) - 2 * (edge[N_BIDS] + edge[N_ASKS])
    if venue.control[0]["n_reports"] > room:
        return start, REPORTS_FULL
    why = NEED_ROWS
    i = start
    while i < len(all_flags):
        flags = all_flags[i]
        if flags & FLAG_EXCH == 0:
            i += 1
            continue
        if times[i] > limit_ns:
            why = REACHED
            break
        kind = flags & EVENT_KIND_MASK
        tick = np.int64(ticks[i])
        if (_BOOK_KINDS >> kind) & 1:
            if not 0 <= tick < capacity:
                if 0 <= tick < MAX_TICKS:
                    why = NEED_TICKS
                    break
                venue.control[0]["out_of_range"] += 1
                i += 1
                continue
            qty = quantities[i]
            gone = np.int64(qty == 0.0)
            blocks[tick >> BLOCK_BITS] = 1
            if flags & FLAG_BUY:
                before = bid_qty[tick]
                bid_qty[tick] = qty
                if bid_head[tick] != 0:
                    update_queues(venue.own, bid_head[tick], venue.control, before, qty)
                if tick + gone > best_bid or tick < low:
                    was = best_bid
                    best_bid, best_ask, low = after_bid(
                        bid_qty, ask_qty, tick, gone, best_bid, best_ask, low, high
                    )
                    if best_bid > was and best_bid >= own_ask:
                        fill_through(venue, -1, best_bid, times[i])
                        own_ask = edge[OWN_ASK]
            elif flags & FLAG_SELL:
                before = ask_qty[tick]
                ask_qty[tick] = qty
                if ask_head[tick] != 0:
                    update_queues(venue.own, ask_head[tick], venue.control, before, qty)
                if tick - gone < best_ask or tick > high:
                    was = best_ask
                    best_bid, best_ask, high = after_ask(
                        bid_qty, ask_qty, tick, gone, best_bid, best_ask, low, high
                    )
                    if best_ask < was and best_ask <= own_bid:
                        fill_through(venue, 1, best_ask, times[i])
                        own_bid = edge[OWN_BID]
        elif kind == KIND_TRADE:
            if (flags & FLAG_BUY and tick >= own_ask) or (flags & FLAG_SELL and tick <= own_bid):
                if venue.control[0]["n_reports"] > room:
                    why = REPORTS_FULL
                    break
                on_trade(venue, 1 if flags & FLAG_BUY else -1, tick, quantities[i], times[i])
                own_bid, own_ask = edge[OWN_BID], edge[OWN_ASK]
        elif kind == KIND_CLEAR:
            top[BEST_BID], top[BEST_ASK], top[LOW_BID], top[HIGH_ASK] = best_bid, best_ask, low, high
            clear_row(book, flags, tick)
            best_bid, best_ask, low, high = top[BEST_BID], top[BEST_ASK], top[LOW_BID], top[HIGH_ASK]
        i += 1
    top[BEST_BID], top[BEST_ASK], top[LOW_BID], top[HIGH_ASK] = best_bid, best_ask, low, high
    return i, why


@jit
def local_until(prices, rows, start, limit_ns):
    """Bring the local view up to and including ``limit_ns`` (local time).

    Args:
        prices: ladder.Ladder of uint8.
        rows, start, limit_ns: as for ``exchange_until``.

    Returns:
        ``(row, why)`` with REACHED, NEED_ROWS or NEED_TICKS.
    """
    top, blocks, bid_there, ask_there = prices.top, prices.blocks, prices.bid_qty, prices.ask_qty
    all_flags, times, ticks, quantities = rows["flags"], rows["local_ts_ns"], rows["price_ticks"], rows["qty"]
    best_bid, best_ask, low, high = top[BEST_BID], top[BEST_ASK], top[LOW_BID], top[HIGH_ASK]
    why = NEED_ROWS
    i = start
    while i < len(all_flags):
        flags = all_flags[i]
        if flags & FLAG_LOCAL == 0:
            i += 1
            continue
        if times[i] > limit_ns:
            why = REACHED
            break
        kind = flags & EVENT_KIND_MASK
        tick = np.int64(ticks[i])
        if (_BOOK_KINDS >> kind) & 1:
            if not 0 <= tick < len(bid_there):
                if 0 <= tick < MAX_TICKS:
                    why = NEED_TICKS
                    break
                i += 1
                continue
            gone = np.int64(quantities[i] == 0.0)
            blocks[tick >> BLOCK_BITS] = 1
            if flags & FLAG_BUY:
                bid_there[tick] = 1 - gone
                if tick + gone > best_bid or tick < low:
                    best_bid, best_ask, low = after_bid(
                        bid_there, ask_there, tick, gone, best_bid, best_ask, low, high
                    )
            elif flags & FLAG_SELL:
                ask_there[tick] = 1 - gone
                if tick - gone < best_ask or tick > high:
                    best_bid, best_ask, high = after_ask(
                        bid_there, ask_there, tick, gone, best_bid, best_ask, low, high
                    )
        elif kind == KIND_CLEAR:
            top[BEST_BID], top[BEST_ASK], top[LOW_BID], top[HIGH_ASK] = best_bid, best_ask, low, high
            clear_row(prices, flags, tick)
            best_bid, best_ask, low, high = top[BEST_BID], top[BEST_ASK], top[LOW_BID], top[HIGH_ASK]
        i += 1
    top[BEST_BID], top[BEST_ASK], top[LOW_BID], top[HIGH_ASK] = best_bid, best_ask, low, high
    return i, why
