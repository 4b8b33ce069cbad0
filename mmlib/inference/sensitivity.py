"""Would other methods say the same? Fixed-time intervals that allow for autocorrelation, beside the sequences.

They hold at one look only, fixed beforehand; looked at again and again they reject too often. They are printed so that a
reader sees what dependence between buckets does, and decide nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from mmlib.inference.blocks import block_length, bootstrap_means

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

    Source: Newey and West, Econometrica 1987; lags floor(4 (n/100)^(2/9)). Oracle: statsmodels.
    """
    x = np.asarray(values, np.float64)
    name = "Newey-West (HAC)"
    if len(x) < MIN_N:
        return Sensitivity(name, _mean(x), math.nan, math.nan, _few(len(x)))
    n = len(x)
    lags = math.floor(4.0 * (n / 100.0) ** (2.0 / 9.0))
    centred = x - x.mean()
    products = [centred[k:] @ centred[: n - k] for k in range(lags + 1)]
    weights = [1.0, *(2.0 * (1.0 - k / (lags + 1)) for k in range(1, lags + 1))]
    error = math.sqrt(float(np.dot(weights, products)) / n / (n - 1))
    half = float(stdtrit(n - 1, 1.0 - alpha / 2.0)) * error
    return Sensitivity(name, _mean(x), _mean(x) - half, _mean(x) + half, f"{lags} lags")


def block_bootstrap(values: np.ndarray, *, alpha: float = 0.05, seed: int = 0) -> Sensitivity:
    """Percentile interval of the stationary bootstrap, block length chosen from the data.

    Source: Politis and Romano, JASA 1994; block length of Politis and White, 2004, corrected 2009 (``blocks``). Oracle: arch.
    """
    x = np.asarray(values, np.float64)
    name = "stationary bootstrap"
    if len(x) < MIN_N:
        return Sensitivity(name, _mean(x), math.nan, math.nan, _few(len(x)))
    if float(np.ptp(x)) == 0.0:
        return Sensitivity(name, _mean(x), float(x[0]), float(x[0]), "all values equal")
    length = block_length(x)
    block = min(max(round(length), 1), len(x) // 2) if math.isfinite(length) else 1
    means = bootstrap_means(x, block, REPLICATIONS, np.random.default_rng(seed))
    lower, upper = np.percentile(means, [50.0 * alpha, 100.0 - 50.0 * alpha])
    return Sensitivity(name, _mean(x), float(lower), float(upper), f"mean block {block}")


def _mean(x: np.ndarray) -> float:
    return float(np.mean(x)) if len(x) else math.nan


def _few(n: int) -> str:
    return f"{n} buckets, at least {MIN_N} needed"
