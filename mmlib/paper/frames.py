"""The messages of market streams as the two venues write them; they differ in a few fields."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from mmlib.paper.rules import Rules
from mmlib.paper.steps import plain
from mmlib.paper.tape import INTERVALS_S, Candle, MarketTrade, Tape


class Frames:
    """Makes messages.

    Args:
        futures: USD-M; otherwise spot.
    """

    def __init__(self, *, futures: bool) -> None:
        self.futures = futures

    def diff(
        self,
        rules: Rules,
        bids: Mapping[int, int],
        asks: Mapping[int, int],
        ids: tuple[int, int, int],
        time_ms: int,
    ) -> dict[str, Any]:
        """Levels that changed; ``ids`` are the first and last update and the last one of the message before."""
        first, last, before = ids
        body: dict[str, Any] = {"e": "depthUpdate", "E": time_ms}
        if self.futures:
            body["T"] = time_ms
        body |= {"s": rules.symbol, "U": first, "u": last}
        if self.futures:
            body["pu"] = before
        return body | {"b": _texts(rules, bids.items()), "a": _texts(rules, asks.items())}

    def partial(self, tape: Tape, levels: int, time_ms: int, before: int) -> dict[str, Any]:
        """The best levels, whole."""
        bids, asks = (_texts(tape.rules, side) for side in tape.levels(levels))
        if not self.futures:
            return {"lastUpdateId": tape.last_id, "bids": bids, "asks": asks}
        return {
            "e": "depthUpdate",
            "E": time_ms,
            "T": time_ms,
            "s": tape.rules.symbol,
            "U": before + 1,
            "u": tape.last_id,
            "pu": before,
            "b": bids,
            "a": asks,
        }

    def trade(self, rules: Rules, one: MarketTrade) -> dict[str, Any]:
        """One trade."""
        body: dict[str, Any] = {
            "e": "trade",
            "E": one.time_ms,
            "T": one.time_ms,
            "s": rules.symbol,
            "t": one.trade_id,
            "p": rules.price.text(one.ticks),
            "q": rules.qty.text(one.lots),
        }
        if self.futures:
            body["X"] = "MARKET"
        body["m"] = one.sold
        return body if self.futures else body | {"M": True}

    def aggregate(self, rules: Rules, one: MarketTrade, first: int, last: int) -> dict[str, Any]:
        """Trades of one moment, price and side."""
        body = {
            "e": "aggTrade",
            "E": one.time_ms,
            "s": rules.symbol,
            "a": last,
            "p": rules.price.text(one.ticks),
            "q": rules.qty.text(one.lots),
            "f": first,
            "l": last,
            "T": one.time_ms,
            "m": one.sold,
        }
        return body if self.futures else body | {"M": True}

    def touch(self, tape: Tape, time_ms: int) -> dict[str, Any]:
        """Best prices."""
        rules, bid, ask = tape.rules, tape.best_bid, tape.best_ask
        body = {
            "u": tape.last_id,
            "s": rules.symbol,
            "b": rules.price.text(bid or 0),
            "B": rules.qty.text(0 if bid is None else tape.bids.get(bid, 0)),
            "a": rules.price.text(ask or 0),
            "A": rules.qty.text(0 if ask is None else tape.asks.get(ask, 0)),
        }
        return {"e": "bookTicker", **body, "T": time_ms, "E": time_ms} if self.futures else body

    def kline(self, rules: Rules, one: Candle, interval: str, now_ms: int) -> dict[str, Any]:
        """A candle as it stands."""
        worth = rules.price.size * rules.qty.size
        end = one.open_ms + 1000 * INTERVALS_S[interval] - 1
        return {
            "e": "kline",
            "E": now_ms,
            "s": rules.symbol,
            "k": {
                "t": one.open_ms,
                "T": end,
                "s": rules.symbol,
                "i": interval,
                "f": one.first_id,
                "L": one.last_id,
                "o": rules.price.text(one.open),
                "c": rules.price.text(one.close),
                "h": rules.price.text(one.high),
                "l": rules.price.text(one.low),
                "v": rules.qty.text(one.lots),
                "n": one.count,
                "x": now_ms > end,
                "q": plain(worth * one.turnover),
                "V": rules.qty.text(one.bought_lots),
                "Q": plain(worth * one.bought_turnover),
                "B": "0",
            },
        }

    def mini(self, tape: Tape, now_ms: int) -> dict[str, Any]:
        """The day in short."""
        rules, day = tape.rules, tape.day(now_ms) or Candle(now_ms, 0, 0, 0, 0)
        return {
            "e": "24hrMiniTicker",
            "E": now_ms,
            "s": rules.symbol,
            "c": rules.price.text(day.close),
            "o": rules.price.text(day.open),
            "h": rules.price.text(day.high),
            "l": rules.price.text(day.low),
            "v": rules.qty.text(day.lots),
            "q": plain(rules.price.size * rules.qty.size * day.turnover),
        }

    def ticker(self, tape: Tape, now_ms: int) -> dict[str, Any]:
        """The day at length."""
        rules, day = tape.rules, tape.day(now_ms) or Candle(now_ms, 0, 0, 0, 0)
        share = Decimal(100 * (day.close - day.open)) / day.open if day.open else Decimal(0)
        worth = rules.price.size * rules.qty.size * day.turnover
        traded = rules.qty.value(day.lots)
        body = self.mini(tape, now_ms) | {
            "e": "24hrTicker",
            "p": rules.price.text(day.close - day.open),
            "P": f"{share:.3f}",
            "w": f"{worth / traded if traded else 0:.{rules.price.digits}f}",
            "Q": rules.qty.text(tape.trades[-1].lots if tape.trades else 0),
            "O": day.open_ms,
            "C": now_ms,
            "F": day.first_id,
            "L": day.last_id,
            "n": day.count,
        }
        if self.futures:
            return body
        touch = self.touch(tape, now_ms)
        return body | {"x": body["o"], **{name: touch[name] for name in "bBaA"}}

    def mark(self, tape: Tape, mark: Decimal, rate: Decimal, next_ms: int, now_ms: int) -> dict[str, Any]:
        """Mark price and funding."""
        text = plain(mark)
        return {
            "e": "markPriceUpdate",
            "E": now_ms,
            "s": tape.rules.symbol,
            "p": text,
            "i": text,
            "P": text,
            "r": plain(rate),
            "T": next_ms,
        }


def _texts(rules: Rules, levels: Any) -> list[list[str]]:
    return [[rules.price.text(ticks), rules.qty.text(lots)] for ticks, lots in levels]
