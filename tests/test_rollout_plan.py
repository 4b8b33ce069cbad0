"""The plan of a stage: its probabilities are those of stages drawn apart, and what is missing is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmlib._io import UserError
from mmlib.config.load import ensure_params, shipped_dir
from mmlib.figures.ab import plan as figure
from mmlib.gates.spec import load_gates
from mmlib.rollout.budget import GAIN
from mmlib.rollout.experiment import bounded
from mmlib.rollout.plan import (
    COLUMNS,
    drawn_stages,
    hours_for,
    null_hours,
    plan_of_feeds,
    plan_table,
    sentence,
)
from mmlib.rollout.synthetic import as_sums
from mmlib.workflow.ab_plan import plan_stages

GATES = {gate.id: gate for gate in load_gates(shipped_dir("params").parent).step("ab_10")}
NET = GATES["ab.accept.net"]


def test_probabilities_are_those_of_independent_stages_of_the_same_noise() -> None:
    rng = np.random.default_rng(1)
    table = plan_table(
        NET,
        as_sums(rng.standard_normal(20_000)),
        loss_budget=1e9,
        gains_bps=[0.5],
        lengths_h=[48],
        stages=400,
    )
    x = rng.standard_normal((400, 48)) + 0.5
    found = bounded(as_sums(x), GAIN, 48)
    apart = 100.0 * ((found.lower[:, -1] > 0) & (found.mean[:, -1] >= NET.limit)).mean()
    assert table["promoted_pct"].iloc[0] == pytest.approx(apart, abs=9.0)
    assert table["rollout_pct"].iloc[0] < table["promoted_pct"].iloc[0]


def test_more_hours_and_larger_gains_pass_more_often_and_a_small_budget_is_hit() -> None:
    sums = as_sums(np.random.default_rng(2).standard_normal(72))
    table = plan_table(NET, sums, loss_budget=1e9, stages=100)
    wide = table.pivot(index="gain_bps", columns="hours", values="promoted_pct").to_numpy()
    assert (np.diff(wide, axis=0) >= -5).all()
    assert (np.diff(wide, axis=1) >= -5).all()
    tight = plan_table(NET, sums, loss_budget=2e-4, stages=100)
    assert (tight["loss_first_pct"] > table["loss_first_pct"]).all()
    assert hours_for(table, 1.0) in (24, 48)
    assert hours_for(table, 0.2) is None
    assert "a true gain of 1 bps needs" in sentence(table)
    assert len(figure(table).data) == 6


def test_the_hours_drawn_have_the_gain_and_nothing_else() -> None:
    sums = as_sums(np.random.default_rng(3).standard_normal(50) + 7.0)
    made = drawn_stages(null_hours(sums), gain_bps=0.3, hours=30, stages=2000, rng=np.random.default_rng(0))
    effect = (made[2].sum() / made[3].sum() - made[0].sum() / made[1].sum()) * 1e4
    assert effect == pytest.approx(0.3, abs=0.02)
    alone = sums.copy()
    alone[:2], alone[2:] = sums[2:], 0.0
    assert null_hours(alone)[3].sum() > 0
    with pytest.raises(ValueError, match="expected at least 6"):
        null_hours(sums[:, :3])


def test_without_a_soak_there_is_no_plan(tmp_path: Path) -> None:
    ensure_params(tmp_path)
    assert plan_of_feeds(tmp_path / "none", GATES).columns.tolist() == list(COLUMNS)
    with pytest.raises(UserError, match="run step 3"):
        plan_stages(tmp_path)
