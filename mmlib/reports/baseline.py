"""BASELINE_LOCK_REPORT.md and CI_GATES_STATUS.md: what was locked, and what guards it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from mmlib.gates.spec import GateBook
from mmlib.reports.render import Provenance, Table, code, frame_table, render
from mmlib.reports.soak import rules_table
from mmlib.reports.stages import stage_table
from mmlib.reports.verdict import gate_table, judge

RATIO_COLUMNS = {"stage": "Stage", "ratio": "Ratio", "low": "From", "high": "To", "limit": "Limit"}


def lock_report(
    results: Iterable[Any],
    stages: pd.DataFrame,
    provenance: Provenance,
    *,
    sha256: str,
    fingerprint: Mapping[str, Any],
    path: str = "artifacts/baseline/stage_budgets.locked.json",
    facts: Mapping[str, Any] | None = None,
    runbooks: Mapping[str, str] | None = None,
) -> str:
    """The baseline lock report.

    Args:
        results: gate results of the step.
        stages: stage, n, p50_ms, p95_ms, p99_ms of the locked baseline.
        provenance: where the baseline's numbers come from.
        sha256: content hash of the lock; empty when nothing is locked.
        fingerprint: machine and software that measured it: name -> value.
        path: the locked file below the workspace.
        facts: further numbers of the baseline, e.g. hit_ratio.
        runbooks: gate id -> what to do when it is violated.
    """
    results = list(results)
    return render(
        "baseline_lock_report.md.j2",
        provenance,
        verdict=judge(results, runbooks),
        gates=gate_table(results),
        stages=stage_table(stages),
        sha256=sha256,
        path=path,
        fingerprint=_pairs(fingerprint),
        facts=_pairs(facts or {}),
    )


def ci_gates_status(
    results: Iterable[Any],
    book: GateBook,
    provenance: Provenance,
    *,
    active: bool,
    ratios: pd.DataFrame | None = None,
) -> str:
    """The status of the CI gates.

    Args:
        results: ``ci.*`` gate results of the last validation; empty when none was made.
        book: every gate; those of CI are listed.
        provenance: where the candidate's numbers come from.
        active: a lock exists, its hash matches, and every CI gate was evaluated against it.
        ratios: stage, ratio, low, high, limit: candidate over baseline with its interval.
    """
    results = list(results)
    return render(
        "ci_gates_status.md.j2",
        provenance,
        active=active,
        verdict=judge(results, {gate.id: gate.runbook for gate in book}),
        gates=gate_table(results),
        rules=rules_table(book.step("ci"), "gates.yaml holds no CI gate."),
        ratios=None
        if ratios is None
        else frame_table(ratios, RATIO_COLUMNS, empty="No stage could be compared."),
    )


def _pairs(values: Mapping[str, Any]) -> Table:
    return Table(
        ("What", "Value"), [(code(name), value) for name, value in values.items()], "Nothing was stated."
    )
