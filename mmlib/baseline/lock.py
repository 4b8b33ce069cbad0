"""The locked baseline: a copy of the stage budgets that says by its hash when someone edited it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmlib._io import UserError, read_json, sha256_json, write_json
from mmlib.baseline.budgets import BUDGETS_FILE, Budgets, read_budgets
from mmlib.dtypes import Status

LOCKED_FILE = Path("artifacts") / "baseline" / "stage_budgets.locked.json"
SCHEMA = 1


@dataclass(frozen=True)
class Lock:
    """A locked baseline that was read and whose hash matches."""

    path: Path
    sha256: str
    locked_at: str
    previous_sha256: str
    unproven: bool  # locked although its shadow gates had not passed
    budgets: Budgets


@dataclass(frozen=True)
class LockState:
    """Whether there is a valid lock, for a gate: ``reason`` says why not."""

    locked: bool
    reason: str
    lock: Lock | None = None


def obstacle(workspace: Path) -> str:
    """Why the current budgets must not be locked; empty when they may be.

    Raises:
        UserError: the budgets file is there but damaged.
    """
    path = workspace / BUDGETS_FILE
    if not path.exists():
        return f"{path}: no such file; run step 2 (shadow) first"
    budgets = read_budgets(path)
    if budgets.n_ticks == 0:
        return f"{path}: holds no ticks; run step 2 (shadow) again"
    if budgets.status is not Status.PASS:
        return f"{path}: its shadow gates say {budgets.status.value}, expected PASS"
    return ""


def lock(workspace: Path, *, unproven: bool = False, now: datetime | None = None) -> Lock:
    """Lock the current stage budgets as the baseline, in place of an earlier lock.

    Locking the same budgets again changes nothing. ``unproven`` locks budgets whose shadow gates did not pass, and
    records that it did.

    Raises:
        UserError: no budgets, no ticks in them, or gates that did not pass; an existing lock that was edited
            (remove that file to start anew).
    """
    path = workspace / BUDGETS_FILE
    why = obstacle(workspace)
    budgets = read_budgets(path) if path.exists() else None
    if budgets is None or budgets.n_ticks == 0 or (why and not unproven):
        raise UserError(f"{why}; nothing was locked")
    previous = read_lock(workspace) if (workspace / LOCKED_FILE).exists() else None
    payload = budgets.to_dict()
    if previous is not None and previous.budgets.to_dict() == payload:
        return previous
    body = {
        "schema": SCHEMA,
        "locked_at": (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "previous_sha256": previous.sha256 if previous else "",
        "unproven": bool(why),
        "budgets": payload,
    }
    write_json(workspace / LOCKED_FILE, body | {"sha256": sha256_json(body)})
    return read_lock(workspace)


def read_lock(workspace: Path) -> Lock:
    """Read the lock and check its hash.

    Raises:
        UserError: not locked yet, damaged, or edited after locking.
    """
    path = workspace / LOCKED_FILE
    if not path.exists():
        raise UserError(f"{path}: no such file; expected a locked baseline (finishline baseline --lock)")
    payload = read_json(path)
    if not isinstance(payload, dict) or payload.get("schema") != SCHEMA:
        raise UserError(f"{path}: schema: expected a locked baseline of schema {SCHEMA}")
    body = {k: v for k, v in payload.items() if k != "sha256"}
    if payload.get("sha256") != sha256_json(body):
        raise UserError(
            f"{path}: its hash does not match its content; expected the file as it was locked; remove it to lock anew"
        )
    texts = {k: _text(body, k, path) for k in ("locked_at", "previous_sha256")}
    return Lock(
        path=path,
        sha256=payload["sha256"],
        unproven=body.get("unproven") is not False,
        budgets=Budgets.from_dict(body.get("budgets"), path),
        **texts,
    )


def lock_state(workspace: Path) -> LockState:
    """The lock's state without raising: missing, damaged and edited locks are reasons."""
    try:
        found = read_lock(workspace)
    except UserError as exc:
        return LockState(False, str(exc))
    note = "locked without passing shadow gates" if found.unproven else f"locked at {found.locked_at}"
    return LockState(True, note, found)


def _text(body: dict[str, Any], key: str, path: Path) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise UserError(f"{path}: {key}: expected text, found {value!r}")
    return value
