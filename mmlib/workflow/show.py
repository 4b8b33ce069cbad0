"""Tables for the terminal: plain text, aligned, readable without colour."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmlib.workflow.table import explain

if TYPE_CHECKING:
    from mmlib.workflow.manifest import RunOutcome
    from mmlib.workflow.readiness import Readiness
    from mmlib.workflow.status import StepState

WIDTH = 112
"""Widest line: fits a terminal of 120 columns and a ticket."""

_MOST_LINES = 3


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns under a heading, no wider than ``WIDTH``; the last column wraps, and is cut after three lines."""
    cells = [[" ".join(str(c).split()) for c in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(heading), *cells]) for i in range(len(heading) - 1)]
    before = sum(widths) + 2 * len(widths)
    room = max(WIDTH - before, 24)
    lines = [_line(heading[:-1], widths, heading[-1])]
    for row in cells:
        first, *more = textwrap.wrap(row[-1], room, max_lines=_MOST_LINES, placeholder=" …") or [""]
        lines.append(_line(row[:-1], widths, first))
        lines += [" " * before + part for part in more]
    lines.insert(1, "-" * max(len(line) for line in lines))
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int], last: str) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join([*padded, last]).rstrip()


def outcomes(done: Sequence[RunOutcome]) -> str:
    """The steps of a run with status and wall time."""
    rows = [(o.step.key, str(o.status), "kept" if o.resumed else f"{o.seconds:.1f}", o.reason) for o in done]
    return table(("step", "status", "seconds", "why"), rows)


def readiness(found: Readiness) -> str:
    """The acceptance table and the verdict."""
    rows = [(row.gate, row.status, row.grade or "–", row.why) for row in found.rows_list]
    text = table(("gate", "status", "evidence", "why"), rows)
    grade = found.grade or "none"
    chain = f"{found.chain}{f', {found.chain_why}' if found.chain_why else ''}"
    return (
        f"{text}\n\n{found.verdict}  (evidence: {grade}; required: {found.evidence_required}; chain: {chain})"
    )


def states(found: Sequence[StepState], following: str) -> str:
    """What ran, what is stale, what is next."""
    rows = []
    for state in found:
        record = state.record
        word = "not run" if record is None else f"{state.status}{' (stale)' if state.stale else ''}"
        grade = str(record.grade) if record and record.grade else "–"
        decided = (explain(record.gates) or record.reason) if record else ""
        rows.append((state.key, word, grade, "; ".join(part for part in (*state.stale, decided) if part)))
    text = table(("step", "status", "evidence", "why"), rows)
    ending = (
        f"next: finishline run --step {following}" if following else "every step passed and is up to date"
    )
    return f"{text}\n\n{ending}"
