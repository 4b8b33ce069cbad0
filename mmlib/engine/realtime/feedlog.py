"""The feeds of a running session: ticks only remember their rows, which are written and synced together once a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmlib.feeds.schema import Kind
from mmlib.feeds.writer import FeedWriter


@dataclass(frozen=True)
class _Rows:
    kind: Kind
    symbol: int
    rows: np.ndarray
    errors: Mapping[str, int]


Batch = list[_Rows]
"""What is to be written, in the order of time."""


class FeedLog:
    """Rows of all symbols between a tick and the disk.

    ``ticks`` and ``fills`` remember, ``cut`` hands out, ``store`` writes and may run in a thread.

    Raises:
        UserError: as `FeedWriter`.
    """

    def __init__(
        self, directory: Path, symbols: Sequence[str], arms: Sequence[str], source: str = ""
    ) -> None:
        self._index = {symbol: k for k, symbol in enumerate(symbols)}
        self._writer = FeedWriter(directory, symbols, arms, source)
        self._pending: Batch = []

    def ticks(self, symbol: str, rows: np.ndarray, errors: Mapping[str, int]) -> None:
        """Remember TICK[arms] (copied) with the errors of each by code."""
        self._pending.append(_Rows("ticks", self._index[symbol], rows.copy(), errors))

    def fills(self, symbol: str, rows: np.ndarray) -> None:
        """Remember FILL[n] (copied)."""
        self._pending.append(_Rows("fills", self._index[symbol], rows.copy(), {}))

    def cut(self) -> Batch:
        """What came since the last cut."""
        batch, self._pending = self._pending, []
        return batch

    def store(self, batch: Batch) -> None:
        """Append whole lines to the feeds; they are synced with the checkpoint, see `checkpoint.store`.

        Raises:
            UserError: a file cannot be written.
        """
        self._together("fills", [one for one in batch if one.kind == "fills"])
        plain: Batch = []
        for one in batch:
            if one.kind == "ticks" and not one.errors:
                plain.append(one)
            elif one.kind == "ticks":
                self._together("ticks", plain)
                plain = []
                self._writer.ticks(one.rows, one.errors, one.symbol)
        self._together("ticks", plain)

    def close(self) -> None:
        """Sync and close the files; closing twice is allowed."""
        self._writer.close()

    def _together(self, kind: Kind, parts: Batch) -> None:
        if parts:
            symbols = np.repeat([one.symbol for one in parts], [len(one.rows) for one in parts])
            self._writer.write(kind, np.concatenate([one.rows for one in parts]), symbols)
