"""Slices worked out while a feed file is converted, from the rows as they pass: its Parquet file need not be read for them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from mmlib.core.tickbins import TickBins, new_bins
from mmlib.metrics.grid import Grid
from mmlib.metrics.slices import MAX_PAIRS, Pair, Partial, add_rows, finished, period_ns, questions, rows_of

MAX_PERIODS = 4
"""Slices that are filled at the same time: a UTC day is two, and may have a few late ticks."""
MAX_INTERVALS = 2880
"""Of all of them together; with ``MAX_PAIRS`` it bounds the memory."""


class Passing:
    """Takes the rows of one feed file, and gives up where it would need too much memory or could not answer all questions.

    Args:
        asked_ns: symbol and arm -> times at which the mid is asked for, ``int64[.]`` rising.
        step_ns: length of the intervals. limits: half-open range of the dataset, ns.
        span: half-open range within which all questions are in ``asked_ns``, ns.
    """

    def __init__(
        self,
        asked_ns: Mapping[Pair, np.ndarray],
        step_ns: int,
        limits: tuple[int, int],
        span: tuple[int, int],
    ) -> None:
        self._asked, self._step_ns, self._limits, self._span = asked_ns, step_ns, limits, span
        self._period_ns = period_ns(step_ns)
        self._useful = False

    def begin(self) -> None:
        """The rows come from the first one on, in the order in which they are kept."""
        self._useful = len(self._asked) <= MAX_PAIRS
        self._number: dict[Pair, int] = {pair: k for k, pair in enumerate(self._asked)}
        self._bins: dict[int, tuple[TickBins, np.ndarray]] = {}

    def see(self, batch: pa.RecordBatch) -> None:
        """Take more rows, of ``feeds.decode.arrow_schema``."""
        if not self._useful or len(batch) == 0:
            return
        rows = rows_of(batch, self._number_of)
        first, last = int(rows.ts_ns.min()), int(rows.ts_ns.max())
        touched = range(first // self._period_ns, last // self._period_ns + 1)
        most = min(MAX_PERIODS, MAX_INTERVALS * self._step_ns // self._period_ns)
        self._useful = (
            self._span[0] <= first
            and last < self._span[1]
            and len(self._number) <= MAX_PAIRS
            and len({*touched[: most + 1], *self._bins}) <= most
        )
        if not self._useful:
            self._bins.clear()
            return
        for number in touched:
            grid = self._grid(number)
            lower, upper = self._bounds(grid)
            if number not in self._bins:
                asked, ends = questions(list(self._asked.values()), lower, upper)
                ends = np.concatenate([ends, np.full(MAX_PAIRS + 1 - len(ends), ends[-1])])
                self._bins[number] = new_bins(MAX_PAIRS, grid.size, asked, ends), ends
            add_rows(rows, lower, upper, grid, self._bins[number][0])

    def _number_of(self, pair: Pair) -> int:
        return self._number.setdefault(pair, len(self._number))

    def _grid(self, number: int) -> Grid:
        return Grid(number * self._period_ns, self._step_ns, self._period_ns // self._step_ns)

    def _bounds(self, grid: Grid) -> tuple[int, int]:
        end = grid.start_ns + grid.size * grid.step_ns
        return max(grid.start_ns, self._limits[0]), min(end, self._limits[1])

    def partials(self) -> dict[int, Partial]:
        """Time at which a slice begins (see ``slices.period_ns``) -> the slice; empty where the file has to be read again.

        To be asked once: the histograms, many times as large, are let go of.
        """
        if not self._useful:
            return {}
        pairs = list(self._number)
        begun = [(self._grid(number).start_ns, *held) for number, held in sorted(self._bins.items())]
        self._bins, self._useful = {}, False
        return {start_ns: finished(bins, pairs, start_ns, ends) for start_ns, bins, ends in begun}
