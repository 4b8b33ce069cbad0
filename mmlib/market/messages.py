"""Messages of one symbol in a raw Binance recording as columns: a kernel for the usual lines, orjson for the others.

What the kernel does not recognise to the last byte is parsed in full here, so that damage is judged by one set of rules.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import orjson

from mmlib.core.columns import (
    DECODE,
    EARLIEST_NS,
    LATEST_NS,
    NAME_BYTES,
    Columns,
    new_columns,
    with_room,
)
from mmlib.core.decode import decode_block
from mmlib.core.words import SLACK
from mmlib.dtypes import FLAG_BUY, FLAG_SELL, KIND_CLEAR, KIND_DEPTH, KIND_SNAPSHOT, KIND_TRADE
from mmlib.market.lines import Lines, Quarantine, read_ahead

_MS = 1_000_000
_NO_NUMBER = -(2**62)
"""Stands for an update id that is no integer of ours: nothing follows on it."""


class BadLine(ValueError):
    """The line cannot be used; the message is the reason."""


class Messages:
    """Messages of one symbol: segments of rows of one kind, side and time.

    Attributes:
        found: the symbols met.
        quality: what was counted.
    """

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.found: set[str] = set()
        self.quality: dict[str, int] = {}
        self._off_book = 0
        self._columns: Columns = new_columns(symbol)
        self._state = np.zeros(1, DECODE)[0]

    @property
    def segments(self) -> np.ndarray:
        """SEGMENT[m]."""
        return np.asarray(self._columns.segments[: self._state["segments"]])

    @property
    def price(self) -> np.ndarray:
        """float64[n], the rows of all segments; quote currency."""
        return np.asarray(self._columns.price[: self._state["rows"]])

    @property
    def qty(self) -> np.ndarray:
        """float64[n]."""
        return np.asarray(self._columns.qty[: self._state["rows"]])

    def read(self, lines: Lines, quarantine: Quarantine) -> None:
        """Decode a file; lines that cannot be used go to ``quarantine``."""
        state = self._state
        for block in read_ahead(lines.blocks(slack=bytes(SLACK))):
            self._columns = with_room(self._columns, state, len(block))
            state["at"] = 0
            buffer = np.frombuffer(block, np.uint8)
            while not decode_block(buffer, state, self._columns):
                self._take_line(block, quarantine)
        if lines.torn:
            quarantine.add(int(state["lines"]) + 1, "cut off", lines.torn)
        if state["found"]:
            self.found.add(self.symbol)
        names = ("lines", "events", "ignored", "other_symbols", "time_backwards", "sequence_gaps")
        self.quality = {name: int(state[name]) for name in names} | {"trades_off_book": self._off_book}

    def _take_line(self, block: bytes, quarantine: Quarantine) -> None:
        """Parse the line at which the kernel stopped."""
        state = self._state
        begin = int(state["at"])
        end = block.index(b"\n", begin)
        raw = block[begin:end]
        state["at"] = end + 1
        state["lines"] += 1
        if not raw.strip():
            return
        mark = int(state["segments"]), int(state["rows"])
        try:
            self._parse(raw)
        except BadLine as exc:
            state["segments"], state["rows"] = mark
            quarantine.add(int(state["lines"]), str(exc), raw)

    def _parse(self, raw: bytes) -> None:
        local_ns = _local_ns(raw)
        try:
            frame = orjson.loads(raw[20:])
        except orjson.JSONDecodeError as exc:
            raise BadLine(f"not JSON after the time ({exc.msg})") from exc
        data = frame.get("data", frame) if isinstance(frame, dict) else None
        if not isinstance(data, dict):
            raise BadLine("not a JSON object after the time")
        self._state["time_backwards"] += local_ns < self._state["last_local_ns"]
        self._state["last_local_ns"] = local_ns
        try:
            self._dispatch(local_ns, data)
        except (KeyError, TypeError, ValueError, OverflowError, IndexError) as exc:
            raise BadLine(_reason(exc)) from exc

    def _dispatch(self, local_ns: int, data: dict[str, Any]) -> None:
        kind = data.get("e")
        symbol = data.get("s")
        if isinstance(symbol, str):
            self.found.add(symbol)
            if symbol != self.symbol:
                self._remember(symbol)
                self._state["other_symbols"] += 1
                return
        if kind == "depthUpdate":
            self._depth(local_ns, data)
        elif kind == "trade":
            self._trade(local_ns, data)
        elif "lastUpdateId" in data and "bids" in data:
            self._snapshot(local_ns, data)
        else:
            self._state["ignored"] += 1
            return
        self._state["events"] += 1

    def _remember(self, symbol: str) -> None:
        """Let the kernel count the messages of another symbol by itself from now on."""
        name = symbol.encode()
        free = np.flatnonzero(self._columns.others[:, 0] == 0)
        if len(free) and 0 < len(name) <= NAME_BYTES and name.isascii():
            row = self._columns.others[free[0]]
            row[1 : 1 + len(name)] = np.frombuffer(name, np.uint8)
            row[0] = len(name)

    def _depth(self, local_ns: int, data: dict[str, Any]) -> None:
        exch_ns = _exch_ns(data["T"] if "T" in data else data["E"])
        before, last = data["pu"] if "pu" in data else data["U"] - 1, data["u"]
        self._segment(exch_ns, local_ns, KIND_DEPTH | FLAG_BUY, data["b"])
        self._segment(exch_ns, local_ns, KIND_DEPTH | FLAG_SELL, data["a"])
        state = self._state
        state["sequence_gaps"] += bool(state["has_update"]) and before != int(state["last_update"])
        state["last_update"] = last if isinstance(last, int) and abs(last) < 2**62 else _NO_NUMBER
        state["has_update"] = 1

    def _trade(self, local_ns: int, data: dict[str, Any]) -> None:
        exch_ns = _exch_ns(data["T"])
        if data.get("X", "MARKET") != "MARKET":
            self._off_book += 1
            return
        side = FLAG_SELL if data["m"] is True else FLAG_BUY
        if float(data["q"]) <= 0.0:
            raise BadLine("a trade of nothing")
        self._segment(exch_ns, local_ns, KIND_TRADE | side, [(data["p"], data["q"])])

    def _snapshot(self, local_ns: int, data: dict[str, Any]) -> None:
        """A REST answer names no symbol, so it is taken only from a file of one symbol; our own recordings add the name."""
        found = self.found | ({self.symbol} if self._state["found"] else set())
        if "s" not in data and found - {self.symbol}:
            self._state["other_symbols"] += 1
            return
        exch_ns = _exch_ns(data["T"]) if "T" in data else int(self._state["last_exch_ns"]) or local_ns
        sides = ((FLAG_BUY, data["bids"]), (FLAG_SELL, data["asks"]))
        for side, levels in sides:
            if levels:
                self._segment(exch_ns, local_ns, KIND_CLEAR | side, [(levels[-1][0], 0.0)])
            self._segment(exch_ns, local_ns, KIND_SNAPSHOT | side, levels)

    def _segment(self, exch_ns: int, local_ns: int, flags: int, pairs: Any) -> None:
        values = np.array([float(value) for value in chain.from_iterable(pairs)])
        if len(values) != 2 * len(pairs):
            raise BadLine("a level is not a price and a quantity")
        state, columns = self._state, self._columns
        rows = slice(int(state["rows"]), int(state["rows"]) + len(pairs))
        columns.price[rows], columns.qty[rows] = values[0::2], values[1::2]
        columns.segments[state["segments"]] = (exch_ns, local_ns, state["lines"], len(pairs), flags, 1, 0)
        state["segments"] += 1
        state["rows"] += len(pairs)
        state["last_exch_ns"] = max(state["last_exch_ns"], exch_ns)


def _reason(exc: Exception) -> str:
    if isinstance(exc, KeyError):
        return f"no field {exc.args[0]!r}"
    return str(exc)


def _local_ns(raw: bytes) -> int:
    head = raw[:20]
    if len(head) < 20 or not head[:19].isdigit() or head[19:] != b" ":
        raise BadLine("does not begin with 19 digits of nanoseconds and a space")
    local_ns = int(head)
    if not EARLIEST_NS <= local_ns <= LATEST_NS:
        raise BadLine("local time outside 2001 to 2096")
    return local_ns


def _exch_ns(ms: Any) -> int:
    if not isinstance(ms, int) or not EARLIEST_NS <= ms * _MS <= LATEST_NS:
        raise BadLine("exchange time is not milliseconds between 2001 and 2096")
    return ms * _MS
