"""Percentile ratios as a gate, and the sample-ratio check against scipy."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from mmlib.dtypes import Status
from mmlib.gates.regression import evaluate_regression, ratio_limit
from mmlib.gates.spec import read_gates
from mmlib.inference.ratio import RatioResult
from mmlib.inference.srm import srm_p_value

GATE = read_gates(Path(__file__).parents[1] / "params" / "gates.yaml").get("ci.stage_p95")


def ratio_of(ratio: float, lower: float, upper: float, limit: float = 1.03) -> RatioResult:
    """A comparison as `rounds.compare_rounds` would judge it."""
    status = Status.FAIL if lower > limit else Status.PASS if upper <= limit else Status.INCONCLUSIVE
    point = Status.FAIL if ratio > limit else Status.PASS
    return RatioResult(ratio, lower, upper, limit, status, point, 5000, 5000, None, f"ratio {ratio:.4f}")


# --- as a gate ---


def test_the_worst_stage_decides_and_is_named() -> None:
    limit = ratio_limit(GATE)
    ratios = {"spread": ratio_of(0.5, 0.48, 0.52, limit), "guards": ratio_of(1.5, 1.45, 1.55, limit)}
    result = evaluate_regression(GATE, ratios)
    assert result.status is Status.FAIL
    assert result.reason.startswith("guards: ratio 1.5")
    assert "point rule: FAIL (guards)" in result.reason
    assert result.value == pytest.approx(50.0)
    assert evaluate_regression(GATE, {"spread": ratios["spread"]}).passed
    assert evaluate_regression(GATE, {}).status is Status.NO_DATA


def test_a_stage_without_values_keeps_the_gate_from_passing() -> None:
    nan = math.nan
    nothing = RatioResult(nan, nan, nan, 1.03, Status.NO_DATA, Status.NO_DATA, 5000, 0, None, "no values")
    result = evaluate_regression(GATE, {"spread": ratio_of(0.5, 0.48, 0.52), "emit": nothing})
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
