"""Writes TICK and FILL records as JSON Lines, one file a UTC day, whole lines only."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import orjson

from mmlib import dtypes
from mmlib._io import UserError
from mmlib.feeds.lines import BLOCK, LineMaker
from mmlib.feeds.schema import FILE_STEM, KINDS, Kind
from mmlib.feeds.timestamps import DAY_NS, day_text


class FeedWriter:
    """Appends ticks and fills to the daily files of a directory.

    Each chunk of lines is one locked append, so that writers of several symbols or processes share a file. A
    torn last line that a crash left is closed first, so that it stays one bad line.

    Args:
        directory: where the files go; made when missing.
        symbols: what the ``symbol`` field says, one name or several by index; 1 to 64 characters without braces.
        arms: arm names by index.
        source: grade of the market, which every line states; "" for none.

    Raises:
        UserError: the directory cannot be written, or the symbol cannot be a symbol.
    """

    def __init__(
        self,
        directory: Path,
        symbols: str | Sequence[str],
        arms: Sequence[str] = dtypes.ARMS,
        source: str = "",
    ) -> None:
        self.directory = directory
        names = [symbols] if isinstance(symbols, str) else symbols
        self._makers = {kind: LineMaker(kind, names, arms, source) for kind in KINDS}
        self._open: dict[Kind, tuple[int, int]] = {}  # kind -> (day, file descriptor)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise _unwritable(directory, exc) from exc

    def ticks(
        self, records: np.ndarray, error_codes: Mapping[str, int] | None = None, symbol: int = 0
    ) -> None:
        """`write` ticks of one symbol; ``error_codes`` splits the errors of each of them by code."""
        if not error_codes:
            self.write("ticks", records, symbol)
            return
        codes = orjson.dumps(dict(error_codes))
        for day, part in _by_day(records):
            which = np.full(len(records[part]), symbol)
            lines = bytes(self._makers["ticks"].lines(records[part], which))
            # the lines are flat: a brace stands at the end of each only
            self._append("ticks", day, memoryview(lines.replace(b"}\n", b',"error_codes":%b}\n' % codes)))

    def fills(self, records: np.ndarray) -> None:
        """`write` fills of the first symbol."""
        self.write("fills", records)

    def write(self, kind: Kind, records: np.ndarray, symbol: np.ndarray | int = 0) -> None:
        """Append ``TICK[n]`` or ``FILL[n]`` records of symbols ``int64[n]``, or of one; NaN and inf become null.

        Raises:
            UserError: a file cannot be written; what was written before the call stays whole.
        """
        which = np.broadcast_to(np.asarray(symbol), len(records))
        for day, part in _by_day(records):
            self._append(kind, day, self._makers[kind].lines(records[part], which[part]))

    def begin(self, kind: Kind) -> None:
        """Remove the directory's files of a kind.

        Raises:
            UserError: one cannot be removed.
        """
        for path in self.directory.glob(f"{FILE_STEM[kind]}_*.jsonl"):
            try:
                path.unlink()
            except OSError as exc:
                raise _unwritable(path, exc) from exc

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

    def _append(self, kind: Kind, day: int, data: memoryview) -> None:
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


def _by_day(records: np.ndarray) -> list[tuple[int, slice]]:
    """Day number and rows, cut where the UTC day of ``ts_ns`` changes and into blocks, in their own order."""
    if len(records) == 0:
        return []
    days = records["ts_ns"] // DAY_NS
    cuts = np.union1d(np.flatnonzero(np.diff(days)) + 1, np.arange(0, len(records), BLOCK))
    edges = [*cuts.tolist(), len(records)]
    return [(int(days[first]), slice(first, last)) for first, last in pairwise(edges)]


def _locked_append(fd: int, data: memoryview) -> None:
    """Append whole lines under a file lock; when the write fails, the file is cut back to where it was."""
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        size = os.fstat(fd).st_size
        torn = size and os.pread(fd, 1, size - 1) != b"\n"
        try:
            for view in ([memoryview(b"\n")] if torn else []) + [data]:
                while view:
                    view = view[os.write(fd, view) :]
        except OSError:
            os.ftruncate(fd, size)
            raise
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)
