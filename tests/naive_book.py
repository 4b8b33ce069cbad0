"""Brute-force order book: dictionaries, best prices found by scanning. Reference for mmlib.core.book."""

from __future__ import annotations

NONE_BID, NONE_ASK = -1, 2**31 - 1


class NaiveBook:
    """``seen_*`` holds the levels written since a deletion last emptied that side: no scan goes beyond them."""

    def __init__(self) -> None:
        self.bids: dict[int, float] = {}
        self.asks: dict[int, float] = {}
        self.seen_bids: set[int] = set()
        self.seen_asks: set[int] = set()
        self.best_bid, self.best_ask = NONE_BID, NONE_ASK

    def below(self, tick: int) -> int:
        floor = min(self.seen_bids, default=NONE_ASK)
        return max((t for t in self.bids if floor <= t < tick), default=NONE_BID)

    def above(self, tick: int) -> int:
        ceiling = max(self.seen_asks, default=NONE_BID)
        return min((t for t in self.asks if tick < t <= ceiling), default=NONE_ASK)

    def delete_best_bid(self, tick: int) -> None:
        self.best_bid = self.below(tick)
        if self.best_bid == NONE_BID:
            self.seen_bids.clear()

    def delete_best_ask(self, tick: int) -> None:
        self.best_ask = self.above(tick)
        if self.best_ask == NONE_ASK:
            self.seen_asks.clear()

    def set_bid(self, tick: int, qty: float) -> float:
        before = self.bids.pop(tick, 0.0)
        if qty > 0:
            self.bids[tick] = qty
            self.seen_bids.add(tick)
            if tick > self.best_bid:
                self.best_bid = tick
                if tick >= self.best_ask:
                    self.best_ask = self.above(tick)
        elif tick == self.best_bid:
            self.delete_best_bid(tick)
        return before

    def set_ask(self, tick: int, qty: float) -> float:
        before = self.asks.pop(tick, 0.0)
        if qty > 0:
            self.asks[tick] = qty
            self.seen_asks.add(tick)
            if tick < self.best_ask:
                self.best_ask = tick
                if tick <= self.best_bid:
                    self.best_bid = self.below(tick)
        elif tick == self.best_ask:
            self.delete_best_ask(tick)
        return before

    def clear_bids(self, tick: int) -> None:
        if self.best_bid != NONE_BID and tick <= self.best_bid:
            self.bids = {t: q for t, q in self.bids.items() if not tick <= t <= self.best_bid}
            self.delete_best_bid(tick)

    def clear_asks(self, tick: int) -> None:
        if self.best_ask != NONE_ASK and tick >= self.best_ask:
            self.asks = {t: q for t, q in self.asks.items() if not self.best_ask <= t <= tick}
            self.delete_best_ask(tick)

    def clear_all(self) -> None:
        self.__init__()
