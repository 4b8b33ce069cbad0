"""Writes TICK and FILL records as JSON Lines, one file a UTC day, whole lines only."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import orjson

from mmlib import dtypes
from mmlib._io import UserError
from mmlib.feeds.schema import FILE_STEM, LIQUIDITY, SCHEMA_VERSION, SIDE_TEXT, Kind
from mmlib.feeds.timestamps import DAY_NS, day_text, to_text

_MS_DIGITS = 6  # durations come from a nanosecond clock
_TICK_MS = (*(f"{stage}_ms" for stage in dtypes.STAGES), "tick_total_ms", "modelled_ms")
_TICK_KEYS = (
    *("schema", "ts", "symbol", "arm", "scheduled_ts"),
    *_TICK_MS,
    *("cache_hit", "cache_age_ms", "used_stale", "deadline_miss", "guard_level", "breaker_open"),
    *("rss_mb", "mid", "spread_bps", "inventory", "errors"),
)
_FILL_KEYS = (
    *("schema", "ts", "symbol", "arm", "side", "price", "qty", "liquidity", "fee", "quote_price"),
    *("mid_at_quote", "mid_at_fill", "queue_ahead_qty", "latency_ms", "order_id", "fill_id"),
)
_CHUNK = 1024  # lines serialised at once; small enough to stay in the cache


class FeedWriter:
    """Appends one symbol's ticks and fills to the daily files of a directory.

    Each chunk of lines is one locked append, so that writers of several symbols or processes share a file. A
    torn last line that a crash left is closed first, so that it stays one bad line.

    Args:
        directory: where the files go; made when missing.
        symbol: what the ``symbol`` field says; 1 to 64 characters without braces.
        arms: arm names by index.

    Raises:
        UserError: the directory cannot be written, or the symbol cannot be a symbol.
    """

    def __init__(self, directory: Path, symbol: str, arms: Sequence[str] = dtypes.ARMS) -> None:
        if not 1 <= len(symbol) <= 64 or set(symbol) & set("{}"):
            raise UserError(f"symbol {symbol[:64]!r}: expected 1 to 64 characters without braces")
        self.directory = directory
        self.symbol = symbol
        self._arms = tuple(arms)
        self._open: dict[Kind, tuple[int, int]] = {}  # kind -> (day, file descriptor)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise _unwritable(directory, exc) from exc

    def ticks(self, records: np.ndarray) -> None:
        """Append ``TICK[n]`` records; NaN and inf become null.

        Raises:
            UserError: a file cannot be written; what was written before the call stays whole.
        """
        for day, part in _by_day(records):
            self._append("ticks", day, self._tick_lines(part))

    def fills(self, records: np.ndarray) -> None:
        """Append ``FILL[n]`` records; NaN and inf become null.

        Raises:
            UserError: a file cannot be written; what was written before the call stays whole.
        """
        for day, part in _by_day(records):
            self._append("fills", day, self._fill_lines(part))

    def close(self) -> None:
        """Flush to disk and close; closing twice is allowed."""
        while self._open:
            _, (_, fd) = self._open.popitem()
            _finish(fd, self.directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _tick_lines(self, records: np.ndarray) -> bytes:
        n = len(records)
        columns = (
            *([SCHEMA_VERSION] * n, to_text(records["ts_ns"]), [self.symbol] * n, self._arm_text(records)),
            to_text(records["scheduled_ns"]),
            *(records[name].round(_MS_DIGITS).tolist() for name in _TICK_MS),
            _bools(records["cache_hit"]),
            records["cache_age_ms"].round(_MS_DIGITS).tolist(),
            *(_bools(records[name]) for name in ("used_stale", "deadline_miss")),
            records["guard_level"].tolist(),
            _bools(records["breaker_open"]),
            *(records[name].tolist() for name in ("rss_mb", "mid", "spread_bps", "inventory", "errors")),
        )
        return _lines(_TICK_KEYS, columns)

    def _fill_lines(self, records: np.ndarray) -> bytes:
        n = len(records)
        columns = (
            *([SCHEMA_VERSION] * n, to_text(records["ts_ns"]), [self.symbol] * n, self._arm_text(records)),
            [SIDE_TEXT[side] for side in records["side"].tolist()],
            *(records[name].tolist() for name in ("price", "qty")),
            [LIQUIDITY[liquidity] for liquidity in records["liquidity"].tolist()],
            *(records[name].tolist() for name in ("fee", "quote_price", "mid_at_quote", "mid_at_fill")),
            records["queue_ahead_qty"].tolist(),
            records["latency_ms"].round(_MS_DIGITS).tolist(),
            *(records[name].tolist() for name in ("order_id", "fill_id")),
        )
        return _lines(_FILL_KEYS, columns)

    def _arm_text(self, records: np.ndarray) -> list[str]:
        return [self._arms[arm] for arm in records["arm"].tolist()]

    def _append(self, kind: Kind, day: int, data: bytes) -> None:
        fd = self._file(kind, day)
        try:
            _locked_append(fd, data)
        except OSError as exc:
            raise _unwritable(self.directory, exc) from exc

    def _file(self, kind: Kind, day: int) -> int:
        """Descriptor of the day's file, rotating when the day changes."""
        current = self._open.get(kind)
        if current is not None:
            if current[0] == day:
                return current[1]
            del self._open[kind]
            _finish(current[1], self.directory)
        path = self.directory / f"{FILE_STEM[kind]}_{day_text(day)}.jsonl"
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as exc:
            raise _unwritable(path, exc) from exc
        self._open[kind] = (day, fd)
        return fd


def _unwritable(path: Path, exc: OSError) -> UserError:
    return UserError(
        f"{path}: cannot be written ({exc.strerror}); expected a writable directory with free space"
    )


def _finish(fd: int, directory: Path) -> None:
    """Flush to disk and close, in every case."""
    try:
        os.fsync(fd)
    except OSError as exc:
        raise _unwritable(directory, exc) from exc
    finally:
        os.close(fd)


def _by_day(records: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Records cut where the UTC day of ``ts_ns`` changes and into chunks, in their own order."""
    if len(records) == 0:
        return []
    days = records["ts_ns"] // DAY_NS
    cuts = np.union1d(np.flatnonzero(np.diff(days)) + 1, np.arange(0, len(records), _CHUNK))
    edges = [*cuts.tolist(), len(records)]
    return [(int(days[first]), records[first:last]) for first, last in pairwise(edges)]


def _lines(keys: Sequence[str], columns: Sequence[Sequence[object]]) -> bytes:
    """JSON Lines of equally long columns; one call for all rows takes a quarter of a call a row's time."""
    rows = [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]
    return (
        orjson.dumps(rows)[1:-1].replace(b"},{", b"}\n{") + b"\n"
    )  # flat objects without braces in their text


def _bools(column: np.ndarray) -> list[bool]:
    return column.astype(bool).tolist()


def _locked_append(fd: int, data: bytes) -> None:
    """Append whole lines under a file lock; when the write fails, the file is cut back to where it was."""
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            data = b"\n" + data
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(fd, view) :]
        except OSError:
            os.ftruncate(fd, size)
            raise
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)
