"""Brute-force references for the market package: dictionaries and one row at a time."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np

from mmlib.dtypes import (
    EVENT,
    EVENT_KIND_MASK,
    FLAG_BUY,
    FLAG_EXCH,
    FLAG_LOCAL,
    FLAG_SELL,
    KIND_CLEAR,
    KIND_DEPTH,
    KIND_SNAPSHOT,
    KIND_TRADE,
)


class Book:
    """A book as two dictionaries and two best prices, after the rules of the exchange model."""

    def __init__(self) -> None:
        self.levels: dict[int, dict[int, float]] = {FLAG_BUY: {}, FLAG_SELL: {}}
        self.best: dict[int, int | None] = {FLAG_BUY: None, FLAG_SELL: None}

    @staticmethod
    def _through(side: int, a: int, b: int) -> bool:
        """Is price ``a`` better than ``b`` for this side?"""
        return a > b if side == FLAG_BUY else a < b

    def _next(self, side: int, price: int) -> int | None:
        """Next stored price strictly behind ``price``."""
        behind = [p for p in self.levels[side] if self._through(side, price, p)]
        return (max(behind) if side == FLAG_BUY else min(behind)) if behind else None

    def apply(self, row: np.void) -> None:
        flags, price, qty = int(row["flags"]), int(row["price_ticks"]), float(row["qty"])
        kind = flags & EVENT_KIND_MASK
        if kind == KIND_TRADE:
            return
        side = flags & (FLAG_BUY | FLAG_SELL)
        if kind == KIND_CLEAR:
            self._clear(side, price)
        elif qty > 0.0:
            self._quote(side, price, qty)
        else:
            self.levels[side].pop(price, None)
            if self.best[side] == price:
                self.best[side] = self._next(side, price)

    def _clear(self, side: int, price: int) -> None:
        if not side:
            self.levels = {FLAG_BUY: {}, FLAG_SELL: {}}
            self.best = {FLAG_BUY: None, FLAG_SELL: None}
            return
        for p in list(self.levels[side]):
            if not self._through(side, price, p):
                del self.levels[side][p]
        best = self.best[side]
        if best is not None and best not in self.levels[side]:
            self.best[side] = self._next(side, best)

    def _quote(self, side: int, price: int, qty: float) -> None:
        self.levels[side][price] = qty
        best = self.best[side]
        if best is not None and not self._through(side, price, best):
            return
        self.best[side] = price
        other = FLAG_BUY + FLAG_SELL - side
        against = self.best[other]
        if against is not None and (price == against or self._through(side, price, against)):
            self.best[other] = self._next(other, price)

    def visible(self, side: int) -> list[tuple[int, float]]:
        """Levels from the best outwards."""
        best = self.best[side]
        if best is None:
            return []
        seen = [(p, q) for p, q in self.levels[side].items() if p == best or self._through(side, best, p)]
        return sorted(seen, reverse=side == FLAG_BUY)


def book_before(events: np.ndarray, ts_ns: int) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """Visible bids and asks left by the exchange rows that arrived before ``ts_ns``."""
    book = Book()
    for row in events:
        if row["local_ts_ns"] < ts_ns and row["flags"] & FLAG_EXCH:
            book.apply(row)
    return book.visible(FLAG_BUY), book.visible(FLAG_SELL)


def merge_order(rows: np.ndarray) -> np.ndarray:
    """Two heads, one over the rows by exchange time and one by local time; equal heads become one row."""
    by_exch = sorted(range(len(rows)), key=lambda i: rows["exch_ts_ns"][i])
    by_local = sorted(range(len(rows)), key=lambda i: rows["local_ts_ns"][i])
    out: list[tuple[int, int]] = []
    e = k = 0
    while e < len(rows) or k < len(rows):
        if k == len(rows):
            out.append((by_exch[e], FLAG_EXCH))
            e += 1
            continue
        a, b = by_exch[min(e, len(rows) - 1)], by_local[k]
        same = all(rows[a][name] == rows[b][name] for name in ("exch_ts_ns", "local_ts_ns"))
        if e < len(rows) and same:
            out.append((a, FLAG_EXCH | FLAG_LOCAL))
            e, k = e + 1, k + 1
        elif e < len(rows) and tuple(rows[a])[:2] < tuple(rows[b])[:2]:  # exchange time, then arrival
            out.append((a, FLAG_EXCH))
            e += 1
        else:
            out.append((b, FLAG_LOCAL))
            k += 1
    merged = np.zeros(len(out), EVENT)
    for n, (i, flags) in enumerate(out):
        merged[n] = rows[i]
        merged[n]["flags"] |= flags
    return merged


def correct_clock(exch: list[int], local: list[int], base: int) -> list[int]:
    """Local times after the correction."""
    smallest = min(b - a for a, b in zip(exch, local, strict=True))
    return [b - smallest + base if smallest < 0 else b for b in local]


def read_binance(
    path: Path, symbol: str, tick: float, lot: float, processor: int = FLAG_LOCAL
) -> list[tuple[int, int, int, int, float]]:
    """Rows (exch, local, flags without processors, ticks, qty) of a clean recording in file order, one line at a time.

    A snapshot is what its sequence number says: every update beyond it that ``processor`` has had (the local one all that
    stand above it, the exchange those no later than it) still holds.
    """
    rows: list[tuple[int, int, int, int, float]] = []
    updates: list[tuple[int, int, dict]] = []  # last sequence number, time, message
    with gzip.open(path, "rt") as handle:
        for line in handle:
            local, frame = int(line[:19]), json.loads(line[20:])
            data = frame.get("data", frame)
            if data.get("s", symbol) != symbol:
                continue

            def row(exch_ms: int, flags: int, price: str, qty: str, local: int = local) -> None:
                amount = float(qty)
                if amount / lot < 0.5 and flags & EVENT_KIND_MASK != KIND_TRADE:
                    amount = 0.0  # no whole lot is no level
                rows.append((exch_ms * 10**6, local, flags, math.floor(float(price) / tick + 0.5), amount))

            if data.get("e") == "depthUpdate":
                updates.append((data["u"], data.get("T", data["E"]), data))
                for side, levels in ((FLAG_BUY, data["b"]), (FLAG_SELL, data["a"])):
                    for price, qty in levels:
                        row(data.get("T", data["E"]), KIND_DEPTH | side, price, qty)
            elif data.get("e") == "trade" and data.get("X", "MARKET") == "MARKET":
                row(data["T"], KIND_TRADE | (FLAG_SELL if data["m"] else FLAG_BUY), data["p"], data["q"])
            elif "lastUpdateId" in data:
                for side, key, levels in ((FLAG_BUY, "b", data["bids"]), (FLAG_SELL, "a", data["asks"])):
                    row(data["T"], KIND_CLEAR | side, levels[-1][0], "0")
                    held = {float(price): float(qty) for price, qty in levels}
                    for last, ms, update in updates:
                        if last > data["lastUpdateId"] and (processor == FLAG_LOCAL or ms <= data["T"]):
                            held |= {float(price): float(qty) for price, qty in update[key]}
                    for price in sorted(held, reverse=side == FLAG_BUY):
                        if held[price]:
                            row(data["T"], KIND_SNAPSHOT | side, repr(price), repr(held[price]))
    return rows
