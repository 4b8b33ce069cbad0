"""Whole books, handed over now and then, as the snapshot and the updates of a stream: what a raw recording holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

Levels = dict[float, float]
"""Price [quote currency] to quantity [base units], best first."""


class CrossedBook(ValueError):
    """The best bid is not below the best ask, or a level is no positive number."""


class BookFrames:
    """One symbol's frames: a snapshot for the first book, for every later one what changed since the one before.

    Update ids are our own count: ccxt tells no ids of the updates that it put together.

    Args:
        symbol: named in every frame.
        unit: base units of one unit of quantity.
    """

    def __init__(self, symbol: str, unit: float = 1.0) -> None:
        self._symbol = symbol
        self._unit = unit
        self._last = 0
        self._fresh = True
        self._bids: Levels = {}
        self._asks: Levels = {}
        self._nonce: Any = None  # of the last streamed book, and its time
        self._time_ms: Any = None
        self._fetched_nonce: Any = None  # of the last book that was asked for and taken, and its time
        self._fetched_ms: Any = None

    def restart(self) -> None:
        """The next book is a beginning."""
        self._fresh = True
        self._nonce = self._time_ms = self._fetched_nonce = self._fetched_ms = None

    def streamed(self, book: Mapping[str, Any], local_ns: int) -> bytes | None:
        """The frame of a book of the stream; None when it is the one before, or older than one that was fetched.

        Raises:
            CrossedBook: it cannot be.
        """
        bids, asks = self._sides(book)
        nonce, time_ms = book.get("nonce"), book.get("timestamp")
        if self._is_before_fetched(nonce, time_ms):
            return None
        self._nonce, self._time_ms = nonce, time_ms
        return self._frame(bids, asks, _exchange_ms(book, local_ns))

    def fetched(self, book: Mapping[str, Any], local_ns: int) -> bytes | None:
        """The frame of a book that was asked for; None when it is older than the stream, or the same.

        It may be shallower than the stream's: what lies beyond its last level is kept.

        Raises:
            CrossedBook: it cannot be.
        """
        bids, asks = self._sides(book)
        if _is_older(book.get("nonce"), self._nonce) or _is_older(book.get("timestamp"), self._time_ms):
            return None
        if self._is_before_fetched(book.get("nonce"), book.get("timestamp")):
            return None
        self._fetched_nonce, self._fetched_ms = book.get("nonce"), book.get("timestamp")
        if not self._fresh:
            lowest, highest = min(bids), max(asks)
            bids |= {price: qty for price, qty in self._bids.items() if price < lowest}
            asks |= {price: qty for price, qty in self._asks.items() if price > highest}
        return self._frame(bids, asks, _exchange_ms(book, local_ns))

    def _is_before_fetched(self, nonce: Any, time_ms: Any) -> bool:
        """Whether a book is older than the last one fetched, by its number; one that is later in time was counted anew."""
        return _is_older(nonce, self._fetched_nonce) and not _is_older(self._fetched_ms, time_ms)

    def trade(self, trade: Mapping[str, Any], local_ns: int) -> bytes | None:
        """The frame of a trade; None when its aggressor is not told, without which it is of no use to a queue."""
        side = trade.get("side")
        if side not in ("buy", "sell"):
            return None
        ms = _exchange_ms(trade, local_ns)
        price, qty = repr(float(trade["price"])), repr(float(trade["amount"]) * self._unit)
        data = {"e": "trade", "E": ms, "T": ms, "s": self._symbol, "p": price, "q": qty, "X": "MARKET"}
        return orjson.dumps({"data": data | {"m": side == "sell"}})

    def _sides(self, book: Mapping[str, Any]) -> tuple[Levels, Levels]:
        bids, asks = self._levels(book["bids"]), self._levels(book["asks"])
        if not bids or not asks:
            raise CrossedBook("a side of it is empty")
        if max(bids) >= min(asks):
            raise CrossedBook(f"it bids {max(bids):g} and asks {min(asks):g}")
        return bids, asks

    def _levels(self, pairs: Sequence[Sequence[Any]]) -> Levels:
        levels = {float(level[0]): float(level[1]) * self._unit for level in pairs if level[1]}
        if not all(0.0 < price < math.inf and 0.0 < qty < math.inf for price, qty in levels.items()):
            raise CrossedBook("a price or quantity of it is not a positive number")
        return levels

    def _frame(self, bids: Levels, asks: Levels, exch_ms: int) -> bytes | None:
        changed = _texts(_changes(self._bids, bids)), _texts(_changes(self._asks, asks))
        fresh, self._fresh = self._fresh, False
        self._bids, self._asks = bids, asks
        before = self._last
        if fresh:
            self._last += 1
            data: dict[str, Any] = {"s": self._symbol, "lastUpdateId": self._last, "T": exch_ms}
            return orjson.dumps({"data": data | {"bids": _texts(bids), "asks": _texts(asks)}})
        if not any(changed):
            return None
        self._last += 1
        data = {"e": "depthUpdate", "E": exch_ms, "T": exch_ms, "s": self._symbol}
        data |= {"U": self._last, "u": self._last, "pu": before, "b": changed[0], "a": changed[1]}
        return orjson.dumps({"data": data})


def _exchange_ms(told: Mapping[str, Any], local_ns: int) -> int:
    """When the exchange says that it was; where it does not, when it came."""
    ms = told.get("timestamp")
    return (
        int(ms)
        if isinstance(ms, int | float) and not isinstance(ms, bool) and ms > 0
        else local_ns // 1_000_000
    )


def _is_older(one: Any, other: Any) -> bool:
    return isinstance(one, int) and isinstance(other, int) and one < other


def _changes(before: Levels, now: Levels) -> Levels:
    """Levels that are new, differ, or are gone (0)."""
    gone = {price: 0.0 for price in before if price not in now}
    return gone | {price: qty for price, qty in now.items() if before.get(price) != qty}


def _texts(levels: Levels) -> list[tuple[str, str]]:
    return [(repr(price), repr(qty)) for price, qty in levels.items()]
