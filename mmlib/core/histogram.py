"""Mergeable latency histogram: log-spaced buckets, relative error below 0.1 % from 1 ns to 1000 s.

Percentiles of merged data come from merged counts; a percentile of percentiles is never computed. The bucket
layout is fixed, so that merging is the sum of two ``int64`` arrays, associative and commutative, over ticks,
arms, symbols and days.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from mmlib.core._jit import item, jit, jit_within, read_only

MIN_MS = 1e-6  # below: the zero bucket
MAX_MS = 1e6  # above: counted in the last bucket (saturation)
GAMMA = 1.0019  # ratio of neighbouring bucket edges
RELATIVE_ERROR = 0.001  # guaranteed; the layout itself gives (GAMMA - 1) / (GAMMA + 1) = 0.00095
_INV_LOG_GAMMA = 1.0 / math.log(GAMMA)
N_LOG = math.ceil(math.log(MAX_MS / MIN_MS) * _INV_LOG_GAMMA)
SIZE = N_LOG + 1
"""Length of a counts array: index 0 holds [0, MIN_MS), index i holds [MIN_MS γ^(i-1), MIN_MS γ^i)."""

SCHEMA = 1


@jit
def bucket_index(value_ms):
    """Bucket of one value: ``int``, or -1 for NaN, infinities and negative values.

    Source: Masson, Rim, Lee, "DDSketch" (VLDB 2019), section 2.1, with a fixed range instead of collapsing.
    """
    if not (value_ms >= 0.0) or value_ms == np.inf:
        return -1
    if value_ms < MIN_MS:
        return 0
    index = 1 + math.floor(math.log(value_ms / MIN_MS) * _INV_LOG_GAMMA)
    return min(index, N_LOG)


_CELL_BITS = 42  # of the 52 bits of a mantissa: 1024 cells in each power of two, each narrower than a bucket
_FIRST_CELL = int(np.float64(MIN_MS).view(np.int64)) >> _CELL_BITS
_END_CELL = (int(np.float64(MAX_MS).view(np.int64)) >> _CELL_BITS) + 1


class BucketTable(NamedTuple):
    """What ``quick_index`` looks up: ``first`` int16[cells], the bucket of each cell's lowest value, and ``edge``
    float64[SIZE + 1], the lowest value of each bucket, inf behind the last one."""

    first: Any
    edge: Any


@jit
def _fill_table(lowest, first, edge):
    for cell in range(len(lowest)):
        first[cell] = bucket_index(max(lowest[cell], MIN_MS))
    edge[0], edge[N_LOG + 1] = 0.0, np.inf
    for index in range(1, N_LOG + 1):
        value = MIN_MS * math.exp((index - 1) / _INV_LOG_GAMMA)
        while bucket_index(value) >= index:
            value = np.nextafter(value, 0.0)
        while bucket_index(value) < index:
            value = np.nextafter(value, np.inf)
        edge[index] = value


@cache
def bucket_table() -> BucketTable:
    """The table that belongs to ``bucket_index``; not to be written to."""
    lowest = (np.arange(_FIRST_CELL, _END_CELL) << _CELL_BITS).view(np.float64)
    table = BucketTable(np.zeros(len(lowest), np.int16), np.zeros(SIZE + 1))
    _fill_table(lowest, *table)
    return table


@jit_within
def quick_index(value_ms, table):
    """``bucket_index`` without a logarithm, for hot loops: the same bucket for every value.

    Oracle: ``bucket_index``, in tests/test_core_histogram.py.
    """
    if MIN_MS <= value_ms < MAX_MS:
        cell = (np.float64(value_ms).view(np.int64) >> _CELL_BITS) - _FIRST_CELL
        index = np.int64(item(table.first, cell))
        return index + (value_ms >= item(table.edge, index + 1))
    if not (value_ms >= 0.0) or value_ms == np.inf:
        return -1
    return 0 if value_ms < MIN_MS else N_LOG


@jit
def add(values_ms, counts):
    """Count ``values_ms`` (``float64[n]``, milliseconds) into ``counts`` (``int64[SIZE]``), in place.

    Returns the number of values that were not counted: NaN, infinite or negative ones.
    Oracle: ``numpy.quantile(..., method="inverted_cdf")`` of the raw values, within RELATIVE_ERROR.
    """
    rejected = 0
    for k in range(values_ms.shape[0]):
        index = bucket_index(values_ms[k])
        if index < 0:
            rejected += 1
        else:
            counts[index] += 1
    return rejected


def bucket_values() -> np.ndarray:
    """The value each bucket reports, ``float64[SIZE]``, milliseconds; 0 for the zero bucket.

    It is the point whose relative distance to both edges is the same, (γ-1)/(γ+1).
    """
    values = np.zeros(SIZE)
    lower = MIN_MS * np.exp(np.arange(N_LOG) / _INV_LOG_GAMMA)
    values[1:] = lower * (2.0 * GAMMA / (1.0 + GAMMA))
    return values


def rank(q: float, n: int) -> int:
    """Rank (1-based) of the ``q`` quantile of ``n`` values: the smallest k with k/n >= q.

    A product that misses a whole number by rounding only (0.07 · 100) counts as that number.
    """
    return min(max(math.ceil(q * n - 1e-9 * max(q * n, 1.0)), 1), n)


def quantile(counts: np.ndarray, q: float) -> float:
    """The ``q`` quantile (0..1) of the counted values, milliseconds; NaN when nothing was counted.

    Raises:
        ValueError: ``q`` outside 0..1.
    """
    if not 0.0 <= q <= 1.0:
        raise ValueError(f"quantile {q}: expected a number in 0..1")
    cumulative = np.cumsum(counts)
    n = int(cumulative[-1])
    if n == 0:
        return math.nan
    index = int(np.searchsorted(cumulative, rank(q, n), side="left"))
    return _value(index)


def _value(index: int) -> float:
    if index == 0:
        return 0.0
    return MIN_MS * math.exp((index - 1) / _INV_LOG_GAMMA) * (2.0 * GAMMA / (1.0 + GAMMA))


class Histogram:
    """Counts of durations in milliseconds; ``rejected`` counts values that were NaN, infinite or negative."""

    __slots__ = ("counts", "rejected")

    def __init__(self, values_ms: np.ndarray | Iterable[float] | None = None) -> None:
        self.counts: np.ndarray = np.zeros(SIZE, dtype=np.int64)
        self.rejected: int = 0
        if values_ms is not None:
            self.add(values_ms)

    @property
    def n(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    def add(self, values_ms: np.ndarray | Iterable[float]) -> int:
        """Count an array of milliseconds; returns how many of them were rejected (see class)."""
        raw = values_ms if isinstance(values_ms, np.ndarray) else list(values_ms)
        array = np.ascontiguousarray(raw, dtype=np.float64).ravel()
        rejected = int(add(read_only(array), self.counts))
        self.rejected += rejected
        return rejected

    def merge(self, other: Histogram) -> Histogram:
        """A new histogram with the counts of both."""
        merged = Histogram()
        merged.counts = self.counts + other.counts
        merged.rejected = self.rejected + other.rejected
        return merged

    __add__ = merge

    def quantile(self, q: float) -> float:
        """The ``q`` quantile (0..1) in milliseconds, within RELATIVE_ERROR; NaN when empty."""
        return quantile(self.counts, q)

    def p(self, percent: float) -> float:
        """Percentile by its everyday name: ``p(95)``, milliseconds; NaN when empty."""
        return quantile(self.counts, percent / 100.0)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return self.rejected == other.rejected and bool(np.array_equal(self.counts, other.counts))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Histogram(n={self.n}, p50={self.p(50):.6g}, p95={self.p(95):.6g}, rejected={self.rejected})"

    def to_dict(self) -> dict[str, Any]:
        """Sparse form of builtin types, for JSON: bucket indices (rising) and their counts."""
        filled = np.flatnonzero(self.counts)
        return {
            "schema": SCHEMA,
            "unit": "ms",
            "min": MIN_MS,
            "gamma": GAMMA,
            "n": self.n,
            "rejected": self.rejected,
            "index": filled.tolist(),
            "count": self.counts[filled].tolist(),
        }

    @classmethod
    def from_dict(cls, payload: Any) -> Histogram:
        """Read what ``to_dict`` wrote.

        Raises:
            ValueError: another layout, indices out of range or not rising, counts that are not positive whole
                numbers or do not add up to ``n``.
        """
        if not isinstance(payload, dict):
            raise ValueError(f"a histogram is a mapping, found {type(payload).__name__}")
        expected = {"schema": SCHEMA, "unit": "ms", "min": MIN_MS, "gamma": GAMMA}
        for key, want in expected.items():
            if payload.get(key) != want:
                raise ValueError(f"histogram {key}: expected {want!r}, found {payload.get(key)!r}")
        index, count = (_whole_numbers(payload, key) for key in ("index", "count"))
        if len(index) != len(count):
            raise ValueError(f"histogram: {len(index)} indices but {len(count)} counts")
        if len(index) and (index[0] < 0 or index[-1] >= SIZE or bool((np.diff(index) <= 0).any())):
            raise ValueError(f"histogram index: expected rising numbers in 0..{SIZE - 1}")
        if bool((count <= 0).any()) or int(count.sum()) != payload.get("n"):
            raise ValueError("histogram count: expected positive numbers that add up to n")
        rejected = payload.get("rejected", 0)
        if not isinstance(rejected, int) or isinstance(rejected, bool) or rejected < 0:
            raise ValueError(f"histogram rejected: expected a whole number >= 0, found {rejected!r}")
        histogram = cls()
        histogram.counts[index] = count
        histogram.rejected = rejected
        return histogram


def _whole_numbers(payload: dict[str, Any], key: str) -> np.ndarray:
    """``payload[key]`` as ``int64[n]``; ValueError when it is not a list of whole numbers."""
    values = payload.get(key)
    if not isinstance(values, list) or any(type(v) is not int for v in values):
        raise ValueError(f"histogram {key}: expected a list of whole numbers")
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError:
        raise ValueError(f"histogram {key}: expected numbers below 2^63") from None
