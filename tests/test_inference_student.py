"""The anytime-valid t-test: its value by integration and by published numbers, its error at every look, its power."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq, minimize_scalar

from mmlib.inference.power import minimum_effect, needed_n
from mmlib.inference.sequence import BURN_IN, best_rho, confidence_sequence
from mmlib.inference.student import critical_t, log_e_value, margins, t_sequence
from tests import naive_gates


@pytest.mark.parametrize("side", ["two", "lower", "upper"])
@pytest.mark.parametrize(("n", "shift"), [(2, 0.5), (5, 1.0), (12, -0.4), (30, 0.3)])
def test_the_e_value_is_the_integral_over_both_priors(side: str, n: int, shift: float) -> None:
    x = np.random.default_rng(n).normal(shift, 1.0, n)
    t = math.sqrt(n) * x.mean() / x.std(ddof=1)
    got = float(log_e_value(t, n, g=0.4, side=side))  # type: ignore[arg-type]
    assert got == pytest.approx(math.log(naive_gates.t_e_value(x.tolist(), 0.4, side)), abs=2e-3)


def test_published_p_values_of_avlm_are_met() -> None:
    """README of the R package avlm 0.1.0 (Lindon): n = 100, eight coefficients, g tuned to the narrowest interval."""

    def radius(log_g: float) -> float:
        def above(t: float) -> float:
            return float(log_e_value(t, 100, g=math.exp(log_g), side="two", nu=92)) - math.log(20.0)

        return float(brentq(above, 1.0, 9.0, xtol=1e-13))

    g = math.exp(minimize_scalar(radius, bounds=(-6, 2), method="bounded", options={"xatol": 1e-6}).x)
    for t, published in ((5.776, 9.77e-06), (8.190, 8.07e-10), (10.769, 3.19e-14)):
        p = math.exp(-float(log_e_value(t, 100, g=g, side="two", nu=92)))
        assert p == pytest.approx(published, rel=5e-3)


def test_published_mixture_values_of_confseq_are_the_limit() -> None:
    """Unit tests of confseq (Howard et al. 2021), reference values in R: normal mixtures at s = 10, v = 100, tuned there."""
    two, one = (best_rho(100, alpha=0.05, side=side) ** 2 for side in ("two", "lower"))
    assert 1 / two == pytest.approx(12.60056, abs=1e-5)
    known = {"n": 100, "nu": 1e11}
    assert float(log_e_value(1.0, g=two, side="two", **known)) == pytest.approx(-0.6510052, abs=1e-5)
    assert float(log_e_value(1.0, g=one, side="lower", **known)) == pytest.approx(-0.06502391, abs=1e-5)
    for bound, g, side in ((30.35209, two, "two"), (27.66071, one, "lower")):
        assert float(log_e_value(bound / 10, g=g, side=side, **known)) == pytest.approx(
            math.log(20), abs=1e-4
        )  # type: ignore[arg-type]


@pytest.mark.parametrize("side", ["two", "lower"])
def test_the_critical_t_is_where_the_e_value_reaches_its_level(side: str) -> None:
    n = np.array([2, 3, 8, 24, 72, 1000])
    t = critical_t(n, g=0.2, alpha=0.05, side=side)  # type: ignore[arg-type]
    assert np.isinf(t[:2]).all(), "two or three values cannot carry that much evidence under this prior"
    found = log_e_value(t[2:], n[2:], g=0.2, side=side)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, math.log(20), rtol=1e-9)


@pytest.mark.parametrize("side", ["two", "lower", "upper"])
def test_twelve_values_keep_the_level_where_the_asymptotic_bounds_do_not(side: str) -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(20_000, 12))
    ours = t_sequence(x, planned_n=12, side=side)  # type: ignore[arg-type]
    ever = ((ours.lower > 0) | (ours.upper < 0)).any(axis=1).mean()
    assert 0.005 < ever < 0.05
    theirs = confidence_sequence(x, planned_n=12, side=side, burn_in=2)  # type: ignore[arg-type]
    assert ((theirs.lower > 0) | (theirs.upper < 0)).any(axis=1).mean() > 0.05


def test_one_sided_bounds_do_not_care_for_the_unit_or_the_place() -> None:
    x = np.random.default_rng(3).normal(size=40)
    base, moved = (t_sequence(v, planned_n=40, side="lower") for v in (x, 1e-3 * x + 1e6))
    np.testing.assert_allclose(moved.lower[8:], 1e-3 * base.lower[8:] + 1e6, rtol=1e-12)
    mirrored = t_sequence(-x, planned_n=40, side="upper")
    np.testing.assert_allclose(mirrored.upper, -base.lower)


def test_it_meets_the_asymptotic_bounds_where_values_are_many() -> None:
    x = np.random.default_rng(5).normal(0.1, 1.0, size=4000)
    ours, theirs = (f(x, planned_n=4000, side="lower") for f in (t_sequence, confidence_sequence))
    np.testing.assert_allclose(ours.lower[1000:], theirs.lower[1000:], atol=4e-3)
    assert BURN_IN > 2


def test_rows_are_sequences_of_their_own_and_bad_values_are_named() -> None:
    x = np.random.default_rng(1).normal(size=(3, 20))
    many = t_sequence(x, planned_n=20)
    for row in range(3):
        np.testing.assert_array_equal(many.lower[row], t_sequence(x[row], planned_n=20).lower)
    x[2, 7] = np.nan
    with pytest.raises(ValueError, match="value 7 is nan"):
        t_sequence(x, planned_n=20)
    with pytest.raises(ValueError, match="a single number"):
        t_sequence(np.float64(1.0), planned_n=20)  # type: ignore[arg-type]
    empty = t_sequence(np.array([]), planned_n=20)
    assert empty.n == 0


def test_nothing_is_bounded_before_the_minimum() -> None:
    cs = t_sequence(np.full(10, 3.0), planned_n=10, side="lower", min_n=6)
    assert np.isneginf(cs.lower[:5]).all()
    assert (cs.lower[5:] == 3.0).all()
    with pytest.raises(ValueError, match="read-only"):
        margins(10, g=0.2, alpha=0.05, side="lower")[0] = 1.0


def test_the_minimum_effect_is_found_as_often_as_it_says() -> None:
    effect = minimum_effect(2.0, 72, planned_n=72, power=0.8)
    assert effect is not None
    x = np.random.default_rng(2).normal(effect, 2.0, size=(4000, 72))
    found = (t_sequence(x, planned_n=72, side="lower").lower[:, -1] > 0).mean()
    assert found == pytest.approx(0.8, abs=0.02)
    t = float(critical_t(72, g=best_rho(72, alpha=0.05, side="lower") ** 2, alpha=0.05, side="lower")[0])
    assert stats.nct.sf(t, 71, effect / 2.0 * math.sqrt(72)) == pytest.approx(0.8, abs=1e-6)
    assert minimum_effect(1.0, 2, planned_n=72) is None
    assert minimum_effect(math.nan, 24, planned_n=24) is None


def test_how_many_more_is_the_first_size_that_clears() -> None:
    n = needed_n(0.3, 1.0, bound=0.0, planned_n=48)
    assert n is not None
    g = best_rho(48, alpha=0.05, side="lower") ** 2
    before, at = critical_t(np.array([n - 1, n]), g=g, alpha=0.05, side="lower") / np.sqrt([n - 1, n])
    assert before >= 0.3 > at


@pytest.mark.parametrize(
    ("mean", "std"), [(0.0, 1.0), (-1.0, 1.0), (1e-9, 1.0), (math.nan, 1.0), (1.0, math.nan)]
)
def test_it_says_when_no_number_would_do(mean: float, std: float) -> None:
    assert needed_n(mean, std, bound=0.0, planned_n=24) is None
