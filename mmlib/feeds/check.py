"""Is a directory of feeds as the contract has it? Every file looked at in blocks, so that its size costs time only."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmlib._io import UserError
from mmlib.feeds.blocks import Block, read_blocks
from mmlib.feeds.careful import CUT_SHORT
from mmlib.feeds.decode import Origin
from mmlib.feeds.order import DECISIVE, KEYS
from mmlib.feeds.progress import Progress, counted, told
from mmlib.feeds.reader import feed_files
from mmlib.feeds.schema import FILE_STEM, KINDS, Kind
from mmlib.feeds.timestamps import DAY_NS, day_text, to_text

GAP_INTERVALS = 3.0  # of the tick interval: at least two ticks are missing
NONE_STATED = "none stated"
_MOST_REASONS = 50  # kept apart in one file; the rest is counted together
_SHOWN_GAPS = 5  # the longest
_DAY = re.compile(r"_(\d{8})\.jsonl")
_VARIABLE = re.compile(r"one of \[[^\]]*\]|'[^']*'|\"[^\"]*\"|: line \d+ column \d+ \(char \d+\)|\d{9,}")
Key = tuple[str, str]


@dataclass
class FileCheck:
    """One file.

    ``lines`` (blank ones are not counted) is readable + quarantined + duplicates + outside_range + unfinished.

    Attributes:
        quarantined: reason -> lines; what differs from line to line is left out of the reason.
        examples: reason -> number of the first such line.
        duplicates: fills whose (symbol, arm, side, order_id, fill_id) came before, ticks that came before word for word.
        conflicts: how many of them are fills of another price or quantity than the one of their key.
        out_of_order: lines earlier than a line of the same symbol and arm above them.
        other_day: lines whose UTC day is not the one of the file's name.
        broken: why a compressed file cannot be unpacked to its end; "" when it can.
        unfinished: 1 when the file ends within a line: it is still being written, or was cut.
        interval_s: the distance of neighbouring ticks of a symbol and arm (median; the largest among them), None for fills.
        gaps: how many distances exceed three such intervals; ``gap_s`` what they leave uncovered; ``longest_gaps`` from, to,
            seconds, symbol, arm. The distance to the last tick of the file before counts.
        schema_versions: version -> lines that state and fit it; what states another is in quarantine.
        sources: stated source ("none stated" for none) -> lines.
    """

    file: str
    kind: Kind
    bytes: int
    lines: int = 0
    readable: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)
    examples: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    conflicts: int = 0
    outside_range: int = 0
    out_of_order: int = 0
    other_day: int = 0
    unfinished: int = 0
    broken: str = ""
    first: str | None = None
    last: str | None = None
    interval_s: float | None = None
    gaps: int = 0
    gap_s: float = 0.0
    longest_gaps: list[dict[str, Any]] = field(default_factory=list)
    symbols: list[str] = field(default_factory=list)
    arms: list[str] = field(default_factory=list)
    schema_versions: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)

    @property
    def bad(self) -> int:
        """Lines in quarantine, without duplicates."""
        return sum(self.quarantined.values())

    @property
    def clean(self) -> bool:
        """Whether every line is good, in order, there once and of the day of its name; gaps are the bot's, not the file's."""
        return not (self.bad or self.duplicates or self.out_of_order or self.other_day or self.damaged)

    @property
    def damaged(self) -> bool:
        """Whether a compressed file cannot be unpacked to its end; one that is plain may still be being written."""
        return bool(self.broken)


@dataclass(frozen=True)
class FeedCheck:
    """All files of a directory."""

    directory: Path
    files: tuple[FileCheck, ...]

    @property
    def clean(self) -> bool:
        """Whether every file is."""
        return all(one.clean for one in self.files)

    def to_dict(self) -> dict[str, Any]:
        """Builtin types only."""
        return {
            "directory": str(self.directory),
            "clean": self.clean,
            "files": [asdict(one) | {"clean": one.clean} for one in self.files],
        }


def check_feeds(
    directory: Path,
    start: datetime | None = None,
    end: datetime | None = None,
    progress: Progress | None = None,
) -> FeedCheck:
    """Look at every line of every feed file.

    Args:
        directory: where the feeds are.
        start, end: look at lines of ``[start, end)`` only; a bad line has no time and always counts.
        progress: told what is done, and how much of how much.

    Raises:
        UserError: ``directory`` holds no feed of the range, or a file cannot be read.
    """
    checks = []
    for kind in KINDS:
        looked, paths = _Kind(kind, start, end), feed_files(directory, kind, start, end)
        with told(progress):
            checks += [looked.file(path) for path in counted(paths, f"files of {kind}", progress)]
    if not checks:
        names = " and ".join(f"{FILE_STEM[kind]}_YYYYMMDD.jsonl" for kind in KINDS)
        raise UserError(f"{directory}: no feeds{' in this range' if start or end else ''}; expected {names}")
    return FeedCheck(directory, tuple(checks))


class _Kind:
    """What the files of one feed share: lines that came before, and the last tick of each symbol and arm."""

    def __init__(self, kind: Kind, start: datetime | None, end: datetime | None) -> None:
        self._kind: Kind = kind
        self._range = tuple(None if t is None else pd.Timestamp(t).as_unit("ns").value for t in (start, end))
        self._seen = self._alike = np.empty(0, np.uint64)
        self._last: dict[Key, int] = {}

    def file(self, path: Path) -> FileCheck:
        found = FileCheck(path.name, self._kind, path.stat().st_size)
        times: dict[Key, list[np.ndarray]] = {}
        latest: dict[Key, int] = {}
        marks: list[np.ndarray] = []
        alike: list[np.ndarray] = []
        origins: Counter[Origin] = Counter()
        try:
            for block in read_blocks(path, self._kind):
                _count_bad(found, block)
                origins += block.origins
                frame = self._in_range(block.frame)
                found.outside_range += len(block.frame) - len(frame)
                found.readable += len(frame)
                found.other_day += _other_day(path, frame)
                marks.append(_marks(frame, self._kind))
                if self._kind == "fills":
                    alike.append(_marks(frame, self._kind, DECISIVE["fills"]))
                for (symbol, arm), rows in frame.groupby(["symbol", "arm"], sort=False):
                    key, ts = (str(symbol), str(arm)), rows["ts"].astype("int64").to_numpy()
                    found.out_of_order += _late(ts, latest, key)
                    times.setdefault(key, []).append(ts)
        except OSError as exc:
            raise UserError(f"{path}: cannot be read ({exc.strerror or exc}); expected a feed file") from exc
        found.duplicates, self._seen = _repeated(marks, self._seen)
        if self._kind == "fills":
            same, self._alike = _repeated(alike, self._alike)
            found.conflicts = found.duplicates - same
        found.readable -= found.duplicates
        for (version, source), n in sorted(origins.items()):
            for counts, name in (
                (found.schema_versions, str(version)),
                (found.sources, source or NONE_STATED),
            ):
                counts[name] = counts.get(name, 0) + n
        self._span(found, {key: np.sort(np.concatenate(parts)) for key, parts in times.items()})
        return found

    def _in_range(self, frame: pd.DataFrame) -> pd.DataFrame:
        lower, upper = self._range
        if lower is None and upper is None:
            return frame
        ts = frame["ts"].astype("int64").to_numpy()
        keep = np.ones(len(ts), np.bool_)
        if lower is not None:
            keep &= ts >= lower
        if upper is not None:
            keep &= ts < upper
        return frame[keep]

    def _span(self, found: FileCheck, times: dict[Key, np.ndarray]) -> None:
        """Time span and gaps; ``times`` are sorted."""
        found.symbols, found.arms = (sorted({key[place] for key in times}) for place in (0, 1))
        if not times:
            return
        edges = np.array([[ts[0], ts[-1]] for ts in times.values()])
        found.first, found.last = to_text(np.array([edges[:, 0].min(), edges[:, 1].max()]))
        if self._kind != "ticks":
            return
        gaps: list[dict[str, Any]] = []
        for key, ts in times.items():
            interval_ns = _interval_ns(ts)
            if interval_ns is not None:
                found.interval_s = max(found.interval_s or 0.0, interval_ns / 1e9)
                before = self._last.get(key)
                joined = ts if before is None or before >= ts[0] else np.concatenate([[before], ts])
                gaps += _gaps(joined, interval_ns, key)
            self._last[key] = max(int(ts[-1]), self._last.get(key, 0))
        found.gaps = len(gaps)
        found.gap_s = round(sum(gap["seconds"] for gap in gaps) - len(gaps) * (found.interval_s or 0.0), 3)
        found.longest_gaps = sorted(gaps, key=lambda gap: -gap["seconds"])[:_SHOWN_GAPS]


def _repeated(marks: list[np.ndarray], seen: np.ndarray) -> tuple[int, np.ndarray]:
    """Lines that came before, in this file or an earlier one (``seen``), and the marks of all by now."""
    every = np.concatenate(marks) if marks else np.empty(0, np.uint64)
    once = np.unique(every)
    fresh = once[~np.isin(once, seen, assume_unique=True)]
    return len(every) - len(fresh), np.concatenate([seen, fresh])


def _count_bad(found: FileCheck, block: Block) -> None:
    """Count a block's lines, and its bad ones by reason."""
    found.lines += block.lines
    found.broken = block.broken or found.broken
    for entry in block.bad:
        if entry.reason.endswith(CUT_SHORT):
            found.unfinished += 1
            continue
        reason = _VARIABLE.sub(_left_out, entry.reason)
        if reason not in found.quarantined and len(found.quarantined) >= _MOST_REASONS:
            reason = "other reasons"
        found.quarantined[reason] = found.quarantined.get(reason, 0) + 1
        found.examples.setdefault(reason, entry.line)


def _left_out(found: re.Match[str]) -> str:
    """What differs from line to line; the values that a field may have do not."""
    return found[0] if found[0].startswith("one of [") else "…"


def _other_day(path: Path, frame: pd.DataFrame) -> int:
    match = _DAY.search(path.name)
    days = Counter((frame["ts"].astype("int64") // DAY_NS).tolist()) if match else Counter()
    return sum(n for day, n in days.items() if match and day_text(day) != match[1])


def _marks(frame: pd.DataFrame, kind: Kind, further: tuple[str, ...] = ()) -> np.ndarray:
    """A 64-bit hash of what must not repeat; among ten million lines two unequal ones meet once in 370,000 feeds."""
    if kind == "fills":
        chosen = frame[[*KEYS["fills"], *further]]
    else:
        chosen = frame.drop(columns="_line")
        numbers = chosen.select_dtypes("float64")
        chosen = chosen.assign(**(numbers + 0.0))  # -0.0 is 0.0
    return np.asarray(pd.util.hash_pandas_object(chosen, index=False), np.uint64)


def _late(ts: np.ndarray, latest: dict[Key, int], key: Key) -> int:
    """How many times lie before one that came above them."""
    highest = np.maximum.accumulate(np.concatenate([[latest.get(key, np.iinfo(np.int64).min)], ts]))
    latest[key] = int(highest[-1])
    return int((ts < highest[:-1]).sum())


def _interval_ns(ts: np.ndarray) -> float | None:
    """Median distance of neighbouring times; None below two distinct ones."""
    distances = np.diff(ts)
    distances = distances[distances > 0]
    return float(np.median(distances)) if len(distances) else None


def _gaps(ts: np.ndarray, interval_ns: float, key: Key) -> list[dict[str, Any]]:
    distances = np.diff(ts)
    wide = np.flatnonzero(distances > GAP_INTERVALS * interval_ns)
    starts, ends = to_text(ts[wide]), to_text(ts[wide + 1])
    seconds = (distances[wide] / 1e9).round(3).tolist()
    return [
        {"from": first, "to": last, "seconds": length, "symbol": key[0], "arm": key[1]}
        for first, last, length in zip(starts, ends, seconds, strict=True)
    ]
