"""What a reader needs first: the verdict of a list of gate results, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmlib.dtypes import Status
from mmlib.reports.render import Table, code, md
from mmlib.reports.words import limit_text, reason_text, value_text, window_text

MEANING = {
    Status.PASS: "Every gate passed.",
    Status.INCONCLUSIVE: "The evidence does not decide; this does not promote.",
    Status.NO_DATA: "Something could not be evaluated; this does not promote.",
    Status.FAIL: "At least one gate is violated.",
    Status.ERROR: "Something broke before it could be evaluated.",
}

NOT_BLOCKING = ("warning", "info")

ADVICE = {
    Status.INCONCLUSIVE: "Collect more data and run the step again.",
    Status.NO_DATA: "Find out why nothing was measured, then run the step again.",
    Status.FAIL: "Fix the cause, then run the step again.",
    Status.ERROR: "Read the executed notebook of the step; its last output names the error.",
}


def as_dict(result: Any) -> dict[str, Any]:
    """A gate result as a dict, whether it is one already or has ``to_dict``."""
    return dict(result) if isinstance(result, Mapping) else result.to_dict()


@dataclass(frozen=True)
class Verdict:
    """Worst status of the gates that count, the problems worst first, and the warnings apart."""

    status: Status
    meaning: str
    problems: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)


def judge(results: Iterable[Any], runbooks: Mapping[str, str] | None = None) -> Verdict:
    """The verdict of gate results: warnings never count, an empty list is NO_DATA.

    Args:
        results: gate results or their dicts.
        runbooks: gate id -> one line on what to do when it is violated.
    """
    rows = [as_dict(result) for result in results]
    counted = [row for row in rows if row.get("severity") not in NOT_BLOCKING]
    status = Status.worst([Status(row["status"]) for row in counted])
    off = [row for row in counted if row["status"] != Status.PASS]
    problems = sorted(off, key=lambda row: -Status(row["status"]).rank)
    warnings = [row for row in rows if row not in counted and row["status"] != Status.PASS]
    meaning = MEANING[status] if counted else "No gate was evaluated; this does not promote."
    actions = list(dict.fromkeys(_action(row, runbooks or {}) for row in problems))
    if not counted:
        actions = ["Run the step again and read the first error in its notebook."]
    return Verdict(status, meaning, problems, warnings, actions)


def _action(row: Mapping[str, Any], runbooks: Mapping[str, str]) -> str:
    todo = ADVICE[Status(row["status"])]
    if row["status"] == Status.FAIL:
        todo = runbooks.get(row["id"]) or todo
    elif "no number of candidate values" in str(row.get("reason")):
        todo = "Lock a baseline from a longer session: the baseline itself is too uncertain for this limit."
    return f"{row['id']}: {todo}"


def with_unit(value: object, unit: object) -> str:
    """A number with its unit; ``1`` and ``bool`` are no units to a reader."""
    return value_text({"value": value, "unit": "1" if unit == "bool" else unit})


def sentence(row: Mapping[str, Any]) -> str:
    """One gate result as a sentence, e.g. ``shadow.hit_ratio FAIL: 0.61, asked for ≥ 0.7. why``."""
    words = f"{row['id']} {row['status']}"
    if row.get("value") is not None:
        words += f": {value_text(row)}"
    words += f", asked for {limit_text(row)}"
    return f"{words}. {reason_text(row)}".strip()


def gate_table(results: Iterable[Any]) -> Table:
    """Gate results as a table: status in words first, then the numbers and the reason."""
    rows = []
    for result in results:
        row = as_dict(result)
        blocking = row["status"] == Status.PASS or row.get("severity") not in NOT_BLOCKING
        mark = row["status"] if blocking else f"{row['status']} ({row['severity']})"
        count = row.get("n")
        name = row.get("title") or row["id"]
        numbers = (value_text(row), md(limit_text(row)), count)
        rows.append((mark, name, *numbers, window_text(row.get("window")), reason_text(row), code(row["id"])))
    heads = ("Status", "Gate", "Value>", "Asked for", "n>", "Window", "Why", "Id")
    return Table(heads, rows, "No gate was evaluated.")
