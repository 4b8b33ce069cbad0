"""State of the exchange that own orders are replayed against: book, own resting orders by price, reports on their way back.

Own orders live in slots; the orders resting at one price are chained in order of arrival from ``bid_head``/``ask_head``, so
a market row finds the ones it touches without looking at any other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mmlib.core.book import NO_ASK, NO_BID, sparse_zeros
from mmlib.exchange.ladder import Ladder, empty_ladder, grow_ladder
from mmlib.exchange.latency import Latency

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
        ("order_id", "i8"),
        ("sent_ns", "i8"),  # when the latest request about it left us
        ("qty", "f8"),  # base units
        ("leaves", "f8"),  # still open
        ("front", "f8"),  # base units ahead
        ("cum", "f8"),  # base units traded at our price since the last depth row
        ("front_at_entry", "f8"),
        ("price_ticks", "i4"),
        ("next", "i4"),  # slot + 1 of the order behind at the same price, 0 for none
        ("side", "i1"),
        ("tif", "u1"),
        ("kind", "u1"),
        ("resting", "u1"),
        ("_pad", "u1", (4,)),
    ]
)

REPORT = np.dtype(
    [
        ("at_ns", "i8"),  # when it reaches us
        ("exch_ns", "i8"),  # when it happened
        ("sent_ns", "i8"),  # of the request it answers; for a fill, of the latest request
        ("qty", "f8"),  # executed (FILLED) or given up (EXPIRED, CANCELED), base units
        ("slot", "i4"),
        ("price_ticks", "i4"),
        ("what", "u1"),  # ACCEPTED .. FILLED
        ("liquidity", "u1"),
        ("_pad", "u1", (6,)),
    ]
)

VENUE = np.dtype(
    [
        ("lot_size", "f8"),
        ("queue_exponent", "f8"),
        ("queue_model", "i8"),
        ("partial_fills", "i8"),
        ("n_reports", "i8"),
        ("last_report_ns", "i8"),  # when the newest report reaches us: none overtakes another
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
        reports: REPORT[m], the first ``n_reports`` are valid.
        control: VENUE[1].
        latency: of orders.
    """

    book: Ladder
    bid_head: Any
    ask_head: Any
    edge: Any
    own: Any
    reports: Any
    control: Any
    latency: Latency


def new_venue(
    capacity_ticks: int,
    slots: int,
    latency: Latency,
    *,
    lot_size: float,
    queue_model: int,
    queue_exponent: float,
    partial_fills: bool = False,
    report_rows: int = 16_384,
) -> Venue:
    """An empty exchange for prices below ``capacity_ticks`` and ``slots`` own orders."""
    control = np.zeros(1, VENUE)
    control["lot_size"], control["queue_exponent"] = lot_size, queue_exponent
    control["queue_model"], control["partial_fills"] = queue_model, partial_fills
    edge = np.array([NO_BID, NO_ASK, 0, NO_ASK, NO_BID, 0], np.int64)
    return Venue(
        empty_ladder(capacity_ticks, np.float64),
        sparse_zeros(capacity_ticks, np.int32),
        sparse_zeros(capacity_ticks, np.int32),
        edge,
        np.zeros(slots, OWN),
        np.zeros(max(report_rows, 2 * slots + 16), REPORT),
        control,
        latency,
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
