"""What ran, what is stale and why, what is next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmlib.dtypes import Status
from mmlib.workflow.changes import changes
from mmlib.workflow.record import StepRecord, latest
from mmlib.workflow.steps import BY_KEY, STEPS
from mmlib.workflow.table import explain

NOT_RUN = "not run"


@dataclass(frozen=True)
class StepState:
    """One step as it stands: its latest record (None: never ran) and why that is out of date, if it is."""

    key: str
    title: str
    record: StepRecord | None
    stale: tuple[str, ...]

    @property
    def status(self) -> Status:
        """The recorded status; NO_DATA for a step that never ran."""
        return self.record.status if self.record else Status.NO_DATA

    @property
    def why(self) -> str:
        """What decided the record, in words, then what made it stale."""
        if self.record is None:
            return NOT_RUN
        return "; ".join(
            part for part in (explain(self.record.gates) or self.record.reason, *self.stale) if part
        )

    @property
    def note(self) -> str:
        """Only what is out of the ordinary: never ran, went wrong, stale."""
        if self.record is None:
            return NOT_RUN
        return "; ".join((self.record.reason, *self.stale) if self.status == Status.ERROR else self.stale)

    def to_dict(self) -> dict[str, Any]:
        """Builtin types for JSON."""
        record = self.record
        return {
            "step": self.key,
            "title": self.title,
            "ran": record is not None,
            "status": str(self.status),
            "grade": str(record.grade) if record and record.grade else None,
            "run_id": record.run_id if record else None,
            "finished": record.finished if record else None,
            "stale": list(self.stale),
            "reason": record.reason if record else NOT_RUN,
        }


def overview(ws: Path) -> list[StepState]:
    """The state of every step, in workflow order.

    Raises:
        UserError: the index of runs is damaged.
    """
    records = latest(ws)
    stale: dict[str, tuple[str, ...]] = {}
    for step in STEPS:  # in the order of dependence
        stale[step.key] = _stale(ws, step.key, records, stale)
    return [StepState(step.key, step.title, records.get(step.key), stale[step.key]) for step in STEPS]


def next_step(states: list[StepState]) -> str:
    """Key of the first step that did not pass or is stale, empty when all are done."""
    return next((s.key for s in states if s.status != Status.PASS or s.stale), "")


def _stale(
    ws: Path, key: str, records: Mapping[str, StepRecord], stale: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """Why a step's record is out of date; ``stale`` holds the answer for every step that it depends on."""
    record = records.get(key)
    if record is None or not record.data:
        return ()
    reasons = list(changes(ws, record))
    started = str(record.data.get("started", ""))
    for dep in BY_KEY[key].depends:
        if dep in records and records[dep].finished > started:
            reasons.append(f"{BY_KEY[dep].title} ran again since")
        elif stale[dep]:
            reasons.append(f"{BY_KEY[dep].title} is out of date")
    return tuple(reasons)
