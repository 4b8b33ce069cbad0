"""What a stage could not have seen: the loss too rare to show, the harm too small to roll back, the gain too small to pass."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmlib.inference.pooled import PooledSequence, critical_at
from mmlib.rollout.budget import GAIN, HARM, Boundary
from mmlib.rollout.experiment import WIDE, Experiment, bounded, effect_sums

UNSEEN = 0.05
"""Probability with which the rare loss that is named would have stayed unseen."""
_POWER_Z = 0.8416
"""Normal quantile of 80 %."""


@dataclass(frozen=True)
class Sight:
    """What a stage of ``hours`` sees.

    Attributes:
        unseen_share: share of hours that a loss may strike and stay unseen with probability ``UNSEEN``: ``1 - UNSEEN^(1/n)``.
        unseen_loss_bps: size of that loss, bps of an hour's notional, that would undo the gain; NaN without a gain.
        gain_bps: least true gain that passes in four stages of five at the spread seen (the limit of the gate aside).
    """

    hours: int
    unseen_share: float
    unseen_loss_bps: float
    gain_bps: float


def sight(sums: np.ndarray, planned_buckets: int) -> Sight:
    """Of ``float64[4, n]`` sums of hours, ``experiment.effect_sums`` of net."""
    n = sums.shape[1]
    found = bounded(sums, GAIN, planned_buckets)
    share = 1.0 - UNSEEN ** (1.0 / n) if n else math.nan
    gain = float(found.mean[-1]) if n else math.nan
    return Sight(n, share, gain / share if gain > 0 else math.nan, least_effect(found, GAIN, planned_buckets))


def least_effect(found: PooledSequence, boundary: Boundary, planned_buckets: int) -> float:
    """Least true effect that a stage of the planned length finds with 80 % at the spread seen; NaN without hours."""
    if not found.mean.shape[-1] or not math.isfinite(found.std[-1]):
        return math.nan
    n = max(planned_buckets, found.mean.shape[-1])
    factor = (1.0 + found.correlation[-1]) / (1.0 - found.correlation[-1])
    z = critical_at(
        n / factor, planned_n=boundary.tuned(planned_buckets), alpha=boundary.alpha, early=boundary.early
    )
    return float(found.std[-1]) / math.sqrt(n) * (z + _POWER_Z)


def sentence(
    experiment: Experiment, net_sums: np.ndarray, slippage_sums: np.ndarray, limit_bps: float
) -> str:
    """What this stage could not have seen, in one sentence; empty without hours.

    Args:
        experiment: of the stage.
        net_sums, slippage_sums: ``float64[4, n]``, ``experiment.effect_sums``.
        limit_bps: that the acceptance gate asks for.
    """
    if not experiment.buckets:
        return ""
    planned = experiment.planned_buckets
    seen = sight(net_sums, planned)
    harm = least_effect(bounded(slippage_sums, HARM, planned), HARM, planned)
    one_in = 1.0 / seen.unseen_share
    if math.isfinite(seen.unseen_loss_bps):
        hourly = float(experiment.money["mean"].iloc[-1])
        money = f", {hourly / seen.unseen_share:,.2f} in quote currency" if hourly > 0 else ""
        loss = (
            f"a loss of {seen.unseen_loss_bps:.2f} bps of an hour's notional{money}, once in {one_in:.0f} hours, would undo "
            "the gain"
        )
    else:
        loss = f"a loss that strikes once in {one_in:.0f} hours, of any size,"
    passing = max(seen.gain_bps, limit_bps)
    return (
        f"What this stage could not have seen: {loss} and would have stayed unseen with {UNSEEN:.0%} probability; the smallest "
        f"slippage that would have been rolled back in four stages of five is {_bps(harm)}, the smallest gain that would "
        f"have passed {_bps(passing)}."
    )


def turning_hours(sums: np.ndarray) -> int:
    """How many single hours of ``float64[4, n]`` would turn the sign of the effect if they were left out."""
    if sums.shape[1] < 2:
        return sums.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = _effect(sums.sum(axis=1))
        without = _effect(sums.sum(axis=1)[:, None] - sums)
    return int((~(np.sign(without) == np.sign(whole))).sum())


def _effect(totals: np.ndarray) -> np.ndarray:
    return np.asarray(totals[2] / totals[3] - totals[0] / totals[1])


def _bps(value: float) -> str:
    return f"{value:.2f} bps" if math.isfinite(value) and value < 1e3 else "not bounded by so few hours"


def hourly_sums(pairs: pd.DataFrame, kind: str) -> np.ndarray:
    """``experiment.effect_sums`` of ``Experiment.pairs``."""
    return effect_sums(pairs.groupby("bucket", observed=True)[list(WIDE)].sum().sort_index(), kind)
