"""Rows that come a few at a time and go many at a time, without an array for each message."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmlib.dtypes import EVENT

_FIRST_ROWS = 4096


class RowBuffer:
    """A growing block of rows; what was dropped makes room again, so it stays as large as its largest backlog.

    Args:
        dtype: of a row.
        rows: that are expected at most; the block takes memory for them at once, not page by page as the backlog grows.
    """

    def __init__(self, dtype: np.dtype[Any] = EVENT, rows: int = _FIRST_ROWS) -> None:
        self._block = np.empty(rows, dtype)
        self._block[:] = 0
        self._n = 0

    def __len__(self) -> int:
        return self._n

    @property
    def rows(self) -> np.ndarray:
        """What is held; a view, which `drop` and `take` spoil."""
        return self._block[: self._n]

    def room(self, n: int) -> np.ndarray:
        """The next ``n`` rows; a view, every named field of which is to be set."""
        need = self._n + n
        if need > len(self._block):
            grown = np.zeros(max(need, 2 * len(self._block)), self._block.dtype)
            grown[: self._n] = self.rows
            self._block = grown
        taken = self._block[self._n : need]
        self._n = need
        return taken

    def drop(self, n: int) -> None:
        """Let the first ``n`` rows go."""
        left = self._n - n
        if left and n:
            self._block[:left] = self._block[n : self._n].copy()
        self._n = left

    def take(self) -> np.ndarray:
        """A copy of all rows, which go."""
        rows = self.rows.copy()
        self._n = 0
        return rows
