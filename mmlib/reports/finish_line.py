"""FINISH_LINE_REPORT.md: the nine acceptance rows, the verdict, and the next thing to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import pandas as pd

from mmlib.dtypes import Grade, Status
from mmlib.reports.render import Provenance, Table, code, render
from mmlib.reports.words import minute_text

DOCUMENTS = (
    ("Preparation", "artifacts/reports/PREP_LOG.md"),
    ("Shadow", "artifacts/md_cache/shadow_report.md"),
    ("Before the soak", "artifacts/reports/PRE_SOAK_REPORT.md"),
    ("Soak launch and stop criteria", "artifacts/reports/SOAK_START.md"),
    ("Soak dashboard", "artifacts/reports/SOAK_DASHBOARD_CHECKLIST.md"),
    ("Baseline lock", "artifacts/reports/BASELINE_LOCK_REPORT.md"),
    ("CI gates", "artifacts/reports/CI_GATES_STATUS.md"),
    ("Alert rules", "artifacts/reports/ALERT_RULES.md"),
    ("Feature flags", "docs/FEATURE_FLAGS_REGISTRY.md"),
)


def finish_line(rows: pd.DataFrame, readiness: Mapping[str, Any]) -> str:
    """The finish-line report.

    Args:
        rows: step, gate, requirement, status, why, grade, run_id, finished; one row an acceptance gate, in order.
        readiness: verdict, grade, evidence_required, rehearsal, created (ISO), passed, reasons.
    """
    grade = None if readiness.get("grade") is None else Grade(readiness["grade"])
    provenance = Provenance(
        "finishline readiness", grade, created=datetime.fromisoformat(readiness["created"])
    )
    return render(
        "finish_line.md.j2",
        provenance,
        r=readiness,
        total=len(rows),
        next_step=_next(rows),
        further=_further(rows, readiness["reasons"]),
        rows=_table(rows),
        documents=Table(("Document", "File"), [(name, code(path)) for name, path in DOCUMENTS]),
    )


def _table(rows: pd.DataFrame) -> Table:
    cells = [
        (
            r["status"],
            r["gate"],
            r["requirement"],
            r["why"],
            r["grade"] or None,
            minute_text(r["finished"]) or None,
        )
        for r in rows.to_dict("records")
    ]
    return Table(
        ("Status", "Gate", "Requirement", "Why", "Evidence", "Finished"), cells, "No acceptance gate."
    )


def _further(rows: pd.DataFrame, reasons: Iterable[str]) -> list[str]:
    """Reasons that no row of the table gives already, such as evidence of too low a grade."""
    named = tuple(f"{gate}: " for gate in rows["gate"])
    return [reason for reason in reasons if not reason.startswith(named)]


def _next(rows: pd.DataFrame) -> dict[str, str] | None:
    """The first row that did not pass; later rows depend on earlier ones."""
    for row in rows.to_dict("records"):
        if row["status"] != Status.PASS:
            why = {key: str(row[key]) for key in ("gate", "status", "why")}
            return {**why, "command": f"finishline run --step {row['step']}"}
    return None
