"""The pooled difference of ratios: equal to naive sums, published numbers met, bounds that nasty noise cannot break."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mmlib.inference.pooled import (
    SKEW_FACTOR,
    correlation_of,
    mean_sequence,
    pooled_sequence,
    skew_widening,
    skewness_of,
)
from mmlib.inference.sequence import best_rho, unit_margin
from mmlib.rollout.budget import GAIN, HARM
from mmlib.rollout.experiment import bounded
from mmlib.rollout.synthetic import as_sums

RNG = np.random.default_rng


def hours(n: int = 30, seed: int = 0) -> np.ndarray:
    """Sums of an hour: A's result and notional, then B's; notional varies thirty-fold."""
    rng = RNG(seed)
    notional = rng.lognormal(0.0, 1.0, (2, n)) * 1e4
    return np.stack([rng.normal(0, 3, n), notional[0], rng.normal(1, 3, n), notional[1]])


def test_the_estimate_is_a_ratio_of_sums_and_contributions_are_its_jackknife() -> None:
    a, na, b, nb = hours()
    found = pooled_sequence(a, na, b, nb, planned_n=30, alpha=0.05, min_n=6)
    for k in range(1, 31):
        want = (sum(b[:k]) / sum(nb[:k]) - sum(a[:k]) / sum(na[:k])) * 1e4
        assert found.mean[k - 1] == pytest.approx(want, rel=1e-12)
    whole = found.mean[-1]
    left_out = [
        ((b.sum() - b[i]) / (nb.sum() - nb[i]) - (a.sum() - a[i]) / (na.sum() - na[i])) * 1e4
        for i in range(30)
    ]
    jackknife = 29 * (whole - np.array(left_out))
    small = (
        np.maximum(na / na.sum(), nb / nb.sum()) < 0.03
    )  # the delta method is the jackknife of small parts
    np.testing.assert_allclose(found.contribution[small], jackknife[small], rtol=0.06, atol=0.05)
    assert abs(found.contribution.sum()) < 1e-9


def test_hourly_means_and_the_ratio_of_sums_differ_when_notional_follows_the_result() -> None:
    """Half of the hours trade thirty times as much and lose: the mean of hourly ratios is a gain, the money is not."""
    n = 48
    notional = np.where(np.arange(n) % 2, 30.0, 1.0)
    net = np.where(np.arange(n) % 2, -0.5, 1.0) / 1e4
    zero, one = np.zeros(n), np.ones(n)
    found = pooled_sequence(zero, one, net * notional, notional, planned_n=n, alpha=0.05, min_n=6)
    assert np.mean(net) > 0
    assert found.mean[-1] < -0.4


def test_growthbooks_sequential_intervals_are_ours() -> None:
    """gbstats, tests/frequentist/test_tests.py, TestSequentialTTest: relative effect, delta method, five printed digits."""
    n, s_a, q_a, s_b, q_b = 3000 + 3461, 1396.87, 52377.9767, 2422.7, 134698.29
    m_a, m_b = s_a / 3000, s_b / 3461
    v_a, v_b = (q_a - s_a**2 / 3000) / 2999, (q_b - s_b**2 / 3461) / 3460
    error = math.sqrt(v_b / 3461 / m_a**2 + v_a / 3000 * m_b**2 / m_a**4)
    half = (
        error
        * math.sqrt(n)
        * float(unit_margin(n, rho=best_rho(1000, alpha=0.05, side="two"), alpha=0.05, side="two"))
    )
    effect = m_b / m_a - 1
    got = [round(v, 5) for v in (effect, error, effect - half, effect + half)]
    assert got == [0.50336, 0.33341, -0.55844, 1.56516]


def test_the_widening_is_halls_expansion() -> None:
    """P(T <= z + w) of a Studentised mean of skewed values is the normal's P(Z <= z), to first order checked by simulation."""
    assert float(skew_widening(np.array(1.96), np.array(1.0), np.array(40.0))) == pytest.approx(
        (2 * 1.96**2 + 1) / (6 * math.sqrt(40)) + 5 * 1.96 * (4 * 1.96**2 - 1) / (72 * 40)
    )
    n, z = 60, 1.2816
    x = 1.0 - RNG(3).standard_gamma(4.0, (40_000, n)) / 4.0  # skewness -1
    t = x.mean(axis=1) / x.std(axis=1, ddof=1) * math.sqrt(n)
    plain = (t > z).mean()
    widened = (t > z + float(skew_widening(np.array(z), np.array(1.0), np.array(float(n))))).mean()
    assert abs(widened - 0.1) < abs(plain - 0.1)
    assert widened == pytest.approx(0.1, abs=0.01)


def test_correlation_and_skewness_are_seen_and_noise_is_not() -> None:
    rng = RNG(1)
    white = rng.standard_normal((400, 72))
    assert np.mean(correlation_of(white - white.mean(axis=1, keepdims=True))) < 0.12
    red = np.zeros((400, 72))
    for k in range(72):
        red[:, k] = 0.6 * red[:, max(k - 1, 0)] + white[:, k]
    assert np.median(correlation_of(red - red.mean(axis=1, keepdims=True))) > 0.6
    assert np.median(np.abs(skewness_of(white - white.mean(axis=1, keepdims=True)))) < 0.1
    tail = -rng.lognormal(0, 1, (400, 72))
    assert np.median(skewness_of(tail - tail.mean(axis=1, keepdims=True))) < -1.5
    assert SKEW_FACTOR >= 1.0


@pytest.mark.parametrize("name", ["correlated", "rare losses", "heavy tails"])
def test_noise_that_broke_the_independent_bound_does_not_break_this_one(name: str) -> None:
    rng, n, stages = RNG(7), 72, 400
    if name == "correlated":
        x = np.zeros((stages, n))
        for k in range(n):
            x[:, k] = 0.6 * x[:, max(k - 1, 0)] + rng.standard_normal(stages)
    elif name == "rare losses":
        x = np.exp(0.5) - rng.lognormal(0, 1, (stages, n))
    else:
        x = rng.standard_t(3, (stages, n))
    promoted = (bounded(as_sums(x), GAIN, n).lower > 0).any(axis=1).mean()
    rolled_back = (bounded(as_sums(x), HARM, n).lower > 0).any(axis=1).mean()
    assert promoted <= 0.05 + 0.02
    assert rolled_back <= 0.05 / 3 + 0.02


def test_scale_shift_and_sign_change_nothing() -> None:
    x = RNG(2).standard_t(4, 40)
    base, moved, mirrored = (
        mean_sequence(v, planned_n=40, alpha=0.05, min_n=6) for v in (x, 1e-3 * x + 5.0, -x)
    )
    np.testing.assert_allclose(moved.lower[6:], 1e-3 * base.lower[6:] + 5.0, rtol=1e-9)
    np.testing.assert_allclose(mirrored.upper, -base.lower)


def test_a_look_knows_nothing_of_what_comes_and_arms_that_rest_count_their_own_hours() -> None:
    sums = hours(40, seed=4)
    whole = bounded(sums, GAIN, 72)
    part = bounded(sums[:, :25], GAIN, 72)
    np.testing.assert_array_equal(whole.lower[:25], part.lower)
    few = sums.copy()
    few[2:, np.arange(40) % 8 != 0] = 0.0  # B ran in five of forty hours
    assert np.isinf(bounded(few, GAIN, 72).lower).all(), "five hours of B bound nothing"
    with pytest.raises(ValueError, match="value 3"):
        pooled_sequence(*np.where(np.arange(40) == 3, np.nan, sums), planned_n=9, alpha=0.05, min_n=2)
