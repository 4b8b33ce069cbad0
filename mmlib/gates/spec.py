"""The gate book: params/gates.yaml read, checked and typed."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mmlib._io import UserError
from mmlib.dtypes import Status
from mmlib.gates.metrics import GATE_IDS, METRICS, STEPS
from mmlib.yamlfile import read_mapping

GATES_FILE = Path("params") / "gates.yaml"
SCHEMA = 1
BUDGET = "loss_budget"

Kind = Literal["threshold", "sustained", "regression", "comparison"]
Op = Literal[">=", "<=", ">", "<", "=="]
Severity = Literal["critical", "warning", "info"]

_ID = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")
_AB_STAGE = re.compile(r"ab_(10|50|100)")


class Gate(BaseModel):
    """One limit, as gates.yaml writes it; the file's heading explains every field."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str
    step: str
    title: str = Field(min_length=1)
    kind: Kind
    metric: str
    sense: Literal["require", "stop"]
    op: Op
    limit: float
    unit: str
    for_s: float = Field(default=0.0, ge=0)
    interval_s: float = Field(default=0.0, ge=0)
    warmup_s: float = Field(default=0.0, ge=0)
    bound: float | None = None
    floor_ms: float = Field(default=0.0, ge=0)
    min_n: int = Field(default=1, ge=1)
    min_span_s: float = Field(default=0.0, ge=0)
    short: Literal["NO_DATA", "INCONCLUSIVE"] = "NO_DATA"
    unmet: Literal["FAIL", "INCONCLUSIVE", "NO_DATA"] = "FAIL"
    severity: Severity
    arm: Literal["", "A", "B"] = ""
    source: str = Field(min_length=1)
    runbook: str = Field(min_length=1)

    @field_validator("id")
    @classmethod
    def _check_id(cls, value: str) -> str:
        if not _ID.fullmatch(value):
            raise ValueError("expected lower-case words joined by dots, such as shadow.hit_ratio")
        return value

    @field_validator("step")
    @classmethod
    def _check_step(cls, value: str) -> str:
        if value not in STEPS and not _AB_STAGE.fullmatch(value):
            raise ValueError(f"expected one of {', '.join(STEPS)}{_hint(value, STEPS)}")
        return value

    @field_validator("metric")
    @classmethod
    def _check_metric(cls, value: str) -> str:
        if value not in METRICS:
            raise ValueError(f"no such metric {value!r}{_hint(value, METRICS)}")
        return value

    @field_validator("limit", "for_s", "interval_s", "warmup_s", "min_span_s", "bound")
    @classmethod
    def _check_finite(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise ValueError("expected a finite number")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> Gate:
        unit = METRICS[self.metric][0]
        if self.unit != unit:
            raise ValueError(f"unit: expected {unit!r}, the unit of {self.metric}, found {self.unit!r}")
        sustained = {"for_s", "interval_s", "warmup_s"}
        if self.kind == "sustained":
            if self.interval_s <= 0 or "for_s" not in self.model_fields_set:
                raise ValueError("a sustained gate: expected for_s and an interval_s above 0")
        elif given := sorted(sustained & self.model_fields_set):
            raise ValueError(f"{given[0]}: only a sustained gate has it")
        if (self.kind == "comparison") != (self.bound is not None):
            raise ValueError("bound: expected in a comparison gate, and only there")
        if self.kind == "comparison" and (self.sense, self.op) not in {("require", ">="), ("require", ">")}:
            raise ValueError("a comparison gate: expected sense require and op >= or >")
        if self.kind == "regression" and (self.sense, self.op) != ("stop", ">"):
            raise ValueError("a regression gate: expected sense stop and op >")
        return self

    @property
    def blocking(self) -> bool:
        """Whether this gate can keep its step from passing."""
        return self.severity == "critical"

    @property
    def unmet_status(self) -> Status:
        """Status of a requirement that is not met."""
        return Status(self.unmet)

    @property
    def short_status(self) -> Status:
        """Status when there is too little data to decide."""
        return Status(self.short)

    @property
    def rule(self) -> str:
        """The limit in words: ``deadline_miss_pct > 5 % for 10 min``."""
        unit = "" if self.unit in ("1", "bool") else f" {self.unit}"
        arm = f" of arm {self.arm}" if self.arm else ""
        text = f"{self.metric}{arm} {self.op} {self.limit:g}{unit}"
        if self.kind == "sustained" and self.for_s > 0:
            text += f"{' for' if self.sense == 'stop' else ', violated for'} {duration_text(self.for_s)}"
        return text


@dataclass(frozen=True)
class GateBook:
    """All gates, in the order of the file, with the file's hash and its loss budget [quote currency]."""

    gates: tuple[Gate, ...]
    path: Path
    sha256: str
    loss_budget: float = math.nan

    def __iter__(self) -> Iterator[Gate]:
        return iter(self.gates)

    def __len__(self) -> int:
        return len(self.gates)

    def step(self, name: str) -> tuple[Gate, ...]:
        """The gates of one step; ``ab_10``, ``ab_50``, ``ab_100`` get those of ``ab`` under their own name.

        Raises:
            UserError: no such step.
        """
        family = "ab" if _AB_STAGE.fullmatch(name) else name
        if family not in STEPS:
            raise UserError(
                f"{self.path}: step {name!r}: expected one of {', '.join(STEPS)}{_hint(name, STEPS)}"
            )
        found = tuple(g for g in self.gates if g.step == family)
        return found if family == name else tuple(g.model_copy(update={"step": name}) for g in found)

    def get(self, gate_id: str) -> Gate:
        """One gate.

        Raises:
            UserError: no such gate, with the nearest id.
        """
        for gate in self.gates:
            if gate.id == gate_id:
                return gate
        raise UserError(f"{self.path}: no gate {gate_id!r}{_hint(gate_id, [g.id for g in self.gates])}")


def load_gates(workspace: Path) -> GateBook:
    """Read and check ``params/gates.yaml`` of a workspace.

    Raises:
        UserError: missing, unreadable, or wrong in any part; names file, line or gate, and what was expected.
    """
    return read_gates(workspace / GATES_FILE)


def read_gates(path: Path) -> GateBook:
    """``load_gates`` for a file anywhere."""
    document = read_mapping(path)
    payload = document.tree
    if unknown := sorted(set(payload) - {"schema", BUDGET, "gates"}):
        raise UserError(f"{path}: top level: {unknown[0]!r}: expected 'schema', '{BUDGET}' and 'gates'")
    if missing := [name for name in ("schema", "gates") if name not in payload]:
        raise UserError(f"{path}: top level: {missing[0]} is missing; expected 'schema' and 'gates'")
    if payload["schema"] != SCHEMA:
        raise UserError(f"{path}: schema: expected {SCHEMA}, found {_short(payload['schema'])}")
    if not isinstance(payload["gates"], list) or not payload["gates"]:
        raise UserError(f"{path}: gates: expected a list of gates")
    budget = _budget(path, payload)
    gates: dict[str, Gate] = {}
    for number, entry in enumerate(payload["gates"]):
        line = document.lines[f"gates[{number}]"]
        if isinstance(entry, dict) and entry.get("limit") == f"-{BUDGET}":
            entry = entry | {"limit": -budget}
        gate = _gate(path, line, entry)
        if gate.id in gates:
            raise UserError(f"{path}:{line}: gate {gate.id}: found twice; expected each id once")
        gates[gate.id] = gate
    for wanted in GATE_IDS:
        if wanted not in gates:
            raise UserError(
                f"{path}: gate {wanted} is missing{_hint(wanted, set(gates) - set(GATE_IDS), 'found')}"
            )
    return GateBook(tuple(gates.values()), path, document.sha256, budget)


def _budget(path: Path, payload: Mapping[str, Any]) -> float:
    """The loss budget [quote currency]."""
    value = payload.get(BUDGET)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise UserError(
            f"{path}: {BUDGET}: expected what a session or stage may lose, in quote currency and above 0, such as 1000.0; "
            f"found {_short(value)}"
        )
    return float(value)


def _gate(path: Path, line: int, entry: Any) -> Gate:
    if not isinstance(entry, dict):
        raise UserError(f"{path}:{line}: expected a gate (a mapping with an id), found {_short(entry)}")
    name = f"{path}:{line}: gate {_short(entry.get('id', '?'))}"
    try:
        values = {k: float(v) if type(v) is int and k in _FLOATS else v for k, v in entry.items()}
        return Gate.model_validate(values)
    except OverflowError as exc:
        raise UserError(f"{name}: expected a finite number") from exc
    except ValidationError as exc:
        # a misspelt key is both unknown and missing; the unknown one says more
        error = min(exc.errors(), key=lambda e: e["type"] != "extra_forbidden")
        place = ".".join(str(part) for part in error["loc"])
        message = error["msg"].removeprefix("Value error, ")
        if error["type"] == "extra_forbidden":
            message = f"unknown key{_hint(place, Gate.model_fields)}"
        elif error["type"] == "missing":
            message = "missing; expected a value"
        elif error["type"] != "value_error":
            message = f"{message}, found {_short(error['input'])}"
        raise UserError(f"{name}: {place + ': ' if place else ''}{message}") from exc


_FLOATS = {"limit", "for_s", "interval_s", "warmup_s", "min_span_s", "bound", "floor_ms"}


def _hint(word: str, known: Iterable[str], verb: str = "did you mean") -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    if not close:
        return ""
    return f"; {verb} {close[0]}?" if verb == "did you mean" else f"; {verb} {close[0]}, is it misspelt?"


def _short(value: Any) -> str:
    """A value on one line, cut."""
    if isinstance(value, dict | list):
        return f"a {type(value).__name__}"
    text = value if isinstance(value, str) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def duration_text(seconds: float) -> str:
    """Seconds in words a person reads, three digits or so: ``90 s``, ``10 min``, ``1 h``, ``5.7 min``, ``26.3 h``."""
    if seconds >= 7200 or seconds in (3600, 5400):
        return f"{round(seconds / 3600, 1):g} h"
    if seconds >= 120 or seconds == 60:
        return f"{round(seconds / 60, 1):g} min"
    return f"{round(seconds, 1):g} s"
