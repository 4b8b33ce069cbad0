"""The verdict of one rollout stage: safety, acceptance, assignment, and the literal rules beside the statistical ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mmlib.dtypes import Status
from mmlib.gates.evaluate import (
    Measurement,
    evaluate,
    evaluate_comparison,
    evaluate_grouped,
    not_evaluated,
)
from mmlib.gates.result import GateResult, make
from mmlib.gates.spec import Gate, GateBook
from mmlib.inference.power import minimum_effect, needed_n
from mmlib.rollout import blindspot
from mmlib.rollout.budget import GAIN
from mmlib.rollout.damage import worst
from mmlib.rollout.experiment import Experiment
from mmlib.rollout.monitor import SafetyMonitor, Violation, closing_sums, watch
from mmlib.rollout.safety import BUCKET_S, harm_series, series

ORDER = {10: 0, 50: 1, 100: 2}
PREVIOUS = {10: None, 50: "ab_10", 100: "ab_50"}
BEFORE = {50: 10, 100: 50}
START_DAY = {10: 4, 50: 7, 100: 10}
"""Day after the start of simulated time on which a stage begins: no stage sees the market of another step."""


@dataclass(frozen=True)
class StageVerdict:
    """What a stage comes to.

    ``action`` is PROCEED, HOLD, ROLL BACK or NO DATA; ``sentence`` says why in one line; ``hours_needed`` is how much longer
    the acceptance interval needs at the spread seen so far, None when it cannot be told or is not needed;
    ``detectable_bps`` is the least true effect that the planned length finds in four stages of five, at the spread seen;
    ``violation`` is what the safety monitor stopped the stage for; ``unseen`` says in one sentence what the stage could not
    have seen.
    """

    action: str
    sentence: str
    results: tuple[GateResult, ...]
    literal: tuple[GateResult, ...]
    hours_needed: float | None
    detectable_bps: float | None = None
    violation: Violation | None = None
    unseen: str = ""


def judge(
    gates: GateBook,
    experiment: Experiment,
    safety: pd.DataFrame,
    *,
    rollout_pct: int,
    previous: Status | None,
    evidence: str,
    planned_s: float,
    span_s: float,
) -> StageVerdict:
    """Evaluate every A/B gate of a stage.

    Args:
        gates: all gates; those of the stage (``ab_10`` ...) are evaluated.
        experiment: the paired experiment.
        safety: ``safety.timeline`` of the stage.
        previous: status of the stage before, None for the first.
        planned_s, span_s: what the stage meant to cover and what it covers [s].
    """
    book = {gate.id: gate for gate in gates.step(f"ab_{rollout_pct}")}
    literal = _literal(book, experiment, safety, evidence, span_s)
    guards = _safety(book, experiment, safety, evidence, planned_s, span_s)
    accept = _acceptance(book, experiment, previous, rollout_pct, evidence, planned_s, span_s)
    results = (*guards, *accept)
    hours = hours_needed(experiment, book["ab.accept.net"].limit)
    action, sentence = _action(guards, results, experiment, hours, span_s / 3600.0)
    monitor = SafetyMonitor(book.values(), experiment.planned_buckets)
    watched = watch(monitor, safety, closing_sums(experiment))
    net, slippage = (blindspot.hourly_sums(experiment.pairs, kind) for kind in ("net", "slippage"))
    unseen = blindspot.sentence(experiment, net, slippage, book["ab.accept.net"].limit)
    return StageVerdict(action, sentence, results, literal, hours, detectable(experiment), watched, unseen)


def _safety(
    book: Mapping[str, Gate],
    experiment: Experiment,
    safety: pd.DataFrame,
    evidence: str,
    planned_s: float,
    span_s: float,
) -> list[GateResult]:
    results = []
    for gate in book.values():
        if gate.kind != "sustained" or not gate.id.startswith("ab.safety."):
            continue
        groups = series(safety, gate.metric, paired=experiment.paired)
        if gate.metric in experiment.harm and groups:
            groups = harm_series(experiment.harm[gate.metric], safety["ts"], BUCKET_S)
            gate = gate.model_copy(update={"warmup_s": max(gate.warmup_s, 2.0 * BUCKET_S)})
        result = evaluate_grouped(gate, groups, span_s=span_s, evidence=evidence, planned_span_s=planned_s)
        if gate.metric in experiment.harm and result.value is not None:
            note = "value is the lower bound of B - A at the rollout's error budget; the literal rule stands beside"
            result = replace(result, reason="; ".join(p for p in (result.reason, note) if p))
        unbounded = (
            gate.metric in experiment.harm and not np.isfinite(experiment.harm[gate.metric]["lower"]).any()
        )
        if unbounded and result.status is Status.PASS:
            why = "so few hours bound nothing: harm of any size could not have been found"
            result = make(
                gate, Status.INCONCLUSIVE, n=result.n, window=result.window, reason=why, evidence=evidence
            )
        results.append(result)
    return results


def _acceptance(
    book: Mapping[str, Gate],
    experiment: Experiment,
    previous: Status | None,
    rollout_pct: int,
    evidence: str,
    planned_s: float,
    span_s: float,
) -> list[GateResult]:
    last = experiment.net.iloc[-1] if experiment.buckets else None
    net = Measurement(
        value=None if last is None else float(last["mean"]),
        n=experiment.buckets,
        span_s=span_s,
        window=experiment.estimator,
        reason="" if experiment.buckets else _why_no_pairs(experiment),
        evidence=evidence,
        planned_span_s=planned_s,
    )
    lower, upper = (math.nan, math.nan) if last is None else (float(last["lower"]), float(last["upper"]))
    units = sum(experiment.delivered.values())
    srm = Measurement(
        value=experiment.srm_p,
        n=units,
        window=f"buckets delivered A {experiment.delivered['A']}, B {experiment.delivered['B']}",
        evidence=evidence,
    )
    buckets = Measurement(
        value=float(experiment.buckets),
        n=experiment.buckets,
        reason="" if experiment.buckets else _why_no_pairs(experiment),
        evidence=evidence,
    )
    before = book["ab.accept.previous"]
    results = [
        _input(book["ab.accept.input"], experiment, evidence),
        evaluate_comparison(book["ab.accept.net"], net, lower, upper),
        evaluate(book["ab.accept.srm"], srm),
        evaluate(book["ab.accept.buckets"], buckets),
        _single_hour(book["ab.accept.single_hour"], experiment, evidence),
        _single_fill(book["ab.accept.single_fill"], experiment, evidence),
        _segments(book["ab.accept.segments"], experiment, evidence),
        _money(book["ab.accept.money"], experiment, evidence),
    ]
    if rollout_pct == 10:
        return results
    if previous is None:
        return [*results, not_evaluated(before, f"A/B {BEFORE[rollout_pct]} % has not run")]
    if previous is Status.PASS:
        return [*results, evaluate(before, Measurement(1.0, 1, evidence=evidence))]
    why = f"not decided: A/B {BEFORE[rollout_pct]} % is {previous}"
    return [*results, make(before, before.unmet_status, value=0.0, n=1, reason=why, evidence=evidence)]


def _single_hour(gate: Gate, experiment: Experiment, evidence: str) -> GateResult:
    """How many single hours turn the sign of the effect when they are left out; one of them holds the stage."""
    if not experiment.buckets:
        return not_evaluated(gate, _why_no_pairs(experiment))
    turning = blindspot.turning_hours(blindspot.hourly_sums(experiment.pairs, "net"))
    return evaluate(gate, Measurement(float(turning), experiment.buckets, evidence=evidence))


def _single_fill(gate: Gate, experiment: Experiment, evidence: str) -> GateResult:
    """How many single fills turn the sign of the effect when they are left out; one of them holds the stage."""
    if experiment.turning_fills is None:
        return not_evaluated(gate, "no fill whose worth half a minute later is known")
    return evaluate(gate, Measurement(float(experiment.turning_fills), experiment.buckets, evidence=evidence))


def _segments(gate: Gate, experiment: Experiment, evidence: str) -> GateResult:
    """How many parts of the trading the treatment clearly harms; one of them holds the stage."""
    parts = experiment.segments
    known = 0 if parts is None else int(parts["p_holm"].notna().sum())
    if parts is None or not known:
        return not_evaluated(gate, "no segment has enough fills of both arms")
    harmed = parts[parts["harmed"]].sort_values("effect_bps")
    texts = [
        f"{row.kind} {row.segment}: {row.effect_bps:+.2f} bps (p {row.p_holm:.2g})"
        for row in harmed.itertuples()
    ]
    reason = "; ".join(texts) or f"{known} segments, Holm over all of them"
    return evaluate(gate, Measurement(float(len(harmed)), known, reason=reason, evidence=evidence))


def _money(gate: Gate, experiment: Experiment, evidence: str) -> GateResult:
    """Lower bound of the result of B less that of A over the stage against the loss budget [quote currency]."""
    if not experiment.buckets:
        return not_evaluated(gate, _why_no_pairs(experiment))
    last, hours = experiment.money.iloc[-1], experiment.buckets
    reason = f"B - A is {last['mean'] * hours:+,.2f} over {hours} hours; value is its lower bound"
    lower = float(last["lower"]) * hours
    if not math.isfinite(lower):
        return make(gate, Status.INCONCLUSIVE, n=hours, reason="not bounded yet", evidence=evidence)
    return evaluate(gate, Measurement(lower, hours, reason=reason, evidence=evidence))


def _input(gate: Gate, experiment: Experiment, evidence: str) -> GateResult:
    """The damage found in the input, the worst kind first; its status is the gate's."""
    found = sorted(experiment.problems, key=lambda problem: -problem.status.rank)
    if not found:
        units = sum(experiment.delivered.values()) + len(experiment.left_out)
        reason = "" if units else "no input"
        return evaluate(gate, Measurement(1.0 if units else None, units, reason=reason, evidence=evidence))
    text = "; ".join(f"{problem.kind}: {problem.text}" for problem in found)
    return make(gate, found[0].status, value=0.0, n=len(found), reason=text, evidence=evidence)


def _literal(
    book: Mapping[str, Gate], experiment: Experiment, safety: pd.DataFrame, evidence: str, span_s: float
) -> tuple[GateResult, ...]:
    """The workflow's rules to the letter: point estimates, no allowance for chance."""
    slippage = book["ab.safety.slippage"].model_copy(
        update={"severity": "info", "title": "Literal: slippage cost"}
    )
    net = book["ab.accept.net"].model_copy(
        update={"severity": "info", "title": "Literal: net edge", "kind": "threshold", "bound": None}
    )
    tick = book["ab.safety.tick_p95"].model_copy(
        update={"severity": "info", "title": "Literal: whole tick p95"}
    )
    value = float(experiment.net["mean"].iloc[-1]) if experiment.buckets else None
    paired = experiment.paired
    return (
        evaluate_grouped(
            slippage, series(safety, "delta_slippage_bps", paired=paired), span_s=span_s, evidence=evidence
        ),
        evaluate_grouped(
            tick, series(safety, "literal_regression_pct", paired=paired), span_s=span_s, evidence=evidence
        ),
        evaluate(net, Measurement(value, experiment.buckets, window="mean over buckets", evidence=evidence)),
    )


def _why_no_pairs(experiment: Experiment) -> str:
    if not len(experiment.left_out):
        return "no buckets"
    counts = experiment.left_out["reason"].value_counts()
    return "no paired bucket: " + ", ".join(f"{count} x {reason}" for reason, count in counts.items())


def hours_needed(experiment: Experiment, target: float) -> float | None:
    """More hours until the lower bound is above zero, were mean and spread to stay; None when they never would be.

    An effect below ``target`` cannot be accepted however long one waits, and says None.
    """
    if not experiment.buckets:
        return None
    last = experiment.net.iloc[-1]
    if not last["mean"] >= target or last["lower"] > 0:
        return None
    planned = experiment.planned_buckets
    total = needed_n(float(last["mean"]), float(last["std"]), bound=0.0, planned_n=planned, alpha=GAIN.alpha)
    return None if total is None else max(total - experiment.buckets, 0) * BUCKET_S / 3600.0


def detectable(experiment: Experiment) -> float | None:
    """Least true effect [bps] that a stage of the planned length finds with 80 % power at the spread seen; None without."""
    if not experiment.buckets:
        return None
    planned = experiment.planned_buckets
    return minimum_effect(float(experiment.net["std"].iloc[-1]), planned, planned_n=planned, alpha=GAIN.alpha)


def _action(
    guards: list[GateResult],
    results: tuple[GateResult, ...],
    experiment: Experiment,
    hours: float | None,
    span_h: float,
) -> tuple[str, str]:
    broken = [r for r in guards if r.status is Status.FAIL and r.blocking]
    if broken:
        first = broken[0]
        return "ROLL BACK", f"Roll back: {first.title} ({first.id}) was violated, {first.reason}."
    damage = worst(experiment.problems)
    if damage is not None and damage.status is not Status.NO_DATA:
        return "HOLD", f"Hold: the input cannot be judged, {damage.kind}: {damage.text}."
    if not experiment.buckets:
        return "NO DATA", f"No verdict: {_why_no_pairs(experiment)}."
    last = experiment.net.iloc[-1]
    seen = (
        f"B - A is {last['mean']:+.2f} bps net "
        f"(95 % confidence sequence {_bound(last['lower'])} to {_bound(last['upper'])}) over {experiment.buckets} hours, "
        f"{float(experiment.money['mean'].iloc[-1]) * experiment.buckets:+,.2f} in quote currency "
        f"(loss budget {abs(next(r.limit or 0.0 for r in results if r.id == 'ab.accept.money')):,.0f})"
    )
    if all(r.status is Status.PASS for r in results if r.blocking):
        return "PROCEED", f"Proceed: {seen}, every safety gate passed."
    if damage is not None:
        return "HOLD", f"Hold: the input cannot be judged, {damage.kind}: {damage.text}; {seen}."
    failed = [r.id for r in results if r.blocking and r.status is Status.FAIL]
    if failed:
        return "HOLD", f"Hold: {', '.join(failed)} failed; {seen}."
    others = [r for r in results if r.blocking and not r.passed and r.id != "ab.accept.net"]
    if others:
        text = ", ".join(r.id for r in others)
        return "HOLD", f"Hold: {text} did not pass ({others[0].reason or others[0].status}); {seen}."
    more = (
        f"about {hours:.0f} h more at this spread"
        if hours is not None
        else "more hours, or another treatment"
    )
    return "HOLD", f"Hold: {seen} in {span_h:.1f} h; needs {more}."


def _bound(value: float) -> str:
    return f"{value:+.2f}" if math.isfinite(value) else "not bounded yet"
