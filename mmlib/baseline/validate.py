"""CI gates: a candidate run against the locked baseline, like with like."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmlib.baseline.budgets import BUDGETS_FILE, TOTAL, Budgets, read_budgets
from mmlib.baseline.fingerprint import differences
from mmlib.baseline.lock import Lock, read_lock
from mmlib.dtypes import STAGES, Status
from mmlib.gates.evaluate import Measurement, evaluate_all
from mmlib.gates.regression import evaluate_regression, ratio_limit
from mmlib.gates.result import GateResult
from mmlib.gates.spec import Gate, GateBook, load_gates
from mmlib.inference.ratio import RatioResult, quantile_ratio

if TYPE_CHECKING:
    import pandas as pd

STAGE_GATE = "ci.stage_p95"
TICK_GATE = "ci.tick_p95"
ALPHA = 0.05
"""Error of each gate; the stage gate shares it out over its stages."""


@dataclass(frozen=True)
class Comparison:
    """A candidate against the lock: gate results, p95 ratios by stage, and what about the two runs differs."""

    lock: Lock
    candidate: Budgets
    results: tuple[GateResult, ...]
    ratios: dict[str, RatioResult]
    differences: tuple[str, ...]
    same_run: bool

    def frame(self) -> pd.DataFrame:
        """Columns stage, ratio, low, high, limit, status, point_status, n_baseline, n_candidate, needed_n."""
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
            }
            for name, r in self.ratios.items()
        ]
        columns = ["stage", "ratio", "low", "high", "limit", "status", "point_status", "n_baseline"]
        return pd.DataFrame(rows, columns=[*columns, "n_candidate", "needed_n"])


def validate(workspace: Path, candidate_path: Path | None = None) -> list[GateResult]:
    """The ci gates of a workspace; ``candidate_path`` defaults to its current stage budgets.

    Raises:
        UserError: no lock, an edited lock, no candidate, or gates.yaml is wrong.
    """
    book = load_gates(workspace)
    locked = read_lock(workspace)
    path = candidate_path or workspace / BUDGETS_FILE
    return list(compare(book, locked, read_budgets(path), evidence=str(path)).results)


def compare(book: GateBook, locked: Lock, candidate: Budgets, *, evidence: str = "") -> Comparison:
    """Evaluate the ci gates on a candidate against a lock.

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
        names = STAGES if gate.metric == "stage_p95_regression_pct" else (TOTAL,)
        found = _ratios(gate, names, baseline, candidate)
        if gate.id in (STAGE_GATE, TICK_GATE):
            ratios |= found
        results.append(evaluate_regression(gate, found, evidence=evidence))
    measured = {
        "hit_ratio": _measured(candidate, candidate.hit_ratio, evidence),
        "deadline_miss_pct": _measured(candidate, candidate.deadline_miss_pct, evidence),
    }
    results += evaluate_all(gates, measured)
    differing = differences(baseline.fingerprint, candidate.fingerprint)
    same = baseline.to_dict() == candidate.to_dict()
    by_id = {r.id: _comparable(book.get(r.id), r, differing, same) for r in results}
    ordered = tuple(by_id[g.id] for g in gates if g.id in by_id)
    return Comparison(locked, candidate, ordered, ratios, tuple(differing), same)


def gates_active(results: Iterable[GateResult], book: GateBook) -> Measurement:
    """Whether every ci gate was evaluated against the lock, for ``ci_gates_active``; none of them need have passed."""
    done = {r.id for r in results if r.status not in (Status.ERROR, Status.NO_DATA)}
    wanted = [g.id for g in book.step("ci")]
    missing = [i for i in wanted if i not in done]
    reason = f"not evaluated: {', '.join(missing)}" if missing else f"{len(wanted)} gates evaluated"
    return Measurement(float(not missing), n=len(wanted), reason=reason)


def _ratios(
    gate: Gate, names: Iterable[str], baseline: Budgets, candidate: Budgets
) -> dict[str, RatioResult]:
    stages = tuple(names)
    return {
        name: quantile_ratio(
            baseline.histograms[name],
            candidate.histograms[name],
            limit=ratio_limit(gate),
            alpha=ALPHA / len(stages),
            min_n=gate.min_n,
        )
        for name in stages
    }


def _measured(candidate: Budgets, value: float, evidence: str) -> Measurement:
    return Measurement(value, n=candidate.n_ticks, span_s=candidate.span_s, evidence=evidence)


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
