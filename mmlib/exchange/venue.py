"""State of the exchange: one book, the own orders of K accounts by price, reports on their way back.

Own orders never change the book, so accounts share it and do not meet. Own orders live in slots; the orders resting at one
price, of whichever account, are chained in order of arrival from ``bid_head``/``ask_head``, so a market row finds the ones it
touches without looking at any other, and a row that touches none costs the book alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmlib.core.book import NO_ASK, NO_BID, sparse_zeros
from mmlib.exchange.ladder import Ladder, empty_ladder, grow_ladder

MAX_TICKS = 2**27
"""No book reaches further; rows beyond are counted and left out."""

# why a kernel came back
REACHED, NEED_ROWS, REPORTS_FULL, NEED_TICKS = 0, 1, 2, 3

# what a report says
ACCEPTED, EXPIRED, CANCELED, REJECTED, FILLED = 0, 1, 2, 3, 4

# fields of ``edge``: the innermost and outermost own price of each side, and how many orders rest there
OWN_BID, OWN_BID_LOW, N_BIDS = 0, 1, 2
OWN_ASK, OWN_ASK_HIGH, N_ASKS = 3, 4, 5

OWN = np.dtype(
    [
        ("sent_ns", "i8"),  # when the latest request about it that reached the exchange left us
        ("qty", "f8"),  # base units
        ("leaves", "f8"),  # of them still open
        ("front", "f8"),  # base units ahead
        ("cum", "f8"),  # base units traded at our price since the last depth row
        ("price_ticks", "i4"),
        ("next", "i4"),  # slot + 1 of the order behind at the same price, 0 for none
        ("prev", "i4"),  # slot + 1 of the order ahead; of the last one for the first
        ("account", "i4"),
        ("side", "i1"),
        ("tif", "u1"),
        ("kind", "u1"),
        ("resting", "u1"),
        ("_pad", "u1", (4,)),
    ]
)
"""An own order as the exchange knows it, 64 bytes."""

ACCOUNT = np.dtype(
    [
        ("queue_exponent", "f8"),
        ("entry_ns", "i8"),  # latency without a table
        ("response_ns", "i8"),
        ("last_arrival_ns", "i8"),  # of its requests: none overtakes another
        ("last_report_ns", "i8"),  # when its newest report reaches it: likewise
        ("trade", "i8"),  # the trade that ``trade_left`` belongs to
        ("trade_left", "f8"),  # base units that a trade has left for its further orders (partial fills)
        ("table_first", "i4"),  # rows of its latency table; none where the last comes before the first
        ("table_last", "i4"),
        ("entry_row", "i4"),  # rows reached
        ("response_row", "i4"),
        ("queue_model", "i4"),
        ("partial_fills", "i4"),
    ]
)
"""What the exchange knows of an account."""

REPORT = np.dtype(
    [
        ("at_ns", "i8"),  # when it reaches us
        ("exch_ns", "i8"),  # when it happened
        ("sent_ns", "i8"),  # of the request it answers; for a fill, of the latest request
        (
            "qty",
            "f8",
        ),  # base units executed (FILLED), given up (EXPIRED, CANCELED) or ahead in the queue (ACCEPTED)
        ("slot", "i4"),
        ("account", "i4"),
        ("price_ticks", "i4"),
        ("what", "u1"),  # ACCEPTED .. FILLED
        ("liquidity", "u1"),
        ("_pad", "u1", (2,)),
    ]
)

VENUE = np.dtype(
    [
        ("lot_size", "f8"),
        ("n_reports", "i8"),
        ("last_report_ns", "i8"),  # when the newest report of any account reaches it
        ("n_trades", "i8"),  # trades that met own orders
        ("out_of_range", "i8"),  # rows beyond MAX_TICKS
    ]
)


class Venue(NamedTuple):
    """The exchange.

    Attributes:
        book: the recorded market.
        bid_head: int32[capacity], slot + 1 of the first own buy at each tick, 0 for none; ask_head: likewise.
        edge: int64[6], see ``OWN_BID`` and the rest.
        own: OWN[slots].
        accounts: ACCOUNT[K].
        tables: int64[n, 3], see ``latency.entry_latency_ns``.
        reports: REPORT[m], the first ``n_reports`` are valid; in order of ``exch_ns``, and of ``at_ns`` within an account.
        control: VENUE[1].
    """

    book: Ladder
    bid_head: Any
    ask_head: Any
    edge: Any
    own: Any
    accounts: Any
    tables: Any
    reports: Any
    control: Any


def new_accounts(
    count: int,
    *,
    queue_model: Any,
    queue_exponent: Any,
    entry_ns: Any = 0,
    response_ns: Any = 0,
    order_latency: np.ndarray | Sequence[np.ndarray | None] | None = None,
    partial_fills: Any = False,
) -> tuple[np.ndarray, np.ndarray]:
    """ACCOUNT rows and the tables of their latencies, for ``new_venue``.

    Args:
        count: of accounts; each further argument is one value for all, or one for each.
        queue_model: of ``core.queue``; queue_exponent: of the power models.
        entry_ns: from us to the exchange; response_ns: back.
        order_latency: int64[n, 3], see ``latency.entry_latency_ns``; replaces the two constants.
        partial_fills: share out trades and take level by level, instead of filling whole.
    """
    accounts = np.zeros(count, ACCOUNT)
    accounts["queue_model"], accounts["queue_exponent"] = queue_model, queue_exponent
    accounts["entry_ns"], accounts["response_ns"] = entry_ns, response_ns
    accounts["partial_fills"], accounts["table_last"] = partial_fills, -1
    if order_latency is None or isinstance(order_latency, np.ndarray):
        order_latency = [order_latency] * count
    tables, placed, length = [np.zeros((0, 3), np.int64)], {}, 0
    for account, table in zip(accounts, order_latency, strict=True):
        if table is None or not len(table):
            continue
        if id(table) not in placed:
            placed[id(table)] = length, length + len(table) - 1
            tables.append(np.asarray(table, np.int64))
            length += len(table)
        account["table_first"], account["table_last"] = placed[id(table)]
        account["entry_row"] = account["response_row"] = account["table_first"]
    return accounts, np.concatenate(tables)


def new_venue(
    capacity_ticks: int,
    slots: int,
    accounts: np.ndarray,
    tables: np.ndarray,
    *,
    lot_size: float,
    report_rows: int = 16_384,
) -> Venue:
    """An empty exchange for prices below ``capacity_ticks`` and ``slots`` own orders of ``new_accounts``."""
    control = np.zeros(1, VENUE)
    control["lot_size"] = lot_size
    edge = np.array([NO_BID, NO_ASK, 0, NO_ASK, NO_BID, 0], np.int64)
    return Venue(
        empty_ladder(capacity_ticks, np.float64),
        sparse_zeros(capacity_ticks, np.int32),
        sparse_zeros(capacity_ticks, np.int32),
        edge,
        np.zeros(slots, OWN),
        accounts,
        tables,
        np.zeros(max(report_rows, 2 * slots + 16), REPORT),
        control,
    )


def _longer(heads: np.ndarray, capacity: int) -> np.ndarray:
    """The same chains with room for more ticks; only what is set is touched."""
    longer = sparse_zeros(capacity, heads.dtype)
    used = np.flatnonzero(heads)
    longer[used] = heads[used]
    return longer


def grow_venue(venue: Venue, capacity_ticks: int) -> Venue:
    """The same exchange with room for more price ticks."""
    return venue._replace(
        book=grow_ladder(venue.book, capacity_ticks),
        bid_head=_longer(venue.bid_head, capacity_ticks),
        ask_head=_longer(venue.ask_head, capacity_ticks),
    )


def grow_slots(venue: Venue, slots: int) -> Venue:
    """The same exchange with room for more own orders, and for the reports about them."""
    own = np.zeros(slots, OWN)
    own[: len(venue.own)] = venue.own
    return grow_reports(venue._replace(own=own), 2 * slots + 16)


def grow_reports(venue: Venue, report_rows: int) -> Venue:
    """The same exchange with room for at least so many reports."""
    reports = np.zeros(max(report_rows, len(venue.reports)), REPORT)
    reports[: len(venue.reports)] = venue.reports
    return venue._replace(reports=reports)
