"""Drawn stages: the process is what it says, the gates judge it as they judge real ones, and errors stay where they should."""

from __future__ import annotations

import numpy as np
import pytest

from mmlib.config.load import shipped_dir
from mmlib.dtypes import Status
from mmlib.gates.evaluate import evaluate_series
from mmlib.gates.spec import Gate, load_gates
from mmlib.rollout.safety import harm_series
from mmlib.rollout.synthetic import draw_stages, judge_minutes, minutes_of
from tests.test_rollout_stage import START


@pytest.fixture(scope="module")
def book() -> dict[str, Gate]:
    return {gate.id: gate for gate in load_gates(shipped_dir("params").parent).step("ab_10")}


@pytest.mark.parametrize("phi", [0.0, 0.6, 0.8])
def test_the_process_has_its_autocorrelation_and_hours_of_one_bps(phi: float) -> None:
    x = minutes_of(400, 24, phi, np.random.default_rng(0))
    at_five = (x[:, 5:] * x[:, :-5]).mean() / (x**2).mean()
    assert at_five == pytest.approx(phi, abs=0.02)
    hourly = x.reshape(400, 24, 60).mean(axis=2)
    assert hourly.std() == pytest.approx(1.0, abs=0.03)
    between = (hourly[:, 1:] * hourly[:, :-1]).mean()
    assert between == pytest.approx({0.0: 0.0, 0.6: 0.097, 0.8: 0.248}[phi], abs=0.03)


def test_a_drawn_stage_is_judged_by_the_minutes_that_a_real_one_would_have(book: dict[str, Gate]) -> None:
    """The harm a drawn stage's gate reads is, minute by minute, ``safety.harm_series`` of its hours."""
    import pandas as pd

    from mmlib.rollout.budget import HARM
    from mmlib.rollout.experiment import effect_frame
    from mmlib.rollout.synthetic import as_sums

    x = minutes_of(6, 24, 0.8, np.random.default_rng(3)) + 0.4
    outcomes = judge_minutes(book, x, x)
    minutes = pd.Series(START + pd.to_timedelta(np.arange(24 * 60), unit="min"))
    for k in range(6):
        hours = START + pd.to_timedelta(np.arange(24), unit="h")
        sums = as_sums(x[k].reshape(24, 60).mean(axis=1))
        ts, values = harm_series(effect_frame(hours, sums, HARM, 24, 1e4), minutes, 3600)["all symbols"]
        status = evaluate_series(book["ab.safety.slippage"], ts, values).status
        assert outcomes.rollback[k] == (status is Status.FAIL)


def test_errors_stay_below_their_level_and_effects_are_found(book: dict[str, Gate]) -> None:
    null = draw_stages(book, stages=300, hours=24, phi=0.6, seed=1)
    assert null.rollback.mean() <= 0.05 / 3
    assert null.promote_at_any_look.mean() <= 0.05
    assert null.literal_rollback.mean() > 0.95, "the literal rule fires in nearly every day without an effect"
    assert null.literal_promote.mean() > 0.1
    real = draw_stages(book, stages=100, hours=72, phi=0.0, seed=1, net_bps=0.5, slippage_bps=0.5)
    assert real.promote.mean() > 0.75
    assert real.rollback.mean() > 0.85
    assert not draw_stages(
        book, stages=100, hours=72, phi=0.0, seed=1, net_bps=-0.5
    ).promote_at_any_look.any()


def test_a_draw_repeats_itself(book: dict[str, Gate]) -> None:
    one, two, other = (draw_stages(book, stages=50, hours=12, phi=0.8, seed=s) for s in (4, 4, 5))
    np.testing.assert_array_equal(one.literal_promote, two.literal_promote)
    assert (one.literal_promote != other.literal_promote).any()
    with pytest.raises(ValueError, match="phi"):
        minutes_of(1, 1, 1.0, np.random.default_rng(0))
