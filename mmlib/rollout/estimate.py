"""The experiment of a stage from its feeds: damage looked for first, then the estimator that the feeds admit."""

from __future__ import annotations

import pandas as pd

from mmlib.inference.covariate import cuped
from mmlib.inference.sensitivity import Sensitivity, block_bootstrap, hac
from mmlib.inference.sequence import confidence_sequence
from mmlib.inference.student import t_sequence
from mmlib.metrics.money import bucket_money
from mmlib.rollout.damage import feed_problems
from mmlib.rollout.experiment import ALPHA, MIN_BUCKETS, Experiment, paired_experiment
from mmlib.rollout.safety import BUCKET_S
from mmlib.rollout.switchback import Design, is_paired, switchback_experiment


def experiment_of(
    ticks: pd.DataFrame, fills: pd.DataFrame, *, planned_s: float, design: Design
) -> Experiment:
    """Paired when both arms run at once, a switchback when they alternate.

    Args:
        ticks, fills: feed frames.
        planned_s: length of the stage [s].
        design: how the arms of a switchback were to alternate.
    """
    planned = round(planned_s / BUCKET_S)
    paired = is_paired(ticks)
    problems = feed_problems(ticks, fills, paired=paired)
    if not paired:
        return switchback_experiment(ticks, fills, design, planned_buckets=planned, problems=problems)
    money = bucket_money(ticks, fills, BUCKET_S)
    return paired_experiment(money, planned_buckets=planned, problems=problems)


def beside(experiment: Experiment, seed: int = 0) -> pd.DataFrame:
    """The effect on net by other methods, which decide nothing: method, mean, lower, upper [bps], setting.

    The first row decides. Sequences hold at every look, each bound at 95 %; the two after them hold at one look, fixed
    beforehand. The adjusted row is there when units have an hour before them that the treatment could not touch.
    """
    x = experiment.net["delta"].to_numpy(dtype="float64")
    planned = experiment.planned_buckets
    rows = []
    if len(x):
        last = experiment.net.iloc[-1]
        rows.append(Sensitivity("anytime-valid t, decides", last["mean"], last["lower"], last["upper"], ""))
        below, above = (
            confidence_sequence(x, planned_n=planned, alpha=ALPHA, side=side) for side in ("lower", "upper")
        )
        setting = f"ρ = {below.rho:.3f}"
        rows.append(Sensitivity("asymptotic sequence", *below.last[:2], above.last[2], setting))
        rows += [hac(x, alpha=2 * ALPHA), block_bootstrap(x, alpha=2 * ALPHA, seed=seed)]
    if "before" in experiment.net and (made := cuped(x, experiment.net["before"].to_numpy(), expected=0.0)):
        below, above = (
            t_sequence(made.values, planned_n=planned, alpha=ALPHA, side=side, min_n=MIN_BUCKETS)
            for side in ("lower", "upper")
        )
        setting = f"variance {100 * made.reduction:.0f} % less"
        rows.append(
            Sensitivity("t, adjusted by the hour before (CUPED)", *below.last[:2], above.last[2], setting)
        )
    return pd.DataFrame([vars(row) for row in rows], columns=["method", "mean", "lower", "upper", "setting"])
