"""Tables for the terminal: plain text, aligned, readable without colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmlib.workflow.manifest import RunOutcome
    from mmlib.workflow.readiness import Readiness
    from mmlib.workflow.status import StepState

_WIDEST = 96


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns under a heading; the last column is cut where lines would become unreadable."""
    cells = [list(heading), *[[" ".join(str(c).split()) for c in row] for row in rows]]
    for row in cells:
        row[-1] = row[-1] if len(row[-1]) <= _WIDEST else row[-1][: _WIDEST - 1] + "…"
    widths = [max(len(row[i]) for row in cells) for i in range(len(heading))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "-" * min(sum(widths) + 2 * (len(widths) - 1), 160), *lines[1:]])


def outcomes(done: Sequence[RunOutcome]) -> str:
    """The steps of a run with status and wall time."""
    rows = [(o.step.key, str(o.status), "kept" if o.resumed else f"{o.seconds:.1f}", o.reason) for o in done]
    return table(("step", "status", "seconds", "why"), rows)


def readiness(found: Readiness) -> str:
    """The acceptance table and the verdict."""
    rows = [(row.gate, row.status, row.grade or "–", row.requirement, row.why) for row in found.rows_list]
    text = table(("gate", "status", "evidence", "requirement", "why"), rows)
    grade = found.grade or "none"
    return f"{text}\n\n{found.verdict}  (evidence: {grade}; required: {found.evidence_required})"


def states(found: Sequence[StepState], following: str) -> str:
    """What ran, what is stale, what is next."""
    rows = []
    for state in found:
        record = state.record
        word = "not run" if record is None else f"{state.status}{' (stale)' if state.stale else ''}"
        run_id = record.run_id if record else "–"
        grade = str(record.grade) if record and record.grade else "–"
        rows.append((state.key, word, grade, run_id, state.why if record else ""))
    text = table(("step", "status", "evidence", "run", "why"), rows)
    ending = (
        f"next: finishline run --step {following}" if following else "every step passed and is up to date"
    )
    return f"{text}\n\n{ending}"
