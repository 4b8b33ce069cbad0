"""One symbol as the loopback exchange serves it: the book, the update ids and the messages, in the exchange's own text."""

from __future__ import annotations

import math
from typing import Any

import orjson

from mmlib.market.live.venues import Venue
from mmlib.market.loopback.flows import Levels, Step
from mmlib.market.source import Instrument

_QUOTES = ("USDT", "USDC", "FDUSD", "USD", "EUR", "BTC", "ETH")
_MIN_NOTIONAL = "5"
_ID_STEP = 3  # futures ids run on for other symbols in between


class Served:
    """The state that a client's book must come to.

    Attributes:
        bids, asks: price [ticks] to quantity.
        last: id of the last update.
        sent: messages made, by stream.
    """

    def __init__(self, venue: Venue, instrument: Instrument) -> None:
        self.venue = venue
        self.instrument = instrument
        self.bids: dict[int, float] = {}
        self.asks: dict[int, float] = {}
        self.last = 1000
        self.sent = {"depth": 0, "trade": 0}
        self._sent_last = self.last
        self._trade_id = 0
        self._price_digits = _digits(instrument.tick_size)
        self._qty_digits = max(_digits(instrument.lot_size), 3)
        self._depth_stream = f"{instrument.symbol.lower()}@{venue.streams[0]}"
        self._trade_stream = f"{instrument.symbol.lower()}@trade"

    def play(self, step: Step, now_ms: int) -> list[tuple[str, bytes]]:
        """Apply a step: the messages that tell of it, each with the name of its kind."""
        messages = [("trade", self._trade(*trade, now_ms)) for trade in step.trades]
        bids, asks = list(step.bids), list(step.asks)
        if step.clear:
            bids = [(ticks, 0.0) for ticks in self.bids if ticks not in dict(bids)] + bids
            asks = [(ticks, 0.0) for ticks in self.asks if ticks not in dict(asks)] + asks
        if bids or asks:
            _apply(self.bids, bids)
            _apply(self.asks, asks)
            messages.append(("depth", self._depth(bids, asks, now_ms)))
        return messages

    def snapshot(self, limit: int, now_ms: int) -> bytes:
        """The answer to a depth request."""
        bids = sorted(self.bids.items(), reverse=True)[:limit]
        asks = sorted(self.asks.items())[:limit]
        body: dict[str, Any] = {"lastUpdateId": self.last}
        if self.venue.futures:
            body |= {"E": now_ms, "T": now_ms}
        return orjson.dumps(body | {"bids": self._texts(bids), "asks": self._texts(asks)})

    def rules(self) -> dict[str, Any]:
        """The symbol's entry of exchangeInfo."""
        tick, lot = f"{self.instrument.tick_size:.10g}", f"{self.instrument.lot_size:.10g}"
        base, quote = _assets(self.instrument.symbol)
        contract = {"contractType": "PERPETUAL", "marginAsset": quote} if self.venue.futures else {}
        return {
            "symbol": self.instrument.symbol,
            "status": "TRADING",
            "baseAsset": base,
            "quoteAsset": quote,
            **contract,
            "filters": [
                {"filterType": "PRICE_FILTER", "tickSize": tick},
                {"filterType": "LOT_SIZE", "stepSize": lot},
                {"filterType": "MIN_NOTIONAL", "notional": _MIN_NOTIONAL}
                if self.venue.futures
                else {"filterType": "NOTIONAL", "minNotional": _MIN_NOTIONAL},
            ],
        }

    def _depth(self, bids: Levels, asks: Levels, now_ms: int) -> bytes:
        before = self.last
        first = before + (_ID_STEP if self.venue.futures else 1)
        self.last = first + len(bids) + len(asks) - 1
        self.sent["depth"] += 1
        data: dict[str, Any] = {"e": "depthUpdate", "E": now_ms}
        if self.venue.futures:
            data["T"] = now_ms
        data |= {"s": self.instrument.symbol, "U": first, "u": self.last}
        if self.venue.futures:
            data["pu"] = before
        data |= {"b": self._texts(bids), "a": self._texts(asks)}
        return orjson.dumps({"stream": self._depth_stream, "data": data})

    def _trade(self, ticks: int, qty: float, sold: bool, now_ms: int) -> bytes:
        self._trade_id += 1
        self.sent["trade"] += 1
        data: dict[str, Any] = {
            "e": "trade",
            "E": now_ms,
            "T": now_ms,
            "s": self.instrument.symbol,
            "t": self._trade_id,
        }
        (text,) = self._texts([(ticks, qty)])
        data |= {"p": text[0], "q": text[1]}
        if self.venue.futures:
            data["X"] = "MARKET"
        return orjson.dumps({"stream": self._trade_stream, "data": data | {"m": sold}})

    def _texts(self, levels: Levels) -> list[tuple[str, str]]:
        tick = self.instrument.tick_size
        return [
            (f"{ticks * tick:.{self._price_digits}f}", f"{qty:.{self._qty_digits}f}") for ticks, qty in levels
        ]


def _apply(side: dict[int, float], levels: Levels) -> None:
    for ticks, qty in levels:
        if qty > 0.0:
            side[ticks] = qty
        else:
            side.pop(ticks, None)


def _assets(symbol: str) -> tuple[str, str]:
    """What is traded for what; a name that ends in no usual quote currency is split before its last three letters."""
    quote = next((quote for quote in _QUOTES if symbol.endswith(quote) and symbol != quote), symbol[-3:])
    return symbol.removesuffix(quote), quote


def _digits(step: float) -> int:
    return max(0, math.ceil(-math.log10(step) - 1e-9)) + (0 if float(f"{step:.0e}") == step else 2)
