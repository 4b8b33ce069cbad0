"""Slices of a dataset: a part of the time and of the symbols, worked out by itself, from Parquet to a few small arrays.

Every interval lies in one slice, so slices are put side by side and nothing that was rounded is added up twice: whoever works
them out, a thread, a process or a cluster, and in whatever order, the result is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmlib.core.tickbins import STAGES, TickBins, add_ticks, finish_bins, new_bins
from mmlib.feeds.columns import pairs_of
from mmlib.metrics.grid import SECOND_NS, Grid

Pair = tuple[str, str]

SLICE_NS = 12 * 3600 * SECOND_NS
"""Length of a slice, unless an interval is longer."""
MAX_PAIRS = 64
"""Symbols and arms of a slice: what their histograms take is bounded."""
_FLAGS = ("cache_hit", "used_stale", "deadline_miss", "breaker_open")
_VALUES = (
    *("fetch_md_ms", "spread_ms", "guards_ms", "inventory_ms", "queue_aware_ms", "emit_ms", "tick_total_ms"),
    *("mid", "spread_bps", "inventory", "rss_mb"),
)
_COLUMNS = ["ts", "symbol", "arm", *_FLAGS, "guard_level", "errors", *_VALUES]


@dataclass(frozen=True)
class Slice:
    """What one slice needs.

    Attributes:
        files: Parquet files (see ``feeds.cache``), the earlier ones first.
        pairs: symbols and arms.
        lower_ns, upper_ns: ticks of this half-open range.
        grid: its intervals.
        first: number of its first interval in the whole grid.
        asked_ns, ends: times at which the mid is asked for, see ``core.tickbins.new_bins``.
    """

    files: tuple[Path, ...]
    pairs: tuple[Pair, ...]
    lower_ns: int
    upper_ns: int
    grid: Grid
    first: int
    asked_ns: np.ndarray
    ends: np.ndarray


@dataclass(frozen=True)
class Partial:
    """What a slice came to; arrays are those of ``core.tickbins.TickBins``, by pair and interval of the slice.

    ``distance`` is sparse: buckets ``int64[k]``, and pair, number and sum [ns] of each, ``int64[3, k]``.
    """

    counts: np.ndarray
    sums: np.ndarray
    quantile: np.ndarray
    mark_ns: np.ndarray
    tick_ns: np.ndarray
    first_mark: np.ndarray
    first_mid: np.ndarray
    buckets: np.ndarray
    distance: np.ndarray
    opening_ns: np.ndarray
    opening: np.ndarray
    n_opening: np.ndarray
    answer_ns: np.ndarray
    answer: np.ndarray


def plan(
    files: Sequence[tuple[Path, int, int]],
    pairs: Sequence[Pair],
    grid: Grid,
    lower_ns: int,
    upper_ns: int,
    asked_ns: Sequence[np.ndarray],
) -> list[Slice]:
    """Slices that cover a grid, in the order in which they are put together: by pairs, then by time.

    Args:
        files: Parquet file, first and last time of it.
        pairs: symbols and arms, sorted. asked_ns: ``int64[.]`` rising, of each pair.
        grid: all intervals. lower_ns, upper_ns: ticks outside are left out.
    """
    size = max(SLICE_NS // grid.step_ns, 1)
    slices = []
    for start in range(0, len(pairs), MAX_PAIRS):
        some = range(start, min(start + MAX_PAIRS, len(pairs)))
        for first in range(0, grid.size, size):
            part = Grid(grid.start_ns + first * grid.step_ns, grid.step_ns, min(size, grid.size - first))
            lower = max(part.start_ns, lower_ns)
            upper = min(part.start_ns + part.size * part.step_ns, upper_ns)
            asked = [asked_ns[k][slice(*np.searchsorted(asked_ns[k], (lower, upper)))] for k in some]
            slices.append(
                Slice(
                    files=tuple(path for path, begin, end in files if begin < upper and end >= lower),
                    pairs=tuple(pairs[k] for k in some),
                    lower_ns=lower,
                    upper_ns=upper,
                    grid=part,
                    first=first,
                    asked_ns=np.concatenate(asked) if asked else np.empty(0, np.int64),
                    ends=np.concatenate([[0], np.cumsum([len(one) for one in asked])]).astype(np.int64),
                )
            )
    return slices


def work_out(task: Slice) -> Partial:
    """Read the ticks of a slice and reduce them.

    Raises:
        OSError, pyarrow.ArrowException: a Parquet file is gone or damaged.
    """
    bins = new_bins(len(task.pairs), task.grid.size, task.asked_ns, task.ends)
    numbers = {pair: number for number, pair in enumerate(task.pairs)}
    for path in task.files:
        with pq.ParquetFile(path, memory_map=True, page_checksum_verification=True) as file:
            for number in _row_groups(file, task):
                _add(file.read_row_group(number, columns=_COLUMNS, use_threads=False), numbers, task, bins)
    finish_bins(bins)
    used = bins.distance[:, 0] > 0
    pair, buckets = np.nonzero(used)
    return Partial(
        counts=bins.counts,
        sums=bins.sums,
        quantile=bins.quantile,
        mark_ns=bins.mark_ns,
        tick_ns=bins.tick_ns,
        first_mark=bins.first_mark,
        first_mid=bins.first_mid,
        buckets=buckets,
        distance=np.stack([pair, bins.distance[:, 0][used], bins.distance[:, 1][used]]),
        opening_ns=bins.opening_ns,
        opening=bins.opening,
        n_opening=bins.n_opening,
        answer_ns=bins.answer_ns,
        answer=bins.answer,
    )


def _row_groups(file: pq.ParquetFile, task: Slice) -> list[int]:
    """Those that may hold ticks of the slice."""
    place = file.schema_arrow.get_field_index("ts")
    found = []
    for number in range(file.metadata.num_row_groups):
        statistics = file.metadata.row_group(number).column(place).statistics
        outside = statistics is not None and statistics.has_min_max
        if not (outside and (statistics.min_raw >= task.upper_ns or statistics.max_raw < task.lower_ns)):
            found.append(number)
    return found


def _add(table: pa.Table, numbers: dict[Pair, int], task: Slice, bins: TickBins) -> None:
    for batch in table.to_batches():
        pairs, of_row = pairs_of(batch)
        group = np.array([numbers.get(pair, -1) for pair in pairs], np.int64)[of_row]

        def column(name: str, batch: pa.RecordBatch = batch) -> np.ndarray:
            return batch.column(name).to_numpy(zero_copy_only=False)

        add_ticks(
            batch.column("ts").cast(pa.int64()).to_numpy(),
            group,
            tuple(column(name) for name in _FLAGS),
            column("guard_level"),
            column("errors"),
            tuple(column(name) for name in _VALUES),
            task.lower_ns,
            task.upper_ns,
            task.grid.start_ns,
            task.grid.step_ns,
            bins,
        )


assert len(_VALUES) == STAGES + 4
