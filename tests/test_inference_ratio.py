"""Percentile ratios and the sample-ratio check, against brute force and scipy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import chisquare

from mmlib.core.histogram import RELATIVE_ERROR, Histogram
from mmlib.dtypes import Status
from mmlib.gates.regression import evaluate_regression, ratio_limit
from mmlib.gates.spec import read_gates
from mmlib.inference.ratio import quantile_ratio
from mmlib.inference.srm import srm_p_value
from tests import naive_gates

GATE = read_gates(Path(__file__).parents[1] / "params" / "gates.yaml").get("ci.stage_p95")


def lognormal(n: int, seed: int, scale: float = 1.0) -> Histogram:
    return Histogram(scale * np.random.default_rng(seed).lognormal(0.0, 0.5, n))


def test_the_interval_is_that_of_a_real_bootstrap() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.lognormal(0, 0.5, 400), rng.lognormal(0, 0.5, 300)
    got = quantile_ratio(Histogram(a), Histogram(b), limit=1.03)
    draws = naive_gates.bootstrap_quantiles(b, 0.95, 3000, rng) / naive_gates.bootstrap_quantiles(
        a, 0.95, 3000, rng
    )
    want = np.quantile(draws, [0.025, 0.975])
    assert [got.lower, got.upper] == pytest.approx(want, rel=0.03)


def test_twice_as_slow_fails_and_twice_as_fast_passes() -> None:
    base = lognormal(2000, 1)
    assert quantile_ratio(base, lognormal(2000, 2, 2.0), limit=1.03).status is Status.FAIL
    assert quantile_ratio(base, lognormal(2000, 2, 0.5), limit=1.03).status is Status.PASS


def even(n: int) -> Histogram:
    """``n`` values spread over the lognormal distribution without chance, so that only ``n`` differs."""
    return Histogram(np.exp(0.5 * ndtri((np.arange(n) + 0.5) / n)))


def test_near_the_limit_it_says_how_many_would_decide_and_they_do() -> None:
    base = even(2_000_000)
    few = quantile_ratio(base, even(1000), limit=1.03)
    assert few.status is Status.INCONCLUSIVE
    assert few.needed_n is not None and few.needed_n > 1000
    assert f"about {few.needed_n} values would decide" in few.reason
    assert quantile_ratio(base, even(round(1.4 * few.needed_n)), limit=1.03).status is Status.PASS
    assert quantile_ratio(base, even(round(few.needed_n / 1.4)), limit=1.03).status is Status.INCONCLUSIVE


def test_a_baseline_that_is_itself_too_small_is_said_to_be() -> None:
    got = quantile_ratio(lognormal(150, 1), lognormal(100_000, 3), limit=1.03)
    assert (got.status, got.needed_n) == (Status.INCONCLUSIVE, None)
    assert "no number of candidate values" in got.reason


def test_false_alarms_on_equal_builds_are_rare() -> None:
    fails = sum(
        quantile_ratio(lognormal(500, 2 * k), lognormal(500, 2 * k + 1), limit=1.03).status is Status.FAIL
        for k in range(100)
    )
    assert fails <= 5


def test_the_point_rule_stands_beside() -> None:
    base = Histogram(np.full(1000, 10.0))
    assert quantile_ratio(base, Histogram(np.full(1000, 10.2)), limit=1.03).point_status is Status.PASS
    assert quantile_ratio(base, Histogram(np.full(1000, 10.4)), limit=1.03).point_status is Status.FAIL


def test_buckets_cannot_decide_what_they_hide() -> None:
    base = Histogram(np.full(10_000, 10.0))
    got = quantile_ratio(base, Histogram(np.full(10_000, 10.3 * (1 - RELATIVE_ERROR))), limit=1.03)
    assert got.status is Status.INCONCLUSIVE


def test_too_few_empty_and_zero() -> None:
    base = lognormal(500, 1)
    assert quantile_ratio(base, lognormal(99, 2, 5.0), limit=1.03).status is Status.INCONCLUSIVE
    assert quantile_ratio(base, Histogram(), limit=1.03).status is Status.NO_DATA
    assert quantile_ratio(Histogram(), base, limit=1.03).status is Status.NO_DATA
    zero = quantile_ratio(Histogram(np.zeros(500)), base, limit=1.03)
    assert zero.status is Status.INCONCLUSIVE
    assert "zero" in zero.reason
    assert quantile_ratio(base, Histogram(np.zeros(500)), limit=1.03).status is Status.PASS


def test_the_same_seed_gives_the_same_answer() -> None:
    a, b = lognormal(300, 1), lognormal(300, 2)
    assert quantile_ratio(a, b, limit=1.03, seed=5) == quantile_ratio(a, b, limit=1.03, seed=5)


@pytest.mark.parametrize("change", [{"limit": 0.0}, {"q": 1.0}, {"alpha": 0.0}, {"limit": math.nan}])
def test_parameters_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected limit > 0"):
        quantile_ratio(Histogram(), Histogram(), **({"limit": 1.03} | change))


# --- as a gate ---


def test_the_worst_stage_decides_and_is_named() -> None:
    base, limit = lognormal(5000, 1), ratio_limit(GATE)
    ratios = {
        "spread": quantile_ratio(base, lognormal(5000, 2, 0.5), limit=limit),
        "guards": quantile_ratio(base, lognormal(5000, 3, 1.5), limit=limit),
    }
    result = evaluate_regression(GATE, ratios)
    assert result.status is Status.FAIL
    assert result.reason.startswith("guards: ratio 1.")
    assert "point rule: FAIL (guards)" in result.reason
    assert result.value is not None and 35 < result.value < 65
    assert evaluate_regression(GATE, {"spread": ratios["spread"]}).passed
    assert evaluate_regression(GATE, {}).status is Status.NO_DATA


def test_a_stage_without_values_keeps_the_gate_from_passing() -> None:
    base = lognormal(5000, 1)
    ratios = {
        "spread": quantile_ratio(base, lognormal(5000, 2, 0.5), limit=1.03),
        "emit": quantile_ratio(base, Histogram(), limit=1.03),
    }
    result = evaluate_regression(GATE, ratios)
    assert (result.status, result.value) == (Status.NO_DATA, None)


# --- sample ratio ---


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 500), st.integers(0, 500), st.sampled_from([0.1, 0.5, 0.9]))
def test_p_value_is_scipys(a: int, b: int, share: float) -> None:
    got = srm_p_value({"A": a, "B": b}, {"A": 1 - share, "B": share})
    if a + b == 0:
        assert math.isnan(got)
    else:
        want = chisquare([a, b], [(a + b) * (1 - share), (a + b) * share]).pvalue
        assert got == pytest.approx(want, rel=1e-9)


def test_an_arm_that_should_be_empty() -> None:
    assert srm_p_value({"A": 3, "B": 1}, {"A": 1.0, "B": 0.0}) == 0.0
    assert srm_p_value({"A": 3, "B": 0}, {"A": 1.0, "B": 0.0}) == 1.0


@pytest.mark.parametrize(
    ("counts", "shares"),
    [
        ({"A": 1}, {"A": 0.5, "B": 0.5}),
        ({"A": -1, "B": 1}, {"A": 0.5, "B": 0.5}),
        ({"A": 1, "B": 1}, {"A": 0.5, "B": 0.6}),
        ({"A": 1, "B": 1}, {"A": -0.5, "B": 1.5}),
        ({"A": 1, "B": 1}, {"A": math.nan, "B": 0.5}),
        ({}, {}),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(counts: dict[str, int], shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"arms differ|expected"):
        srm_p_value(counts, shares)
