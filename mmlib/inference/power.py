"""What a sequence can find: the effect it detects with a given power, and how many values it still needs."""

from __future__ import annotations

import math

from scipy.special import nctdtrinc

from mmlib.inference.sequence import Side, best_rho
from mmlib.inference.student import critical_t

MAX_N = 10**7
"""Beyond this many values a search for "how many more" gives up."""


def minimum_effect(
    std: float, n: int, *, planned_n: int, alpha: float = 0.05, power: float = 0.8, side: Side = "lower"
) -> float | None:
    """Least true effect whose lower bound exceeds zero after ``n`` values with probability ``power``.

    The t statistic of n normal values is noncentral t; the noncentrality whose (1 - power) quantile is the critical t,
    times std/√n. Earlier looks only add power. None when nothing is bounded at ``n`` or ``std`` is unknown.
    """
    if n < 2 or not math.isfinite(std):
        return None
    g = best_rho(planned_n, alpha=alpha, side=side) ** 2
    t = float(critical_t(n, g=g, alpha=alpha, side=side)[0])
    if not math.isfinite(t):
        return None
    return float(nctdtrinc(n - 1.0, 1.0 - power, t)) * std / math.sqrt(n)


def needed_n(
    mean: float, std: float, *, bound: float, planned_n: int, alpha: float = 0.05, side: Side = "lower"
) -> int | None:
    """How many values in all until the lower bound exceeds ``bound``, if mean and deviation stay as they are.

    None when they never would: the mean is not above the bound, a number is missing, or it takes over MAX_N values.
    """
    distance = mean - bound
    if not distance > 0 or not math.isfinite(distance) or not math.isfinite(std):
        return None
    g = best_rho(planned_n, alpha=alpha, side=side) ** 2

    def clear(n: int) -> bool:
        t = float(critical_t(n, g=g, alpha=alpha, side=side)[0])
        return math.isfinite(t) and std * t / math.sqrt(n) < distance

    high = 2
    while not clear(high):
        high *= 2
        if high > MAX_N:
            return None
    low = 2
    while low < high:
        middle = (low + high) // 2
        if clear(middle):
            high = middle
        else:
            low = middle + 1
    return low
