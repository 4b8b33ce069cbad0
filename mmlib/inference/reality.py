"""Is the best of many settings better than doing nothing, given that it was picked from many?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

MIN_BUCKETS = 20
_REPETITIONS = 1000


@dataclass(frozen=True)
class RealityCheck:
    """White's reality check over all settings tried.

    Attributes:
        p_value: how often the best of settings that earn nothing would have earned as much; NaN where it cannot be told.
        settings: how many were compared. buckets: of money. block: mean length of a bootstrap block [buckets].
        reason: why there is no p-value, else empty.
    """

    p_value: float
    settings: int
    buckets: int
    block: int
    reason: str = ""


def reality_check(pnl: np.ndarray, seed: int) -> RealityCheck:
    """White's reality check against earning nothing.

    Args:
        pnl: float64[settings, buckets], quote currency.
        seed: of the stationary bootstrap.

    Source: White 2000, "A reality check for data snooping"; worked out by ``arch.bootstrap.SPA`` (its upper p-value, not
    studentised).
    """
    settings, buckets = pnl.shape
    block = max(math.ceil(buckets ** (1 / 3)), 1)
    moving = pnl[np.ptp(pnl, axis=1) > 0.0] if buckets else pnl[:0]
    if buckets < MIN_BUCKETS:
        reason = f"{buckets} buckets; expected at least {MIN_BUCKETS}"
        return RealityCheck(math.nan, settings, buckets, block, reason)
    if not len(moving):
        return RealityCheck(math.nan, settings, buckets, block, "no setting earned or lost anything")
    from arch.bootstrap import SPA

    check = SPA(
        np.zeros(buckets), -moving.T, block_size=block, reps=_REPETITIONS, studentize=False, seed=seed
    )
    check.compute()
    return RealityCheck(float(check.pvalues["upper"]), settings, buckets, block)


def mean_interval(values: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % interval of a mean by the stationary bootstrap, percentile method; NaN for under ``MIN_BUCKETS`` values."""
    if len(values) < MIN_BUCKETS:
        return math.nan, math.nan
    from arch.bootstrap import StationaryBootstrap

    block = max(math.ceil(len(values) ** (1 / 3)), 1)
    bounds = StationaryBootstrap(block, values, seed=seed).conf_int(
        np.mean, reps=_REPETITIONS, method="percentile"
    )
    return float(bounds[0, 0]), float(bounds[1, 0])
