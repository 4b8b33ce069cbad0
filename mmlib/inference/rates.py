"""How often something happened, with an exact interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv


@dataclass(frozen=True)
class Rate:
    """``hits`` of ``n``, with the interval of Clopper and Pearson; all NaN without trials."""

    hits: int
    n: int
    rate: float
    lower: float
    upper: float

    def percent(self) -> dict[str, float]:
        """Rate and interval in percent, to a hundredth, for a table."""
        values = {"rate": self.rate, "lower": self.lower, "upper": self.upper}
        return {name: round(100.0 * value, 2) for name, value in values.items()}


def rate_of(hits: np.ndarray, alpha: float = 0.05) -> Rate:
    """Share of True in ``bool[n]``. Oracle: ``scipy.stats.binomtest(...).proportion_ci(method="exact")``."""
    return binomial_rate(int(np.count_nonzero(hits)), len(hits), alpha)


def binomial_rate(hits: int, n: int, alpha: float = 0.05) -> Rate:
    """``hits`` of ``n`` trials with the two-sided exact interval."""
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} of {n}: expected 0 to n hits")
    if n == 0:
        return Rate(0, 0, math.nan, math.nan, math.nan)
    lower = float(betaincinv(hits, n - hits + 1, alpha / 2)) if hits else 0.0
    upper = float(betaincinv(hits + 1, n - hits, 1 - alpha / 2)) if hits < n else 1.0
    return Rate(hits, n, hits / n, lower, upper)
