"""What a gate says: a result of builtin types only, ready to be recorded in a notebook."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from mmlib.dtypes import Status
from mmlib.gates.spec import Gate

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
_LATER = frozenset({"sense", "for_s"})
"""Fields that a record of before does not hold; it is read with their defaults."""


@dataclass(frozen=True)
class GateResult:
    """One gate, evaluated. ``value`` is None when there is no finite number; ``reason`` then says why.

    ``window`` is an ISO 8601 interval or a description of what was looked at; ``n`` counts samples;
    ``evidence`` names the data (path, grade). Only ``status`` PASS promotes.
    ``sense`` says how to read ``op`` and ``limit``: ``require`` must hold, ``stop`` is the violation itself, which
    counts once it lasts ``for_s`` seconds.
    """

    id: str
    step: str
    status: Status
    value: float | None = None
    op: str = ""
    limit: float | None = None
    unit: str = ""
    window: str = ""
    n: int = 0
    reason: str = ""
    evidence: str = ""
    severity: str = "critical"
    title: str = ""
    sense: str = "require"
    for_s: float = 0.0
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", Status(self.status))
        object.__setattr__(self, "n", int(self.n))
        for name in ("value", "limit"):
            number = getattr(self, name)
            if number is None:
                continue
            number = float(number)
            if not math.isfinite(number):
                object.__setattr__(self, "reason", _joined(self.reason, f"{name} is {number:g}"))
                number = None
            object.__setattr__(self, name, number)

    @property
    def blocking(self) -> bool:
        """Whether this result can keep its step from passing."""
        return self.severity == "critical"

    @property
    def passed(self) -> bool:
        """Whether the status is PASS."""
        return self.status is Status.PASS

    def to_dict(self) -> dict[str, Any]:
        """Builtin types only: str, int, float, None."""
        return asdict(self) | {"status": self.status.value}

    @classmethod
    def from_dict(cls, payload: Any) -> GateResult:
        """Read what ``to_dict`` wrote.

        Raises:
            ValueError: not a mapping, another schema, unknown or missing keys, a wrong status or type.
        """
        if not isinstance(payload, Mapping):
            raise ValueError(f"a gate result is a mapping, found {type(payload).__name__}")
        names = {f.name for f in fields(cls)}
        if not names - _LATER <= set(payload) <= names:
            raise ValueError(f"gate result: expected exactly the keys {', '.join(sorted(names))}")
        if payload["schema"] != SCHEMA:
            raise ValueError(f"gate result schema: expected {SCHEMA}, found {payload['schema']!r}")
        for name in set(payload) - {"value", "limit", "n", "for_s", "schema"}:
            if not isinstance(payload[name], str):
                raise ValueError(f"gate result {name}: expected text, found {payload[name]!r}")
        for name in ("value", "limit", "n", "for_s"):
            number = payload.get(name, 0)
            if isinstance(number, bool) or not isinstance(number, int | float | None):
                raise ValueError(f"gate result {name}: expected a number, found {number!r}")
        if not isinstance(payload["n"], int):
            raise ValueError(f"gate result n: expected a whole number, found {payload['n']!r}")
        return cls(**dict(payload))


def make(
    gate: Gate,
    status: Status,
    *,
    value: float | None = None,
    n: int = 0,
    window: str = "",
    reason: str = "",
    evidence: str = "",
) -> GateResult:
    """A result that carries the gate's own id, limit, unit, severity and title."""
    return GateResult(
        id=gate.id,
        step=gate.step,
        status=status,
        value=value,
        op=gate.op,
        limit=gate.limit,
        unit=gate.unit,
        window=window,
        n=n,
        reason=reason,
        evidence=evidence,
        severity=gate.severity,
        title=gate.title,
        sense=gate.sense,
        for_s=gate.for_s,
    )


def aggregate(results: Sequence[GateResult], step: str) -> GateResult:
    """The worst status of the blocking results; warnings are counted in the reason and change nothing.

    No blocking result at all is NO_DATA. ``n`` is the number of blocking results.
    """
    blocking = [r for r in results if r.blocking]
    status = Status.worst([r.status for r in blocking])
    parts = [
        f"{name}: {', '.join(r.id for r in blocking if r.status is name)}"
        for name in sorted({r.status for r in blocking if not r.passed}, key=lambda s: -s.rank)
    ]
    if not blocking:
        parts.append("no gate was evaluated")
    noted = [r.id for r in results if not r.blocking and r.status is not Status.PASS]
    if noted:
        parts.append(f"{len(noted)} warning{'s' if len(noted) > 1 else ''}: {', '.join(noted)}")
    return GateResult(id=step, step=step, status=status, n=len(blocking), reason="; ".join(parts), title=step)


def frame(results: Sequence[GateResult]) -> pd.DataFrame:
    """Results as a frame, one row each, columns as the fields; for a figure or a table."""
    import pandas as pd

    return pd.DataFrame([r.to_dict() for r in results], columns=[f.name for f in fields(GateResult)])


def _joined(*parts: str) -> str:
    return "; ".join(p for p in parts if p)
