"""Sections of ``ci/bench inference``: A/A and A/B stages drawn from a known process, judged by the shipped gates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from report import at_most, bar

from mmlib.gates.spec import Gate, read_gates
from mmlib.inference.rates import rate_of
from mmlib.rollout.synthetic import PHIS, Outcomes, draw_stages

STAGES, SEED = 1000, 20250115
SHORT_H, LONG_H = 24, 72
EFFECT_BPS = 0.5
_GATES = Path(__file__).resolve().parents[2] / "params" / "gates.yaml"


def gates() -> dict[str, Gate]:
    """The shipped gates of the first stage, by id."""
    return {gate.id: gate for gate in read_gates(_GATES).step("ab_10")}


def rates(outcomes: Outcomes) -> dict[str, dict[str, float]]:
    """Each rule's rate with its exact binomial interval [%]."""
    return {name: rate_of(hits).percent() for name, hits in vars(outcomes).items()}


def without_effect() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A/A: 24 h, looked at every minute, for each autocorrelation; 72 h beside, for which no bar is set."""
    book = gates()
    figures: dict[str, Any] = {"stages": STAGES, "hours": SHORT_H, "rates_pct": {}, "rates_pct_72h": {}}
    bars = []
    for phi in PHIS:
        found = draw_stages(book, stages=STAGES, hours=SHORT_H, phi=phi, seed=SEED)
        figures["rates_pct"][f"phi {phi}"] = shown = rates(found)
        bars.append(at_most(f"phi {phi}: false rollback [%]", shown["rollback"]["rate"], 6.0))
        worst = max(shown["promote"]["rate"], shown["promote_at_any_look"]["rate"])
        bars.append(at_most(f"phi {phi}: false promote [%]", worst, 5.0))
        longer = draw_stages(book, stages=STAGES, hours=LONG_H, phi=phi, seed=SEED + 1)
        figures["rates_pct_72h"][f"phi {phi}"] = rates(longer)
    return figures, bars


def with_effect() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One symbol, hours of 1 bps standard deviation, 72 h: what is found, and what never is."""
    book = gates()

    def drawn(hours: int, seed: int, **effect: float) -> Outcomes:
        return draw_stages(book, stages=STAGES, hours=hours, phi=0.0, seed=SEED + seed, **effect)

    better, worse, harm, harm_24 = (
        rates(drawn(LONG_H, 2, net_bps=EFFECT_BPS)),
        rates(drawn(LONG_H, 3, net_bps=-EFFECT_BPS)),
        rates(drawn(LONG_H, 4, slippage_bps=EFFECT_BPS)),
        rates(drawn(SHORT_H, 5, slippage_bps=EFFECT_BPS)),
    )
    figures = {
        "stages": STAGES,
        "hours": LONG_H,
        "net +0.5: promoted": better["promote"],
        "net -0.5: promoted at any look": worse["promote_at_any_look"],
        "slippage +0.5: rolled back": harm["rollback"],
        "slippage +0.5 in 24 h: rolled back": harm_24["rollback"],
    }
    return figures, [
        bar("net +0.5 bps promoted in 72 h [%]", better["promote"]["rate"], 80.0),
        at_most("net -0.5 bps promoted at any look in 72 h [%]", worse["promote_at_any_look"]["rate"], 0.0),
        bar("slippage +0.5 bps rolled back in 72 h [%]", harm["rollback"]["rate"], 90.0),
    ]
