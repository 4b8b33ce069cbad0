"""The grid strategy on the naive exchange: at each turn the earliest of four sources, nothing run ahead."""

from __future__ import annotations

import math

from tests.naive_book import NONE_ASK, NONE_BID, NaiveBook
from tests.naive_venue import NaiveVenue, Own, Row

NEVER = 2**62


class NaiveGrid:
    """Runs over rows with flags; ``seen`` holds (exch_ns, step_ns, side, tick, qty) of each fill."""

    def __init__(
        self, venue: NaiveVenue, rows: list[Row], entry: int, step: int, shape: dict, qty: float, most: float
    ):
        self.venue, self.entry, self.step, self.shape, self.qty, self.most = (
            venue,
            entry,
            step,
            shape,
            qty,
            most,
        )
        self.exchange_rows = [r for r in rows if r.at_exchange]
        self.local_rows = [r for r in rows if r.at_local]
        self.requests: list[tuple] = []  # (arrives, what, order, sent)
        self.book = NaiveBook()
        self.orders: dict[int, Own] = {}  # by price tick: what we think there is
        self.status: dict[int, str] = {}
        self.left: dict[int, float] = {}  # base units open, as we know it
        self.position = 0.0
        self.seen: list[tuple] = []

    def next_times(self) -> list[int]:
        """Local data, local reports, exchange data, exchange requests: ties go to the first."""
        return [
            self.local_rows[0].local_ns if self.local_rows else NEVER,
            self.venue.waiting[0].at_ns if self.venue.waiting else NEVER,
            self.exchange_rows[0].exch_ns if self.exchange_rows else NEVER,
            self.requests[0][0] if self.requests else NEVER,
        ]

    def local_row(self, row: Row) -> None:
        book, side = self.book, row.side
        if row.kind == "clear":
            (book.clear_bids if side > 0 else book.clear_asks)(row.tick) if side else book.clear_all()
        elif row.kind == "depth":
            (book.set_bid if side > 0 else book.set_ask)(row.tick, row.qty)

    def hear(self) -> None:
        told = self.venue.waiting.pop(0)
        known = self.orders.get(told.id)
        if told.what == "rejected":
            if known is not None and known.sent_ns == told.sent_ns and self.status[told.id] == "asked":
                self.status[told.id] = "live"
        elif told.what == "ack":
            self.status[told.id] = "live"
        elif told.what == "fill":
            self.position += known.side * told.qty
            self.filled.append((told.exch_ns, known.side, told.tick, told.qty))
            self.left[told.id] -= told.qty
            if self.left[told.id] < 0.5 * self.venue.lot:
                self.status[told.id] = "fill"
        else:
            self.status[told.id] = told.what

    def send(self, now: int, what: str, order: Own) -> None:
        order.sent_ns = now
        arrives = max([now + self.entry, *[r[0] for r in self.requests][-1:]])
        self.requests.append((arrives, what, order, now))
        self.status[order.id] = "asked"

    def decide(self, now: int) -> None:
        self.seen += [(exch, now, side, tick, qty) for exch, side, tick, qty in self.filled]
        for key in [k for k, s in self.status.items() if s in ("fill", "expired", "canceled")]:
            del self.orders[key], self.status[key]
        bb, ba = self.book.best_bid, self.book.best_ask
        if bb == NONE_BID or ba == NONE_ASK:
            return
        gap, half = self.shape["interval_ticks"], self.shape["half_spread_ticks"]
        fair = (bb + ba) / 2.0 - self.shape["skew"] * self.position
        bid = math.floor(min(fair - half, bb) / gap) * gap
        ask = math.ceil(max(fair + half, ba) / gap) * gap
        bids = [bid - k * gap for k in range(self.shape["levels"])] if self.position < self.most else []
        asks = [ask + k * gap for k in range(self.shape["levels"])] if self.position > -self.most else []
        for tick, order in list(self.orders.items()):
            if self.status[tick] == "live" and tick not in (bids if order.side > 0 else asks):
                self.send(now, "cancel", order)
        for side, ticks in ((1, bids), (-1, asks)):
            for tick in ticks:
                if tick > 0 and tick not in self.orders:
                    self.orders[tick] = Own(tick, side, tick, self.qty, "GTX")
                    self.left[tick] = self.qty
                    self.send(now, "new", self.orders[tick])

    def run(self) -> list[tuple]:
        """Step until every source is empty; the step under way then does not happen."""
        now = min(self.next_times())
        while True:
            now += self.step
            self.filled: list[tuple] = []
            while min(self.next_times()) <= now:
                times = self.next_times()
                source = times.index(min(times))
                if source == 0:
                    self.local_row(self.local_rows.pop(0))
                elif source == 1:
                    self.hear()
                elif source == 2:
                    self.venue.row(self.exchange_rows.pop(0))
                else:
                    at, what, order, sent = self.requests.pop(0)
                    order.sent_ns, kept = sent, order.sent_ns
                    (self.venue.new if what == "new" else self.venue.cancel)(at, order)
                    order.sent_ns = kept
            if min(self.next_times()) == NEVER:
                return self.seen
            self.decide(now)
