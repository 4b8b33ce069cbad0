"""Past runs as their manifests tell them, newest first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmlib._io import UserError, read_json
from mmlib.workflow.runs import runs_dir
from mmlib.workflow.steps import BY_KEY


@dataclass(frozen=True)
class PastStep:
    """One step of a past run; ``page`` is its page relative to ``artifacts/runs``, empty when there is none."""

    title: str
    status: str
    seconds: float
    page: str


@dataclass(frozen=True)
class PastRun:
    """One run: when, under which profile, what came of each step in workflow order."""

    run_id: str
    profile: str
    started: str
    finished: str
    steps: tuple[PastStep, ...]

    @property
    def seconds(self) -> float:
        """Wall time of its notebooks together [s]."""
        return sum(step.seconds for step in self.steps)


def past_runs(ws: Path, most: int = 200) -> list[PastRun]:
    """The latest ``most`` runs that left a manifest; a manifest that cannot be read is shown as ERROR."""
    home = runs_dir(ws)
    folders = sorted((p for p in home.iterdir() if p.is_dir()), reverse=True) if home.is_dir() else []
    found = (_past_run(home, folder) for folder in folders[:most])
    return [run for run in found if run.steps]


def _past_run(home: Path, folder: Path) -> PastRun:
    steps: list[PastStep] = []
    told: list[Mapping[str, Any]] = []
    for step in BY_KEY.values():
        path = folder / f"{step.record}.json"
        if not path.is_file():
            continue
        page = path.with_suffix(".html")
        link = page.relative_to(home).as_posix() if page.is_file() else ""
        try:
            manifest = read_json(path)
            steps.append(PastStep(step.title, str(manifest["status"]), float(manifest["seconds"]), link))
            told.append(manifest)
        except (UserError, KeyError, TypeError, ValueError):
            steps.append(PastStep(step.title, "ERROR", 0.0, link))
    return PastRun(
        run_id=folder.name,
        profile=str(told[0].get("profile") or "production") if told else "",
        started=min((str(m.get("started", "")) for m in told), default=""),
        finished=max((str(m.get("finished", "")) for m in told), default=""),
        steps=tuple(steps),
    )
