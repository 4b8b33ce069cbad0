"""Time grids and binned reductions, numpy only: what the minute series, buckets and dataset intervals share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmlib.core.histogram import rank

SECOND_NS = 1_000_000_000


def ns(times: pd.Series) -> np.ndarray:
    """``int64[n]`` nanoseconds since 1970 of an aware time column."""
    return np.asarray(pd.DatetimeIndex(times).as_unit("ns").asi8)


def utc(ts_ns: np.ndarray) -> pd.DatetimeIndex:
    """``datetime64[ns, UTC]`` of ``int64[n]`` nanoseconds."""
    return pd.DatetimeIndex(np.asarray(ts_ns, "i8").view("M8[ns]")).tz_localize("UTC")


def groups(*frames: pd.DataFrame) -> Iterator[tuple[str, str, list[pd.DataFrame]]]:
    """(symbol, arm, the part of each frame) for every pair that occurs in any of the frames, sorted."""
    parts = [_by_pair(frame) for frame in frames]
    for symbol, arm in sorted({key for part in parts for key in part}):
        yield (
            str(symbol),
            str(arm),
            [part.get((symbol, arm), frame.iloc[:0]) for part, frame in zip(parts, frames, strict=True)],
        )


def _by_pair(frame: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """The rows of each symbol and arm, in their order; views of the frame where they lie behind each other."""
    (symbol, symbols), (arm, arms) = (_coded(frame[name]) for name in ("symbol", "arm"))
    code = symbol.astype(np.int64) * len(arms) + arm
    if (code[1:] < code[:-1]).any():
        order = np.argsort(_few(code, len(symbols) * len(arms)), kind="stable")
        frame, code = frame.take(order), code[order]
    starts = np.flatnonzero(np.diff(code, prepend=-1))
    ends = np.append(starts, len(code))[1:]
    return {
        (symbols[code[start] // len(arms)], arms[code[start] % len(arms)]): frame.iloc[start:end]
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    }


def _few(codes: np.ndarray, size: int) -> np.ndarray:
    """Whole numbers below ``size`` in as few bytes as hold them: those of two are sorted in one pass."""
    return codes.astype(np.min_scalar_type(size))


def _coded(names: pd.Series) -> tuple[np.ndarray, pd.Index]:
    """The number of each name, and the names."""
    if isinstance(names.dtype, pd.CategoricalDtype):
        return names.cat.codes.to_numpy(), names.cat.categories
    codes, found = pd.factorize(names)
    return codes, pd.Index(found)


def typical_interval_ns(ts_ns: np.ndarray) -> float:
    """Median distance of neighbouring times, ns; NaN below two distinct times."""
    distances = np.diff(np.sort(ts_ns))
    distances = distances[distances > 0]
    return float(np.median(distances)) if len(distances) else float("nan")


@dataclass(frozen=True)
class Grid:
    """``size`` steps of ``step_ns`` from ``start_ns``; a step holds its start and not its end."""

    start_ns: int
    step_ns: int
    size: int

    @classmethod
    def over(cls, first_ns: int, last_ns: int, step_ns: int) -> Grid:
        """Steps aligned to UTC that hold both times."""
        start = first_ns // step_ns * step_ns
        return cls(start, step_ns, int((last_ns - start) // step_ns) + 1)

    @classmethod
    def spanning(cls, *frames: pd.DataFrame, step_ns: int) -> Grid | None:
        """The grid from the first to the last ``ts`` of all frames; None without rows."""
        times = [ns(frame["ts"]) for frame in frames if len(frame)]
        if not times:
            return None
        return cls.over(min(int(ts.min()) for ts in times), max(int(ts.max()) for ts in times), step_ns)

    @property
    def starts(self) -> np.ndarray:
        """Start of each step, ``int64[size]``, ns."""
        return self.start_ns + np.arange(self.size, dtype=np.int64) * self.step_ns

    def bins(self, ts_ns: np.ndarray) -> Bins:
        """The step of each time, which must lie within the grid."""
        return Bins((ts_ns - self.start_ns) // self.step_ns, self.size)


@dataclass(frozen=True)
class Bins:
    """Reductions by bin; ``index`` is ``int64[n]`` in 0..size-1, results are ``[size]``, NaN values are passed over."""

    index: np.ndarray
    size: int

    def count(self) -> np.ndarray:
        """How many rows, ``int64``."""
        return np.bincount(self.index, minlength=self.size)

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sum, ``float64``; 0 for an empty bin."""
        kept = ~np.isnan(values)
        return np.bincount(self.index[kept], weights=values[kept], minlength=self.size)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Mean, ``float64``; NaN for an empty bin."""
        number = values.astype(np.float64)
        n = np.bincount(self.index[~np.isnan(number)], minlength=self.size)
        return _divide(self.total(number), n)

    def maximum(self, values: np.ndarray) -> np.ndarray:
        """Largest, ``float64``; NaN for an empty bin."""
        result = np.full(self.size, -np.inf)
        kept = ~np.isnan(values)
        np.maximum.at(result, self.index[kept], values[kept])
        return np.where(np.isneginf(result), np.nan, result)

    def last(self, values: np.ndarray) -> np.ndarray:
        """The last value in row order, ``float64``; NaN for an empty bin."""
        result = np.full(self.size, np.nan)
        kept = ~np.isnan(values)
        result[self.index[kept]] = values[kept]  # of repeated indices, the last assignment stays
        return result

    def quantile(self, values: np.ndarray, q: float) -> np.ndarray:
        """Exact nearest-rank quantile, the one that the histograms approximate; NaN for an empty bin."""
        kept = ~np.isnan(values)
        index, number = self.index[kept], values[kept]
        order = np.argsort(number)
        order = order[np.argsort(_few(index[order], self.size), kind="stable")]
        n = np.bincount(index, minlength=self.size)
        counts, which = np.unique(n, return_inverse=True)
        ranks = np.array([rank(q, count) if count else 0 for count in counts.tolist()])
        chosen = np.cumsum(n) - n + ranks[which] - 1
        result = np.full(self.size, np.nan)
        result[n > 0] = number[order[chosen[n > 0]]]
        return result


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0)


def ratio(numerator: np.ndarray, denominator: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """``scale * numerator / denominator``, NaN where the denominator is 0."""
    return scale * _divide(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))


def trailing_windows(values: np.ndarray, width: int, fill: float) -> np.ndarray:
    """View ``[n, width]`` of each value and the ``width - 1`` before it; ``fill`` stands before the first."""
    if len(values) == 0:
        return np.empty((0, width))
    padded = np.concatenate([np.full(width - 1, fill), values])
    return np.lib.stride_tricks.sliding_window_view(padded, width)
