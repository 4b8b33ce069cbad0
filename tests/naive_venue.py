"""A pure-Python exchange for own orders of every kind. Reference for the replay loops of mmlib.core.

Written from the rules: dictionaries and lists, no cursors, no chains.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tests.naive_book import NONE_ASK, NONE_BID, NaiveBook
from tests.naive_exchange import prob_behind

NEVER = 2**62


@dataclass
class Row:
    """One market row; ``kind`` is depth, trade or clear, ``side`` 0 clears both."""

    exch_ns: int
    local_ns: int
    kind: str
    side: int
    tick: int
    qty: float
    at_exchange: bool = True
    at_local: bool = True


@dataclass
class Own:
    """An order; ``tif`` is GTC, GTX, IOC, FOK or MARKET."""

    id: int
    side: int
    tick: int
    qty: float
    tif: str
    leaves: float = 0.0
    done: float = 0.0
    front: float = 0.0
    cum: float = 0.0
    sent_ns: int = 0


@dataclass
class Told:
    """A report: what is ack, expired, canceled, rejected or fill."""

    at_ns: int
    exch_ns: int
    what: str
    id: int
    tick: int = 0
    qty: float = 0.0
    maker: bool = True
    sent_ns: int = 0


class NaiveVenue:
    """The exchange."""

    def __init__(
        self, model: str, n: float, lot: float, response: Callable[[int], int], partial: bool
    ) -> None:
        self.model, self.n, self.lot, self.response, self.partial = model, n, lot, response, partial
        self.book = NaiveBook()
        self.resting: dict[int, Own] = {}
        self.waiting: list[Told] = []  # on their way to us
        self.told: list[Told] = []  # all there ever were

    def tell(self, ns: int, what: str, o: Own, tick: int = 0, qty: float = 0.0, maker: bool = True) -> None:
        at = ns + self.response(ns)
        still_queued = [t.at_ns for t in self.told[-1:] if t.at_ns > ns]
        told = Told(max([at, *still_queued]), ns, what, o.id, tick, qty, maker, o.sent_ns)
        self.told.append(told)
        self.waiting.append(told)

    def execute(self, ns: int, o: Own, tick: int, qty: float, maker: bool) -> None:
        o.leaves -= qty
        o.done += qty
        if o.leaves < 0.5 * self.lot:
            self.resting.pop(o.id, None)
        self.tell(ns, "fill", o, tick, qty, maker)

    def fill_reached(self, ns: int, side: int, reached: Callable[[int], bool]) -> None:
        for o in [o for o in self.resting.values() if o.side == side and reached(o.tick)]:
            self.execute(ns, o, o.tick, o.leaves, True)

    def on_depth(self, o: Own, before: float, now: float) -> None:
        if self.model == "risk":
            o.front = min(o.front, now)
            return
        change = before - now - o.cum
        o.cum = 0.0
        if change < 0:
            o.front = min(o.front, now)
            return
        p = prob_behind(self.model, self.n, o.front, before - o.front)
        new = o.front - (1 - p) * change + min(before - o.front - p * change, 0.0)
        o.front = now if math.isnan(new) else min(new, now)

    def trade(self, ns: int, side: int, tick: int, qty: float) -> None:
        self.fill_reached(ns, -side, lambda t: side * (tick - t) > 0)
        for o in [o for o in self.resting.values() if o.side == -side and o.tick == tick]:
            o.front -= qty
            o.cum += qty
            past = -o.front / self.lot
            if past < 0.5:
                continue
            o.front = 0.0
            got = o.leaves
            if self.partial:
                got = min(got, qty, math.floor(past + 0.5) * self.lot)
                qty -= got
                if got > o.leaves - 0.5 * self.lot:
                    got = o.leaves
            if got > 0:
                self.execute(ns, o, tick, got, True)

    def row(self, row: Row) -> None:
        book, ns, side = self.book, row.exch_ns, row.side
        if row.kind == "clear":
            (book.clear_bids if side > 0 else book.clear_asks)(row.tick) if side else book.clear_all()
        elif row.kind == "trade":
            self.trade(ns, side, row.tick, row.qty)
        else:
            best = book.best_bid if side > 0 else book.best_ask
            before = (book.set_bid if side > 0 else book.set_ask)(row.tick, row.qty)
            for o in self.resting.values():
                if o.side == side and o.tick == row.tick:
                    self.on_depth(o, before, row.qty)
            now = book.best_bid if side > 0 else book.best_ask
            if side * (now - best) > 0:
                self.fill_reached(ns, -side, lambda t: side * (now - t) >= 0)

    def levels(self, o: Own) -> list[tuple[int, float]]:
        """What the order may take, best first."""
        best = self.book.best_ask if o.side > 0 else self.book.best_bid
        side = self.book.asks if o.side > 0 else self.book.bids
        edge = self.book.seen_asks if o.side > 0 else self.book.seen_bids
        inside = [t for t in side if o.side * (t - best) >= 0 and any(o.side * (s - t) >= 0 for s in edge)]
        reach = [t for t in inside if o.tif == "MARKET" or o.side * (o.tick - t) >= 0]
        return [(t, side[t]) for t in sorted(reach, key=lambda t: o.side * t)]

    def new(self, ns: int, o: Own) -> None:
        self.enter(ns, o, o.qty)

    def enter(self, ns: int, o: Own, leaves: float) -> None:
        best = self.book.best_ask if o.side > 0 else self.book.best_bid
        known = best not in (NONE_BID, NONE_ASK)
        crosses = known and (o.tif == "MARKET" or o.side * (o.tick - best) >= 0)
        o.leaves = leaves
        if crosses and o.tif != "GTX":
            if not self.partial:
                self.execute(ns, o, best, o.leaves, False)
                return
            levels = self.levels(o)
            if o.tif != "FOK" or sum(q for _, q in levels) >= o.leaves - 0.5 * self.lot:
                for tick, here in levels:
                    if o.leaves >= 0.5 * self.lot:
                        self.execute(ns, o, tick, min(here, o.leaves), False)
            if o.leaves < 0.5 * self.lot:
                return
        if o.tif == "GTC" or (o.tif == "GTX" and not crosses):
            o.front = (self.book.bids if o.side > 0 else self.book.asks).get(o.tick, 0.0)
            self.resting[o.id] = o
            self.tell(ns, "ack", o)
        else:
            self.tell(ns, "expired", o, qty=o.leaves)

    def cancel(self, ns: int, o: Own) -> None:
        found = self.resting.pop(o.id, None)
        self.tell(ns, "canceled" if found else "rejected", o, qty=found.leaves if found else 0.0)

    def replace(self, ns: int, o: Own, tick: int, qty: float) -> None:
        if o.id not in self.resting:
            self.tell(ns, "rejected", o)
        elif qty - o.done < 0.5 * self.lot:
            self.cancel(ns, o)
        elif tick == o.tick and qty - o.done <= o.leaves:
            o.leaves = qty - o.done
            self.tell(ns, "ack", o)
        else:
            del self.resting[o.id]
            o.tick = tick
            self.enter(ns, o, qty - o.done)


def naive_replay(
    venue: NaiveVenue, rows: list[Row], commands: list, entry: Callable[[int], int]
) -> list[Told]:
    """Commands are (local_ns, 'new'|'cancel'|('replace', tick, qty), Own); exchange data before requests at equal times.

    Returns every report.
    """
    last, agenda = 0, []
    for ns, what, o in sorted(commands, key=lambda c: c[0]):
        if entry(ns) >= 0:
            last = max(ns + entry(ns), last)
            agenda.append((last, what, o))
    market = [r for r in rows if r.at_exchange]
    while market or agenda:
        if market and (not agenda or market[0].exch_ns <= agenda[0][0]):
            venue.row(market.pop(0))
        else:
            ns, what, o = agenda.pop(0)
            if isinstance(what, tuple):
                venue.replace(ns, o, *what[1:])
            else:
                (venue.new if what == "new" else venue.cancel)(ns, o)
    return venue.told
