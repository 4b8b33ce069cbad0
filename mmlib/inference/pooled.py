"""The difference of two ratios of sums, bounded at every look: net over the whole stage, B minus A.

``R = Σ pnl / Σ notional`` is money per money traded; a mean of hourly ratios is not, since an hour that trades little counts as
much as one that trades a lot. Linearised, hour i contributes ``(P_i - R N_i) / mean(N)`` of each arm (the delta method of a
ratio), and the sequence is that of a mean of contributions. What independent normal hours do not have enters by rules fixed
beforehand:

- correlation of the hours: the variance is multiplied by ``(1 + φ) / (1 - φ)``, φ the lag-one correlation of the contributions
  without its small-sample bias, raised by up to one standard error where it is seen; the number of hours shrinks alike, and
  is never more than those of the arm that ran less;
- skewness: where the contributions' skewness makes a bound too tight, it is widened by the Cornish-Fisher terms of the
  Studentised mean at four times the sample's skewness (few hours understate a long tail); it never tightens one.

Sources: Deng, Knoblich, Lu, "Applying the delta method in metric analytics", KDD 2018 (linearisation); Waudby-Smith, Arbour,
Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences", Annals of Statistics 2024
(sequences of linearised contributions); Kendall, Biometrika 41 (1954) (bias of φ); Hall, The Bootstrap and Edgeworth Expansion
(1992), section 2.6 (skewness). The factor four and the one standard error are this project's, chosen by simulation
(``ci/bench inference``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mmlib.inference.sequence import Side, best_rho, finite_rows
from mmlib.inference.student import critical_t

MAX_CORRELATION = 0.9
SKEW_FACTOR = 4.0
SKEW_SEEN = 0.5
"""Skewness below this many standard errors of a normal sample's counts as none."""
CORRELATION_SEEN = 0.5
"""Correlation above this many standard errors is raised by the rest, up to one standard error."""
_STEPS = 4
_FAR = 1e6


@dataclass(frozen=True)
class PooledSequence:
    """Estimate and bounds after each hour, ``float64[..., n]``; infinite while nothing is bounded.

    ``std`` is the long-run standard deviation of an hour's contribution, correlation included; ``correlation`` and ``skewness``
    are those of the contributions so far; ``contribution`` those of all hours at the end.
    """

    mean: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    std: np.ndarray
    correlation: np.ndarray
    skewness: np.ndarray
    contribution: np.ndarray


def pooled_sequence(
    pnl_a: np.ndarray,
    notional_a: np.ndarray,
    pnl_b: np.ndarray,
    notional_b: np.ndarray,
    *,
    planned_n: int,
    alpha: float,
    min_n: int,
    scale: float = 1e4,
    early: tuple[float, int] | None = None,
) -> PooledSequence:
    """Bounds on ``Σ pnl_b / Σ notional_b - Σ pnl_a / Σ notional_a``, each one-sided at ``alpha`` and valid at every look.

    Args:
        pnl_a, notional_a, pnl_b, notional_b: ``float64[..., n]``, sums of each hour in order of time; leading axes are
            independent stages. An arm may rest for hours (zeros).
        planned_n: number of hours at which the bounds are (nearly) tightest.
        alpha: error probability of each bound.
        min_n: bounds are infinite before this many hours.
        scale: of the result; 1e4 gives bps.
        early: level and tuning of a second boundary that is tighter in the first hours; its level comes on top.

    Raises:
        ValueError: values that are not finite, or parameters out of range.

    Oracle: ``tests/naive_gates.pooled_bounds``.
    """
    sums = [finite_rows(one) for one in (pnl_a, notional_a, pnl_b, notional_b)]
    shape, n = sums[0].shape, sums[0].shape[-1]
    rows = [one.reshape(math.prod(shape[:-1]), n) for one in sums]
    table = _critical(planned_n, alpha)
    if early is not None:
        first = _critical(early[1], early[0])
        table = np.minimum(
            table, np.pad(first, (0, max(len(table) - len(first), 0)), mode="edge")[: len(table)]
        )
    ran = np.minimum(*(np.cumsum(notional > 0.0, axis=-1) for notional in (rows[1], rows[3])))
    out = {name: np.full((len(rows[0]), n), fill) for name, fill in _EMPTY.items()}
    for k in range(1, n + 1):
        part = _arm(rows[2][:, :k], rows[3][:, :k], scale), _arm(rows[0][:, :k], rows[1][:, :k], scale)
        out["mean"][:, k - 1] = part[0][0] - part[1][0]
        out["contribution"] = centred = part[0][1] - part[1][1]
        if k >= 2:
            _look(centred, k, ran[:, k - 1], min_n, table, out)
    return PooledSequence(**{name: values.reshape(shape) for name, values in out.items()})


def mean_sequence(values: np.ndarray, *, planned_n: int, alpha: float, min_n: int) -> PooledSequence:
    """The same for a mean of ``float64[..., n]`` values, one an hour."""
    x = finite_rows(values)
    zero, one = np.zeros(x.shape), np.ones(x.shape)
    return pooled_sequence(zero, one, x, one, planned_n=planned_n, alpha=alpha, min_n=min_n, scale=1.0)


def correlation_of(centred: np.ndarray) -> np.ndarray:
    """Lag-one correlation of ``float64[..., n]`` that the variance takes, ``float64[...]`` from 0 to 0.9."""
    n = centred.shape[-1]
    square = np.maximum((centred**2).sum(axis=-1), 1e-120)
    seen = (centred[..., 1:] * centred[..., :-1]).sum(axis=-1) / square
    seen = seen + (1.0 + 3.0 * np.maximum(seen, 0.0)) / n
    raised = np.clip(seen * math.sqrt(n) - CORRELATION_SEEN, 0.0, 1.0) / math.sqrt(n)
    return np.asarray(np.clip(seen + raised, 0.0, MAX_CORRELATION))


def skewness_of(centred: np.ndarray) -> np.ndarray:
    """Skewness of ``float64[..., n]`` that is more than a normal sample's, towards zero by ``SKEW_SEEN`` standard errors."""
    square = np.maximum((centred**2).mean(axis=-1), 1e-120)
    skew = (centred**3).mean(axis=-1) / square**1.5
    return np.asarray(
        np.sign(skew) * np.maximum(np.abs(skew) - SKEW_SEEN * math.sqrt(6.0 / centred.shape[-1]), 0.0)
    )


def skew_widening(z: np.ndarray, skew: np.ndarray, n: np.ndarray) -> np.ndarray:
    """What Cornish and Fisher add to the quantile ``z`` of a Studentised mean whose tail of skewness ``skew`` >= 0 is unsafe.

    ``skew (2 z² + 1) / (6 √n) + 5 skew² z (4 z² - 1) / (72 n)``, the terms of the first and second order. Source: Hall 1992.
    """
    first = skew * (2.0 * z**2 + 1.0) / (6.0 * np.sqrt(n))
    return np.asarray(first + 5.0 * skew**2 * z * (4.0 * z**2 - 1.0) / (72.0 * n))


_EMPTY = {
    "mean": math.nan,
    "lower": -math.inf,
    "upper": math.inf,
    "std": math.nan,
    "correlation": math.nan,
    "skewness": math.nan,
    "contribution": 0.0,
}


def _arm(pnl: np.ndarray, notional: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Ratio of sums and centred contributions of one arm; NaN while nothing was traded."""
    total = notional.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(total > 0.0, pnl.sum(axis=-1) / total, math.nan)
        return ratio * scale, (pnl - ratio[..., None] * notional) * (scale * pnl.shape[-1] / total[..., None])


def _look(
    centred: np.ndarray, k: int, ran: np.ndarray, min_n: int, table: np.ndarray, out: dict[str, np.ndarray]
) -> None:
    """Fill in what is known after ``k`` hours, of which the arm that ran less ran ``int64[stages]``."""
    known = np.isfinite(centred).all(axis=-1)
    c = np.where(known[:, None], centred, 0.0)
    square = (c**2).sum(axis=-1) / (k - 1.0)
    phi, skew = correlation_of(c), skewness_of(c)
    factor = (1.0 + phi) / (1.0 - phi)
    effective = np.maximum(np.minimum(k, ran) / factor, 2.0)
    std = np.sqrt(square * factor)
    at = k - 1
    out["std"][:, at] = np.where(known, std, math.nan)
    out["correlation"][:, at] = np.where(known, phi, math.nan)
    out["skewness"][:, at] = np.where(known, skew, math.nan)
    if k < min_n:
        return
    z = table[np.minimum((effective * _STEPS).astype(np.int64), len(table) - 1)]
    for name, sign in (("lower", -1.0), ("upper", 1.0)):
        tail = np.maximum(sign * skew, 0.0)
        wide = z + skew_widening(z, SKEW_FACTOR * tail, effective)
        bound = out["mean"][:, at] + sign * std / math.sqrt(k) * wide
        out[name][:, at] = np.where(known & (z < _FAR), bound, sign * math.inf)


def critical_at(
    effective_n: float, *, planned_n: int, alpha: float, early: tuple[float, int] | None = None
) -> float:
    """Critical t of the boundary after that many effective hours; infinite where nothing is bounded."""
    table = _table(planned_n, alpha, early)
    z = float(table[min(int(max(effective_n, 2.0) * _STEPS), len(table) - 1)])
    return z if z < _FAR else math.inf


def _table(planned_n: int, alpha: float, early: tuple[float, int] | None) -> np.ndarray:
    table = _critical(planned_n, alpha)
    if early is None:
        return table
    first = _critical(early[1], early[0])
    return np.minimum(table, np.pad(first, (0, max(len(table) - len(first), 0)), mode="edge")[: len(table)])


@lru_cache(maxsize=64)
def _critical(planned_n: int, alpha: float) -> np.ndarray:
    """Critical t at 0, ¼, ½, ... effective hours up to four times the plan, ``float64[m]``; beyond, the last one serves."""
    g = best_rho(planned_n, alpha=alpha, side="lower") ** 2
    side: Side = "lower"
    counts = np.arange(0, 4 * planned_n * _STEPS + 1) / _STEPS
    table = np.full(len(counts), _FAR)
    enough = counts >= 2.0
    table[enough] = np.minimum(critical_t(counts[enough], g=g, alpha=alpha, side=side), _FAR)
    table.setflags(write=False)
    return table
