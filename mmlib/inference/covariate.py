"""Variance reduction with a covariate from before the treatment (CUPED)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

MIN_N = 8
"""Fewer pairs fit no slope worth having."""


@dataclass(frozen=True)
class Adjusted:
    """Outcomes with what the covariate explains taken out.

    Attributes:
        values: ``float64[n]``; the slope of ``values`` on the covariate is zero.
        theta: the slope that was taken out.
        reduction: share of the variance that went away, 0 to 1.
    """

    values: np.ndarray
    theta: float
    reduction: float


def cuped(y: np.ndarray, x: np.ndarray, *, expected: float | None = None) -> Adjusted | None:
    """``y - θ (x - E x)`` with θ = cov(y, x) / var(x); None with fewer than MIN_N pairs or a constant covariate.

    Args:
        y: ``float64[n]`` outcomes of the units.
        x: ``float64[n]`` covariate of the same units, known before their treatment.
        expected: mean of the covariate where it is known (under random assignment), default its own mean, which leaves
            the mean of ``y`` as it is.

    Raises:
        ValueError: other lengths, or values that are not finite.

    Source: Deng, Xu, Kohavi, Walker, "Improving the sensitivity of online controlled experiments by utilizing
    pre-experiment data", WSDM 2013. Oracle: statsmodels' residuals.
    """
    y, x = np.asarray(y, np.float64), np.asarray(x, np.float64)
    if y.shape != x.shape or y.ndim != 1:
        raise ValueError(f"expected two rows of one length, found {y.shape} and {x.shape}")
    if not (np.isfinite(y).all() and np.isfinite(x).all()):
        raise ValueError("expected finite outcomes and covariates")
    if len(y) < MIN_N:
        return None
    centred = x - x.mean()
    spread = float(centred @ centred)
    if spread <= 1e-24 * float(x @ x) or not math.isfinite(spread):
        return None
    theta = float((y - y.mean()) @ centred) / spread
    values = y - theta * (x - (x.mean() if expected is None else expected))
    before = float(np.var(y))
    return Adjusted(values, theta, 1.0 - float(np.var(values)) / before if before > 0 else 0.0)
