"""A symbol's market as clients see it: the book with its update ids, trades, candles, statistics of the day."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from mmlib.dtypes import EVENT_KIND_MASK, FLAG_BUY, FLAG_SELL, KIND_CLEAR, KIND_TRADE
from mmlib.paper.rules import Rules

_KEPT_TRADES = 1000
_KEPT_CANDLES = 1500
INTERVALS_S = {
    "1m": 60,
    "3m": 180,
    "5m": 300,
    "15m": 900,
    "30m": 1800,
    "1h": 3600,
    "2h": 7200,
    "4h": 14_400,
    "6h": 21_600,
    "8h": 28_800,
    "12h": 43_200,
    "1d": 86_400,
}
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class MarketTrade:
    """One trade of the market: price and quantity in steps, whether the aggressor sold."""

    trade_id: int
    ticks: int
    lots: int
    sold: bool
    time_ms: int


@dataclass
class Candle:
    """One interval of trading; prices in ticks, quantities in lots, turnover in ticks times lots."""

    open_ms: int
    open: int
    high: int
    low: int
    close: int
    lots: int = 0
    turnover: int = 0
    count: int = 0
    bought_lots: int = 0
    bought_turnover: int = 0
    first_id: int = -1
    last_id: int = -1

    def add(self, trade: MarketTrade) -> None:
        """Take a trade in."""
        self.high, self.low, self.close = max(self.high, trade.ticks), min(self.low, trade.ticks), trade.ticks
        self.lots += trade.lots
        self.turnover += trade.ticks * trade.lots
        self.count += 1
        self.first_id = trade.trade_id if self.first_id < 0 else self.first_id
        self.last_id = trade.trade_id
        if not trade.sold:
            self.bought_lots += trade.lots
            self.bought_turnover += trade.ticks * trade.lots


@dataclass
class Change:
    """What one moment did.

    Attributes:
        bids, asks: levels that changed, ticks to lots (0: gone). first, last: ids of the updates; before: of the last one.
        trades: in order. touched: whether a best price or its quantity changed.
    """

    time_ms: int
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    before: int = 0
    first: int = 0
    last: int = 0
    trades: list[MarketTrade] = field(default_factory=list)
    touched: bool = False


class Tape:
    """The market of one symbol.

    Attributes:
        bids, asks: ticks to lots. last_id: of the last book update.
        best_bid, best_ask: ticks; None where the side is empty.
        trades: the latest. candles: by interval, oldest first.
    """

    def __init__(self, rules: Rules, lot_size: float, *, first_id: int = 1000) -> None:
        self.rules = rules
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.last_id = first_id
        self.best_bid: int | None = None
        self.best_ask: int | None = None
        self.trades: deque[MarketTrade] = deque(maxlen=_KEPT_TRADES)
        self.candles: dict[str, deque[Candle]] = {name: deque(maxlen=_KEPT_CANDLES) for name in INTERVALS_S}
        self._lot_size = lot_size
        self._next_trade = 1

    @property
    def last_ticks(self) -> int | None:
        """Of the last trade, or the middle of the book before there was one."""
        if self.trades:
            return self.trades[-1].ticks
        mid = self.mid_ticks
        return None if mid is None else int(mid)

    @property
    def mid_ticks(self) -> float | None:
        """Middle of the best prices."""
        if self.best_bid is None or self.best_ask is None:
            return None
        return 0.5 * (self.best_bid + self.best_ask)

    @property
    def mid(self) -> float:
        """Mid price [quote currency]; NaN where a side is empty."""
        ticks = self.mid_ticks
        return float("nan") if ticks is None else ticks * float(self.rules.price.size)

    def apply(self, rows: np.ndarray, time_ms: int) -> Change:
        """Take in the rows of one moment (``EVENT[n]``)."""
        change = Change(time_ms, before=self.last_id)
        touch = self._touch()
        for flags, ticks, qty in zip(
            rows["flags"].tolist(), rows["price_ticks"].tolist(), rows["qty"].tolist(), strict=True
        ):
            kind = flags & EVENT_KIND_MASK
            if kind == KIND_TRADE:
                self._trade(change, ticks, round(qty / self._lot_size), not flags & FLAG_BUY)
            elif kind == KIND_CLEAR:
                self._clear(change, flags, ticks)
            else:
                self._level(change, bool(flags & FLAG_BUY), ticks, round(qty / self._lot_size))
        if change.bids or change.asks:
            change.first = self.last_id + 1
            self.last_id += len(change.bids) + len(change.asks)
            change.last = self.last_id
        change.touched = self._touch() != touch
        return change

    def levels(self, limit: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The best levels of both sides, ticks and lots; prices that cross the other side's best are hidden."""
        bids = heapq.nlargest(limit, self.bids.items())
        asks = heapq.nsmallest(limit, self.asks.items())
        return bids, asks

    def day(self, now_ms: int) -> Candle | None:
        """The trading of the last 24 hours."""
        past = [one for one in self.candles["1m"] if one.open_ms > now_ms - _DAY_MS]
        if not past:
            return None
        whole = Candle(past[0].open_ms, past[0].open, past[0].high, past[0].low, past[-1].close)
        whole.high, whole.low = max(one.high for one in past), min(one.low for one in past)
        for name in ("lots", "turnover", "count", "bought_lots", "bought_turnover"):
            setattr(whole, name, sum(getattr(one, name) for one in past))
        whole.first_id, whole.last_id = past[0].first_id, past[-1].last_id
        return whole

    def aggregates(self, limit: int) -> Iterator[tuple[MarketTrade, int, int]]:
        """The latest trades of one moment, price and side together: trade, first and last id."""
        held: MarketTrade | None = None
        first = 0
        joined: list[tuple[MarketTrade, int, int]] = []
        for one in self.trades:
            same = held is not None and (one.ticks, one.sold, one.time_ms) == (
                held.ticks,
                held.sold,
                held.time_ms,
            )
            if same and held is not None:
                held = MarketTrade(one.trade_id, one.ticks, held.lots + one.lots, one.sold, one.time_ms)
                joined[-1] = held, first, one.trade_id
            else:
                held, first = one, one.trade_id
                joined.append((one, first, first))
        return iter(joined[-limit:])

    def _touch(self) -> tuple[int | None, int | None, int, int]:
        bid, ask = self.best_bid, self.best_ask
        return bid, ask, self.bids.get(bid or -1, 0), self.asks.get(ask or -1, 0)

    def _trade(self, change: Change, ticks: int, lots: int, sold: bool) -> None:
        trade = MarketTrade(self._next_trade, ticks, lots, sold, change.time_ms)
        self._next_trade += 1
        self.trades.append(trade)
        change.trades.append(trade)
        for name, seconds in INTERVALS_S.items():
            start = change.time_ms - change.time_ms % (1000 * seconds)
            held = self.candles[name]
            if not held or held[-1].open_ms != start:
                held.append(Candle(start, ticks, ticks, ticks, ticks))
            held[-1].add(trade)

    def _clear(self, change: Change, flags: int, ticks: int) -> None:
        if flags & FLAG_BUY or not flags & FLAG_SELL:
            for gone in [one for one in self.bids if not flags & FLAG_BUY or one >= ticks]:
                self._level(change, True, gone, 0)
        if flags & FLAG_SELL or not flags & FLAG_BUY:
            for gone in [one for one in self.asks if not flags & FLAG_SELL or one <= ticks]:
                self._level(change, False, gone, 0)

    def _level(self, change: Change, bid: bool, ticks: int, lots: int) -> None:
        side, changed = (self.bids, change.bids) if bid else (self.asks, change.asks)
        changed[ticks] = lots
        if lots > 0:
            side[ticks] = lots
        else:
            side.pop(ticks, None)
        best = self.best_bid if bid else self.best_ask
        better = best is None or (ticks > best if bid else ticks < best)
        if lots > 0 and better:
            best = ticks
            self._uncross(change, bid, ticks)
        elif lots <= 0 and ticks == best:
            best = (max(side) if bid else min(side)) if side else None
        if bid:
            self.best_bid = best
        else:
            self.best_ask = best

    def _uncross(self, change: Change, bid: bool, ticks: int) -> None:
        """Levels of the other side that a new best price has reached are gone."""
        other, changed = (self.asks, change.asks) if bid else (self.bids, change.bids)
        best = self.best_ask if bid else self.best_bid
        if best is None or (best > ticks if bid else best < ticks):
            return
        for gone in [one for one in other if (one <= ticks if bid else one >= ticks)]:
            del other[gone]
            changed[gone] = 0
        left = (min(other) if bid else max(other)) if other else None
        if bid:
            self.best_ask = left
        else:
            self.best_bid = left
