"""Reads the feeds of a directory into typed frames; every line that cannot be read is kept and counted."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import pandas as pd

from mmlib._io import UserError, write_atomic
from mmlib.feeds.careful import BadLine, lines_at, read_careful
from mmlib.feeds.columns import empty_frame, typed_frame
from mmlib.feeds.fast import read_fast
from mmlib.feeds.schema import FILE_STEM, Kind

_DAY = re.compile(r"_(\d{8})\.jsonl$")
_EXCERPT = 200  # characters of a bad line that the quarantine frame shows; the file keeps the whole line


@dataclass(frozen=True)
class Feed:
    """One feed of a directory.

    Attributes:
        frame: one row a line, sorted by ts, symbol, arm; ``ts`` and ``scheduled_ts`` are
            ``datetime64[ns, UTC]``, flags bool, numbers float64 (unknown is NaN) or int64, names text.
        quarantine: file, line, reason, text of every line that is not in the frame.
        files: what was read, in order.
    """

    frame: pd.DataFrame
    quarantine: pd.DataFrame
    files: list[Path]


def read_feeds(
    directory: Path,
    kind: Kind,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    symbols: Collection[str] | None = None,
    arms: Collection[str] | None = None,
    quarantine_dir: Path | None = None,
) -> Feed:
    """Read the daily files of one feed.

    A file is read by DuckDB; when anything in it is out of order, it is read again line by line, so that one
    bad line costs one line. Bad lines go to ``<quarantine_dir>/<file>.quarantine.jsonl``; nothing is written
    into ``directory``. A missing or empty directory gives empty frames with the same columns and types.

    Args:
        directory: where ``<stem>_YYYYMMDD.jsonl`` are.
        kind: ticks or fills.
        start, end: keep ``start <= ts < end``; both aware.
        symbols, arms: keep these; None keeps all.
        quarantine_dir: where bad lines are kept; never the feeds' own directory, which may belong to a desk. None
            keeps them in the result only, and so does a place that cannot be written.

    Raises:
        UserError: ``directory`` is a file, a file cannot be opened, or the range is naive or reversed.
    """
    lower, upper = _range(start, end)
    files = feed_files(directory, kind, start, end)
    frames: list[pd.DataFrame] = []
    bad: dict[Path, list[BadLine]] = {path: [] for path in files}
    for number, path in enumerate(files):
        frame = _read_file(path, kind, bad[path])
        frames.append(frame.assign(_file=np.int32(number)))
    merged = pd.concat(frames, ignore_index=True) if frames else empty_frame(kind).assign(_file=np.int32(0))
    merged = _without_duplicates(merged, kind, files, bad)
    if quarantine_dir is not None:
        for path, lines in bad.items():
            _keep(quarantine_dir, path, lines)
    keep = np.ones(len(merged), dtype=bool)
    if lower is not None:
        keep &= (merged["ts"] >= lower).to_numpy()
    if upper is not None:
        keep &= (merged["ts"] < upper).to_numpy()
    for name, wanted in (("symbol", symbols), ("arm", arms)):
        if wanted is not None:
            keep &= merged[name].isin(list(wanted)).to_numpy()
    return Feed(_sorted(merged[keep]), _quarantine_frame(bad), files)


def feed_files(
    directory: Path, kind: Kind, start: datetime | None = None, end: datetime | None = None
) -> list[Path]:
    """Daily files of a feed that can hold lines of ``[start, end)``, by name; a day of slack at both ends.

    Raises:
        UserError: ``directory`` is not a directory.
    """
    if not directory.exists():
        return []
    if not directory.is_dir():
        raise UserError(
            f"{directory}: not a directory; expected one that holds {FILE_STEM[kind]}_YYYYMMDD.jsonl"
        )
    return [
        path for path in sorted(directory.glob(f"{FILE_STEM[kind]}_*.jsonl")) if _may_hold(path, start, end)
    ]


def _may_hold(path: Path, start: datetime | None, end: datetime | None) -> bool:
    match = _DAY.search(path.name)
    if match is None:
        return True
    try:
        day = datetime.strptime(match[1], "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return True
    slack = timedelta(days=1)
    return not ((start is not None and day + 2 * slack <= start) or (end is not None and day - slack >= end))


def _range(start: datetime | None, end: datetime | None) -> tuple[pd.Timestamp | None, pd.Timestamp | None]:
    for name, value in (("start", start), ("end", end)):
        if value is not None and value.tzinfo is None:
            raise UserError(f"{name} {value.isoformat()}: has no zone; expected e.g. 2025-01-15T00:00:00Z")
    if start is not None and end is not None and start >= end:
        raise UserError(f"range {start.isoformat()} to {end.isoformat()}: expected the end after the start")
    return (None if start is None else pd.Timestamp(start), None if end is None else pd.Timestamp(end))


def _read_file(path: Path, kind: Kind, bad: list[BadLine]) -> pd.DataFrame:
    try:
        fast = read_fast(path, kind)
        if fast is not None:
            return fast
        columns, lines = read_careful(path, kind)
    except OSError as exc:
        raise UserError(
            f"{path}: cannot be read ({exc.strerror or exc}); expected a readable feed file"
        ) from exc
    bad.extend(lines)
    return typed_frame(kind, columns)


def _without_duplicates(
    frame: pd.DataFrame, kind: Kind, files: list[Path], bad: dict[Path, list[BadLine]]
) -> pd.DataFrame:
    """Drop repeated fills (same symbol, arm, fill_id) and ticks repeated word for word; the first stays."""
    if kind == "fills":
        repeated = frame.duplicated(["symbol", "arm", "fill_id"]).to_numpy()
        reason = "duplicate: an earlier line has this fill_id"
    else:
        repeated = frame.duplicated(["ts", "symbol", "arm"], keep=False).to_numpy(copy=True)
        if repeated.any():
            whole = [name for name in frame.columns if name not in ("_file", "_line")]
            repeated[repeated] = frame[repeated].duplicated(whole).to_numpy()
        reason = "duplicate: an earlier line is the same"
    if not repeated.any():
        return frame
    for number, part in frame.loc[repeated, ["_file", "_line"]].groupby("_file"):
        path = files[int(str(number))]
        texts = lines_at(path, part["_line"].tolist())
        bad[path].extend(BadLine(line, reason, text) for line, text in texts.items())
        bad[path].sort(key=lambda entry: entry.line)
    return frame[~repeated]


def _keep(directory: Path, source: Path, lines: list[BadLine]) -> None:
    """Write the quarantine of one file, or remove that of an earlier reading when it is clean now."""
    path = directory / f"{source.name}.quarantine.jsonl"
    try:
        if lines:
            write_atomic(path, b"".join(_quarantine_lines(source, lines)))
        else:
            path.unlink(missing_ok=True)
    except (UserError, OSError):
        return  # a read-only feed: the lines stay counted in the result


def _quarantine_lines(source: Path, lines: list[BadLine]) -> Iterator[bytes]:
    for entry in lines:
        record = {"file": source.name, "line": entry.line, "reason": entry.reason, "text": entry.text}
        yield orjson.dumps(record, None, orjson.OPT_APPEND_NEWLINE)


def _quarantine_frame(bad: dict[Path, list[BadLine]]) -> pd.DataFrame:
    rows = [(path.name, e.line, e.reason, e.text[:_EXCERPT]) for path, lines in bad.items() for e in lines]
    frame = pd.DataFrame(rows, columns=["file", "line", "reason", "text"])
    return frame.astype({"file": "str", "line": "int64", "reason": "str", "text": "str"})


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    """By ts, symbol, arm; lines that agree in all three stay in the order in which they were written."""
    keys = [pd.factorize(frame[name], sort=True)[0] for name in ("arm", "symbol")]
    order = np.lexsort((*keys, frame["ts"].astype("int64").to_numpy()))
    return frame.iloc[order].drop(columns=["_file", "_line"]).reset_index(drop=True)
