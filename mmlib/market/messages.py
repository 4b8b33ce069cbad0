"""Messages of one symbol in a raw Binance recording as columns: a kernel for the usual lines, orjson for the others.

What the kernel does not recognise to the last byte is parsed in full here, so that damage is judged by one set of rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson

from mmlib.core.columns import (
    DECODE,
    EARLIEST_NS,
    LARGEST,
    LATEST_NS,
    NAME_BYTES,
    Columns,
    new_columns,
    with_room,
)
from mmlib.core.decode import decode_block, follow, is_old, note_trade
from mmlib.core.words import SLACK
from mmlib.dtypes import (
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
from mmlib.market.lines import Lines, Quarantine, read_ahead

_UNITS_NS = (1_000_000, 1_000)  # of exchange times: milliseconds, microseconds
_COUNTERS = (
    *("lines", "events", "trades", "ignored", "other_symbols", "time_backwards"),
    *("sequence_gaps", "lost_updates", "first_gap_ns", "old_updates"),
)
_NO_NUMBER = -(2**62)
"""Stands for an update id that is no integer of ours: nothing follows on it."""


class BadLine(ValueError):
    """The line cannot be used; the message is the reason."""


class Messages:
    """Messages of one symbol: segments of rows of one kind, side and time.

    Args:
        several: the file is known to hold several symbols, so a snapshot without a name is of nobody.

    Attributes:
        found: the symbols met.
        quality: what was counted.
    """

    def __init__(self, symbol: str, *, several: bool = False) -> None:
        self.symbol = symbol
        self._several = several
        self._unnamed = False  # whether a snapshot without a name was taken
        self.found: set[str] = set()
        self.quality: dict[str, int] = {}
        self._counted = {
            "trades_off_book": 0,
            "doubled_trades": 0,
            "stale_snapshots": 0,
            "byte_order_mark": 0,
            "unnamed_snapshots": 0,
        }
        self._last_snapshot = -1  # sequence number of the latest snapshot in the book
        self._untimed: list[int] = []  # first segments of snapshots that say no time
        self._block_bytes = 0
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

    @property
    def ambiguous(self) -> bool:
        """Whether a snapshot without a name was taken from what turned out to be a file of several symbols."""
        return self._unnamed and bool(self.found - {self.symbol})

    def read(self, lines: Lines, quarantine: Quarantine) -> None:
        """Decode a file; lines that cannot be used go to ``quarantine``."""
        state = self._state
        for block in read_ahead(lines.blocks(slack=bytes(SLACK))):
            self._block_bytes = len(block)
            self._columns = with_room(self._columns, state, len(block))
            state["at"] = 0
            buffer = np.frombuffer(block, np.uint8)
            while not decode_block(buffer, state, self._columns):
                self._take_line(block, quarantine)
        self._time_snapshots()
        if state["trades_behind"]:
            self._drop_doubled_trades()
        if lines.torn:
            quarantine.add(int(state["lines"]) + 1, "cut off", lines.torn)
        if state["found"]:
            self.found.add(self.symbol)
        self._counted["byte_order_mark"] = int(lines.marked)
        self.quality = {name: int(state[name]) for name in _COUNTERS} | self._counted

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
        before, last = _number(data["pu"] if "pu" in data else data["U"] - 1), _number(data["u"])
        state = self._state
        mark, latest_ns = int(state["segments"]), int(state["last_exch_ns"])
        self._segment(exch_ns, local_ns, KIND_DEPTH | FLAG_BUY, data["b"])
        self._segment(exch_ns, local_ns, KIND_DEPTH | FLAG_SELL, data["a"])
        if is_old(state, last, exch_ns):
            self._drop(mark)
            state["last_exch_ns"] = latest_ns
            state["old_updates"] += 1
            return
        self.segments["last_update"][mark:] = last
        follow(state, before, last, exch_ns)

    def _trade(self, local_ns: int, data: dict[str, Any]) -> None:
        exch_ns = _exch_ns(data["T"])
        if data.get("X", "MARKET") != "MARKET":
            self._counted["trades_off_book"] += 1
            return
        side = FLAG_SELL if data["m"] is True else FLAG_BUY
        if float(data["q"]) <= 0.0:
            raise BadLine("a trade of nothing")
        self._segment(exch_ns, local_ns, KIND_TRADE | side, [(data["p"], data["q"])])
        note_trade(self._state, self.segments[-1], max(_number(data.get("t")), 0))
        self._state["trades"] += 1

    def _snapshot(self, local_ns: int, data: dict[str, Any]) -> None:
        """A REST answer names no symbol, so it is taken only from a file of one symbol; our own recordings add the name."""
        found = self.found | ({self.symbol} if self._state["found"] else set())
        if "s" not in data and (self._several or found - {self.symbol}):
            self._state["other_symbols"] += 1
            self._counted["unnamed_snapshots"] += 1
            return
        self._unnamed |= "s" not in data
        state = self._state
        last = _number(data["lastUpdateId"])
        if last < 0:
            raise BadLine("lastUpdateId is no sequence number")
        if "T" in data:
            exch_ns = _exch_ns(data["T"])
        else:
            exch_ns = int(state["last_exch_ns"]) or local_ns
            self._untimed.append(int(state["segments"]))
        if not state["has_update"] or last >= state["last_update"]:
            self._book(exch_ns, local_ns, data)
            state["last_update"], state["has_update"] = last, 2
            self._last_snapshot = last
            return
        self._counted["stale_snapshots"] += 1
        if last < self._last_snapshot:
            return  # a later one is in the book already
        self._last_snapshot = last
        newer = self._newer_than(last)
        levels = len(data["bids"]) + len(data["asks"]) + int(self.segments["count"][newer].sum())
        self._columns = with_room(self._columns, state, self._block_bytes + 16 * levels)
        at_exchange = [i for i in newer if self.segments["exch_ns"][i] <= exch_ns]
        if len(at_exchange) == len(newer):
            self._book(exch_ns, local_ns, data, newer)
        else:  # it was the book of its time, but is not what we knew when it arrived
            self._book(exch_ns, local_ns, data, at_exchange, FLAG_EXCH)
            self._book(exch_ns, local_ns, data, newer, FLAG_LOCAL)

    def _time_snapshots(self) -> None:
        """Let no snapshot without a time of its own happen after the update that follows it by number."""
        segments = self.segments
        updates = np.flatnonzero(segments["flags"] & EVENT_KIND_MASK == KIND_DEPTH)
        for first in self._untimed:
            after = np.searchsorted(updates, first)
            if after < len(updates) and segments["exch_ns"][updates[after]] < segments["exch_ns"][first]:
                mine = slice(first, updates[after])
                mine_are = segments["line"][mine] == segments["line"][first]
                segments["exch_ns"][mine][mine_are] = segments["exch_ns"][updates[after]]

    def _drop_doubled_trades(self) -> None:
        """Leave out trades that came before: of one id and one exchange time, as by a second connection; the first stays."""
        segments, counts = self.segments, self.segments["count"]
        named = (segments["flags"] & EVENT_KIND_MASK == KIND_TRADE) & (segments["last_update"] > 0)
        places = np.flatnonzero(named)
        rows = (np.cumsum(counts) - counts)[places]
        with np.errstate(invalid="ignore"):  # one that will be refused stands for no other
            fine = (self.price[rows] > 0.0) & (self.price[rows] < LARGEST) & (self.qty[rows] < LARGEST)
        places = places[fine]
        keys = np.stack([segments[name][places] for name in ("last_update", "exch_ns")], axis=1)
        _, first = np.unique(keys, axis=0, return_index=True)
        keep = np.ones(len(segments), np.bool_)
        keep[places] = False
        keep[places[first]] = True
        kept = np.repeat(keep, counts)
        self._columns = self._columns._replace(
            segments=segments[keep], price=self.price[kept], qty=self.qty[kept]
        )
        doubled = int((~keep).sum())
        self._state["segments"], self._state["rows"] = int(keep.sum()), int(kept.sum())
        self._state["trades"] -= doubled
        self._counted["doubled_trades"] = doubled

    def _newer_than(self, last: int) -> list[int]:
        """The latest depth segments beyond sequence number ``last``, in order."""
        segments, found = self.segments, []
        for i in range(len(segments) - 1, -1, -1):
            if segments["flags"][i] & EVENT_KIND_MASK == KIND_DEPTH:
                if segments["last_update"][i] <= last:
                    break
                found.append(i)
        return found[::-1]

    def _book(
        self, exch_ns: int, local_ns: int, data: dict[str, Any], newer: Sequence[int] = (), only: int = 0
    ) -> None:
        """A whole book, brought up to date by the depth segments ``newer``, as a clear and the levels of each side."""
        for side, pairs in ((FLAG_BUY, data["bids"]), (FLAG_SELL, data["asks"])):
            if pairs:
                self._segment(exch_ns, local_ns, KIND_CLEAR | side, [(pairs[-1][0], 0.0)], only)
            mine = [i for i in newer if self.segments["flags"][i] & side]
            levels = self._updated(pairs, mine, side) if mine else pairs
            self._segment(exch_ns, local_ns, KIND_SNAPSHOT | side, levels, only)

    def _updated(self, pairs: Any, newer: Sequence[int], side: int) -> list[tuple[float, float]]:
        """Levels of one side after the depth segments ``newer``, best first; those taken away are left out."""
        levels = {float(price): float(qty) for price, qty in pairs}
        ends = np.cumsum(self.segments["count"][newer[0] :])
        for i in newer:
            stop = int(self._state["rows"]) - int(ends[-1] - ends[i - newer[0]])
            rows = slice(stop - int(self.segments["count"][i]), stop)
            levels.update(zip(self.price[rows].tolist(), self.qty[rows].tolist(), strict=True))
        kept = [(price, qty) for price, qty in levels.items() if qty != 0.0]
        return sorted(kept, reverse=side == FLAG_BUY)

    def _drop(self, mark: int) -> None:
        """Take back the segments from ``mark`` on."""
        state = self._state
        state["rows"] -= int(self.segments["count"][mark:].sum())
        state["segments"] = mark

    def _segment(self, exch_ns: int, local_ns: int, flags: int, pairs: Any, only: int = 0) -> None:
        values = np.array([float(value) for value in chain.from_iterable(pairs)])
        if len(values) != 2 * len(pairs):
            raise BadLine("a level is not a price and a quantity")
        state, columns = self._state, self._columns
        rows = slice(int(state["rows"]), int(state["rows"]) + len(pairs))
        columns.price[rows], columns.qty[rows] = values[0::2], values[1::2]
        row = exch_ns, local_ns, state["lines"], len(pairs), flags, 1, only, 0, 0
        columns.segments[state["segments"]] = row
        state["segments"] += 1
        state["rows"] += len(pairs)
        if flags & EVENT_KIND_MASK in (KIND_DEPTH, KIND_TRADE):  # a snapshot may say no time
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


def _exch_ns(time: Any) -> int:
    """Milliseconds or microseconds as nanoseconds; from 2001 to 2096 the two share no number."""
    for unit_ns in _UNITS_NS:
        if isinstance(time, int) and EARLIEST_NS <= time * unit_ns <= LATEST_NS:
            return time * unit_ns
    raise BadLine("exchange time is neither milliseconds nor microseconds between 2001 and 2096")


def _number(value: Any) -> int:
    return value if isinstance(value, int) and abs(value) < 2**62 else _NO_NUMBER
