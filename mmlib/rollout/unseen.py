"""The acceptance gates of an A/B stage on the unseen hours of a calibration: would this treatment be promoted."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from mmlib.dtypes import Status
from mmlib.gates.evaluate import Measurement, evaluate, evaluate_comparison
from mmlib.gates.result import GateResult, make
from mmlib.gates.spec import GateBook
from mmlib.rollout.calibrate import Choice, Limits
from mmlib.rollout.experiment import Experiment, paired_experiment

STAGE = "ab_10"


def limits_of(book: GateBook) -> Limits:
    """What a choice has to keep on the hours it is chosen on: the limits of the A/B safety gates."""
    gates = {gate.id: gate for gate in book.step(STAGE)}
    return Limits(
        slippage_bps=gates["ab.safety.slippage"].limit,
        taker_share_pct=gates["ab.safety.taker_share"].limit,
        deadline_miss_pct=gates["ab.safety.deadline_miss"].limit,
    )


def judge_unseen(
    book: GateBook, choice: Choice, money: pd.DataFrame, *, evidence: str = ""
) -> tuple[list[GateResult], Experiment]:
    """Net effect, number of pairs, and the safety gates as whole-stretch figures, on hours that the choice has not seen.

    Slippage fails when harm is established (the lower bound of its sequence is above the limit) and is INCONCLUSIVE while the
    point estimate is above it; no choice is NO_DATA.
    """
    gates = {gate.id: gate for gate in book.step(STAGE)}
    hours = money["bucket"].nunique() if len(money) else 0
    experiment = paired_experiment(money, planned_buckets=max(hours, 2))
    score = choice.unseen
    if score is None or not experiment.buckets:
        why = "no parameters kept the safety gates on the hours they were chosen on"
        wanted = ("ab.accept.net", "ab.accept.buckets", "ab.safety.slippage")
        return [
            make(gates[name], Status.NO_DATA, reason=why, evidence=evidence) for name in wanted
        ], experiment
    net, slip = experiment.net.iloc[-1], experiment.slippage.iloc[-1]
    n = experiment.buckets
    effect = Measurement(float(net["mean"]), n, window="unseen hours", evidence=evidence)
    results = [
        evaluate_comparison(gates["ab.accept.net"], effect, float(net["lower"]), float(net["upper"])),
        evaluate(gates["ab.accept.buckets"], Measurement(float(n), n, evidence=evidence)),
    ]
    gate = gates["ab.safety.slippage"]
    harm = float(slip["lower"]) > gate.limit
    status = Status.FAIL if harm else Status.PASS if slip["mean"] <= gate.limit else Status.INCONCLUSIVE
    reason = f"interval {slip['lower']:.3f} to {slip['upper']:.3f} bps"
    results.append(make(gate, status, value=float(slip["mean"]), n=n, reason=reason, evidence=evidence))
    for name, value in (
        ("ab.safety.taker_share", score.taker_share_pct),
        ("ab.safety.deadline_miss", score.deadline_miss_pct),
    ):
        whole = gates[name].model_copy(update={"kind": "threshold", "for_s": 0.0, "min_span_s": 0.0})
        results.append(evaluate(whole, Measurement(value, n, window="unseen hours", evidence=evidence)))
    return [replace(one, window="unseen hours") for one in results], experiment
