"""Segments of a stage: is the treatment worse in a part of what it trades, with the error of all parts together bounded.

In each segment the effect is the difference of two ratios of sums (result over notional), linearised over clusters of fills
that share a stretch of the market, so that fills which move together do not count twice; the p-value is one-sided, of
"no harm", by Student's t on the clusters less two (the two ratios), and holds at one look: the end of the stage. Holm's
step-down procedure bounds the chance of any false alarm over all segments, whatever their dependence.

Sources: Deng, Knoblich, Lu, KDD 2018 (delta method by clusters); Holm, Scandinavian Journal of Statistics 6 (1979).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

LEAST_CLUSTERS = 10
LEAST_FILLS = 20


class SegmentEffect(NamedTuple):
    """Effect of B minus A in a segment [bps], its standard error, and the p-value of "no harm"; NaN where too few traded."""

    effect_bps: float
    std_err_bps: float
    p_value: float


def segment_effect(
    treated: np.ndarray, cluster: np.ndarray, result: np.ndarray, notional: np.ndarray
) -> SegmentEffect:
    """The effect in one segment.

    Args:
        treated: ``bool[n]``, the fill is one of B. cluster: ``int64[n]``, stretch of the market.
        result, notional: ``float64[n]``, quote currency.

    Oracle: ``tests/test_inference_segments.naive_effect``.
    """
    nothing = SegmentEffect(math.nan, math.nan, math.nan)
    _, index = np.unique(cluster, return_inverse=True)
    size = int(index.max()) + 1 if len(index) else 0
    if size < LEAST_CLUSTERS or min(treated.sum(), (~treated).sum()) < LEAST_FILLS:
        return nothing
    effect, centred = 0.0, np.zeros(size)
    for own, sign in ((treated, 1.0), (~treated, -1.0)):
        traded = float(notional[own].sum())
        ratio = float(result[own].sum()) / traded
        left = np.where(own, result - ratio * notional, 0.0)
        effect += sign * ratio
        centred += sign * np.bincount(index, weights=left, minlength=size) / traded
    error = math.sqrt(float(centred @ centred) * size / (size - 2))  # two ratios are estimated
    if error == 0.0:
        return nothing
    p = float(stats.t.cdf(effect / error, size - 2))
    return SegmentEffect(effect * 1e4, error * 1e4, p)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values of ``float64[n]``; NaN stays and is no hypothesis. Oracle: statsmodels."""
    adjusted = np.full(len(p_values), math.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted
