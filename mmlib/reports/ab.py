"""ab_run_online_*.md: what one rollout stage comes to, and on which evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mmlib.dtypes import Status
from mmlib.reports.render import Provenance, Table, code, frame_table, num, render
from mmlib.reports.verdict import gate_table, judge
from mmlib.rollout.experiment import Experiment, by_symbol
from mmlib.rollout.stage import StageVerdict

MEANING = {
    "PROCEED": "Go on to the next stage.",
    "HOLD": "Stay on this stage.",
    "ROLL BACK": "Take the treatment back.",
    "NO DATA": "Nothing could be compared.",
}

ARM_COLUMNS = {
    "symbol": "Symbol",
    "arm": "Arm",
    "n_fills": "Fills",
    "notional": "Notional [quote]",
    "pnl": "Result [quote]",
    "gross_bps": "Gross [bps]",
    "quote_travel_bps": "Quote travel [bps]",
    "fees_bps": "Fees [bps]",
    "inventory_bps": "Inventory [bps]",
    "net_bps": "Net [bps]",
    "slippage_bps": "Slippage, 1 s [bps]",
    "taker_share_pct": "Taker [%]",
}

SYMBOL_COLUMNS = {
    "symbol": "Symbol",
    "n": "Buckets",
    "mean": "Net, B − A [bps]",
    "lower": "Lower [bps]",
    "upper": "Upper [bps]",
    "money": "Result, B − A [quote]",
}


SEGMENT_COLUMNS = {
    "kind": "Segment by",
    "segment": "Segment",
    "n_a": "Fills A",
    "n_b": "Fills B",
    "effect_bps": "B − A [bps]",
    "std_err_bps": "Std. error [bps]",
    "p_holm": "p (Holm)",
    "harmed": "Harmed",
}


def ab_run_online(
    verdict: StageVerdict,
    experiment: Experiment,
    arms: pd.DataFrame,
    provenance: Provenance,
    *,
    rollout_pct: int,
    errors: pd.DataFrame | None = None,
    beside: pd.DataFrame | None = None,
    rollback: Mapping[str, Any] | None = None,
    runbooks: Mapping[str, str] | None = None,
) -> str:
    """The report of one rollout stage.

    Args:
        verdict: action, sentence, gate results, literal rules.
        experiment: paired buckets, effects, what was left out.
        arms: decomposition of the result a symbol and arm, columns as in ``ARM_COLUMNS``.
        provenance: where this comes from.
        rollout_pct: the stage.
        errors: how often the rules decide something between arms that do not differ, columns ``rollout.aa.COLUMNS``;
            None or empty says that this run did not measure it.
        beside: the effect by other methods, columns of ``rollout.estimate.beside``.
        rollback: what the violation of a safety gate led to (gate, metric, value, window, flags, snapshot); None without one.
        runbooks: gate id -> what to do when it is violated.
    """
    return render(
        "ab_run_online.md.j2",
        provenance,
        pct=rollout_pct,
        action=verdict.action,
        meaning=_meaning(verdict),
        sentence=verdict.sentence,
        unseen=verdict.unseen,
        found=judge(verdict.results, runbooks),
        gates=gate_table(verdict.results),
        literal=gate_table(verdict.literal),
        errors=error_table(errors),
        effects=_effects(experiment),
        symbols=frame_table(by_symbol(experiment), SYMBOL_COLUMNS, empty="No bucket holds both arms."),
        segments=_segments(experiment.segments),
        beside=_beside(beside),
        planned=experiment.planned_buckets,
        detectable=verdict.detectable_bps,
        hours_needed=verdict.hours_needed,
        estimator=experiment.estimator,
        arms=frame_table(arms, ARM_COLUMNS, empty="No arm traded."),
        delivered=experiment.delivered,
        buckets=experiment.buckets,
        left_out=_left_out(experiment.left_out),
        srm_p=experiment.srm_p,
        rollback=Table(("What", "Value"), [(code(k), str(v)) for k, v in (rollback or {}).items()]),
    )


def _meaning(verdict: StageVerdict) -> str:
    """What the action asks for; an effect that is surely too small does not grow by waiting."""
    futile = any(r.id == "ab.accept.net" and r.status is Status.FAIL for r in verdict.results)
    if verdict.action == "HOLD" and futile:
        return "Stay on this stage. The treatment does not bring what is asked for; more hours will not change that."
    return MEANING.get(verdict.action, "")


def _effects(experiment: Experiment) -> Table:
    """The last point of each confidence sequence."""
    rows = []
    effects = (
        ("net, B − A [bps]", experiment.net),
        ("slippage cost, B − A [bps]", experiment.slippage),
        ("result an hour, B − A [quote]", experiment.money),
    )
    for name, frame in effects:
        if len(frame):
            last = frame.iloc[-1]
            bounded = np.isfinite([last["lower"], last["upper"]]).all()
            interval = _interval(last["lower"], last["upper"]) if bounded else "not bounded yet"
            rows.append((name, num(last["mean"]), interval, len(frame)))
    return Table(
        ("Effect", "Over the stage>", "Bounds, valid at every look", "Hours>"),
        rows,
        "No bucket holds both arms.",
    )


def _left_out(frame: pd.DataFrame) -> Table:
    rows = [(str(r), int(n)) for r, n in frame["reason"].value_counts().items()] if len(frame) else []
    return Table(("Reason", "Symbol-buckets>"), rows, "No bucket was left out.")


def _segments(frame: pd.DataFrame | None) -> Table:
    """The effect by part of the trading."""
    shown = pd.DataFrame(columns=list(SEGMENT_COLUMNS)) if frame is None else frame
    shown = shown.assign(harmed=["yes" if harmed else "" for harmed in shown["harmed"]])
    return frame_table(shown, SEGMENT_COLUMNS, empty="No fill of both arms.")


def _beside(frame: pd.DataFrame | None) -> Table:
    """The effect on net by other methods."""
    rows = [
        (row["method"], num(row["mean"]), _interval(row["lower"], row["upper"]), row["setting"] or "–")
        for row in ([] if frame is None else frame.to_dict("records"))
    ]
    return Table(("Method", "Mean [bps]>", "Interval [bps]", "Setting"), rows, "No bucket holds both arms.")


def _interval(lower: float, upper: float) -> str:
    return f"{num(lower)} to {num(upper)}" if np.isfinite([lower, upper]).all() else "–"


def error_table(errors: pd.DataFrame | None) -> Table:
    """Rates of ``rollout.aa``, the literal rule beside the one that decides, a line for each kind of data and decision."""
    rows = []
    if errors is not None and len(errors):
        for (data, decision), part in errors.groupby(["data", "decision"], sort=False):
            by_rule: dict[str, Any] = {row["rule"]: row for row in part.to_dict("records")}
            rows.append((data, decision, *(_rate(by_rule.get(rule)) for rule in ("literal", "statistical"))))
    return Table(
        ("Stages without an effect", "Decision", "Literal rule", "Gates of this report"),
        rows,
        "Not measured in this run.",
    )


def _rate(row: Mapping[str, Any] | None) -> str:
    if row is None or not row["n"]:
        return "–"
    return f"{row['rate_pct']:.3g} % ({row['lower_pct']:.3g} to {row['upper_pct']:.3g}; {row['hits']} of {row['n']})"


REPLAY_COLUMNS = {"run": "Run", "design": "Design", "action": "Came to", "fired": "Gates that failed"}


def ab_aa(errors: pd.DataFrame, replays: pd.DataFrame, provenance: Provenance) -> str:
    """The report of ``finishline ab --aa``.

    Args:
        errors: rates, columns ``rollout.aa.COLUMNS``.
        replays: one row a stage made of control replays, columns as in ``REPLAY_COLUMNS``.
        provenance: where this comes from.
    """
    return render(
        "ab_aa.md.j2",
        provenance,
        errors=error_table(errors),
        replays=frame_table(replays, REPLAY_COLUMNS, empty="Nothing was replayed.", as_code=["fired"]),
    )
