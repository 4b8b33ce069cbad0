"""Would other methods say the same? Fixed-time intervals that allow for autocorrelation, beside the sequences.

They hold at one look only, fixed beforehand; looked at again and again they reject too often. They are printed so that a
reader sees what dependence between buckets does, and decide nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

MIN_N = 8
"""Fewer values carry neither a long-run variance nor blocks."""
REPLICATIONS = 2000


@dataclass(frozen=True)
class Sensitivity:
    """One method: the interval (two-sided) of the mean, NaN when there are too few values, and its settings."""

    method: str
    mean: float
    lower: float
    upper: float
    setting: str


def hac(values: np.ndarray, *, alpha: float = 0.05) -> Sensitivity:
    """Student interval with Newey and West's long-run variance (Bartlett kernel, small-sample correction).

    Args:
        values: ``float64[n]``, finite, in order of time.
        alpha: error probability.

    Source: Newey and West, Econometrica 1987; lags floor(4 (n/100)^(2/9)). Computed by statsmodels.
    """
    x = np.asarray(values, np.float64)
    name = "Newey-West (HAC)"
    if len(x) < MIN_N:
        return Sensitivity(name, _mean(x), math.nan, math.nan, _few(len(x)))
    from statsmodels.regression.linear_model import OLS

    lags = math.floor(4.0 * (len(x) / 100.0) ** (2.0 / 9.0))
    options = {"maxlags": lags, "use_correction": True}
    fit = OLS(x, np.ones((len(x), 1))).fit(cov_type="HAC", cov_kwds=options, use_t=True)
    lower, upper = fit.conf_int(alpha)[0]
    return Sensitivity(name, float(fit.params[0]), float(lower), float(upper), f"{lags} lags")


def block_bootstrap(values: np.ndarray, *, alpha: float = 0.05, seed: int = 0) -> Sensitivity:
    """Percentile interval of the stationary bootstrap, block length chosen from the data.

    Source: Politis and Romano, JASA 1994; block length of Politis and White, 2004, corrected 2009. Computed by arch.
    """
    x = np.asarray(values, np.float64)
    name = "stationary bootstrap"
    if len(x) < MIN_N:
        return Sensitivity(name, _mean(x), math.nan, math.nan, _few(len(x)))
    if float(np.ptp(x)) == 0.0:
        return Sensitivity(name, _mean(x), float(x[0]), float(x[0]), "all values equal")
    from arch.bootstrap import StationaryBootstrap, optimal_block_length

    length = float(optimal_block_length(x)["stationary"].iloc[0])
    block = min(max(round(length), 1), len(x) // 2) if math.isfinite(length) else 1
    bootstrap = StationaryBootstrap(block, x, seed=np.random.default_rng(seed))
    lower, upper = bootstrap.conf_int(
        lambda sample: np.array([sample.mean()]), reps=REPLICATIONS, method="percentile", size=1 - alpha
    )[:, 0]
    return Sensitivity(name, _mean(x), float(lower), float(upper), f"mean block {block}")


def _mean(x: np.ndarray) -> float:
    return float(np.mean(x)) if len(x) else math.nan


def _few(n: int) -> str:
    return f"{n} buckets, at least {MIN_N} needed"
