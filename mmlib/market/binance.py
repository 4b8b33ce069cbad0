"""Reader of raw Binance WebSocket recordings: USD-M and COIN-M futures and spot, one symbol of a file.

A line is the local time in 19 digits of nanoseconds, a space, and the frame as it came. Depth updates,
trades and REST snapshots become events; everything else is counted as ignored. Quantities are as the exchange states them:
base units for USD-M and spot, contracts for COIN-M.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmlib._io import UserError
from mmlib.core.columns import LARGEST
from mmlib.core.rows import fill_rows
from mmlib.dtypes import EVENT, EVENT_KIND_MASK, FLAG_BUY, FLAG_SELL, KIND_DEPTH, KIND_SNAPSHOT
from mmlib.market.events import (
    clock_shift,
    count_off_grid,
    infer_instrument,
    processing_order,
    round_half_away,
)
from mmlib.market.latency import measured_ms
from mmlib.market.lines import Lines, Quarantine, why_refused
from mmlib.market.messages import Messages
from mmlib.market.recorded import ReaderOptions, Recording, count_gaps
from mmlib.market.source import Instrument

_MS = 1_000_000
_MAX_TICKS = 2**31 - 1
_OFFSET_NS = 300_000_000_000  # a message this far off the recording's own clock offset is not believed


def read_binance(path: Path, options: ReaderOptions) -> Recording:
    """Read one symbol of a recording.

    Args:
        path: plain or gzipped; a file cut in the middle is read as far as it goes.
        options: the symbol and what else readers are told.

    Raises:
        UserError: no line of it can be used, or the symbol is not in it.
    """
    messages, quarantine, lines = Messages(options.symbol), Quarantine(path), Lines(path)
    messages.read(lines, quarantine)
    if messages.ambiguous:
        messages, quarantine, lines = Messages(options.symbol, several=True), Quarantine(path), Lines(path)
        messages.read(lines, quarantine)
    if not len(messages.segments):
        quarantine.save(options.quarantine_dir)
        raise UserError(_nothing(path, messages) + why_refused(quarantine))
    checked = _check(messages)
    instrument = options.instrument or Instrument(
        options.symbol, *infer_instrument(checked.of_rows(messages.price), checked.of_rows(messages.qty))
    )
    made = _events(messages, checked, instrument, round(options.latency.base_ms * _MS))
    messages.quality["events"] -= len(checked.reasons)
    _quarantine_late(path, checked.reasons, quarantine)
    quarantine.save(options.quarantine_dir)
    if not len(made.rows):
        raise UserError(
            f"{path}: no usable depth update or trade of {options.symbol}; every one is damaged{why_refused(quarantine)}"
        )
    label = "drawn from the recording's own feed latencies, doubled"
    if made.shift_ns:
        base = f"{options.latency.base_ms:g} ms"
        label += (
            f" (local clock moved by {made.shift_ns / 1e9:.3f} s, so the fastest message counts as {base})"
        )
    cut = "; the file is cut off, what it holds was read" if lines.truncated else ""
    if not messages.quality["trades"]:
        cut = f"; without trades (expected the @trade stream){cut}"
    return Recording(
        events=made.rows,
        instrument=instrument,
        description=f"Binance recording {path.name}, {messages.quality['events']} messages{cut}",
        sha256=options.sha256_of(path),
        refresh_ms=2.0 * measured_ms(made.latency_ns),
        refresh_label=label,
        quality=messages.quality
        | {
            "rows": len(made.rows) - made.overtaken,
            "split_rows": made.overtaken,
            "bad_lines": quarantine.count,
            "crossed": checked.crossed,
            "off_tick": made.off_tick,
            "prices": int(checked.counts[checked.good].sum()),
            "clock_shift_ns": made.shift_ns,
            "gaps_over_60s": made.gaps,
            "truncated": int(lines.truncated),
        },
        quarantined={quarantine.name: quarantine.text()} if quarantine.count else {},
    )


def _nothing(path: Path, messages: Messages) -> str:
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
    """Segments with the verdict on each; a message with one bad row is left out whole."""

    good: np.ndarray  # bool[m]
    counts: np.ndarray  # int64[m], rows of each segment
    reasons: dict[int, str]  # line -> why it was left out
    crossed: int

    def of_rows(self, values: np.ndarray) -> np.ndarray:
        """Values of the rows of good segments."""
        return values if self.good.all() else values[np.repeat(self.good, self.counts)]


def _check(messages: Messages) -> _Checked:
    """Find messages whose numbers cannot be: not positive, out of range, crossed, or wildly off the clock.

    Numbers are looked at in the messages that the decoder found suspect; all the others are within range.
    """
    segments = messages.segments
    counts = segments["count"].astype(np.int64)
    suspects = segments["suspect"] != 0
    rows = np.flatnonzero(np.repeat(suspects, counts))
    line = np.repeat(segments["line"][suspects], counts[suspects])
    flags = np.repeat(segments["flags"][suspects], counts[suspects])
    price, qty = messages.price[rows], messages.qty[rows]
    reasons: dict[int, str] = {}
    offset_ns = segments["local_ns"] - segments["exch_ns"]
    off = np.abs(offset_ns - np.median(offset_ns)) > _OFFSET_NS
    with np.errstate(invalid="ignore"):
        wrong = ~((price > 0.0) & (price < LARGEST) & (qty >= 0.0) & (qty < LARGEST))
    fine = ~wrong
    books = 4 * line + np.repeat(
        segments["only"][suspects], counts[suspects]
    )  # a message may hold one a processor
    crossed = np.unique(_crossed(books[fine], price[fine], qty[fine], flags[fine]) // 4)
    for bad, why in (
        (line[wrong], "a price or quantity is not a positive number in range"),
        (crossed, "crossed: it bids at or above its own ask"),
        (segments["line"][off], "its clocks differ from the rest of the recording by over 300 s"),
    ):
        for number in np.unique(bad).tolist():
            reasons.setdefault(number, why)
    good = ~np.isin(segments["line"], list(reasons)) if reasons else np.ones(len(segments), bool)
    return _Checked(good, counts, reasons, len(crossed))


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


@dataclass(frozen=True)
class _Events:
    """Event rows in processing order, and what their messages say."""

    rows: np.ndarray  # EVENT[n], local times corrected
    overtaken: int  # rows that are there twice
    shift_ns: int
    latency_ns: np.ndarray  # int64[arrivals]
    off_tick: int
    gaps: int


def _events(messages: Messages, checked: _Checked, instrument: Instrument, base_ns: int) -> _Events:
    """Make the rows; prices beyond int32 ticks leave their message out, and add a reason to ``checked``."""
    segments = messages.segments
    keep = _within_ticks(messages, checked, instrument.tick_size) & (checked.counts > 0)
    chosen = np.flatnonzero(keep)
    exch_ns, local_ns = segments["exch_ns"][chosen], segments["local_ns"][chosen]
    shift_ns = clock_shift(local_ns - exch_ns, base_ns)
    index, processors = processing_order(exch_ns, local_ns)
    index = chosen[index]
    only = segments["only"][index]
    processors = np.where(only, processors & only, processors)
    index, processors = index[processors != 0], processors[processors != 0]
    out = np.empty(int(checked.counts[index].sum()), EVENT)
    first = np.cumsum(checked.counts) - checked.counts
    size = instrument.tick_size, instrument.lot_size
    off_grid = fill_rows(
        segments, messages.price, messages.qty, first, index, processors, *size, shift_ns, out
    )
    if off_grid:
        off_grid = count_off_grid(checked.of_rows(messages.price), instrument.tick_size)
    arrivals = np.flatnonzero(np.diff(local_ns, prepend=-1))
    return _Events(
        rows=out,
        overtaken=len(out) - int(checked.counts[keep].sum()),
        shift_ns=shift_ns,
        latency_ns=(local_ns - exch_ns)[arrivals] + shift_ns,
        off_tick=int(off_grid),
        gaps=count_gaps(local_ns),
    )


def _within_ticks(messages: Messages, checked: _Checked, tick_size: float) -> np.ndarray:
    """Which good segments have no price beyond int32 ticks."""
    if not len(messages.price) or messages.price.max() < _MAX_TICKS * tick_size:  # a NaN is not below
        return checked.good
    line = np.repeat(messages.segments["line"], checked.counts)
    good = np.repeat(checked.good, checked.counts)
    with np.errstate(invalid="ignore"):
        far = np.unique(line[good & (round_half_away(messages.price / tick_size) > _MAX_TICKS)])
    why = f"a price is beyond {_MAX_TICKS} ticks of {tick_size:g}"
    checked.reasons.update(dict.fromkeys(far.tolist(), why))
    return np.asarray(checked.good & ~np.isin(messages.segments["line"], far))


def _quarantine_late(path: Path, reasons: dict[int, str], quarantine: Quarantine) -> None:
    """Fetch the text of lines that were found out only beside the others."""
    if not reasons:
        return
    for number, raw in enumerate(Lines(path), 1):
        if number in reasons:
            quarantine.add(number, reasons[number], raw)
