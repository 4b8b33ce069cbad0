"""What was met while a market source was read, and what it means for fills: one block for every place that shows results.

Readers count (``Source.quality``); here each count becomes a finding. ``void`` findings make simulated fills meaningless,
``warning`` ones limit what they are worth, a ``note`` changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

MAX_OFF_TICK_SHARE = 0.01
"""Share of prices off the tick grid above which fills are meaningless: the tick size is not the market's."""

Level = Literal["void", "warning", "note"]
Counts = Mapping[str, int]


@dataclass(frozen=True)
class Finding:
    """One thing that was met.

    Attributes:
        counter: name in ``Source.quality``. level: see the module. text: what was met. meaning: what it means for fills.
    """

    counter: str
    level: Level
    text: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.level}: {self.text}: {self.meaning}"


@dataclass(frozen=True)
class Quality:
    """The quality block of one symbol.

    Attributes:
        findings: the gravest first. counts: what the reader counted, as it is.
    """

    findings: tuple[Finding, ...]
    counts: Mapping[str, int]

    @property
    def status(self) -> str:
        """``void`` where fills mean nothing, ``limited`` for warnings, else ``good``."""
        levels = {finding.level for finding in self.findings}
        return "void" if "void" in levels else "limited" if "warning" in levels else "good"

    @property
    def grave(self) -> tuple[Finding, ...]:
        """The findings that are more than notes."""
        return tuple(finding for finding in self.findings if finding.level != "note")

    def lines(self) -> list[str]:
        """For a terminal."""
        return [f"quality of the market data: {self.status}", *(f"  {found}" for found in self.findings)]

    def to_dict(self) -> dict[str, Any]:
        """For a machine."""
        found = [asdict(finding) for finding in self.findings]
        return {"status": self.status, "findings": found, "counts": dict(self.counts)}


def quality_of(counts: Counts, tick_size: float, fills_ns: Sequence[int] | None = None) -> Quality:
    """The quality block of what a reader counted.

    Args:
        counts: ``Source.quality``. tick_size: what prices were read with, quote currency.
        fills_ns: exchange times of the fills made on it, where there are any to speak of.
    """
    found = [finding for finding in (_trades(counts), _off_tick(counts, tick_size)) if finding]
    found += [finding for finding in (_gaps(counts, fills_ns), _clock(counts)) if finding]
    for counter, level, words, meaning in _PLAIN:
        if count := counts.get(counter, 0):
            found.append(Finding(counter, level, words(count), meaning))
    order = ("void", "warning", "note")
    return Quality(tuple(sorted(found, key=lambda finding: order.index(finding.level))), counts)


def _trades(counts: Counts) -> Finding | None:
    live = counts.get("stream_trades", 0 if "stream_diffs" in counts else 1)
    if counts.get("trades", live) or not counts.get("rows", 1):
        return None
    ignored = counts.get("ignored", 0)
    other = f"; {_of(ignored, 'message')} of other kinds, such as aggTrade, not used" if ignored else ""
    return Finding(
        "trades",
        "void",
        f"without trades (expected the @trade stream{other})",
        "no queue is ever served, so an order at rest fills only where a price passes it",
    )


def _off_tick(counts: Counts, tick_size: float) -> Finding | None:
    off = counts.get("off_tick", 0)
    if not off:
        return None
    prices = max(counts.get("prices", 0), off)
    share = off / prices
    text = f"{off:,} of {_of(prices, 'price')} ({100 * share:.2g} %) are off the tick of {tick_size:.12g}"
    if share <= MAX_OFF_TICK_SHARE:
        return Finding("off_tick", "warning", text, "each was rounded to the nearest tick")
    meaning = (
        f"above {100 * MAX_OFF_TICK_SHARE:g} % the tick size is not the market's, or the exchange changed it on the way; "
        "declare the finer one, or split the recording there"
    )
    return Finding("off_tick", "void", text, meaning)


def _gaps(counts: Counts, fills_ns: Sequence[int] | None) -> Finding | None:
    gaps = counts.get("sequence_gaps", 0)
    if not gaps:
        return None
    text = f"{_of(gaps, 'sequence gap')} ({_of(counts.get('lost_updates', 0), 'lost update')})"
    first_ns = counts.get("first_gap_ns", 0)
    if first_ns:
        text += f" from {datetime.fromtimestamp(first_ns / 1e9, UTC):%Y-%m-%dT%H:%M:%S.%f}Z on"
        if fills_ns is not None:
            after = sum(at_ns >= first_ns for at_ns in fills_ns)
            text += f", before {after:,} of {_of(len(fills_ns), 'fill')}"
    return Finding(
        "sequence_gaps",
        "warning",
        text,
        "until the next snapshot the book may show what was gone, or lack what was there",
    )


def _clock(counts: Counts) -> Finding | None:
    shift_ns = counts.get("clock_shift_ns", 0)
    if not shift_ns:
        return None
    return Finding(
        "clock_shift_ns",
        "warning",
        f"local clock moved by {shift_ns / 1e9:.3f} s, since messages arrived before they were sent",
        f"times of a bot on the recording's raw clock need {shift_ns} ns more (replay: --orders-clock raw)",
    )


def _of(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _counted(singular: str, plural: str = "") -> Callable[[int], str]:
    """What says how many."""
    return lambda count: f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def _always(text: str) -> Callable[[int], str]:
    return lambda _: text


_PLAIN: tuple[tuple[str, Level, Callable[[int], str], str], ...] = (
    (
        "bad_lines",
        "warning",
        _counted("line refused", "lines refused"),
        "what they held is missing; each is in the quarantine with its reason",
    ),
    ("truncated", "warning", _always("cut off"), "what it holds was read, and nothing follows"),
    (
        "gaps_over_60s",
        "warning",
        _counted("silence of over 60 s", "silences of over 60 s"),
        "orders at rest met no market there",
    ),
    ("one_sided", "warning", _counted("row without one side", "rows without one side"), "not used"),
    ("crossed", "warning", _counted("crossed book", "crossed books"), "not used"),
    (
        "trades_without_side",
        "warning",
        _counted("trade without a side", "trades without a side"),
        "not used, so queues were served less than they were",
    ),
    (
        "unnamed_snapshots",
        "warning",
        _counted("snapshot names no symbol in a file of several", "snapshots name no symbol in a file of several"),
        "not used, so the book begins with what the updates tell",
    ),
    (
        "stream_resyncs",
        "warning",
        _counted("break of the stream", "breaks of the stream"),
        "nothing was quoted until the book was built anew",
    ),
    (
        "stream_duplicates",
        "note",
        _counted("update that the book was past already", "updates that the book was past already"),
        "not used; sequence numbers decide what is newer",
    ),
    (
        "time_backwards",
        "note",
        _counted("time that goes back", "times that go back"),
        "put in order",
    ),
    (
        "stale_snapshots",
        "note",
        _counted("snapshot older than the stream when it arrived", "snapshots older than the stream when they arrived"),
        "brought up to date by the updates beyond its sequence number",
    ),
    (
        "old_updates",
        "note",
        _counted("update that the book was past already", "updates that the book was past already"),
        "not used; sequence numbers decide what is newer",
    ),
    ("byte_order_mark", "note", _always("begins with a byte order mark"), "taken off; no line was lost"),
    (
        "doubled_trades",
        "note",
        _counted("trade that came twice", "trades that came twice"),
        "not used a second time; trade ids decide",
    ),
    (
        "stream_doubled_trades",
        "note",
        _counted("trade that came twice", "trades that came twice"),
        "not used a second time; trade ids decide",
    ),
    ("trades_off_book", "note", _counted("trade off the book", "trades off the book"), "not used, as it met no queue"),
    ("other_symbols", "note", _counted("message of other symbols", "messages of other symbols"), "not used"),
)  # fmt: skip
