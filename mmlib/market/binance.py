"""Reader of raw Binance WebSocket recordings: USD-M futures and spot, one symbol of a file.

A line is the local time in 19 digits of nanoseconds, a space, and the frame as it came. Depth updates,
trades and REST snapshots become events; everything else is counted as ignored.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from mmlib._io import UserError, sha256_file
from mmlib.dtypes import (
    EVENT,
    EVENT_KIND_MASK,
    FLAG_BUY,
    FLAG_SELL,
    KIND_CLEAR,
    KIND_DEPTH,
    KIND_SNAPSHOT,
    KIND_TRADE,
)
from mmlib.market.events import correct_clock, count_off_grid, infer_instrument, merge_order, round_half_away
from mmlib.market.latency import measured_ms
from mmlib.market.lines import Lines, Quarantine
from mmlib.market.recorded import ReaderOptions, Recording, count_gaps
from mmlib.market.source import Instrument

_MS = 1_000_000
_EARLIEST_NS, _LATEST_NS = 1_000_000_000_000_000_000, 4_000_000_000_000_000_000  # 2001 to 2096
_OFFSET_NS = 300_000_000_000  # a message this far off the recording's own clock offset is not believed
_MAX_TICKS = 2**31 - 1
_LARGEST = 4e10  # of prices and quantities: 1e-8 of it still counts in int64


class _BadLine(ValueError):
    """The line cannot be used; the message is the reason."""


class _Messages:
    """Messages of one symbol as flat columns: segments of rows of one kind, side and time."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.found: set[str] = set()
        self.quality = dict.fromkeys(
            (
                "lines",
                "events",
                "ignored",
                "other_symbols",
                "trades_off_book",
                "time_backwards",
                "sequence_gaps",
            ),
            0,
        )
        self.line, self.exch_ns, self.local_ns = array("q"), array("q"), array("q")
        self.flags, self.counts = array("B"), array("q")
        self.values = array("d")  # price, quantity, price, quantity, ...
        self._last_local_ns = 0
        self._last_exch_ns = 0
        self._last_update: int | None = None

    def take(self, number: int, raw: bytes) -> None:
        """Add one line of the file, counted from 1.

        Raises:
            _BadLine: it cannot be used; nothing of it was kept.
        """
        local_ns = _local_ns(raw)
        try:
            frame = orjson.loads(raw[20:])
        except orjson.JSONDecodeError as exc:
            raise _BadLine(f"not JSON after the time ({exc.msg})") from exc
        data = frame.get("data", frame) if isinstance(frame, dict) else None
        if not isinstance(data, dict):
            raise _BadLine("not a JSON object after the time")
        self.quality["time_backwards"] += local_ns < self._last_local_ns
        self._last_local_ns = local_ns
        mark = len(self.values), len(self.line)
        try:
            self._dispatch(number, local_ns, data)
        except (KeyError, TypeError, ValueError, OverflowError, IndexError) as exc:
            del self.values[mark[0] :]
            for column in (self.line, self.exch_ns, self.local_ns, self.flags, self.counts):
                del column[mark[1] :]
            raise _BadLine(_reason(exc)) from exc

    def _dispatch(self, number: int, local_ns: int, data: dict[str, Any]) -> None:
        kind = data.get("e")
        symbol = data.get("s")
        if isinstance(symbol, str):
            self.found.add(symbol)
            if symbol != self.symbol:
                self.quality["other_symbols"] += 1
                return
        if kind == "depthUpdate":
            self._depth(number, local_ns, data)
        elif kind == "trade":
            self._trade(number, local_ns, data)
        elif "lastUpdateId" in data and "bids" in data:
            self._snapshot(number, local_ns, data)
        else:
            self.quality["ignored"] += 1
            return
        self.quality["events"] += 1

    def _depth(self, number: int, local_ns: int, data: dict[str, Any]) -> None:
        exch_ns = _exch_ns(data["T"] if "T" in data else data["E"])
        before, last = data["pu"] if "pu" in data else data["U"] - 1, data["u"]
        self._segment(number, exch_ns, local_ns, KIND_DEPTH | FLAG_BUY, data["b"])
        self._segment(number, exch_ns, local_ns, KIND_DEPTH | FLAG_SELL, data["a"])
        self.quality["sequence_gaps"] += self._last_update is not None and before != self._last_update
        self._last_update = last

    def _trade(self, number: int, local_ns: int, data: dict[str, Any]) -> None:
        exch_ns = _exch_ns(data["T"])
        if data.get("X", "MARKET") != "MARKET":
            self.quality["trades_off_book"] += 1
            return
        side = FLAG_SELL if data["m"] is True else FLAG_BUY
        if float(data["q"]) <= 0.0:
            raise _BadLine("a trade of nothing")
        self._segment(number, exch_ns, local_ns, KIND_TRADE | side, [(data["p"], data["q"])])

    def _snapshot(self, number: int, local_ns: int, data: dict[str, Any]) -> None:
        """A REST answer names no symbol, so it is taken only from a file of one symbol."""
        if self.found - {self.symbol}:
            self.quality["other_symbols"] += 1
            return
        exch_ns = _exch_ns(data["T"]) if "T" in data else self._last_exch_ns or local_ns
        sides = ((FLAG_BUY, data["bids"]), (FLAG_SELL, data["asks"]))
        for side, levels in sides:
            if levels:
                self._segment(number, exch_ns, local_ns, KIND_CLEAR | side, [(levels[-1][0], 0.0)])
            self._segment(number, exch_ns, local_ns, KIND_SNAPSHOT | side, levels)

    def _segment(self, number: int, exch_ns: int, local_ns: int, flags: int, pairs: Any) -> None:
        before = len(self.values)
        self.values.extend(map(float, chain.from_iterable(pairs)))
        if len(self.values) - before != 2 * len(pairs):
            raise _BadLine("a level is not a price and a quantity")
        self._last_exch_ns = max(self._last_exch_ns, exch_ns)
        self.line.append(number)
        self.exch_ns.append(exch_ns)
        self.local_ns.append(local_ns)
        self.flags.append(flags)
        self.counts.append(len(pairs))


def _reason(exc: Exception) -> str:
    if isinstance(exc, KeyError):
        return f"no field {exc.args[0]!r}"
    return str(exc)


def _local_ns(raw: bytes) -> int:
    head = raw[:20]
    if len(head) < 20 or not head[:19].isdigit() or head[19:] != b" ":
        raise _BadLine("does not begin with 19 digits of nanoseconds and a space")
    local_ns = int(head)
    if not _EARLIEST_NS <= local_ns <= _LATEST_NS:
        raise _BadLine("local time outside 2001 to 2096")
    return local_ns


def _exch_ns(ms: Any) -> int:
    if not isinstance(ms, int) or not _EARLIEST_NS <= ms * _MS <= _LATEST_NS:
        raise _BadLine("exchange time is not milliseconds between 2001 and 2096")
    return ms * _MS


def read_binance(path: Path, options: ReaderOptions) -> Recording:
    """Read one symbol of a recording.

    Args:
        path: plain or gzipped; a file cut in the middle is read as far as it goes.
        options: the symbol and what else readers are told.

    Raises:
        UserError: no line of it can be used, or the symbol is not in it.
    """
    messages, quarantine = _Messages(options.symbol), Quarantine(path)
    lines = Lines(path)
    for number, raw in enumerate(lines, 1):
        messages.quality["lines"] += 1
        if not raw.strip():
            continue
        try:
            messages.take(number, raw)
        except _BadLine as exc:
            quarantine.add(number, str(exc), raw)
    if lines.torn:
        quarantine.add(messages.quality["lines"] + 1, "cut off", lines.torn)
    if not messages.counts:
        quarantine.save(options.quarantine_dir)
        raise UserError(_nothing(path, messages))
    checked = _check(messages)
    instrument = options.instrument or Instrument(
        options.symbol, *infer_instrument(checked.price[checked.good], checked.qty[checked.good])
    )
    rows = _rows(messages, checked, instrument)
    messages.quality["events"] -= len(checked.reasons)
    _quarantine_late(path, checked.reasons, quarantine)
    quarantine.save(options.quarantine_dir)
    if not len(rows):
        raise UserError(f"{path}: no usable depth update or trade of {options.symbol}; every one is damaged")
    shift_ns = correct_clock(rows, round(options.latency.base_ms * _MS))
    events = merge_order(rows)
    label = "drawn from the recording's own feed latencies, doubled"
    if shift_ns:
        base = f"{options.latency.base_ms:g} ms"
        label += f" (local clock moved by {shift_ns / 1e9:.3f} s, so the fastest message counts as {base})"
    cut = "; the file is cut off, what it holds was read" if lines.truncated else ""
    return Recording(
        events=events,
        instrument=instrument,
        description=f"Binance recording {path.name}, {messages.quality['events']} messages{cut}",
        sha256=sha256_file(path),
        refresh_ms=2.0 * measured_ms(_message_latency_ns(rows)),
        refresh_label=label,
        quality=messages.quality
        | {
            "rows": len(rows),
            "split_rows": len(events) - len(rows),
            "bad_lines": quarantine.count,
            "crossed": checked.crossed,
            "off_tick": count_off_grid(checked.price[checked.good], instrument.tick_size),
            "gaps_over_60s": count_gaps(rows["local_ts_ns"]),
            "truncated": int(lines.truncated),
        },
    )


def _nothing(path: Path, messages: _Messages) -> str:
    """Why there is nothing to read, in one line."""
    if messages.symbol in messages.found:
        return f"{path}: no depth update or trade of {messages.symbol}; expected a recording of both"
    if messages.found:
        return (
            f"{path}: symbol {messages.symbol} is not in it; found {', '.join(sorted(messages.found)[:10])}"
        )
    lines = messages.quality["lines"]
    return (
        f"{path}: none of its {lines} lines can be read; expected 19 digits of nanoseconds, a space and JSON"
    )


@dataclass(frozen=True)
class _Checked:
    """Rows with the verdict on each; a message with one bad row is left out whole."""

    segment: np.ndarray  # int64[n], which segment a row belongs to
    price: np.ndarray
    qty: np.ndarray
    good: np.ndarray  # bool[n]
    reasons: dict[int, str]  # line -> why it was left out
    crossed: int


def _check(messages: _Messages) -> _Checked:
    """Find messages whose numbers cannot be: not positive, out of range, crossed, or wildly off the clock."""
    line = np.array(messages.line)
    segment = np.repeat(np.arange(len(line)), np.array(messages.counts))
    price, qty = np.array(messages.values).reshape(-1, 2).T.copy()
    reasons: dict[int, str] = {}
    offset_ns = np.array(messages.local_ns) - np.array(messages.exch_ns)
    off = np.abs(offset_ns - np.median(offset_ns)) > _OFFSET_NS
    with np.errstate(invalid="ignore"):
        wrong = ~((price > 0.0) & (price < _LARGEST) & (qty >= 0.0) & (qty < _LARGEST))
    fine = ~wrong
    flags = np.array(messages.flags)[segment]
    crossed = _crossed(line[segment][fine], price[fine], qty[fine], flags[fine])
    for bad, why in (
        (line[segment[wrong]], "a price or quantity is not a positive number in range"),
        (crossed, "crossed: it bids at or above its own ask"),
        (line[off], "its clocks differ from the rest of the recording by over 300 s"),
    ):
        for number in np.unique(bad).tolist():
            reasons.setdefault(number, why)
    good = ~np.isin(line[segment], list(reasons))
    return _Checked(segment, price, qty, good, reasons, len(crossed))


def _crossed(line: np.ndarray, price: np.ndarray, qty: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """Lines of book messages whose highest bid is not below their lowest ask."""
    kind = flags & EVENT_KIND_MASK
    level = (qty > 0.0) & ((kind == KIND_DEPTH) | (kind == KIND_SNAPSHOT))
    numbers, place = np.unique(line, return_inverse=True)
    bid, ask = np.full(len(numbers), -np.inf), np.full(len(numbers), np.inf)
    bids, asks = level & (flags & FLAG_BUY != 0), level & (flags & FLAG_SELL != 0)
    np.maximum.at(bid, place[bids], price[bids])
    np.minimum.at(ask, place[asks], price[asks])
    return np.asarray(numbers[bid >= ask])


def _rows(messages: _Messages, checked: _Checked, instrument: Instrument) -> np.ndarray:
    """Event rows in file order, without processor flags; prices beyond int32 ticks leave their message out."""
    ticks = round_half_away(checked.price / instrument.tick_size)
    line = np.array(messages.line)[checked.segment]
    far = np.unique(line[checked.good & (ticks > _MAX_TICKS)]).tolist()
    checked.reasons.update(
        dict.fromkeys(far, f"a price is beyond {_MAX_TICKS} ticks of {instrument.tick_size:g}")
    )
    keep = checked.good & ~np.isin(line, far)
    segment = checked.segment[keep]
    rows = np.zeros(len(segment), EVENT)
    rows["exch_ts_ns"] = np.array(messages.exch_ns)[segment]
    rows["local_ts_ns"] = np.array(messages.local_ns)[segment]
    rows["flags"] = np.array(messages.flags)[segment]
    rows["price_ticks"] = ticks[keep]
    qty = checked.qty[keep]
    tiny = round_half_away(qty / instrument.lot_size) == 0.0
    trades = rows["flags"] & EVENT_KIND_MASK == KIND_TRADE
    rows["qty"] = np.where(tiny & ~trades, 0.0, qty)
    return rows


def _message_latency_ns(rows: np.ndarray) -> np.ndarray:
    """Feed latency of each arrival."""
    first = np.flatnonzero(np.diff(rows["local_ts_ns"], prepend=-1))
    return np.asarray((rows["local_ts_ns"] - rows["exch_ts_ns"])[first])


def _quarantine_late(path: Path, reasons: dict[int, str], quarantine: Quarantine) -> None:
    """Fetch the text of lines that were found out only beside the others."""
    if not reasons:
        return
    for number, raw in enumerate(Lines(path), 1):
        if number in reasons:
            quarantine.add(number, reasons[number], raw)
