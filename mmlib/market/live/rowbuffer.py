"""EVENT rows that come a few at a time and go many at a time, without an array for each message."""

from __future__ import annotations

import numpy as np

from mmlib.dtypes import EVENT

_FIRST_ROWS = 4096


class RowBuffer:
    """A growing block of EVENT rows; what was dropped makes room again, so it stays as large as its largest backlog."""

    def __init__(self) -> None:
        self._block = np.zeros(_FIRST_ROWS, EVENT)
        self._n = 0

    def __len__(self) -> int:
        return self._n

    @property
    def rows(self) -> np.ndarray:
        """EVENT[n], what is held; a view until the next call of anything else."""
        return self._block[: self._n]

    def room(self, n: int) -> np.ndarray:
        """EVENT[n], the next rows; a view, every named field of which is to be set."""
        need = self._n + n
        if need > len(self._block):
            grown = np.zeros(max(need, 2 * len(self._block)), EVENT)
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
        """EVENT[n], a copy of all rows, which go."""
        rows = self.rows.copy()
        self._n = 0
        return rows
