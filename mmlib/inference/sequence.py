"""Asymptotic confidence sequences for a mean: looking after every new value is allowed, once there are enough of them.

Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and asymptotic confidence
sequences", Annals of Statistics 2024, theorem 2.2 (two-sided) and its one-sided counterpart in the appendix; both
come from Robbins' normal mixture. The guarantee is asymptotic and for independent values: feed bucket means (an
hour or longer), never raw autocorrelated intervals. The verdicts rest on ``inference.student``, which is exact for few
normal values; this one is printed beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

Side = Literal["two", "lower", "upper"]

BURN_IN = 10
"""Bounds are infinite before this many values: their variance is not known well enough."""


@dataclass(frozen=True)
class ConfidenceSequence:
    """Running mean and bounds after each value, all ``float64[..., n]``; a one-sided one is infinite on the other side.

    ``std`` is the running standard deviation, NaN for the first value.
    """

    mean: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    std: np.ndarray
    alpha: float
    side: Side
    rho: float

    @property
    def n(self) -> int:
        """How many values were seen."""
        return int(self.mean.shape[-1])

    @property
    def last(self) -> tuple[float, float, float]:
        """Mean, lower and upper bound now; NaN, -inf, inf before the first value."""
        if not self.n:
            return math.nan, -math.inf, math.inf
        return float(self.mean[-1]), float(self.lower[-1]), float(self.upper[-1])


def confidence_sequence(
    values: np.ndarray,
    *,
    planned_n: int,
    alpha: float = 0.05,
    side: Side = "two",
    burn_in: int = BURN_IN,
) -> ConfidenceSequence:
    """Bounds on the mean of ``values`` (``float64[..., n]``, in order of arrival) that hold at all times at once.

    Args:
        values: finite, independent or weakly dependent; leading axes are independent sequences.
        planned_n: number of values at which the sequence is tightest; it stays valid before and after.
        alpha: probability that the mean is ever outside.
        side: both bounds, or only a lower or an upper one (tighter).
        burn_in: bounds are infinite before this many values (at least 2).

    Raises:
        ValueError: NaN or infinite values (the first one's place is named), or parameters out of range.

    Oracle: ``tests/naive_gates.confidence_sequence``.
    """
    x = finite_rows(values)
    if burn_in < 2:
        raise ValueError(f"burn_in {burn_in}: expected at least 2")
    rho = best_rho(planned_n, alpha=alpha, side=side)
    t = np.arange(1, x.shape[-1] + 1, dtype=np.float64)
    mean, std = running(x)
    margin = np.full(x.shape, math.inf)
    seen = t >= burn_in
    margin[..., seen] = std[..., seen] * unit_margin(t[seen], rho=rho, alpha=alpha, side=side)
    lower = mean - margin if side != "upper" else np.full(x.shape, -math.inf)
    upper = mean + margin if side != "lower" else np.full(x.shape, math.inf)
    return ConfidenceSequence(mean, lower, upper, std, alpha, side, rho)


def unit_margin(t: np.ndarray | float, *, rho: float, alpha: float, side: Side) -> np.ndarray:
    """Margin after ``t`` values of unit variance: theorem 2.2, or its one-sided form with log(1 + √·/2α)."""
    t = np.asarray(t, dtype=np.float64)
    v = t * rho**2 + 1.0
    log = np.log(np.sqrt(v) / alpha) if side == "two" else np.log1p(np.sqrt(v) / (2.0 * alpha))
    return np.asarray(np.sqrt(2.0 * v / (t * rho) ** 2 * log))


def best_rho(planned_n: int, *, alpha: float, side: Side) -> float:
    """The mixture's ρ that makes the sequence (nearly) tightest at ``planned_n`` values.

    Closed form ρ² = (-2 ln a + ln(1 - 2 ln a)) / n with a = α, or 2α on one side.

    Raises:
        ValueError: ``planned_n`` below 1, ``alpha`` not in (0, 1) or, on one side, not in (0, 0.5), unknown ``side``.
    """
    if side not in ("two", "lower", "upper"):
        raise ValueError(f"side {side!r}: expected two, lower or upper")
    if planned_n < 1:
        raise ValueError(f"planned_n {planned_n}: expected at least 1")
    top = 1.0 if side == "two" else 0.5
    if not 0.0 < alpha < top:
        raise ValueError(f"alpha {alpha}: expected a number between 0 and {top:g}")
    level = -2.0 * math.log(alpha if side == "two" else 2.0 * alpha)
    return math.sqrt((level + math.log1p(level)) / planned_n)


def finite_rows(values: np.ndarray) -> np.ndarray:
    """``float64[..., n]`` of values that are all finite.

    Raises:
        ValueError: a scalar, or a value that is not finite; its place along the last axis is named.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim < 1:
        raise ValueError("expected a row of values, found a single number")
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        raise ValueError(f"value {bad[0][-1]} is {x[tuple(bad[0])]}; expected finite numbers")
    return x


def running(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Running mean and standard deviation (n-1) along the last axis, shifted by the overall mean against cancellation."""
    if not x.shape[-1]:
        return np.empty(x.shape), np.empty(x.shape)
    t = np.arange(1, x.shape[-1] + 1, dtype=np.float64)
    shift = np.mean(x, axis=-1, keepdims=True)
    centred = x - shift
    mean = np.cumsum(centred, axis=-1) / t
    squares = np.cumsum(centred**2, axis=-1) - t * mean**2
    variance = np.full(x.shape, math.nan)
    variance[..., 1:] = np.maximum(squares[..., 1:], 0.0) / (t[1:] - 1.0)
    return mean + shift, np.sqrt(variance)
