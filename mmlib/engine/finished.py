"""A finished session, and what its feeds state of themselves."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmlib.dtypes import Grade
from mmlib.engine.spec import SessionSpec, SymbolRun, scripted
from mmlib.engine.watch import Firing

if TYPE_CHECKING:
    from mmlib.config.models import Config


@dataclass(frozen=True)
class Session:
    """A finished session; ``halted`` holds the stop criteria that ended it early, all at the same minute."""

    spec: SessionSpec
    feeds: Path
    runs: tuple[SymbolRun, ...]
    started: str
    finished: str
    facts: dict[str, Any] = field(default_factory=dict)
    halted: tuple[Firing, ...] = ()

    @property
    def grade(self) -> Grade:
        """The weakest grade among the symbols."""
        return Grade.weakest([run.grade for run in self.runs]) or Grade.SIMULATED

    @property
    def span_s(self) -> float:
        """Market time that every symbol covers [s]."""
        return min((run.span_s for run in self.runs), default=0.0)

    def table(self) -> list[dict[str, Any]]:
        """One plain row a symbol, for a notebook to show."""
        keys = ("symbol", "grade", "events", "ticks", "fills", "seconds", "description")
        return [
            {"hours": round(run.span_s / 3600, 3)} | {key: asdict(run)[key] for key in keys}
            for run in self.runs
        ]


def sidecar_of(session: Session, config: Config) -> dict[str, Any]:
    """What the feeds of a session state of themselves."""
    spec = session.spec
    labels = sorted({run.refresh_label for run in session.runs})
    return {
        "grade": str(session.grade),
        "source": spec.uri,
        "symbols": list(spec.symbols),
        "arms": list(spec.arms),
        "seed": spec.seed,
        "started": session.started,
        "finished": session.finished,
        "complete": not session.halted,
        "halted": [one.to_dict() for one in session.halted],
        "incidents": [str(one) for one in scripted(config.rehearsal.incidents)],
        "runs": [run.to_dict() for run in session.runs],
        "tick_interval_ms": config.pipeline.tick_interval_ms,
        "refresh_latency": "; ".join(labels),
        "caveats": sorted({caveat for run in session.runs for caveat in run.caveats}),
        "quality": {run.symbol: run.quality for run in session.runs},
        "source_sha256": {run.symbol: run.source_sha256 for run in session.runs},
        "spec": asdict(spec),
        "config": config.model_dump(mode="json"),
        "instruments": {
            run.symbol: {"tick_size": run.tick_size, "lot_size": run.lot_size} for run in session.runs
        },
    }
