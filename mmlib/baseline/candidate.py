"""Budgets of a session, and what is measured of the current build to hold it against a lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmlib._io import UserError
from mmlib.baseline.budgets import BUDGETS_FILE, Budgets, read_budgets, stage_budgets
from mmlib.baseline.build import Build, keep_build, kept_build, this_build
from mmlib.baseline.fingerprint import fingerprint
from mmlib.baseline.lock import LOCKED_FILE, Circumstances, Lock, read_lock
from mmlib.baseline.rounds import PASSES, ROUNDS, Progress, Side, measure_rounds
from mmlib.dtypes import Status
from mmlib.engine.measure import Measures
from mmlib.feeds.sidecar import read_sidecar
from mmlib.gates.evaluate import Measurement
from mmlib.gates.result import GateResult

SHADOW_FEEDS = "artifacts/shadow/feeds"
_REPLAYABLE = ("simulated", "recording:")


def budgets_of(m: Measures, *, status: Status, created: str, config_sha256: str = "") -> Budgets:
    """Stage budgets of a measured session."""
    source = str(m.sidecar["source"]) if m.sidecar else "a desk's own feeds"
    note = f"cache misses: {m.sidecar['refresh_latency']}" if m.sidecar else "as the desk states them"
    return stage_budgets(
        m.ticks,
        fingerprint=fingerprint(source),
        status=status,
        grade=m.grade,
        source=source,
        created=created,
        config_sha256=config_sha256,
        latency_note=note,
        tick_interval_s=m.sidecar["tick_interval_ms"] / 1e3 if m.sidecar else 0.0,
    )


@dataclass(frozen=True)
class Candidate:
    """What is held against the lock.

    Attributes:
        budgets: of the current shadow run.
        sides: baseline and current build measured in turns; None where that could not be done.
        said: one line that says what was measured, or why it was not.
        session: specification and configuration of the current shadow run; empty where none of ours is there.
        build: the running build.
    """

    budgets: Budgets
    sides: tuple[Side, Side] | None
    said: str
    session: Mapping[str, Any]
    build: Build

    def made(self, ws: Path, flags: Mapping[str, Any]) -> Circumstances:
        """What a lock made now remembers; keeps a copy of the build where it can be measured again.

        Raises:
            UserError: the workspace cannot be written.
        """
        if not self.session:
            return Circumstances(flags=flags)
        keep_build(ws, self.build)
        runs = {name: list(values) for name, values in self.sides[0].runs.items()} if self.sides else {}
        finite = {name: values for name, values in runs.items() if all(v == v for v in values)}
        return Circumstances(self.build.sha256, self.session, finite, flags)


def measure_candidate(
    ws: Path,
    *,
    locking: bool,
    rounds: int = ROUNDS,
    passes: int = PASSES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Candidate:
    """Measure the current build against the locked one, in turns, on the market of the shadow run.

    When a new lock is about to be made the current build takes both sides: what the gates then say is what they say of an
    unchanged build. Without a market that can be replayed (a live session, a desk's own feeds) only the budgets are there.

    Args:
        rounds: runs of each side; 0 measures nothing.

    Raises:
        UserError: no budgets, or the lock or the build that it names was edited.
    """
    current = read_budgets(ws / BUDGETS_FILE)
    session, build = session_of(ws, current), this_build()
    held = read_lock(ws) if (ws / LOCKED_FILE).exists() else None
    anew = locking and (held is None or held.budgets.to_dict() != current.to_dict())

    def without(why: str) -> Candidate:
        return Candidate(current, None, f"{BUDGETS_FILE}, measured {current.created}; {why}", session, build)

    if rounds < 1:
        return without("no rounds were asked for")
    if not session:
        return without("builds were not measured in turns: no session of ours that can be replayed")
    base, base_session = build, dict(session)
    if not anew:
        if held is None or not held.made.build_sha256:
            return without("builds were not measured in turns: the lock names no build")
        base_session = dict(held.made.session)
        if _market(base_session) != _market(session):
            return without("builds were not measured in turns: the lock was made on another session")
        base = build if held.made.build_sha256 == build.sha256 else kept_build(ws, held.made.build_sha256)
    try:
        sides = measure_rounds(
            base,
            build,
            sessions=(base_session, session),
            rounds=rounds,
            passes=passes,
            seed=seed,
            progress=progress,
        )
    except UserError as exc:
        return without(f"builds could not be measured in turns: {exc}")
    what = (
        "the current build on both sides" if base == build else f"build {base.sha256[:8]} and the current one"
    )
    said = f"{rounds} rounds of {passes} passes each, {what}, {current.source}"
    return Candidate(current, sides, said, session, build)


def session_of(ws: Path, budgets: Budgets) -> dict[str, Any]:
    """Specification and configuration of the shadow run behind the budgets; empty where it cannot be replayed."""
    if not budgets.source.startswith(_REPLAYABLE):
        return {}
    sidecar = read_sidecar(ws / SHADOW_FEEDS)
    if sidecar is None or sidecar["source"] != budgets.source or not {"spec", "config"} <= set(sidecar):
        return {}
    return {"spec": dict(sidecar["spec"]), "config": dict(sidecar["config"])}


def _market(session: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be the same for two builds to see the same market."""
    spec = session["spec"]
    names = ("uri", "symbols", "arms", "duration_s", "offset_s", "start_ns", "seed")
    return {name: spec.get(name) for name in names}


def lock_measurement(locked: Lock | None, obstacle: str) -> Measurement:
    """Whether the current budgets are locked, for ``baseline_locked``."""
    if locked is None:
        return Measurement(0.0, n=1, reason=obstacle)
    return Measurement(1.0, n=1, reason=f"locked at {locked.locked_at}", evidence=str(locked.path.name))


def as_notes(results: Iterable[GateResult]) -> list[GateResult]:
    """CI results as information: they guard the next change and do not decide whether the lock stands."""
    return [replace(result, severity="info") for result in results]
