"""Collect the records of all steps into the nine-row acceptance table and one verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmlib._io import UserError, read_json, write_json
from mmlib.baseline.lock import LINK, LOCKED_FILE
from mmlib.dtypes import Grade, Status
from mmlib.seal import EDIT_EVIDENT, strength
from mmlib.workflow.changes import changes
from mmlib.workflow.record import StepRecord, latest
from mmlib.workflow.runs import read_index
from mmlib.workflow.status import NOT_RUN
from mmlib.workflow.steps import ACCEPTANCE, Step
from mmlib.workflow.table import explain
from mmlib.workflow.times import now_iso

if TYPE_CHECKING:
    import pandas as pd

    from mmlib.gates.result import GateResult
    from mmlib.gates.spec import GateBook

SCHEMA = 1
JSON_PATH = "artifacts/reports/readiness.json"
GOOD = ("READY", "REHEARSAL PASSED")
REPORT_PATH = "artifacts/reports/FINISH_LINE_REPORT.md"


@dataclass(frozen=True)
class Row:
    """One line of the acceptance table."""

    step: str
    gate: str
    requirement: str
    status: str
    why: str
    grade: str
    run_id: str
    finished: str


@dataclass(frozen=True)
class Readiness:
    """The nine rows and what follows from them; ``grade`` is the weakest evidence of all that was read."""

    rows_list: tuple[Row, ...]
    verdict: str
    grade: Grade | None
    evidence_required: Grade
    rehearsal: bool
    reasons: tuple[str, ...]
    created: str
    chain: str = EDIT_EVIDENT
    chain_why: str = ""

    @property
    def rows(self) -> pd.DataFrame:
        """Columns step, gate, requirement, status, why, grade, run_id, finished (all text); nine rows."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows_list], columns=list(Row.__dataclass_fields__))

    @property
    def passed(self) -> int:
        """Rows with status PASS."""
        return sum(row.status == Status.PASS for row in self.rows_list)

    def results(self, gates: GateBook) -> list[GateResult]:
        """The readiness gates evaluated on this verdict: rows passed, and grade of the evidence."""
        from mmlib.gates.evaluate import Measurement, evaluate_all

        reached = None if self.grade is None else float(self.grade.rank >= self.evidence_required.rank)
        ran = sum(row.why != NOT_RUN for row in self.rows_list)
        measured = {
            "rows_passed": Measurement(
                value=float(self.passed), n=len(self.rows_list), reason=f"{ran} steps ran"
            ),
            "grade_ok": Measurement(
                value=reached,
                n=ran,
                reason=f"weakest evidence: {self.grade or 'none'}, required: {self.evidence_required}",
            ),
        }
        return evaluate_all(gates.step("readiness"), measured)

    def to_dict(self) -> dict[str, Any]:
        """Builtin types for JSON."""
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "grade": None if self.grade is None else str(self.grade),
            "evidence_required": str(self.evidence_required),
            "rehearsal": self.rehearsal,
            "created": self.created,
            "passed": self.passed,
            "chain": self.chain,
            "chain_why": self.chain_why,
            "reasons": list(self.reasons),
            "rows": [asdict(row) for row in self.rows_list],
        }


def collect(ws: Path, evidence_required: Grade | str = Grade.LIVE, rehearsal: bool = False) -> Readiness:
    """Read the latest record of each step and decide.

    A step that never ran is NO_DATA; a damaged or edited record is ERROR; a PASS is INCONCLUSIVE when its configuration,
    its gates, its data, its outputs or the code have changed since. Every file is read again, whatever its time.

    Raises:
        UserError: an unknown grade, or a damaged index of runs.
    """
    required = _grade(evidence_required)
    records = latest(ws)
    rows = tuple(_row(ws, step, records.get(step.key)) for step in ACCEPTANCE)
    read = [
        r.grade for step in ACCEPTANCE if (r := records.get(step.key)) is not None and r.grade is not None
    ]
    grade = Grade.weakest(read)
    reasons = [f"{row.gate}: {row.status} - {row.why}" for row in rows if row.status != Status.PASS]
    if grade is None:
        reasons.append("no step has read any data")
    elif grade.rank < required.rank:
        reasons.append(f"evidence is '{grade}'; the profile demands '{required}'")
    good, bad = ("REHEARSAL PASSED", "REHEARSAL NOT PASSED") if rehearsal else ("READY", "NOT READY")
    verdict = bad if reasons else good
    chain = strength(ws, _links(ws))
    return Readiness(rows, verdict, grade, required, rehearsal, tuple(reasons), now_iso(), *chain)


def _links(ws: Path) -> dict[str, Mapping[str, Any]]:
    """The links of the chain that carry a seal: the records in the index, and the lock where there is one."""
    links: dict[str, Mapping[str, Any]] = {**read_index(ws)}
    try:
        locked = read_json(ws / LOCKED_FILE)
    except UserError:
        return links
    return links | ({LINK: locked} if isinstance(locked, dict) else {})


def doubts(ws: Path) -> list[str]:
    """Why the verdict in ``readiness.json`` must not be believed, recomputed from content; empty when it may be.

    Raises:
        UserError: a damaged index of runs, or no verdict that can be read.
    """
    said = read_json(ws / JSON_PATH)
    record = latest(ws).get("readiness")
    if record is None or not record.data:
        return [record.reason if record else "no readiness step is recorded"]
    found = list(changes(ws, record, content=True))
    given = record.data.get("params", {})
    now = collect(ws, given.get("evidence_required", Grade.LIVE), given.get("rehearsal") is True).to_dict()
    for name in ("verdict", "grade", "evidence_required", "rehearsal"):
        if said.get(name) != now[name]:
            found.append(f"{name}: {said.get(name)} was said, the records say {now[name]}")
    rows = {str(row.get("step")): row.get("status") for row in said.get("rows", []) if isinstance(row, dict)}
    for row in now["rows"]:
        if rows.get(row["step"]) != row["status"]:
            found.append(
                f"{row['gate']}: {rows.get(row['step'])} was said, its record says {row['status']} ({row['why']})"
            )
    return found


def unconfirmed(ws: Path) -> list[str]:
    """``doubts`` of a verdict that says READY or REHEARSAL PASSED; empty without one.

    Raises:
        UserError: a damaged index of runs.
    """
    try:
        said = read_json(ws / JSON_PATH)
    except UserError:
        return []
    good = isinstance(said, dict) and said.get("verdict") in GOOD
    return doubts(ws) if good else []


def write_readiness(ws: Path, readiness: Readiness) -> list[Path]:
    """Write ``readiness.json`` and ``FINISH_LINE_REPORT.md``; returns both paths."""
    from mmlib.reports.finish_line import finish_line
    from mmlib.reports.render import write

    text = finish_line(readiness.rows, readiness.to_dict())
    return [write_json(ws / JSON_PATH, readiness.to_dict()), write(ws / REPORT_PATH, text)]


def _row(ws: Path, step: Step, record: StepRecord | None) -> Row:
    if record is None:
        return Row(step.key, step.gate, step.requirement, str(Status.NO_DATA), NOT_RUN, "", "", "")
    status, why = record.status, explain(record.gates) or record.reason
    changed = changes(ws, record, content=True)
    if changed:
        note = f"{_few(changed)}; run the step again"
        status = Status.INCONCLUSIVE if status == Status.PASS else status
        why = "; ".join(part for part in (why, note) if part)
    return Row(
        step=step.key,
        gate=step.gate,
        requirement=step.requirement,
        status=str(status),
        why=why,
        grade=str(record.grade or ""),
        run_id=record.run_id,
        finished=record.finished,
    )


def _few(reasons: Sequence[str], most: int = 3) -> str:
    more = f" and {len(reasons) - most} more" if len(reasons) > most else ""
    return f"{', '.join(reasons[:most])}{more}"


def _grade(value: Grade | str) -> Grade:
    try:
        return Grade(value)
    except ValueError as exc:
        raise UserError(f"evidence_required: {value!r}; expected one of {', '.join(Grade)}") from exc
