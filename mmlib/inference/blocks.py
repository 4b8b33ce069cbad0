"""The stationary bootstrap of a mean: samples made of blocks of random length, which keep the dependence within a block.

Sources: Politis and Romano, JASA 1994 (the bootstrap); Politis and White, Econometric Reviews 2004, corrected by Patton,
Politis and White, 2009 (the length of its blocks). Oracle: arch, to the last draw.
"""

from __future__ import annotations

import math

import numpy as np

_LEAST_RUN = 5  # of lags that carry nothing, until the correlation counts as died down


def block_length(x: np.ndarray) -> float:
    """The mean length of blocks that suits a series [values], at most min(3 √n, n/3) rounded up; NaN where it cannot be told.

    Args:
        x: ``float64[n]``, finite, in order of time, not all equal.
    """
    n = len(x)
    centred = x - x.mean()
    run = max(_LEAST_RUN, int(math.log10(n)))
    lags = math.ceil(math.sqrt(n)) + run
    products = np.array([centred[k:] @ centred[: n - k] for k in range(lags + 1)])
    norms = [
        (centred[k + 1 :] @ centred[k + 1 :]) * (centred[: n - k - 1] @ centred[: n - k - 1])
        for k in range(lags + 1)
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        correlations = np.abs(products) / np.sqrt(norms)
        small = correlations < 2.0 * math.sqrt(math.log10(n) / n)
        quiet = [k for k in range(lags - run + 1) if small[k : k + run].all()]
        width = min(2 * max(quiet[0], 1), lags) if quiet else lags
        k = np.arange(1, width + 1)
        weights = (
            2.0 * np.minimum(1.0, 2.0 * (1.0 - k / width)) * products[1 : width + 1] / n
        )  # a flat-topped window
        slope, variance = float(weights @ k), float(products[0] / n + weights.sum())
        best = float(np.cbrt(np.float64(slope**2) / np.float64(variance**2) * n))
    return min(best, float(math.ceil(min(3.0 * math.sqrt(n), n / 3.0))))


def bootstrap_means(x: np.ndarray, block: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Means of ``count`` samples as long as ``x``, of blocks of ``block`` values on average; the series is taken as a ring."""
    n = len(x)
    places = np.arange(n)
    means = np.empty(count)
    for number in range(count):
        starts = rng.integers(n, size=n)
        begins = rng.random(n) <= 1.0 / block
        begins[0] = True
        since = np.maximum.accumulate(np.where(begins, places, 0))
        means[number] = x[(starts[since] + places - since) % n].mean()
    return means
