"""The experiment of a stage from its feeds: damage looked for first, then the estimator that the feeds admit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from mmlib.inference.sensitivity import Sensitivity, block_bootstrap, hac
from mmlib.inference.sequence import confidence_sequence
from mmlib.inference.student import t_sequence
from mmlib.metrics.money import bucket_money
from mmlib.rollout.blindspot import hourly_sums
from mmlib.rollout.budget import GAIN
from mmlib.rollout.damage import feed_problems
from mmlib.rollout.experiment import Experiment, paired_experiment
from mmlib.rollout.safety import BUCKET_S
from mmlib.rollout.segments import fills_worth, segments, turning_fills
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
        found = switchback_experiment(ticks, fills, design, planned_buckets=planned, problems=problems)
    else:
        money = bucket_money(ticks, fills, BUCKET_S)
        found = paired_experiment(money, planned_buckets=planned, problems=problems)
    worth = fills_worth(ticks, fills)
    turning = turning_fills(worth, hourly_sums(found.pairs, "net")) if found.buckets and len(worth) else None
    return replace(found, segments=segments(worth), turning_fills=turning)


def beside(experiment: Experiment, seed: int = 0) -> pd.DataFrame:
    """The effect on net by other methods, which decide nothing: method, mean, lower, upper [bps], setting.

    The first row decides. Sequences hold at every look, each bound at 95 %; Newey-West and the bootstrap hold at one look,
    fixed beforehand. The last row is another question: the mean of hourly ratios, which rewards quoting little.
    """
    x = experiment.net["contribution"].to_numpy(dtype="float64")
    planned, alpha = experiment.planned_buckets, GAIN.alpha
    rows = []
    if len(x):
        last = experiment.net.iloc[-1]
        rows.append(
            Sensitivity("pooled, decides", last["mean"], last["lower"], last["upper"], "robust bounds")
        )
        rows.append(_both("anytime-valid t", x, planned))
        below, above = (
            confidence_sequence(x, planned_n=planned, alpha=alpha, side=side) for side in ("lower", "upper")
        )
        setting = f"ρ = {below.rho:.3f}"
        rows.append(Sensitivity("asymptotic sequence", *below.last[:2], above.last[2], setting))
        rows += [hac(x, alpha=2 * alpha), block_bootstrap(x, alpha=2 * alpha, seed=seed)]
        hourly = experiment.net["delta"].to_numpy(dtype="float64")
        rows.append(_both("mean of hourly ratios, t", hourly, planned))
    return pd.DataFrame([vars(row) for row in rows], columns=["method", "mean", "lower", "upper", "setting"])


def _both(name: str, x: np.ndarray, planned: int) -> Sensitivity:
    below, above = (
        t_sequence(x, planned_n=planned, alpha=GAIN.alpha, side=side, min_n=GAIN.min_n)
        for side in ("lower", "upper")
    )
    return Sensitivity(name, *below.last[:2], above.last[2], "independent hours")
