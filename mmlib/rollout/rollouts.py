"""Whole rollouts that never happened: three stages in order, judged by the configured gates, all safety gates together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmlib.gates.evaluate import violates
from mmlib.gates.spec import Gate
from mmlib.inference.rates import Rate, rate_of
from mmlib.rollout.aa import table_of_counts
from mmlib.rollout.budget import GAIN, HARM, STAGES_OF_A_ROLLOUT
from mmlib.rollout.experiment import bounded
from mmlib.rollout.noise import NOISES, Noise
from mmlib.rollout.synthetic import accepts

LENGTHS_H = (24, 72)


@dataclass(frozen=True)
class RolloutRates:
    """What happened over rollouts without an effect.

    ``promoted``: some stage passed, at any look, that ran because all before it had passed. ``rolled_back``: some stage of
    three that all run was rolled back, at any look, which is the most that can happen.
    """

    promoted: Rate
    rolled_back: Rate


def draw_rollouts(
    gates: Mapping[str, Gate], noise: Noise, *, hours: int, rollouts: int, seed: int = 0
) -> RolloutRates:
    """Draw ``rollouts`` of three stages of ``hours`` without an effect; net and slippage have the same kind of noise.

    A skewed noise is drawn so that its unseen tail would be a loss of net, and a gain of slippage.
    """
    rng = np.random.default_rng(seed)
    shape = rollouts, STAGES_OF_A_ROLLOUT
    stages = rollouts * STAGES_OF_A_ROLLOUT
    net = bounded(noise(rng, stages, hours), GAIN, hours)
    passed = np.any(accepts(gates["ab.accept.net"], net), axis=1).reshape(shape)
    slippage = bounded(noise(rng, stages, hours), HARM, hours)
    guard = gates["ab.safety.slippage"]
    harmed = np.any(np.asarray(violates(guard, slippage.lower)), axis=1).reshape(shape)
    return RolloutRates(rate_of(passed[:, 0]), rate_of(np.any(harmed, axis=1)))


def rollout_table(gates: Mapping[str, Gate], *, rollouts: int, seed: int = 0) -> pd.DataFrame:
    """Rates over every noise and length, columns of ``rollout.aa.COLUMNS``."""
    parts = []
    for hours in LENGTHS_H:
        for number, (name, noise) in enumerate(NOISES.items()):
            found = draw_rollouts(gates, noise, hours=hours, rollouts=rollouts, seed=seed * 1009 + number)
            counts = {
                ("rollback", "statistical"): found.rolled_back.hits,
                ("promotion at any look", "statistical"): found.promoted.hits,
            }
            parts.append(table_of_counts(f"rollout 3 x {hours} h, {name}", counts, rollouts))
    return pd.concat(parts, ignore_index=True)
