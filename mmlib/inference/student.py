"""The anytime-valid t-test: bounds on a mean with unknown variance that hold at every look, also for few values.

The e-value is the Bayes factor of a normal prior N(0, g) on the standardised effect with the right Haar prior on the
scale; it depends on the data through the t statistic alone and is a test martingale of its filtration. Sources: Lai,
"On confidence sequences" (1976); Wang and Ramdas, "Anytime-valid t-tests and confidence sequences for Gaussian means with
unknown variance", Sequential Analysis 2025; Lindon et al., "Anytime-valid linear models" (2022), whose formula G_t is
the two-sided one. The one-sided e-value takes the prior's upper half: it is the two-sided one times twice the
posterior probability of a positive effect, which is Student's. Exact for normal values; for others it is asymptotic,
and it meets Robbins' normal mixture (``inference.sequence``) as the number of values grows.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.special import stdtr

from mmlib.inference.sequence import ConfidenceSequence, Side, best_rho, finite_rows, running

_T_MAX = 1e6
"""Beyond this a t statistic counts as out of reach: the bound is infinite."""
_HALVINGS = 90


def log_e_value(
    t: np.ndarray | float,
    n: np.ndarray | float,
    *,
    g: float,
    side: Side,
    nu: np.ndarray | float | None = None,
) -> np.ndarray:
    """Logarithm of the e-value against an effect of zero.

    Args:
        t: t statistics; for side ``upper`` the effect looked for is negative.
        n: number of values behind each.
        g: variance of the prior on the effect over its standard deviation.
        side: ``lower`` looks for a positive effect, ``upper`` for a negative one.
        nu: degrees of freedom, default ``n - 1``; another number serves a regression.
    """
    t, n = np.asarray(t, np.float64), np.asarray(n, np.float64)
    nu = n - 1.0 if nu is None else np.asarray(nu, np.float64)
    ng = n * g
    ratio, left = t * t / nu, 1.0 / (1.0 + ng)
    log = 0.5 * np.log(left) + 0.5 * (nu + 1.0) * (np.log1p(ratio) - np.log1p(ratio * left))
    if side == "two":
        return np.asarray(log)
    signed = t if side == "lower" else -t
    posterior = signed * np.sqrt((1.0 - left) * (nu + 1.0) / (nu * (1.0 + ratio * left)))
    with np.errstate(divide="ignore"):  # a hopeless side has probability zero
        return np.asarray(log + np.log(2.0 * stdtr(nu + 1.0, posterior)))


def critical_t(n: np.ndarray | int, *, g: float, alpha: float, side: Side) -> np.ndarray:
    """The t statistic at which the e-value reaches ``1 / alpha``, for each ``int64[k]`` number of values.

    Infinite where none does (too few values). It rises with t, so halving finds it.
    """
    n = np.atleast_1d(np.asarray(n, np.float64))
    target, looked_for = -math.log(alpha), "two" if side == "two" else "lower"
    low, high = np.full(len(n), 1e-9), np.full(len(n), _T_MAX)
    enough = n >= 2
    reachable = enough.copy()
    at_top = log_e_value(high[enough], n[enough], g=g, side=looked_for)  # type: ignore[arg-type]
    reachable[enough] = at_top >= target
    counts = np.where(enough, n, 2.0)
    for _ in range(_HALVINGS):
        middle = np.sqrt(low * high)
        over = log_e_value(middle, counts, g=g, side=looked_for) >= target  # type: ignore[arg-type]
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    return np.where(reachable, high, math.inf)


@lru_cache(maxsize=64)
def margins(n: int, *, g: float, alpha: float, side: Side) -> np.ndarray:
    """Margins in standard deviations after 1 to ``n`` values, ``float64[n]``, read-only; infinite while nothing is bounded."""
    counts = np.arange(1, n + 1)
    table = critical_t(counts, g=g, alpha=alpha, side=side) / np.sqrt(counts)
    table.setflags(write=False)
    return table


def t_sequence(
    values: np.ndarray,
    *,
    planned_n: int,
    alpha: float = 0.05,
    side: Side = "two",
    min_n: int = 2,
) -> ConfidenceSequence:
    """Bounds on the mean of ``values`` (``float64[..., n]``, in order of arrival) that hold at all times at once.

    Args:
        values: finite; leading axes are independent sequences.
        planned_n: number of values at which the bounds are (nearly) tightest; g = ρ² of ``best_rho``.
        alpha: probability that the mean is ever outside.
        side: both bounds, or only a lower or an upper one (tighter).
        min_n: bounds are infinite before this many values.

    Raises:
        ValueError: NaN or infinite values, or parameters out of range.

    Oracle: numerical integration of the two priors in ``tests/naive_gates``; published values of avlm and confseq.
    """
    x = finite_rows(values)
    rho = best_rho(planned_n, alpha=alpha, side=side)
    n = x.shape[-1]
    mean, std = running(x)
    unit = margins(n, g=rho**2, alpha=alpha, side=side) if n else np.empty(0)
    seen = np.isfinite(unit) & (np.arange(1, n + 1) >= max(min_n, 2))
    margin = np.full(x.shape, math.inf)
    margin[..., seen] = std[..., seen] * unit[seen]
    lower = mean - margin if side != "upper" else np.full(x.shape, -math.inf)
    upper = mean + margin if side != "lower" else np.full(x.shape, math.inf)
    return ConfidenceSequence(mean, lower, upper, std, alpha, side, rho)
