"""Sections of ``ci/bench inference``: rollouts drawn without an effect and stages with one, judged by the shipped gates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from report import at_most, bar

from mmlib.gates.spec import Gate, read_gates
from mmlib.inference.rates import Rate, rate_of
from mmlib.rollout.blindspot import sight
from mmlib.rollout.budget import GAIN, HARM
from mmlib.rollout.experiment import bounded
from mmlib.rollout.noise import NOISES, rare_losses
from mmlib.rollout.rollouts import LENGTHS_H, draw_rollouts
from mmlib.rollout.synthetic import accepts, as_sums, draw_stages

ROLLOUTS, STAGES, SEED = 1000, 2000, 20250115
LONG_H = 72
EFFECT_BPS = 0.5
_GATES = Path(__file__).resolve().parents[2] / "params" / "gates.yaml"


def gates() -> dict[str, Gate]:
    """The shipped gates of the first stage, by id."""
    return {gate.id: gate for gate in read_gates(_GATES).step("ab_10")}


def without_effect() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Whole rollouts, 3 x 24 h and 3 x 72 h, for every listed noise: false promotion and false rollback at any look."""
    book, bars = gates(), []
    figures: dict[str, Any] = {"rollouts": ROLLOUTS, "rates_pct": {}}
    for hours in LENGTHS_H:
        for number, (name, noise) in enumerate(NOISES.items()):
            found = draw_rollouts(book, noise, hours=hours, rollouts=ROLLOUTS, seed=SEED + number)
            key = f"3 x {hours} h, {name}"
            promoted, rolled_back = found.promoted.percent(), found.rolled_back.percent()
            figures["rates_pct"][key] = {"false promote": promoted, "false rollback": rolled_back}
            bars.append(at_most(f"{key}: false promote [%]", promoted["rate"], 5.0))
            bars.append(at_most(f"{key}: false rollback [%]", rolled_back["rate"], 5.0))
    figures["rare losses"], held = unseen_losses(book)
    return figures, [*bars, held]


def unseen_losses(book: dict[str, Gate]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The rare-loss mixture in 24 h: held, or its loss is no larger than what the verdict names as unseen."""
    rng = np.random.default_rng(SEED)
    sums = as_sums(rare_losses(rng, STAGES, 24))
    found = bounded(sums, GAIN, 24)
    promoted = accepts(book["ab.accept.net"], found)[:, -1]
    named = []
    for k in np.flatnonzero(promoted):
        one = sight(sums[:, k, :], 24)
        named.append(one.unseen_share >= 0.05 and one.unseen_loss_bps <= 5.0)
    figures = {"promoted": rate_of(promoted).percent(), "loss named": int(sum(named)), "stages": STAGES}
    return figures, bar(
        "rare losses: held, or the unseen loss named [share]", float(np.mean([*named, True])), 1.0
    )


def with_effect() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Hours of 1 bps standard deviation, 72 h: what is found, and what never is."""
    book = gates()
    rng = np.random.default_rng(SEED)
    draws = rng.standard_normal((STAGES, LONG_H))
    better = accepts(book["ab.accept.net"], bounded(as_sums(draws + EFFECT_BPS), GAIN, LONG_H))
    worse = accepts(book["ab.accept.net"], bounded(as_sums(draws - EFFECT_BPS), GAIN, LONG_H))
    harm = bounded(as_sums(rng.standard_normal((STAGES, LONG_H)) + EFFECT_BPS), HARM, LONG_H).lower > 0.0
    minutes = draw_stages(book, stages=200, hours=LONG_H, phi=0.0, seed=SEED, slippage_bps=EFFECT_BPS)
    promoted, rolled_back = rate_of(better[:, -1]), rate_of(harm.any(axis=1))
    figures: dict[str, Any] = {"stages": STAGES, "hours": LONG_H}
    shown: dict[str, Rate] = {
        "net +0.5: promoted": promoted,
        "net -0.5: promoted at any look": rate_of(worse.any(axis=1)),
        "slippage +0.5: rolled back": rolled_back,
        "slippage +0.5: rolled back by the minute (200 stages)": rate_of(minutes.rollback),
    }
    figures |= {name: rate.percent() for name, rate in shown.items()}
    return figures, [
        bar("net +0.5 bps promoted in 72 h [%]", promoted.percent()["rate"], 80.0),
        at_most(
            "net -0.5 bps promoted at any look in 72 h [%]", rate_of(worse.any(axis=1)).percent()["rate"], 0.0
        ),
        bar("slippage +0.5 bps rolled back in 72 h [%]", rolled_back.percent()["rate"], 90.0),
    ]
