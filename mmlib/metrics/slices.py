"""Slices of a dataset: a part of the time and of the symbols, worked out by itself, from Parquet to a few small arrays.

Every interval lies in one slice, so slices are put side by side and nothing that was rounded is added up twice: whoever works
them out, a thread, a process or a cluster, from Parquet or while the feed is converted (``metrics.passing``), and in whatever
order, the result is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from mmlib.core._jit import read_only
from mmlib.core.tickbins import NEVER, STAGES, TickBins, add_ticks, finish_bins, new_bins
from mmlib.feeds.cache import row_groups, verified
from mmlib.feeds.columns import pairs_of
from mmlib.metrics.grid import SECOND_NS, Grid

Pair = tuple[str, str]

SLICE_NS = 12 * 3600 * SECOND_NS
"""Length of a slice, unless its intervals do not divide it."""
DAY_NS = 86_400 * SECOND_NS
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
        asked_ns, ends: times at which the mid is asked for, see ``core.tickbins.new_bins``.
    """

    files: tuple[Path, ...]
    pairs: tuple[Pair, ...]
    lower_ns: int
    upper_ns: int
    grid: Grid
    asked_ns: np.ndarray
    ends: np.ndarray


@dataclass(frozen=True)
class Partial:
    """What a slice came to; arrays are those of ``core.tickbins.TickBins``, by pair and interval from ``start_ns`` on.

    ``pair_names`` is ``str[pairs, 2]``, symbol and arm. ``distance`` is sparse: ``int64[4, k]``, the pair, the bucket, and the
    number and sum [ns] of each. ``answer_ns`` and ``answer`` hold what was answered only, with the pair in ``answered``.
    """

    pair_names: np.ndarray
    start_ns: np.ndarray
    counts: np.ndarray
    sums: np.ndarray
    quantile: np.ndarray
    mark_ns: np.ndarray
    tick_ns: np.ndarray
    first_mark: np.ndarray
    first_mid: np.ndarray
    distance: np.ndarray
    opening_ns: np.ndarray
    opening: np.ndarray
    n_opening: np.ndarray
    answered: np.ndarray
    answer_ns: np.ndarray
    answer: np.ndarray

    @property
    def pairs(self) -> list[Pair]:
        """Symbols and arms."""
        return [(str(symbol), str(arm)) for symbol, arm in self.pair_names]


def period_ns(step_ns: int) -> int:
    """Length of the slices of a dataset whose intervals have this length; they begin at whole multiples of it."""
    return SLICE_NS if SLICE_NS % step_ns == 0 else DAY_NS


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
    slices = []
    for start in range(0, len(pairs), MAX_PAIRS):
        some = pairs[start : start + MAX_PAIRS]
        for part in _parts(grid):
            lower = max(part.start_ns, lower_ns)
            upper = min(part.start_ns + part.size * part.step_ns, upper_ns)
            asked, ends = questions(asked_ns[start : start + MAX_PAIRS], lower, upper)
            touched = tuple(path for path, begin, end in files if begin < upper and end >= lower)
            slices.append(Slice(touched, tuple(some), lower, upper, part, asked, ends))
    return slices


def _parts(grid: Grid) -> list[Grid]:
    """The grid cut where slices begin."""
    period = period_ns(grid.step_ns)
    end_ns = grid.start_ns + grid.size * grid.step_ns
    later = range((grid.start_ns // period + 1) * period, end_ns, period)
    starts = [grid.start_ns, *later] if grid.size else []
    return [
        Grid(begin, grid.step_ns, (end - begin) // grid.step_ns)
        for begin, end in zip(starts, [*starts[1:], end_ns], strict=True)
    ]


def questions(asked_ns: Sequence[np.ndarray], lower_ns: int, upper_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """Those of a half-open range, behind each other, and where those of each pair begin and end."""
    asked = [one[slice(*np.searchsorted(one, (lower_ns, upper_ns)))] for one in asked_ns]
    ends = np.concatenate([[0], np.cumsum([len(one) for one in asked])]).astype(np.int64)
    return np.concatenate([np.empty(0, np.int64), *asked]), ends


def work_out(task: Slice) -> Partial:
    """Read the ticks of a slice and reduce them.

    Raises:
        OSError, pyarrow.ArrowException: a Parquet file is gone or damaged.
    """
    bins = new_bins(len(task.pairs), task.grid.size, task.asked_ns, task.ends)
    numbers = {pair: number for number, pair in enumerate(task.pairs)}

    def number_of(pair: Pair) -> int:
        return numbers.get(pair, -1)

    for path in task.files:
        with verified(path) as file:
            for number in row_groups(file, task.lower_ns, task.upper_ns):
                table = file.read_row_group(number, columns=_COLUMNS, use_threads=False)
                for batch in table.to_batches():
                    add_rows(rows_of(batch, number_of), task.lower_ns, task.upper_ns, task.grid, bins)
    return finished(bins, task.pairs, task.grid.start_ns, task.ends)


class Rows(NamedTuple):
    """Ticks as ``core.tickbins.add_ticks`` takes them."""

    ts_ns: np.ndarray
    group: np.ndarray
    flags: tuple[np.ndarray, ...]
    guard: np.ndarray
    errors: np.ndarray
    values: tuple[np.ndarray, ...]


def rows_of(batch: pa.RecordBatch, number_of: Callable[[Pair], int]) -> Rows:
    """The columns of a batch of ``feeds.decode.arrow_schema``; ``number_of`` tells the group of a symbol and arm."""

    def column(name: str) -> np.ndarray:
        return np.asarray(batch.column(name).to_numpy(zero_copy_only=False))

    pairs, of_row = pairs_of(batch)
    return Rows(
        ts_ns=batch.column("ts").cast(pa.int64()).to_numpy(),
        group=np.array([number_of(pair) for pair in pairs], np.int64)[of_row],
        flags=tuple(column(name) for name in _FLAGS),
        guard=column("guard_level"),
        errors=column("errors"),
        values=tuple(column(name) for name in _VALUES),
    )


def add_rows(rows: Rows, lower_ns: int, upper_ns: int, grid: Grid, bins: TickBins) -> None:
    """Take the rows of ``[lower_ns, upper_ns)``, which lies in the grid."""
    columns = (tuple(map(read_only, one)) if isinstance(one, tuple) else read_only(one) for one in rows)
    add_ticks(*columns, lower_ns, upper_ns, grid.start_ns, grid.step_ns, bins)


def finished(bins: TickBins, pairs: Sequence[Pair], start_ns: int, ends: np.ndarray) -> Partial:
    """What bins came to, when they have seen all ticks of their pairs, which are their first groups.

    Args:
        bins: closed by this; nothing of the result is a view of them. start_ns: where their first interval begins.
        ends: see ``core.tickbins.new_bins``.
    """
    finish_bins(bins)
    n = len(pairs)
    pair, bucket = np.nonzero(bins.distance[:n, 0])
    answered = np.flatnonzero(bins.answer_ns != NEVER)
    return Partial(
        pair_names=np.array(pairs, str).reshape(n, 2),
        start_ns=np.array(start_ns),
        counts=bins.counts[:n].copy(),
        sums=bins.sums[:n].copy(),
        quantile=bins.quantile[:n].copy(),
        mark_ns=bins.mark_ns[:n].copy(),
        tick_ns=bins.tick_ns[:n].copy(),
        first_mark=bins.first_mark[:n].copy(),
        first_mid=bins.first_mid[:n].copy(),
        distance=np.stack([pair, bucket, bins.distance[pair, 0, bucket], bins.distance[pair, 1, bucket]]),
        opening_ns=bins.opening_ns[:n].copy(),
        opening=bins.opening[:n].copy(),
        n_opening=bins.n_opening[:n].copy(),
        answered=np.searchsorted(ends, answered, side="right") - 1,
        answer_ns=bins.answer_ns[answered],
        answer=bins.answer[answered],
    )


assert len(_VALUES) == STAGES + 4
