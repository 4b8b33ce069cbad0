"""A pure-Python exchange written from the rules: one sorted agenda, dictionaries, no cursors. Reference for mmlib.core."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tests.naive_book import NONE_ASK, NONE_BID, NaiveBook

LOCAL_DATA, LOCAL_ORDER, EXCH_DATA, EXCH_ORDER = range(4)


def prob_behind(model: str, n: float, front: float, back: float) -> float:
    try:
        if model == "log":
            p = math.log(1 + back) / (math.log(1 + back) + math.log(1 + front))
        elif model == "log2":
            p = math.log(1 + back) / math.log(1 + back + front)
        elif model == "power":
            p = back**n / (back**n + front**n)
        elif model == "power2":
            p = back**n / (back + front) ** n
        else:
            p = 1 - (front / (front + back)) ** n
    except (ZeroDivisionError, ValueError):
        return math.nan
    return p


@dataclass
class Order:
    id: int
    side: int
    tick: int
    qty: float
    ioc: bool  # immediate or cancel: filled on arrival at its limit or better, or never
    front: float = 0.0
    cum: float = 0.0


class NaiveExchange:
    """Rows are (exch_ns, local_ns, kind, side, tick, qty); commands are (local_ns, 'new'|'cancel', Order or id)."""

    def __init__(self, model: str, n: float, lot: float, entry: int, response: int) -> None:
        self.model, self.n, self.lot, self.entry, self.response = model, n, lot, entry, response
        self.book = NaiveBook()
        self.resting: dict[int, Order] = {}
        self.fills: list[tuple[int, int, int]] = []  # exch_ns, order id, tick

    def on_depth(self, o: Order, before: float, now: float) -> None:
        if self.model == "risk":
            o.front = min(o.front, now)
            return
        change = before - now - o.cum
        o.cum = 0.0
        if change < 0:
            o.front = min(o.front, now)
            return
        back = before - o.front
        p = prob_behind(self.model, self.n, o.front, back)
        new = o.front - (1 - p) * change + min(back - p * change, 0.0)
        o.front = now if math.isnan(new) else min(new, now)

    def fill(self, ns: int, o: Order, tick: int) -> None:
        self.resting.pop(o.id, None)
        self.fills.append((ns, o.id, tick))

    def row(self, ns: int, kind: str, side: int, tick: int, qty: float) -> None:
        book = self.book
        if kind == "clear":
            (book.clear_bids if side > 0 else book.clear_asks)(tick) if side else book.clear_all()
        elif kind == "trade":
            for o in list(self.resting.values()):
                if o.side != -side:
                    continue
                if side * (tick - o.tick) > 0:
                    self.fill(ns, o, o.tick)
                elif tick == o.tick:
                    o.front -= qty
                    if self.model != "risk":
                        o.cum += qty
                    if -o.front / self.lot >= 0.5:
                        self.fill(ns, o, o.tick)
        else:
            best = book.best_bid if side > 0 else book.best_ask
            before = book.set_bid(tick, qty) if side > 0 else book.set_ask(tick, qty)
            for o in self.resting.values():
                if o.side == side and o.tick == tick:
                    self.on_depth(o, before, qty)
            now = book.best_bid if side > 0 else book.best_ask
            if side * (now - best) > 0 and now not in (NONE_BID, NONE_ASK):
                for o in list(self.resting.values()):
                    if o.side == -side and side * (now - o.tick) >= 0:
                        self.fill(ns, o, o.tick)

    def arrive(self, ns: int, what: str, arg: object) -> None:
        book = self.book
        if what == "cancel":
            self.resting.pop(arg, None)
            return
        o: Order = arg
        opposite = book.best_ask if o.side > 0 else book.best_bid
        known = opposite not in (NONE_BID, NONE_ASK)
        if o.ioc:
            if known and o.side * (o.tick - opposite) >= 0:
                self.fills.append((ns, o.id, opposite))
            return
        if known and o.side * (o.tick - opposite) >= 0:
            return
        o.front = (book.bids if o.side > 0 else book.asks).get(o.tick, 0.0)
        self.resting[o.id] = o

    def run(self, rows: list, commands: list) -> list[tuple[int, int, int]]:
        """All rows and commands in time order; exchange data before requests at equal times."""
        agenda = [(r[0], EXCH_DATA, i, ("row", r)) for i, r in enumerate(rows)]
        agenda += [(c[0] + self.entry, EXCH_ORDER, i, ("cmd", c)) for i, c in enumerate(commands)]
        for ns, _, _, (kind, item) in sorted(agenda, key=lambda a: a[:3]):
            if kind == "row":
                self.row(ns, *item[2:])
            else:
                self.arrive(ns, item[1], item[2])
        return self.fills
