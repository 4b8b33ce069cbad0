"""The sidecar ``feeds.json``: which session wrote these feeds, from what, and whether it completed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmlib._io import UserError, read_json, write_json
from mmlib.dtypes import Grade

NAME = "feeds.json"
SCHEMA_VERSION = 1
REQUIRED = (
    "schema",
    "grade",
    "source",
    "symbols",
    "arms",
    "seed",
    "started",
    "finished",
    "complete",
    "tick_interval_ms",
)


def write_sidecar(directory: Path, facts: Mapping[str, Any]) -> Path:
    """Write the sidecar atomically; ``schema`` is added.

    Args:
        directory: where the feeds are.
        facts: grade, source, symbols, arms, seed, started, finished, complete, tick_interval_ms, and whatever
            else the session wants to state (refresh_latency, quality).

    Raises:
        UserError: a required key is missing, the grade is unknown, or the place cannot be written.
    """
    payload = {"schema": SCHEMA_VERSION, **facts}
    _check(directory / NAME, payload)
    return write_json(directory / NAME, payload)


def read_sidecar(directory: Path) -> dict[str, Any] | None:
    """The sidecar, or None when the directory has none (a desk's own feeds).

    Raises:
        UserError: unreadable, not JSON, or not a sidecar.
    """
    path = directory / NAME
    if not path.exists():
        return None
    payload = read_json(path)
    _check(path, payload)
    return dict(payload)


def stated(directory: Path) -> dict[str, Any] | None:
    """What is stated of a directory's feeds: its sidecar, or that a desk declared them; None when there are none."""
    sidecar = read_sidecar(directory)
    if sidecar is not None or not directory.is_dir() or not any(directory.glob("*.jsonl*")):
        return sidecar
    return {
        "grade": Grade.LIVE,
        "source": "a desk's own feeds",
        "refresh_latency": "none: the desk's bot measured it",
    }


def grade_of(directory: Path) -> Grade:
    """Evidence grade of a directory: what its session stated; without a sidecar live, as the desk declares.

    Raises:
        UserError: a sidecar that cannot be trusted.
    """
    payload = read_sidecar(directory)
    return Grade.LIVE if payload is None else Grade(payload["grade"])


def _check(path: Path, payload: object) -> None:
    if not isinstance(payload, dict):
        raise UserError(f"{path}: expected a mapping, got {type(payload).__name__}")
    for key in REQUIRED:
        if key not in payload:
            raise UserError(f"{path}: {key}: missing; expected {', '.join(REQUIRED)}")
    if payload["schema"] != SCHEMA_VERSION:
        raise UserError(f"{path}: schema: expected {SCHEMA_VERSION}, got {payload['schema']!r}")
    if payload["grade"] not in list(Grade):
        raise UserError(f"{path}: grade: expected one of {', '.join(Grade)}; got {payload['grade']!r}")
    if not isinstance(payload["complete"], bool):
        raise UserError(f"{path}: complete: expected true or false, got {payload['complete']!r}")
