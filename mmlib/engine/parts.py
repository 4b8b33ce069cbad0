"""The records of a running session, one pair of files a symbol, and the feeds that they become when it ends.

While a session runs, a symbol's ticks and fills are kept as they are in memory, row by row: a file is cut to a number of rows
by its length alone, and the stop criteria read back what they need. At the end all symbols' rows are put in order of time into
the daily files of the feeds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from isal import isal_zlib

from mmlib._io import UserError
from mmlib.dtypes import FILL, TICK
from mmlib.feeds.schema import KINDS, Kind
from mmlib.feeds.writer import FeedWriter
from mmlib.intact import crc_of

DTYPES: dict[Kind, np.dtype] = {"ticks": TICK, "fills": FILL}
_STEP_ROWS = 16_384  # rows of the largest part that are merged at once


class Parts:
    """The two files of one symbol, open for appending.

    Args:
        home: directory of the symbol, made when missing.
        rows: rows to keep of each kind that is there; 0 begins anew. crc: their CRC-32.

    Raises:
        UserError: the place cannot be written, or holds fewer rows than it should.
    """

    def __init__(
        self, home: Path, rows: dict[Kind, int] | None = None, crc: dict[Kind, int] | None = None
    ) -> None:
        self.home = home
        self.rows: dict[Kind, int] = rows or dict.fromkeys(KINDS, 0)
        self.crc: dict[Kind, int] = crc or dict.fromkeys(KINDS, 0)
        self._files: dict[Kind, int] = {}
        try:
            home.mkdir(parents=True, exist_ok=True)
            for kind in KINDS:
                fd = os.open(_path(home, kind), os.O_RDWR | os.O_CREAT, 0o644)
                self._files[kind] = fd
                size = self.rows[kind] * DTYPES[kind].itemsize
                if os.fstat(fd).st_size < size:
                    raise UserError(
                        f"{_path(home, kind)}: shorter than its checkpoint says; start without --resume"
                    )
                os.ftruncate(fd, size)
                os.lseek(fd, 0, os.SEEK_END)
        except OSError as exc:
            raise _unwritable(home, exc) from exc

    def append(self, ticks: np.ndarray, fills: np.ndarray) -> None:
        """Append ``TICK[n]`` and ``FILL[m]``.

        Raises:
            UserError: the disk is full or gone.
        """
        new: dict[Kind, np.ndarray] = {"ticks": ticks, "fills": fills}
        for kind, records in new.items():
            view = memoryview(records.tobytes())
            try:
                while view:
                    view = view[os.write(self._files[kind], view) :]
            except OSError as exc:
                raise _unwritable(self.home, exc) from exc
            self.rows[kind] += len(records)
            self.crc[kind] = isal_zlib.crc32(records.tobytes(), self.crc[kind])

    def read(self, kind: Kind) -> np.ndarray:
        """All rows of a kind so far, mapped from the file."""
        return read_part(self.home, kind, self.rows[kind])

    def sync(self) -> None:
        """Have everything on the disk before a checkpoint counts on it."""
        for fd in self._files.values():
            os.fsync(fd)

    def close(self) -> None:
        """Close both files; closing twice is allowed."""
        while self._files:
            os.close(self._files.popitem()[1])


def intact_rows(home: Path, rows: Mapping[Kind, int], crc: Mapping[Kind, int]) -> bool:
    """Whether the files of a symbol begin with the rows that a checkpoint counts on."""
    try:
        return all(crc_of(_path(home, k), n * DTYPES[k].itemsize) == crc[k] for k, n in rows.items())
    except OSError:
        return False


def read_part(home: Path, kind: Kind, rows: int) -> np.ndarray:
    """The first ``rows`` of a symbol's file, ``TICK[rows]`` or ``FILL[rows]``, mapped read-only."""
    if not rows:
        return np.zeros(0, DTYPES[kind])
    return np.memmap(_path(home, kind), DTYPES[kind], "r", shape=(rows,))


def merge(
    kind: Kind,
    directory: Path,
    homes: Sequence[Path],
    symbols: Sequence[str],
    arms: Sequence[str],
    rows: Sequence[int],
    source: str = "",
) -> None:
    """Write the daily feed files of one kind from every symbol's rows, in order of time, then of the symbols.

    A row that is older than the one before it in its own file stays behind it.

    Args:
        kind: ticks or fills.
        directory: where the feeds go; files of the kind that are there are replaced.
        homes, symbols, rows: directory, name and number of rows of each symbol.
        arms: arm names by index.
        source: what every line states as its source.

    Raises:
        UserError: the feeds cannot be written.
    """
    parts = [read_part(home, kind, n) for home, n in zip(homes, rows, strict=True)]
    times = [np.maximum.accumulate(part["ts_ns"]) for part in parts]
    with FeedWriter(directory, symbols, arms, source) as writer:
        writer.begin(kind)
        for edges in _steps(times):
            picked = [part[a:b] for part, (a, b) in zip(parts, edges, strict=True)]
            which = np.repeat(np.arange(len(parts)), [len(part) for part in picked])
            moments = np.concatenate([ts[a:b] for ts, (a, b) in zip(times, edges, strict=True)])
            order = np.argsort(moments, kind="stable")
            writer.write(kind, np.concatenate(picked)[order], which[order])


def _steps(times: Sequence[np.ndarray]) -> list[list[tuple[int, int]]]:
    """Row ranges of each part, cut at common times so that a step holds few rows."""
    longest = max(times, key=len)
    cuts = longest[_STEP_ROWS::_STEP_ROWS]
    places = [[0, *np.searchsorted(ts, cuts).tolist(), len(ts)] for ts in times]
    return [[(at[k], at[k + 1]) for at in places] for k in range(len(cuts) + 1)]


def _path(home: Path, kind: Kind) -> Path:
    return home / f"{kind}.rows"


def _unwritable(home: Path, exc: OSError) -> UserError:
    return UserError(
        f"{home}: cannot be written ({exc.strerror}); expected a writable directory with free space"
    )
