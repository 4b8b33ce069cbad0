"""Reads the feeds of a directory into typed frames; every line that cannot be read is kept and counted."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, islice
from pathlib import Path

import numpy as np
import orjson
import pandas as pd

from mmlib._io import UserError, write_atomic
from mmlib.feeds.cache import Entry, cached
from mmlib.feeds.columns import empty_frame, table_frame
from mmlib.feeds.convert import with_repeated
from mmlib.feeds.held import file_span
from mmlib.feeds.order import DECISIVE, DUPLICATE, KEYS, reasons
from mmlib.feeds.schema import FILE_STEM, Kind
from mmlib.feeds.sidecar import read_sidecar
from mmlib.feeds.stream import SUFFIXES

_ENDINGS = tuple(f".jsonl{suffix}" for suffix in SUFFIXES)
LISTED = 100_000
"""Bad lines of a feed that are held, at most; the files of the quarantine keep them all."""
_EXCERPT = 200  # characters of a bad line that the quarantine frame shows; the file keeps the whole line


@dataclass(frozen=True)
class Feed:
    """One feed of a directory.

    Attributes:
        frame: one row a line, sorted by ts, symbol, arm; ``ts`` and ``scheduled_ts`` are
            ``datetime64[ns, UTC]``, flags bool, numbers float64 (unknown is NaN) or int64, names text.
        quarantine: file, line, reason, text of lines that are not in the frame, of the first ``LISTED``.
        files: what was read, in order.
        unfinished: files that end in a line which was still being written; it is in neither of the two.
        quarantined: how many lines are not in the frame because they could not be used. duplicates: that repeat an earlier one.
        sources: what the lines of the files state as their source, every one of them; "" for lines that state none.
    """

    frame: pd.DataFrame
    quarantine: pd.DataFrame
    files: list[Path]
    unfinished: list[Path] = field(default_factory=list)
    quarantined: int = 0
    duplicates: int = 0
    sources: frozenset[str] = frozenset()


def read_feeds(
    directory: Path,
    kind: Kind,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    symbols: Collection[str] | None = None,
    arms: Collection[str] | None = None,
    quarantine_dir: Path | None = None,
    cache_dir: Path | None = None,
) -> Feed:
    """Read the daily files of one feed.

    Good lines are decoded by compiled code, the others are looked at one by one, so that a bad line costs one line. Bad
    lines go to ``<quarantine_dir>/<file>.quarantine.jsonl``; nothing is written into ``directory``. A missing or empty
    directory gives empty frames with the same columns and types.

    The last line of the newest file may be torn: it is still being written, so it is waited for and counted as
    unfinished, unless the sidecar says that the session is complete. In any other file it is a bad line.

    Args:
        directory: where ``<stem>_YYYYMMDD.jsonl`` are, each plain or compressed (.gz, .zst).
        kind: ticks or fills.
        start, end: keep ``start <= ts < end``; both aware.
        symbols, arms: keep these; None keeps all.
        quarantine_dir: where bad lines are kept; never the feeds' own directory, which may belong to a desk. None
            keeps them in the result only, and so does a place that cannot be written.
        cache_dir: where the feeds are kept as Parquet (see ``feeds.cache``); None keeps nothing.

    Raises:
        UserError: ``directory`` is a file, a file cannot be opened, or the range is naive or reversed.
    """
    lower, upper = time_range(start, end)
    with open_feeds(directory, kind, start=start, end=end, cache_dir=cache_dir) as entries:
        # A fill that stands in two files may have two times; a repeated tick has one, so what lies outside is not needed.
        span = (lower, upper) if kind == "ticks" else (None, None)
        span_ns = (span[0].value if span[0] else None, span[1].value if span[1] else None)
        frames = [
            table_frame(kind, entry.table(between_ns=span_ns)).assign(_file=np.int32(number))
            for number, entry in enumerate(entries)
        ]
        merged = (
            pd.concat(frames, ignore_index=True) if frames else empty_frame(kind).assign(_file=np.int32(0))
        )
        files = [entry.source for entry in entries]
        repeated: dict[Path, tuple[np.ndarray, list[str]]] = {}
        if len(files) > 1:
            merged, repeated = _without_duplicates(merged, kind, files)
        listed: list[bytes] = []
        for entry in entries:
            lines = repeated.get(entry.source, ())
            if quarantine_dir is not None:
                with quarantine_of(entry, kind, *lines) as records:
                    keep_quarantine(quarantine_dir, entry.source, records)
            with quarantine_of(entry, kind, *lines) as records:
                listed += islice(records, LISTED - len(listed))
    between = sum(len(lines) for lines, _ in repeated.values())
    keep = np.ones(len(merged), dtype=bool)
    if lower is not None:
        keep &= (merged["ts"] >= lower).to_numpy()
    if upper is not None:
        keep &= (merged["ts"] < upper).to_numpy()
    for name, wanted in (("symbol", symbols), ("arm", arms)):
        if wanted is not None:
            keep &= merged[name].isin(list(wanted)).to_numpy()
    unfinished = [entry.source for entry in entries if entry.facts.unfinished]
    return Feed(
        _sorted(merged[keep]),
        _quarantine_frame(listed),
        files,
        unfinished,
        sum(sum(entry.facts.quarantined.values()) for entry in entries) + between,
        sum(entry.facts.duplicates for entry in entries) + between,
        frozenset().union(*(entry.facts.sources for entry in entries)),
    )


@contextmanager
def open_feeds(
    directory: Path,
    kind: Kind,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    cache_dir: Path | None = None,
) -> Iterator[list[Entry]]:
    """The daily files of one feed as Parquet, by name; without a cache they go when the context is left.

    Raises:
        UserError: as ``read_feeds``.
    """
    files = feed_files(directory, kind, start, end)
    newest = newest_file(directory, kind)
    with tempfile.TemporaryDirectory(prefix="finishline-") as scratch:
        home = cache_dir or Path(scratch)
        yield [cached(path, kind, home, newest=path == newest) for path in files]


def newest_file(directory: Path, kind: Kind) -> Path | None:
    """The file that may still be written: the last one, unless the sidecar says that the session came to its end."""
    try:
        sidecar = read_sidecar(directory)
    except UserError:
        sidecar = None
    if sidecar is not None and sidecar["complete"]:
        return None
    return max(feed_files(directory, kind), default=None)


def feed_files(
    directory: Path, kind: Kind, start: datetime | None = None, end: datetime | None = None
) -> list[Path]:
    """Daily files of a feed that can hold lines of ``[start, end)``, by name and content; a day of slack at both ends.

    Raises:
        UserError: ``directory`` is not a directory.
    """
    if not directory.exists():
        return []
    if not directory.is_dir():
        raise UserError(
            f"{directory}: not a directory; expected one that holds {FILE_STEM[kind]}_YYYYMMDD.jsonl"
        )
    files = sorted(directory.glob(f"{FILE_STEM[kind]}_*.jsonl*"))
    return [path for path in files if path.name.endswith(_ENDINGS) and _may_hold(path, start, end)]


def _may_hold(path: Path, start: datetime | None, end: datetime | None) -> bool:
    if start is None and end is None:
        return True
    span = file_span(path)
    if span is None:
        return True
    return not ((start is not None and span[1] <= start) or (end is not None and span[0] >= end))


def time_range(
    start: datetime | None, end: datetime | None
) -> tuple[pd.Timestamp | None, pd.Timestamp | None]:
    """Both ends as pandas has them.

    Raises:
        UserError: one of them has no zone, or the range is empty or reversed.
    """
    for name, value in (("start", start), ("end", end)):
        if value is not None and value.tzinfo is None:
            raise UserError(f"{name} {value.isoformat()}: has no zone; expected e.g. 2025-01-15T00:00:00Z")
    if start is not None and end is not None and start >= end:
        raise UserError(f"range {start.isoformat()} to {end.isoformat()}: expected the end after the start")
    return (None if start is None else pd.Timestamp(start), None if end is None else pd.Timestamp(end))


def _without_duplicates(
    frame: pd.DataFrame, kind: Kind, files: Sequence[Path]
) -> tuple[pd.DataFrame, dict[Path, tuple[np.ndarray, list[str]]]]:
    """Drop what an earlier file holds already: fills by ``order.KEYS``, and ticks repeated word for word.

    The numbers of the lines, rising, by their files, and why each was dropped, are told as well.
    """
    if kind == "fills":
        repeated = frame.duplicated(list(KEYS["fills"])).to_numpy()
    else:
        repeated = frame.duplicated(["ts", "symbol", "arm"], keep=False).to_numpy(copy=True)
        if repeated.any():
            whole = [name for name in frame.columns if name not in ("_file", "_line")]
            repeated[repeated] = frame[repeated].duplicated(whole).to_numpy()
    if not repeated.any():
        return frame, {}
    dropped = frame.loc[repeated, ["_file", "_line"]].assign(why=_reasons(frame, kind, repeated))
    by_file = dropped.sort_values("_line").groupby("_file")
    lines = {
        files[int(str(number))]: (some["_line"].to_numpy(), some["why"].tolist()) for number, some in by_file
    }
    return frame[~repeated], lines


def _reasons(frame: pd.DataFrame, kind: Kind, repeated: np.ndarray) -> list[str]:
    """Why each of the rows that are repeated is left out."""
    if kind == "ticks":
        return reasons(kind, [False] * int(repeated.sum()))
    keys, decisive = list(KEYS[kind]), list(DECISIVE[kind])
    often = frame.duplicated(keys, keep=False)
    some = frame.loc[often]
    differs = some[decisive] != some.groupby(keys, dropna=False, sort=False)[decisive].transform("first")
    return reasons(kind, differs.any(axis=1)[repeated[often.to_numpy()]])


@contextmanager
def quarantine_of(
    entry: Entry, kind: Kind, repeated: np.ndarray | None = None, why: Sequence[str] | None = None
) -> Iterator[Iterable[bytes]]:
    """Records of a file's quarantine, among them those of the lines (rising numbers) that an earlier file holds as well.

    Args:
        why: the reason of each of these lines; None: all are plain duplicates.
    """
    with entry.quarantine.open("rb") as bad:
        every = itertools.repeat(DUPLICATE[kind]) if why is None else why
        yield bad if repeated is None else with_repeated(bad, entry.source, repeated, every)


def keep_quarantine(directory: Path, source: Path, records: Iterable[bytes]) -> None:
    """Write the quarantine of one file, or remove that of an earlier reading when it is clean now."""
    path = directory / f"{source.name}.quarantine.jsonl"
    try:
        coming = iter(records)
        first = next(coming, None)
        if first is None:
            path.unlink(missing_ok=True)
        else:
            write_atomic(path, chain([first], coming))
    except (UserError, OSError):
        return  # a place that cannot be written: the lines stay counted in the result


def _quarantine_frame(records: Sequence[bytes]) -> pd.DataFrame:
    read = (orjson.loads(record) for record in records)
    rows = [(one["file"], one["line"], one["reason"], one["text"][:_EXCERPT]) for one in read]
    frame = pd.DataFrame(rows, columns=["file", "line", "reason", "text"])
    return frame.astype({"file": "str", "line": "int64", "reason": "str", "text": "str"})


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    """By ts, symbol, arm; lines that agree in all three stay in the order in which they were written."""
    keys = [pd.factorize(frame[name], sort=True)[0] for name in ("arm", "symbol")]
    order = np.lexsort((*keys, frame["ts"].astype("int64").to_numpy()))
    return frame.iloc[order].drop(columns=["_file", "_line"]).reset_index(drop=True)
