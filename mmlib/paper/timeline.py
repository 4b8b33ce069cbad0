"""The market rows of a symbol in the order of the exchange's clock, read ahead in another thread."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from mmlib.dtypes import EVENT, FLAG_EXCH, Grade
from mmlib.market.source import Instrument, Source
from mmlib.paper.matching import read_only

NEVER_NS = 2**62


class Timeline:
    """What a source does at its exchange, to be taken as time passes.

    Attributes:
        next_ns: when the next row is due; `NEVER_NS` when there is none.
        rows_taken: rows handed out.

    Args:
        reader: reads ahead, so that no order waits for a chunk to be simulated or decoded.
    """

    def __init__(self, source: Source, reader: ThreadPoolExecutor, start_ns: int | None = None) -> None:
        self.instrument: Instrument = source.instrument
        self.grade: Grade = source.grade
        self.description = source.description
        self.sha256 = source.sha256
        self.quality = source.quality
        self.rows_taken = 0
        self._chunks = _exchange_rows(source, source.start_ns if start_ns is None else start_ns)
        self._reader = reader
        self._rows = np.empty(0, EVENT)
        self._at = 0
        self._coming: Future[np.ndarray | None] = reader.submit(next, self._chunks, None)
        self._load()

    @property
    def next_ns(self) -> int:
        """See the class."""
        return int(self._rows["exch_ts_ns"][self._at]) if self._at < len(self._rows) else NEVER_NS

    def take(self, limit_ns: int) -> np.ndarray:
        """``EVENT[n]``: the next rows up to and including ``limit_ns``, at most as many as are read."""
        stop = int(np.searchsorted(self._rows["exch_ts_ns"][self._at :], limit_ns, "right")) + self._at
        part = self._rows[self._at : stop]
        self._at = stop
        self.rows_taken += len(part)
        if self._at >= len(self._rows):
            self._load()
        return part

    def _load(self) -> None:
        rows = self._coming.result()
        self._rows, self._at = read_only(np.empty(0, EVENT) if rows is None else rows), 0
        if rows is not None:
            self._coming = self._reader.submit(next, self._chunks, None)


def _exchange_rows(source: Source, start_ns: int) -> Iterator[np.ndarray]:
    """The rows of each chunk that the exchange walks, in its order."""
    for chunk in source.chunks(start_ns, None):
        rows = chunk[chunk["flags"] & FLAG_EXCH != 0]
        if len(rows):
            yield rows
