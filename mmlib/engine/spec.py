"""What a session is asked to run, and what a symbol of it came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from mmlib.config.incidents import Incident, parse_incident
from mmlib.core.incidents import INCIDENT, KINDS
from mmlib.dtypes import Grade
from mmlib.market.quality import quality_of
from mmlib.market.source import parse_uri

S = 1_000_000_000


@dataclass(frozen=True)
class SessionSpec:
    """What to run.

    Attributes:
        uri: ``simulated`` or ``recording:PATH``.
        symbols: what to quote.
        arms: ``("A",)`` for the bot as configured, ``("A", "B")`` for control and treatment on the same market.
        duration_s: length of the window [s]; a shorter recording ends it earlier.
        offset_s: where the window starts after ``start_ns`` (simulated) or after the recording's first event [s].
        start_ns: start of simulated time; recordings have their own.
        seed: of the simulator, modelled latencies and trace sampling.
    """

    uri: str
    symbols: tuple[str, ...]
    arms: tuple[str, ...]
    duration_s: float
    offset_s: float = 0.0
    start_ns: int = 0
    seed: int = 0

    @classmethod
    def plan(
        cls,
        uri: str,
        symbols: Sequence[str],
        arms: Sequence[str],
        duration_s: float,
        *,
        start_ns: int | None,
        seed: int,
        simulated_offset_s: float = 0.0,
        recording_offset_s: float = 0.0,
    ) -> SessionSpec:
        """A session whose window starts at one offset in simulated time and at another in a recording."""
        offset = simulated_offset_s if parse_uri(uri)[0] == "simulated" else recording_offset_s
        return cls(uri, tuple(symbols), tuple(arms), duration_s, offset, start_ns or 0, seed)


@dataclass(frozen=True)
class SymbolRun:
    """What one symbol's replay was made from and came to."""

    symbol: str
    grade: Grade
    source_sha256: str
    description: str
    refresh_label: str
    tick_size: float
    lot_size: float
    first_ns: int
    last_ns: int
    events: int
    ticks: int
    fills: int
    seconds: float
    quality: dict[str, int]
    caveat: str = ""  # what weakens its evidence beside others of its grade

    @property
    def caveats(self) -> tuple[str, ...]:
        """What weakens its evidence: of its source, and what was met while reading that is more than a note."""
        grave = quality_of(self.quality, self.tick_size).grave
        return (*filter(None, [self.caveat]), *(f"{self.symbol} {finding.text}" for finding in grave))

    @property
    def span_s(self) -> float:
        """Market time covered [s]."""
        return max(self.last_ns - self.first_ns, 0) / S

    def to_dict(self) -> dict[str, Any]:
        """Builtin types."""
        return asdict(self) | {"grade": str(self.grade)}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> SymbolRun:
        """The inverse of `to_dict`; other keys are left alone."""
        known = {field.name: facts[field.name] for field in fields(cls)}
        return cls(**known | {"grade": Grade(facts["grade"])})


def scripted(texts: Sequence[str]) -> tuple[Incident, ...]:
    """The incidents of a configuration."""
    return tuple(parse_incident(text) for text in texts)


def incident_rows(incidents: Sequence[Incident], start_ns: int) -> np.ndarray:
    """``INCIDENT[n]`` of a session that begins at ``start_ns``."""
    rows = np.zeros(len(incidents), INCIDENT)
    for row, one in zip(rows, incidents, strict=True):
        row["kind"] = KINDS.index(one.kind)
        row["start_ns"] = start_ns + round(one.start_s * S)
        row["end_ns"] = row["start_ns"] + round(one.duration_s * S)
        row["strength"] = one.strength
    return rows
