"""The rollout's error budget, and what a verdict says it could not have seen."""

from __future__ import annotations

import numpy as np
import pytest

from mmlib.config.load import shipped_dir
from mmlib.gates.spec import Gate, load_gates
from mmlib.rollout.blindspot import hourly_sums, least_effect, sentence, sight, turning_hours
from mmlib.rollout.budget import GAIN, HARM
from mmlib.rollout.experiment import bounded, paired_experiment
from mmlib.rollout.noise import NOISES, rare_losses
from mmlib.rollout.rollouts import draw_rollouts
from mmlib.rollout.synthetic import as_sums
from tests.test_rollout_stage import money


@pytest.fixture(scope="module")
def book() -> dict[str, Gate]:
    return {gate.id: gate for gate in load_gates(shipped_dir("params").parent).step("ab_10")}


@pytest.mark.parametrize("name", NOISES)
def test_every_noise_has_no_effect_and_hours_of_about_one_bps(name: str) -> None:
    sums = NOISES[name](np.random.default_rng(5), 4000, 24)
    effect = (sums[2].sum() / sums[3].sum() - sums[0].sum() / sums[1].sum()) * 1e4
    assert effect == pytest.approx(0.0, abs=0.05)
    hourly = (sums[2] - sums[0]) / sums[3].mean() * 1e4
    assert 0.5 < hourly.std() < 3.0


@pytest.mark.parametrize("name", ["normal", "hourly AR 0.6", "lognormal skew", "notional follows net"])
def test_a_rollout_errs_no_more_often_than_its_budget(book: dict[str, Gate], name: str) -> None:
    found = draw_rollouts(book, NOISES[name], hours=24, rollouts=150, seed=1)
    assert found.promoted.lower <= 0.05
    assert found.rolled_back.lower <= 0.05


def test_the_unseen_loss_is_the_one_that_five_percent_of_stages_miss() -> None:
    """Of stages of 24 hours, five percent meet none of the losses that strike the named share of hours."""
    one = sight(as_sums(np.full(24, 0.25)), 24)
    assert (1.0 - one.unseen_share) ** 24 == pytest.approx(0.05)
    assert one.unseen_loss_bps * one.unseen_share == pytest.approx(0.25), "the loss undoes the gain"
    lucky = rare_losses(np.random.default_rng(0), 2000, 24)
    unhurt = np.flatnonzero((lucky > 0).all(axis=1))[0]
    named = sight(as_sums(lucky[unhurt]), 24)
    assert named.unseen_loss_bps < 4.75 + 0.25
    assert named.unseen_share > 0.05


def test_the_least_effect_is_found_in_four_stages_of_five() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((600, 72))
    least = np.median([least_effect(bounded(as_sums(row), GAIN, 72), GAIN, 72) for row in x[:60]])
    power = (bounded(as_sums(x + least), GAIN, 72).lower[:, -1] > 0).mean()
    assert power == pytest.approx(0.8, abs=0.07)
    assert least_effect(bounded(as_sums(x[0]), HARM, 72), HARM, 72) < 1.0


def test_one_hour_that_carries_the_effect_is_named() -> None:
    delta = np.full(30, -0.01)
    delta[11] = 5.0
    sums = as_sums(delta)
    assert turning_hours(sums) == 1
    assert turning_hours(as_sums(np.full(30, 0.1))) == 0
    found = paired_experiment(money(delta), planned_buckets=30)
    assert turning_hours(hourly_sums(found.pairs, "net")) == 1


def test_the_sentence_names_loss_harm_and_gain() -> None:
    gain = np.random.default_rng(0).normal(0.6, 0.2, 30)
    found = paired_experiment(money(gain), planned_buckets=30)
    text = sentence(found, hourly_sums(found.pairs, "net"), hourly_sums(found.pairs, "slippage"), 0.2)
    assert text.startswith("What this stage could not have seen: a loss of ")
    for part in (
        "once in 11 hours",
        "quote currency",
        "5% probability",
        "rolled back",
        "would have passed 0.2",
    ):
        assert part in text
    worse = paired_experiment(money(-gain), planned_buckets=30)
    assert "of any size" in sentence(
        worse, hourly_sums(worse.pairs, "net"), hourly_sums(worse.pairs, "slippage"), 0.2
    )
    empty = paired_experiment(money(gain).iloc[:0], planned_buckets=30)
    assert sentence(empty, np.zeros((4, 0)), np.zeros((4, 0)), 0.2) == ""
