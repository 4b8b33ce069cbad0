"""The sidecar ``feeds.json``: which session wrote these feeds, from what, and whether it completed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mmlib._io import UserError, read_json, write_json
from mmlib.dtypes import Grade
from mmlib.feeds.origin import read_declaration, weakest_stated

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


def stated(directory: Path, sources: Collection[str] = ()) -> dict[str, Any] | None:
    """What is stated of a directory's feeds: its sidecar, or what the desk states of its own; None when there are none.

    The grade is the weakest of what sidecar and lines state. Without a sidecar it is live only where a declaration says so.

    Args:
        sources: what lines state, from who has read every one of them (``Feed.sources``); otherwise some are looked at.

    Raises:
        UserError: a sidecar or a declaration that cannot be trusted.
    """
    sidecar = read_sidecar(directory)
    if sidecar is None and (not directory.is_dir() or not any(directory.glob("*.jsonl*"))):
        return None
    of_lines = weakest_stated(directory, sources)
    if sidecar is not None:
        known = [Grade(sidecar["grade"]), *([of_lines] if of_lines else [])]
        return {**sidecar, "grade": str(Grade.weakest(known))}
    signed = read_declaration(directory)
    said = "a desk's own feeds, " + (signed.text() if signed else str(Grade.STATED))
    if of_lines is not None and of_lines not in (Grade.STATED, Grade.LIVE):
        return {
            "grade": str(of_lines),
            "source": f"feeds without {NAME}, whose lines state: {of_lines}",
            "refresh_latency": f"unknown: {NAME} is missing",
        }
    return {
        "grade": str(Grade.LIVE if signed else Grade.STATED),
        "source": said,
        "refresh_latency": "none: it is part of what the desk states",
        "of_desk": True,
    }


def grade_of(directory: Path, sources: Collection[str] = ()) -> Grade:
    """Evidence grade of a directory, see ``stated``.

    Raises:
        UserError: a sidecar or a declaration that cannot be trusted.
    """
    found = stated(directory, sources)
    return Grade.STATED if found is None else Grade(found["grade"])


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
