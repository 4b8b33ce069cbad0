"""Budgets of a session, and the run that a lock is compared with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from mmlib._io import write_json
from mmlib.baseline.budgets import BUDGETS_FILE, Budgets, read_budgets, stage_budgets
from mmlib.baseline.fingerprint import fingerprint
from mmlib.baseline.lock import Lock
from mmlib.dtypes import Status
from mmlib.engine.measure import Measures, measure
from mmlib.engine.session import repeat_session
from mmlib.feeds.sidecar import read_sidecar
from mmlib.gates.evaluate import Measurement
from mmlib.gates.result import GateResult

SHADOW_FEEDS = "artifacts/shadow/feeds"
REPEAT_FEEDS = "artifacts/shadow/repeat"
CANDIDATE_FILE = "artifacts/baseline/stage_budgets.candidate.json"


def budgets_of(m: Measures, *, status: Status, created: str, config_sha256: str = "") -> Budgets:
    """Stage budgets of a measured session."""
    source = str(m.sidecar["source"]) if m.sidecar else "a desk's own feeds"
    note = f"cache misses: {m.sidecar['refresh_latency']}" if m.sidecar else "as the desk measured them"
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


def candidate_budgets(ws: Path, locked: Lock, *, created: str) -> tuple[Budgets, str]:
    """What to hold against the lock, and one line that says what it is.

    The current stage budgets, when a shadow run has replaced the locked ones. Otherwise the locked session is run once
    more, so that an unchanged build is measured against itself and not compared with its own numbers.
    """
    current = read_budgets(ws / BUDGETS_FILE)
    if current.to_dict() != locked.budgets.to_dict():
        return current, f"{BUDGETS_FILE}, measured {current.created}"
    sidecar = read_sidecar(ws / SHADOW_FEEDS)
    if sidecar is None or sidecar["source"] != current.source:
        absent = f"no session on {current.source} is there to run again"
        return current, f"{BUDGETS_FILE}, the locked run itself ({absent})"
    m = measure(repeat_session(ws / SHADOW_FEEDS, ws / REPEAT_FEEDS))
    repeated = budgets_of(m, status=current.status, created=created, config_sha256=current.config_sha256)
    write_json(ws / CANDIDATE_FILE, repeated.to_dict())
    return repeated, f"{CANDIDATE_FILE}, the locked session run once more"


def lock_measurement(locked: Lock | None, obstacle: str) -> Measurement:
    """Whether the current budgets are locked, for ``baseline_locked``."""
    if locked is None:
        return Measurement(0.0, n=1, reason=obstacle)
    return Measurement(1.0, n=1, reason=f"locked at {locked.locked_at}", evidence=str(locked.path.name))


def as_notes(results: Iterable[GateResult]) -> list[GateResult]:
    """CI results as information: they guard the next change and do not decide whether the lock stands."""
    return [replace(result, severity="info") for result in results]
