"""Ticks to intervals in one pass: sums, and percentiles from one histogram a stage of the interval that is being filled.

The ticks of a group (symbol and arm) come in time order, groups mixed as they like, so that a group has one open interval at a
time and the memory does not grow with the ticks.

Oracle: tests/naive_dataset.py.
"""

from __future__ import annotations

import math
import mmap
from typing import Any, NamedTuple

import numpy as np

from mmlib.core._jit import jit_borrowing, jit_within
from mmlib.core.histogram import SIZE, bucket_table, bucket_values, quick_index

QUANTILES = (0.5, 0.95, 0.99)
N, HIT, STALE, MISS, BREAKER, SOFT, HARD, N_SPREAD, N_INVENTORY = range(9)
"""Columns of ``TickBins.counts``."""
ERRORS, SPREAD, INVENTORY, RSS, MID, VARIANCE, SECONDS = range(7)
"""Columns of ``TickBins.sums``; RSS is the largest and MID the last value, VARIANCE and SECONDS are of the mid's steps."""
STAGES = 7
"""The six stages and the whole tick; the values of a tick are these, then mid, spread, inventory, rss."""
_MID, _SPREAD, _INVENTORY, _RSS = range(STAGES, STAGES + 4)
OPENING = 61
"""First known inventories that are noted of each group, see ``metrics.ledger``."""
NEVER = np.iinfo(np.int64).min
_NS_PER_MS = 1e6
_RUN = 64


class TickBins(NamedTuple):
    """Results and what is needed to go on, for G groups, I intervals and Q questions.

    Attributes:
        counts: int64[G, I, 9]. sums: float64[G, I, 7]. quantile: float64[G, I, STAGES, 3], ms, NaN without values.
        mark_ns: int64[G, I], time of the last tick with a mid, NEVER without one.
        counted: int32[G, STAGES, SIZE], histograms of the open intervals.
        least, most: float64[G, STAGES], of the open intervals. current: int64[G], the open interval, -1 at first.
        tick_ns: int64[G, 2], first and last tick; NEVER without one. first_mark: int64[G], first with a mid.
        first_mid: float64[G]. last_mark: int64[G], last with a mid. last_mid, last_log: float64[G], and its logarithm.
        mark_bin: int64[G].
        distance: int64[G, 2, SIZE], number and sum [ns] of the distances of neighbouring ticks, by bucket.
        opening_ns: int64[G, OPENING]. opening: float64[G, OPENING]. n_opening: int64[G].
        asked_ns: int64[Q], rising in each group. next: int64[G], end: int64[G], the group's open questions.
        answer_ns: int64[Q], answer: float64[Q], the last tick with a mid at or before the time asked; NEVER for none.
        value: float64[SIZE], of each bucket. table: how buckets are found.
    """

    counts: Any
    sums: Any
    quantile: Any
    mark_ns: Any
    counted: Any
    least: Any
    most: Any
    current: Any
    tick_ns: Any
    first_mark: Any
    first_mid: Any
    last_mark: Any
    last_mid: Any
    last_log: Any
    mark_bin: Any
    distance: Any
    opening_ns: Any
    opening: Any
    n_opening: Any
    asked_ns: Any
    next: Any
    end: Any
    answer_ns: Any
    answer: Any
    value: Any
    table: Any


def no_sums(groups: int, intervals: int) -> np.ndarray:
    """``TickBins.sums`` of no ticks."""
    sums = np.zeros((groups, intervals, 7))
    sums[:, :, RSS], sums[:, :, MID] = -np.inf, np.nan
    return sums


def _pages(*shape: int, dtype: type) -> np.ndarray:
    """Zeros in pages of their own, not shared with forks, which go back to the system when they are let go of.

    Freed to the C library, arrays of tens of megabytes would be kept for later ones, by each thread's arena: glibc takes the
    largest array that was freed for the size below which it gives nothing back.
    """
    size = math.prod(shape)
    pages = mmap.mmap(-1, max(size, 1) * np.dtype(dtype).itemsize, access=mmap.ACCESS_COPY)
    return np.frombuffer(pages, dtype, size).reshape(shape)


def new_bins(groups: int, intervals: int, asked_ns: np.ndarray, ends: np.ndarray) -> TickBins:
    """Empty results; the questions of group g are ``asked_ns[ends[g]:ends[g + 1]]``, rising."""
    g, i = groups, intervals
    return TickBins(
        counts=np.zeros((g, i, 9), np.int64),
        sums=no_sums(g, i),
        quantile=np.full((g, i, STAGES, 3), np.nan),
        mark_ns=np.full((g, i), NEVER),
        counted=_pages(g, STAGES, SIZE, dtype=np.int32),
        least=np.full((g, STAGES), np.inf),
        most=np.full((g, STAGES), -np.inf),
        current=np.full(g, -1, np.int64),
        tick_ns=np.full((g, 2), NEVER),
        first_mark=np.full(g, NEVER),
        first_mid=np.full(g, np.nan),
        last_mark=np.full(g, NEVER),
        last_mid=np.full(g, np.nan),
        last_log=np.full(g, np.nan),
        mark_bin=np.full(g, -1, np.int64),
        distance=_pages(g, 2, SIZE, dtype=np.int64),
        opening_ns=np.zeros((g, OPENING), np.int64),
        opening=np.zeros((g, OPENING)),
        n_opening=np.zeros(g, np.int64),
        asked_ns=asked_ns,
        next=ends[:-1].astype(np.int64),
        end=ends[1:].astype(np.int64),
        answer_ns=np.full(len(asked_ns), NEVER),
        answer=np.full(len(asked_ns), np.nan),
        value=bucket_values(),
        table=bucket_table(),
    )


@jit_borrowing
def _rank(q, n):
    """As ``histogram.rank``."""
    return min(max(np.int64(math.ceil(q * n - 1e-9 * max(q * n, 1.0))), 1), n)


@jit_within
def _sum(counted, first, end):
    some, total = counted[first:end], np.int64(0)
    for k in range(len(some)):  # from 0 on: a place that may be negative costs more than the sum
        total += some[k]
    return total


@jit_borrowing
def _reach(counted, k, end, below, wanted):
    """The first bucket from ``k`` on with ``wanted`` values in it and below, and those below it; ``below`` are below ``k``.

    Most buckets are passed in runs, whose sums the processor makes of several at a time.
    """
    while k + _RUN <= end:
        some = _sum(counted, k, k + _RUN)
        if below + some >= wanted:
            break
        below += some
        k += _RUN
    while below + counted[k] < wanted:
        below += counted[k]
        k += 1
    return k, below


@jit_borrowing
def _close(bins, g):
    """Percentiles of the open interval of a group, which is then empty."""
    i = bins.current[g]
    for stage in range(STAGES):
        least, most = bins.least[g, stage], bins.most[g, stage]
        if least <= most:
            first, end = quick_index(least, bins.table), quick_index(most, bins.table) + 1
            counted = bins.counted[g, stage]
            n = _sum(counted, first, end)
            k, below = first, np.int64(0)
            for which in range(len(QUANTILES)):
                k, below = _reach(counted, k, end, below, _rank(QUANTILES[which], n))
                bins.quantile[g, i, stage, which] = min(max(bins.value[k], least), most)
            counted[first:end] = 0
        bins.least[g, stage] = np.inf
        bins.most[g, stage] = -np.inf


@jit_within
def _answer(bins, g, ts_ns):
    """Answer the questions of a group that lie before ``ts_ns``."""
    at = bins.next[g]
    while at < bins.end[g] and bins.asked_ns[at] < ts_ns:
        bins.answer_ns[at] = bins.last_mark[g]
        bins.answer[at] = bins.last_mid[g]
        at += 1
    bins.next[g] = at


@jit_within
def _mark(bins, g, i, ts_ns, mid):
    """Take the mid of a tick."""
    sums = bins.sums[g, i]
    log = math.log(mid)
    if bins.mark_bin[g] == i:
        step = log - bins.last_log[g]
        sums[VARIANCE] += step * step
        sums[SECONDS] += (ts_ns - bins.last_mark[g]) / 1e9
    if bins.first_mark[g] == NEVER:
        bins.first_mark[g] = ts_ns
        bins.first_mid[g] = mid
    sums[MID] = mid
    bins.mark_ns[g, i] = ts_ns
    bins.last_mark[g] = ts_ns
    bins.last_mid[g] = mid
    bins.last_log[g] = log
    bins.mark_bin[g] = i


@jit_within
def _stages(bins, g, values, k):
    for stage in range(STAGES):
        value = values[stage][k]
        index = quick_index(value, bins.table)
        if index >= 0:
            bins.counted[g, stage, index] += 1
            bins.least[g, stage] = min(bins.least[g, stage], value)
            bins.most[g, stage] = max(bins.most[g, stage], value)


@jit_within
def _distance(bins, g, ts_ns):
    """Note the distance to the tick before."""
    last = bins.tick_ns[g, 1]
    if last == NEVER:
        bins.tick_ns[g, 0] = ts_ns
    elif ts_ns > last:
        index = quick_index((ts_ns - last) / _NS_PER_MS, bins.table)
        bins.distance[g, 0, index] += 1
        bins.distance[g, 1, index] += ts_ns - last
    bins.tick_ns[g, 1] = ts_ns


@jit_borrowing
def add_ticks(ts_ns, group, flags, guard, errors, values, lower_ns, upper_ns, origin_ns, step_ns, bins):
    """Take the ticks of ``[lower_ns, upper_ns)``.

    Args:
        ts_ns: int64[n]. group: int64[n], -1 passes a tick over. flags: bool[n] of cache_hit, used_stale, deadline_miss,
            breaker_open. guard, errors: int64[n]. values: float64[n] each, see ``STAGES``; NaN is passed over.
        origin_ns, step_ns: where the first interval begins, and how long they are.
        bins: updated.
    """
    for k in range(len(ts_ns)):
        g, ts = group[k], ts_ns[k]
        if g < 0 or ts < lower_ns or ts >= upper_ns:
            continue
        i = (ts - origin_ns) // step_ns
        if bins.current[g] != i:
            if bins.current[g] >= 0:
                _close(bins, g)
            bins.current[g] = i
        _answer(bins, g, ts)
        _distance(bins, g, ts)
        _stages(bins, g, values, k)
        counts, sums = bins.counts[g, i], bins.sums[g, i]
        counts[N] += 1
        for one in range(4):
            counts[HIT + one] += flags[one][k]
        if guard[k] > 0:
            counts[SOFT - 1 + guard[k]] += 1
        sums[ERRORS] += errors[k]
        if not np.isnan(values[_SPREAD][k]):
            counts[N_SPREAD] += 1
            sums[SPREAD] += values[_SPREAD][k]
        inventory = values[_INVENTORY][k]
        if not np.isnan(inventory):
            counts[N_INVENTORY] += 1
            sums[INVENTORY] += inventory
            if bins.n_opening[g] < OPENING:
                bins.opening_ns[g, bins.n_opening[g]] = ts
                bins.opening[g, bins.n_opening[g]] = inventory
                bins.n_opening[g] += 1
        if not np.isnan(values[_RSS][k]):
            sums[RSS] = max(sums[RSS], values[_RSS][k])
        if not np.isnan(values[_MID][k]):
            _mark(bins, g, i, ts, values[_MID][k])


@jit_borrowing
def finish_bins(bins):
    """Close the open intervals and answer what was asked of later times."""
    for g in range(len(bins.current)):
        if bins.current[g] >= 0:
            _close(bins, g)
            bins.current[g] = -1
        for at in range(bins.next[g], bins.end[g]):
            bins.answer_ns[at] = bins.last_mark[g]
            bins.answer[at] = bins.last_mid[g]
        bins.next[g] = bins.end[g]
