"""The confidence sequence: its formula, its coverage at all times at once, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.inference.sequence import BURN_IN, best_rho, confidence_sequence, unit_margin
from tests import naive_gates


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40))
def test_bounds_are_those_of_the_theorem(x: list[float]) -> None:
    cs = confidence_sequence(np.array(x), planned_n=24, burn_in=2)
    ref = np.array(naive_gates.confidence_sequence(x, cs.alpha, cs.rho))
    scale = max(1.0, float(np.abs(x).max()))
    np.testing.assert_allclose(cs.lower[1:], ref[:, 0], rtol=1e-6, atol=1e-5 * scale)
    np.testing.assert_allclose(cs.upper[1:], ref[:, 1], rtol=1e-6, atol=1e-5 * scale)


def test_a_large_offset_costs_no_digits() -> None:
    x = np.random.default_rng(1).normal(size=50)
    near, far = (confidence_sequence(x + shift, planned_n=50) for shift in (0.0, 1e9))
    np.testing.assert_allclose(far.std[1:], near.std[1:], rtol=1e-4)


@pytest.mark.parametrize("side", ["two", "lower", "upper"])
def test_the_mean_is_rarely_ever_outside(side: str) -> None:
    rng = np.random.default_rng(11)
    paths, alpha, ever = 600, 0.1, 0
    for _ in range(paths):
        cs = confidence_sequence(rng.normal(size=400), planned_n=24, alpha=alpha, side=side)  # type: ignore[arg-type]
        ever += bool((cs.lower > 0).any() or (cs.upper < 0).any())
    # three standard errors above alpha: a pointwise interval would be outside on about half of the paths
    assert ever / paths < alpha + 3 * math.sqrt(alpha * (1 - alpha) / paths)
    assert ever > 0


def test_a_true_effect_is_found_and_one_side_finds_it_sooner() -> None:
    x = np.random.default_rng(5).normal(0.5, 1.0, size=400)
    two = confidence_sequence(x, planned_n=48)
    one = confidence_sequence(x, planned_n=48, side="lower")
    assert two.lower[-1] > 0
    assert (one.lower[BURN_IN:] >= two.lower[BURN_IN:]).all()
    assert np.isinf(one.upper).all()


@pytest.mark.parametrize("side", ["two", "lower"])
@pytest.mark.parametrize("planned", [24, 500])
def test_rho_makes_it_nearly_tightest_at_the_planned_size(side: str, planned: int) -> None:
    best = float(unit_margin(planned, rho=best_rho(planned, alpha=0.05, side=side), alpha=0.05, side=side))  # type: ignore[arg-type]
    grid = [float(unit_margin(planned, rho=r, alpha=0.05, side=side)) for r in np.geomspace(1e-3, 10, 400)]  # type: ignore[arg-type]
    assert best <= 1.01 * min(grid)


def test_nothing_is_claimed_before_the_burn_in() -> None:
    cs = confidence_sequence(np.ones(BURN_IN - 1), planned_n=24)
    assert np.isneginf(cs.lower).all()
    assert np.isposinf(cs.upper).all()
    mean, lower, upper = confidence_sequence(np.array([]), planned_n=24).last
    assert math.isnan(mean)
    assert (lower, upper) == (-math.inf, math.inf)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_with_its_place(bad: float) -> None:
    with pytest.raises(ValueError, match="value 1 is"):
        confidence_sequence(np.array([0.0, bad, 0.0]), planned_n=24)


@pytest.mark.parametrize(
    "change",
    [
        {"alpha": 0.0},
        {"alpha": 1.0},
        {"alpha": 0.5, "side": "lower"},
        {"planned_n": 0},
        {"burn_in": 1},
        {"side": "left"},
    ],
)
def test_parameters_out_of_range_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        confidence_sequence(np.zeros(3), **({"planned_n": 24} | change))  # type: ignore[arg-type]
