"""CI gates: a candidate against the locked baseline, like with like.

Where the market can be replayed, the locked build and the candidate are measured in turns (``rounds``); otherwise the stretches
of one run each are compared, which takes hours of both. The unit is always the run or the stretch, never the tick.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmlib.baseline.budgets import BUDGETS_FILE, NAMES, TOTAL, Budgets, read_budgets
from mmlib.baseline.fingerprint import differences
from mmlib.baseline.lock import Lock, read_lock
from mmlib.baseline.repeat import COMPUTE
from mmlib.baseline.rounds import Side
from mmlib.dtypes import STAGES, Status
from mmlib.gates.evaluate import Measurement
from mmlib.gates.regression import evaluate_regression, ratio_limit
from mmlib.gates.result import GateResult
from mmlib.gates.share import evaluate_share, share
from mmlib.gates.spec import Gate, GateBook, load_gates
from mmlib.inference.ratio import RatioResult
from mmlib.inference.rounds import MIN_RUNS, apart_ratio, paired_ratio

if TYPE_CHECKING:
    import pandas as pd

STAGE_GATE = "ci.stage_p95"
TICK_GATE = "ci.tick_p95"
ALPHA = 0.01
"""How often an unchanged build may fail at all; shared out over the stages and the whole tick."""
CLOCK_STEP_MS = 1e-6
"""Clocks count whole nanoseconds."""
BEARABLE_S = 600.0
"""How long a machine may be asked to go on measuring; where more runs would be needed it cannot decide."""
MIN_SPAN_S = 4 * 3600.0
"""Stretches of one run see what changes within it; less than this sees too little to compare it with a run of another day."""


@dataclass(frozen=True)
class Comparison:
    """A candidate against the lock: gate results, p95 ratios by stage, and what about the two runs differs."""

    lock: Lock
    candidate: Budgets
    results: tuple[GateResult, ...]
    ratios: dict[str, RatioResult]
    differences: tuple[str, ...]
    same_run: bool
    sides: tuple[Side, Side] | None = None

    def frame(self) -> pd.DataFrame:
        """Columns stage, ratio, low, high, limit, status, point_status, n_candidate, needed_n, and runs."""
        import pandas as pd

        rows = [
            {
                "stage": name,
                "ratio": r.ratio,
                "low": r.lower,
                "high": r.upper,
                "limit": r.limit,
                "status": r.status.value,
                "point_status": r.point_status.value,
                "n_baseline": r.n_baseline,
                "n_candidate": r.n_candidate,
                "needed_n": r.needed_n,
                "runs": r.runs,
                "needed_runs": r.needed_runs,
            }
            for name, r in self.ratios.items()
        ]
        columns = ["stage", "ratio", "low", "high", "limit", "status", "point_status", "n_baseline"]
        return pd.DataFrame(rows, columns=[*columns, "n_candidate", "needed_n", "runs", "needed_runs"])


def validate(workspace: Path, candidate_path: Path | None = None) -> list[GateResult]:
    """The ci gates of a workspace; ``candidate_path`` defaults to its current stage budgets.

    Raises:
        UserError: no lock, an edited lock, no candidate, or gates.yaml is wrong.
    """
    book = load_gates(workspace)
    locked = read_lock(workspace)
    path = candidate_path or workspace / BUDGETS_FILE
    return list(compare(book, locked, read_budgets(path), evidence=str(path)).results)


def compare(
    book: GateBook,
    locked: Lock,
    candidate: Budgets,
    *,
    evidence: str = "",
    sides: tuple[Side, Side] | None = None,
) -> Comparison:
    """Evaluate the ci gates on a candidate against a lock.

    Args:
        candidate: its shadow run: hit ratio, misses, and latencies where there are no ``sides``.
        sides: locked build and candidate, measured in turns.

    Runs of different fingerprints are not comparable: what would PASS, and every ratio, is INCONCLUSIVE. The locked
    run against itself is INCONCLUSIVE as well: it says nothing about any change. Absolute limits that are violated
    FAIL in both cases.
    """
    baseline = locked.budgets
    gates = book.step("ci")
    ratios: dict[str, RatioResult] = {}
    results = []
    for gate in gates:
        if gate.kind != "regression":
            continue
        names = STAGES if gate.metric == "stage_p95_regression_pct" else _whole(sides)
        found = {name: _ratio(gate, name, baseline, candidate, sides) for name in names}
        if gate.id in (STAGE_GATE, TICK_GATE):
            ratios |= found
        results.append(evaluate_regression(gate, found, evidence=evidence))
    results += _shares(gates, candidate, evidence)
    differing = differences(baseline.fingerprint, candidate.fingerprint)
    same = sides is None and baseline.to_dict() == candidate.to_dict()
    by_id = {r.id: _comparable(book.get(r.id), r, differing, same) for r in results}
    ordered = tuple(by_id[g.id] for g in gates if g.id in by_id)
    return Comparison(locked, candidate, ordered, ratios, tuple(differing), same, sides)


def _whole(sides: tuple[Side, Side] | None) -> tuple[str, ...]:
    """What the tick gate judges: the whole tick, and in its own right what of it is measured, where both builds state it."""
    stated = sides is not None and all(np.isfinite(side.runs.get(COMPUTE, (np.nan,))).all() for side in sides)
    return (TOTAL, COMPUTE) if stated else (TOTAL,)


def gates_active(results: Iterable[GateResult], book: GateBook) -> Measurement:
    """Whether every ci gate was evaluated against the lock, for ``ci_gates_active``; none of them need have passed."""
    done = {r.id for r in results if r.status not in (Status.ERROR, Status.NO_DATA)}
    wanted = [g.id for g in book.step("ci")]
    missing = [i for i in wanted if i not in done]
    reason = f"not evaluated: {', '.join(missing)}" if missing else f"{len(wanted)} gates evaluated"
    return Measurement(float(not missing), n=len(wanted), reason=reason)


def _ratio(
    gate: Gate, name: str, baseline: Budgets, candidate: Budgets, sides: tuple[Side, Side] | None
) -> RatioResult:
    """One stage: from rounds, else from stretches of both runs."""
    rule: dict[str, Any] = {
        "limit": ratio_limit(gate),
        "alpha": ALPHA / len(NAMES),
        "floor_ms": gate.floor_ms,
        "step_ms": CLOCK_STEP_MS,
    }
    if sides is not None:
        ticks = sides[0].histograms[name].n, sides[1].histograms[name].n
        runs = sides[0].runs[name], sides[1].runs[name]
        taken = sides[1].seconds_a_run
        most = max(int(BEARABLE_S / (2.0 * taken)), 1) if taken > 0.0 else None
        return paired_ratio(*runs, ticks=ticks, most_runs=most, **rule)
    ticks = baseline.histograms[name].n, candidate.histograms[name].n
    parts = [[_p95(block.p95_ms[name]) for block in one.blocks] for one in (baseline, candidate)]
    short = min(baseline.span_s, candidate.span_s) < MIN_SPAN_S
    if short or min(len(part) for part in parts) < MIN_RUNS:
        parts = [
            [one.histograms[name].p(95)] if one.histograms[name].n else [] for one in (baseline, candidate)
        ]
    return apart_ratio(*parts, ticks=ticks, **rule)


def _p95(value: float | None) -> float:
    return float("nan") if value is None else value


def _shares(gates: Iterable[Gate], candidate: Budgets, evidence: str) -> list[GateResult]:
    """Hit ratio and deadline misses of the candidate's own run."""
    found = []
    for gate in gates:
        if gate.metric == "hit_ratio":
            blocks = [(block.n_hits, block.n_ticks) for block in candidate.blocks]
            part = share(candidate.n_hits, candidate.n_ticks, blocks)
            found.append(evaluate_share(gate, part, evidence=evidence))
        elif gate.metric == "deadline_miss_pct":
            blocks = [(block.n_misses, block.n_ticks) for block in candidate.blocks]
            part = share(candidate.n_misses, candidate.n_ticks, blocks)
            found.append(evaluate_share(gate, part, scale=100.0, evidence=evidence))
    return found


def _comparable(gate: Gate, result: GateResult, differing: list[str], same_run: bool) -> GateResult:
    """The result, held back where the two runs cannot be compared."""
    relative = gate.kind == "regression" and result.status not in (Status.NO_DATA, Status.ERROR)
    if differing and (relative or result.status is Status.PASS):
        why = f"another fingerprint ({'; '.join(differing)})"
    elif same_run and relative:
        why = "the candidate is the locked run itself; run step 2 (shadow) again to have one to compare"
    else:
        return result
    return replace(result, status=Status.INCONCLUSIVE, reason="; ".join(p for p in (why, result.reason) if p))
