"""ab_run_online_*.md: what one rollout stage comes to, and on which evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mmlib.dtypes import Status
from mmlib.reports.render import Provenance, Table, code, frame_table, num, render
from mmlib.reports.verdict import gate_table, judge
from mmlib.rollout.experiment import PAIRED, Experiment
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
    "slippage_bps": "Slippage [bps]",
    "fees_bps": "Fees [bps]",
    "inventory_bps": "Inventory [bps]",
    "net_bps": "Net [bps]",
    "taker_share_pct": "Taker [%]",
}


def ab_run_online(
    verdict: StageVerdict,
    experiment: Experiment,
    arms: pd.DataFrame,
    provenance: Provenance,
    *,
    rollout_pct: int,
    estimator: str = PAIRED,
    literal_error_rate: str = "",
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
        estimator: which estimator was used, in words.
        literal_error_rate: how often the literal rules fire on arms without a difference, in words; empty says that
            this run did not measure it.
        rollback: what an automatic rollback wrote (metric, value, window, flags, snapshot); None without one.
        runbooks: gate id -> what to do when it is violated.
    """
    return render(
        "ab_run_online.md.j2",
        provenance,
        pct=rollout_pct,
        action=verdict.action,
        meaning=_meaning(verdict),
        sentence=verdict.sentence,
        found=judge(verdict.results, runbooks),
        gates=gate_table(verdict.results),
        literal=gate_table(verdict.literal),
        literal_error_rate=literal_error_rate or "not measured in this run",
        effects=_effects(experiment),
        estimator=estimator,
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
    for name, frame in (("net", experiment.net), ("slippage", experiment.slippage)):
        if len(frame):
            last = frame.iloc[-1]
            bounded = np.isfinite([last["lower"], last["upper"]]).all()
            interval = f"{num(last['lower'])} to {num(last['upper'])}" if bounded else "not bounded yet"
            rows.append((f"{name}, B − A", num(last["mean"]), interval, len(frame)))
    return Table(
        ("Effect", "Mean [bps]>", "95 % confidence sequence [bps]", "Buckets>"),
        rows,
        "No bucket holds both arms.",
    )


def _left_out(frame: pd.DataFrame) -> Table:
    rows = [(str(r), int(n)) for r, n in frame["reason"].value_counts().items()] if len(frame) else []
    return Table(("Reason", "Symbol-buckets>"), rows, "No bucket was left out.")
