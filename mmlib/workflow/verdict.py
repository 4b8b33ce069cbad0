"""What the index page says first: the verdict, what it stands on, and the next thing to do."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmlib._io import UserError, read_json
from mmlib.config.masking import mask_words
from mmlib.dtypes import Grade, Status
from mmlib.gates.spec import load_gates
from mmlib.seal import EDIT_EVIDENT
from mmlib.workflow.readiness import GOOD, JSON_PATH, doubts
from mmlib.workflow.status import StepState
from mmlib.workflow.table import status_mark
from mmlib.workflow.times import readable

STANDS_ON = {
    Grade.SIMULATED: "The market came from the simulator: this shows that the workbook runs, nothing about money.",
    Grade.RECORDING_TILED: "A recording of a real market was repeated to fill the time; its fills are modelled.",
    Grade.RECORDING: "The market is a recording of a real one; the fills are modelled, not an exchange's.",
    Grade.STATED: "A desk's own feeds, which nobody here saw come about and which no declaration signs.",
    Grade.LIVE: "The market was live, or a desk's own feeds that its declaration calls live.",
}


def verdict_of(ws: Path, pages: Mapping[str, str], states: Sequence[StepState]) -> dict[str, Any] | None:
    """The last verdict for the index page, None when there is none that can be read.

    Args:
        ws: workspace.
        pages: step -> page of the site.
        states: the steps as they stand.
    """
    path = ws / JSON_PATH
    if not path.is_file():
        return None
    try:
        found = read_json(path)
        rows = [_row(row, pages) for row in found["rows"]]
        created = str(found["created"])
        grade = Grade(found["grade"]) if found["grade"] else None
        others = [s.record.finished for s in states if s.record is not None and s.key != "readiness"]
        doubt = doubts(ws)
        good = found["verdict"] in GOOD and not doubt
        passed = sum(row["mark"] == status_mark(Status.PASS) for row in rows)
        return {
            "verdict": "NOT CONFIRMED" if doubt and found["verdict"] in GOOD else str(found["verdict"]),
            "css": "pass" if good else "fail",
            "doubts": doubt,
            "chain": str(found.get("chain", EDIT_EVIDENT)),
            "chain_why": str(found.get("chain_why", "")),
            "grade": str(grade or "none"),
            "required": str(found["evidence_required"]),
            "stands_on": STANDS_ON[grade] if grade else "No step has read any data.",
            "passed": passed,
            "created": readable(created),
            "stale": any(finished > created for finished in others),
            "rows": rows,
            "next": _next(ws, rows, states),
            "lacking": _lacking(found, rows) if passed == len(rows) else [],
        }
    except (UserError, KeyError, TypeError, ValueError):
        return None


def css_of(status: str) -> str:
    """A status as the name of a CSS class."""
    return "".join(c for c in status.lower() if c.isalnum())


def _row(row: Mapping[str, Any], pages: Mapping[str, str]) -> dict[str, str]:
    status = str(row["status"])
    return {
        **{name: str(row[name]) for name in ("step", "gate", "requirement", "why", "grade")},
        "mark": status_mark(status),
        "css": css_of(status),
        "page": pages.get(str(row["step"]), ""),
    }


def _next(ws: Path, rows: Sequence[Mapping[str, str]], states: Sequence[StepState]) -> dict[str, Any] | None:
    """The first row that did not pass, what to do about it, and the command that tries again."""
    first = next((row for row in rows if row["mark"] != status_mark(Status.PASS)), None)
    if first is None:
        return None
    record = next((s.record for s in states if s.key == first["step"]), None)
    failed = [
        str(gate.get("id"))
        for gate in (record.gates if record else ())
        if gate.get("severity") == "critical" and gate.get("status") == Status.FAIL
    ]
    try:
        runbooks = {gate.id: gate.runbook for gate in load_gates(ws)} if failed else {}
    except UserError:
        runbooks = {}
    return {
        **first,
        "todo": list(dict.fromkeys(runbooks[gate] for gate in failed if gate in runbooks)),
        "command": command_again(first["step"], states),
    }


def command_again(step: str, states: Sequence[StepState]) -> str:
    """What runs a step again as it ran before; one that never ran, as the last step that names a source did."""
    known = {s.key: s.record.data.get("params") for s in states if s.record is not None}
    given = [p for p in (*known.values(), known.get(step)) if isinstance(p, Mapping)]
    words = ["finishline", "run", "--step", step]
    for name in ("profile", "source", "symbols"):
        value = next((p[name] for p in reversed(given) if p.get(name)), "")
        if value:
            words += [f"--{name}", ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    own = known.get(step)
    sets = own.get("sets") if isinstance(own, Mapping) else None
    for key, value in sets.items() if isinstance(sets, Mapping) else ():
        words += mask_words(["--set", f"{key}={value}"])
    return shlex.join(words)


def _lacking(found: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Reasons that belong to no row, such as evidence of too low a grade."""
    named = tuple(f"{row['gate']}: " for row in rows)
    return [str(reason) for reason in found["reasons"] if not str(reason).startswith(named)]
