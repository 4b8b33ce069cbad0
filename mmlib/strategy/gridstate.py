"""What the grids of ``grid`` know: settings and money by account, own orders in lists by account, requests under way."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mmlib.exchange.ladder import Ladder, empty_ladder, grow_ladder
from mmlib.exchange.venue import Venue, grow_reports, grow_slots, grow_venue

STEP_SERVE, STEP_DECIDE = 0, 1
"""Phase of a step that was interrupted."""
ASKED_NEW, LIVE, ASKED_CANCEL = 1, 2, 3
"""What an account knows of an order."""
SETTLE = 6
"""The output is full."""

SIGHTING = np.dtype(
    [
        ("exch_ns", "i8"),  # when the order was filled
        ("seen_ns", "i8"),  # step at which the strategy saw it
        ("qty", "f8"),
        ("price_ticks", "i4"),
        ("account", "i4"),
        ("side", "i1"),
        ("maker", "u1"),
        ("_pad", "u1", (6,)),
    ]
)

SETTING = np.dtype(
    [
        ("order_qty", "f8"),  # base units
        ("max_position", "f8"),  # base units
        ("skew", "f8"),  # ticks a base unit
        ("maker_bps", "f8"),  # fee, negative for a rebate
        ("taker_bps", "f8"),
        ("levels", "i8"),  # a side
        ("interval_ticks", "i8"),  # between two levels
        ("half_spread_ticks", "i8"),  # from the mid, skewed by the position
    ]
)
"""What one account quotes."""

GRID = np.dtype(
    [
        *((name, SETTING[name]) for name in SETTING.names or ()),
        ("position", "f8"),  # base units
        ("cash", "f8"),  # quote currency, fees not taken off
        ("fees", "f8"),  # quote currency, costs positive
        ("traded", "f8"),  # quote currency
        ("n_fills", "i8"),
        ("n_requests", "i8"),
        ("bid_tick", "i8"),  # innermost prices of its last grid
        ("ask_tick", "i8"),
        ("n_active", "i4"),
        ("n_waiting", "i4"),  # batches of requests under way
        ("batch_first", "i4"),  # slot + 1 of the first request of this step, 0 for none
        ("batch_last", "i4"),
        ("batch_count", "i4"),
        ("stirred", "u1"),  # something reached it since its last grid
        ("ended", "u1"),  # nothing follows
        ("_pad", "u1", (2,)),
    ]
)
"""A setting and what became of it."""

RUN = np.dtype(
    [
        ("tick_size", "f8"),
        ("step_ns", "i8"),
        ("next_ns", "i8"),  # of the coming step
        ("phase", "i8"),
        ("decided", "i8"),  # accounts that have decided at this step
        ("last_bid", "i8"),  # best prices [ticks] at the last step
        ("last_ask", "i8"),
        ("n_free", "i8"),
        ("n_waiting", "i8"),
        ("n_batches", "i8"),
        ("n_sightings", "i8"),
    ]
)

ORDER = np.dtype(
    [
        ("leaves", "f8"),  # as its account knows it
        ("sent_ns", "i8"),  # of the latest request
        ("place", "i4"),  # in the lists of its account; -1 when it is done
        ("next", "i4"),  # slot + 1 of the next request of its batch
    ]
)

BATCH = np.dtype(
    [
        ("arrives_ns", "i8"),
        ("sent_ns", "i8"),
        ("number", "i8"),
        ("account", "i4"),
        ("first", "i4"),  # slot + 1
        ("count", "i4"),
        ("_pad", "u1", (4,)),
    ]
)
"""What one account sent at one step: requests that reach the exchange together."""


class Desk(NamedTuple):
    """K grids and what they know.

    Attributes:
        venue: the exchange.
        prices: best prices as they are seen here (vectors of uint8).
        run: RUN[1]. grids: GRID[K].
        slots, ticks, sides, states: int32, int32, int8 and uint8[K, A], active orders of each account; ``n_active`` are valid.
        orders: ORDER[slots]. free: int32[slots], a stack.
        queue: BATCH[B]. heap: int32[B], places in ``queue``, the first ``n_waiting`` a heap by time of arrival.
        there: uint8[2, levels], scratch.
    """

    venue: Venue
    prices: Ladder
    run: Any
    grids: Any
    slots: Any
    ticks: Any
    sides: Any
    states: Any
    orders: Any
    free: Any
    queue: Any
    heap: Any
    there: Any


def new_desk(venue: Venue, settings: np.ndarray, tick_size: float, step_ns: int, start_ns: int) -> Desk:
    """Grids of SETTING[K] that have not quoted yet; their first step is one step after ``start_ns``."""
    count, levels = len(settings), max(int(settings["levels"].max(initial=1)), 1)
    run = np.zeros(1, RUN)
    run["tick_size"], run["step_ns"], run["next_ns"] = tick_size, step_ns, start_ns + step_ns
    run["last_bid"] = run["last_ask"] = -2
    run["n_free"] = len(venue.own)
    grids = np.zeros(count, GRID)
    for name in SETTING.names or ():
        grids[name] = settings[name]
    grids["bid_tick"], grids["stirred"] = -1, 1
    room = 4 * levels + 8
    return Desk(
        venue,
        empty_ladder(len(venue.bid_head), np.uint8),
        run,
        grids,
        np.zeros((count, room), np.int32),
        np.zeros((count, room), np.int32),
        np.zeros((count, room), np.int8),
        np.zeros((count, room), np.uint8),
        np.zeros(len(venue.own), ORDER),
        np.arange(len(venue.own), dtype=np.int32)[::-1].copy(),
        np.zeros(count + 64, BATCH),
        np.arange(count + 64, dtype=np.int32),
        np.zeros((2, levels), np.uint8),
    )


def grow_desk(desk: Desk, capacity_ticks: int) -> Desk:
    """The same grids on a book with room for more ticks."""
    return desk._replace(
        venue=grow_venue(desk.venue, capacity_ticks), prices=grow_ladder(desk.prices, capacity_ticks)
    )


def make_room(desk: Desk) -> Desk:
    """The same grids with room for more orders and requests, where there is little."""
    most = 2 * desk.there.shape[1]
    if int(desk.grids["n_active"].max()) + most > desk.slots.shape[1]:
        desk = desk._replace(
            slots=_padded(desk.slots),
            ticks=_padded(desk.ticks),
            sides=_padded(desk.sides),
            states=_padded(desk.states),
        )
    free = int(desk.run[0]["n_free"])
    if free < most:
        before = len(desk.venue.own)
        after = 2 * before + most
        fresh = np.arange(before, after, dtype=np.int32)[::-1]
        stack = np.concatenate([fresh, desk.free[:free], np.zeros(before - free, np.int32)])
        orders = np.concatenate([desk.orders, np.zeros(after - before, ORDER)])
        desk.run["n_free"] = free + len(fresh)
        desk = desk._replace(venue=grow_slots(desk.venue, after), orders=orders, free=stack)
    if int(desk.run[0]["n_waiting"]) >= len(desk.queue):
        n = len(desk.queue)
        desk = desk._replace(
            queue=np.concatenate([desk.queue, np.zeros(n, BATCH)]),
            heap=np.concatenate([desk.heap, np.arange(n, 2 * n, dtype=np.int32)]),
        )
    wanted = int(desk.venue.control[0]["n_reports"] + desk.grids["n_active"].max()) + most
    if wanted > len(desk.venue.reports):
        desk = more_reports(desk)
    return desk


def more_reports(desk: Desk) -> Desk:
    """The same grids with room for twice as many reports."""
    return desk._replace(venue=grow_reports(desk.venue, 2 * len(desk.venue.reports)))


def _padded(lists: np.ndarray) -> np.ndarray:
    return np.concatenate([lists, np.zeros_like(lists)], axis=1)
