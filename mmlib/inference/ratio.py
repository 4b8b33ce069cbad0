"""Has a percentile grown? The ratio of candidate to baseline with a bootstrap interval, from two histograms.

The q quantile of a bootstrap resample of n values is F⁻¹(U) with U ~ Beta(k, n-k+1), k its rank: the bootstrap is
drawn through that law, exactly, without resampling anything. The interval is widened by what the buckets can hide.
Latencies of neighbouring ticks are correlated, so the interval is a lower limit of the uncertainty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from mmlib.core.histogram import RELATIVE_ERROR, Histogram, bucket_values, rank
from mmlib.dtypes import Status

DRAWS = 4000
MIN_N = 100
"""Fewer values on either side decide nothing: a 95th percentile would rest on five of them."""

_HIDDEN = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR)


@dataclass(frozen=True)
class RatioResult:
    """Candidate over baseline. ``status`` judges the interval, ``point_status`` the bare ratio (the literal rule).

    ``needed_n`` is how many candidate values would decide if the ratio stayed; None when it is decided, or when no
    number would (the reason says which). Ratios are NaN when a side has no values. ``runs`` and ``needed_runs`` say the same in
    runs, where runs were compared (``rounds``).
    """

    ratio: float
    lower: float
    upper: float
    limit: float
    status: Status
    point_status: Status
    n_baseline: int
    n_candidate: int
    needed_n: int | None
    reason: str
    runs: int = 0
    needed_runs: int | None = None


def quantile_ratio(
    baseline: Histogram,
    candidate: Histogram,
    *,
    limit: float,
    q: float = 0.95,
    alpha: float = 0.05,
    seed: int = 0,
    min_n: int = MIN_N,
) -> RatioResult:
    """Judge candidate/baseline of the ``q`` quantile against ``limit`` (1.03 = three percent more).

    FAIL when the whole interval (two-sided, ``alpha``) lies above the limit, PASS when it lies below or on it,
    otherwise INCONCLUSIVE with the number of values that would decide. Empty sides are NO_DATA.

    Raises:
        ValueError: ``limit`` not positive, ``q`` or ``alpha`` not in (0, 1).
    """
    if not limit > 0 or not 0 < q < 1 or not 0 < alpha < 1:
        raise ValueError(f"limit {limit}, q {q}, alpha {alpha}: expected limit > 0, q and alpha in (0, 1)")
    n_b, n_c = baseline.n, candidate.n
    base, cand = baseline.quantile(q), candidate.quantile(q)

    def answer(
        status: Status,
        reason: str,
        ratio: float = math.nan,
        interval: tuple[float, float] = (math.nan, math.nan),
        needed: int | None = None,
    ) -> RatioResult:
        point = Status.NO_DATA if math.isnan(ratio) else Status.FAIL if ratio > limit else Status.PASS
        return RatioResult(ratio, *interval, limit, status, point, n_b, n_c, needed, reason)

    if not n_b or not n_c:
        return answer(Status.NO_DATA, f"no values in the {'baseline' if not n_b else 'candidate'}")
    if base <= 0.0:
        return answer(Status.INCONCLUSIVE, "the baseline's percentile is zero; a ratio to it says nothing")
    ratio = cand / base
    if min(n_b, n_c) < min_n:
        reason = f"{n_b} and {n_c} values, at least {min_n} each needed"
        return answer(Status.INCONCLUSIVE, reason, ratio, needed=min_n if n_b >= min_n else None)
    rng = np.random.default_rng(seed)
    draws_b = np.maximum(_draws(baseline.counts, q, rng), np.finfo(float).tiny)
    draws_c = _draws(candidate.counts, q, rng)
    low, high = np.quantile(draws_c / draws_b, [alpha / 2, 1 - alpha / 2])
    lower, upper = float(low) / _HIDDEN, float(high) * _HIDDEN
    wide = upper > 10.0 * lower  # the percentile lies at a step between hits and misses
    text = f"ratio {ratio:.4f}, " + ("no useful interval" if wide else f"interval {lower:.4f} to {upper:.4f}")
    if lower > limit:
        return answer(Status.FAIL, text, ratio, (lower, upper))
    if upper <= limit:
        return answer(Status.PASS, text, ratio, (lower, upper))
    spread_b, spread_c = _log_spread(draws_b), _log_spread(draws_c)
    needed = _needed(ratio, limit, spread_b, spread_c, n_c, alpha)
    more = f"about {needed} values would decide" if needed else "no number of candidate values would decide"
    return answer(Status.INCONCLUSIVE, f"{text}; {more}", ratio, (lower, upper), needed)


def _draws(counts: np.ndarray, q: float, rng: np.random.Generator) -> np.ndarray:
    """``float64[DRAWS]`` bootstrap quantiles [ms] of ``int64[SIZE]`` counts."""
    cumulative = np.cumsum(counts)
    n = int(cumulative[-1])
    k = rank(q, n)
    at = np.ceil(rng.beta(k, n - k + 1, DRAWS) * n)
    return np.asarray(bucket_values()[np.searchsorted(cumulative, np.maximum(at, 1.0), side="left")])


def _log_spread(draws: np.ndarray) -> float:
    """Standard deviation of the logarithm of positive draws; infinite when one is zero."""
    return float(np.std(np.log(draws))) if bool((draws > 0).all()) else math.inf


def _needed(
    ratio: float, limit: float, spread_b: float, spread_c: float, n_c: int, alpha: float
) -> int | None:
    """Candidate values at which a normal interval on the log ratio would clear the limit; the baseline stays as it is."""
    distance = abs(math.log(ratio / limit)) - math.log(_HIDDEN) if ratio > 0 else math.inf
    z = float(ndtri(1 - alpha / 2))
    room = (distance / z) ** 2 - spread_b**2
    if distance <= 0 or not room > 0 or not math.isfinite(room + spread_c):
        return None
    return max(math.ceil(n_c * spread_c**2 / room), n_c + 1)
