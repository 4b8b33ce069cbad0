"""The locked baseline: a copy of the stage budgets that says by its hash when someone edited it.

Beside the budgets it names the build that made them, the session to measure again, what each run of that build took, and the
feature flags in force. Every lock is kept below ``history/locks``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmlib._io import UserError, read_json, sha256_json, write_json
from mmlib.baseline.budgets import BUDGETS_FILE, Budgets, read_budgets
from mmlib.dtypes import Status
from mmlib.seal import FIELD, fault, sealed

LOCKED_FILE = Path("artifacts") / "baseline" / "stage_budgets.locked.json"
HISTORY = Path("artifacts") / "baseline" / "history" / "locks"
SCHEMA = 1
LINK = "baseline lock"
"""Name of the lock in the sealed chain."""


@dataclass(frozen=True)
class Circumstances:
    """What a lock remembers beside its budgets; a lock made without a session of ours has empty ones.

    ``build_sha256`` names the build kept below ``artifacts/baseline/builds``; ``session`` holds ``spec`` and ``config`` as the
    shadow's sidecar states them; ``runs`` is stage -> p95 of each measured run [ms]; ``flags`` the feature flags.
    """

    build_sha256: str = ""
    session: Mapping[str, Any] = field(default_factory=dict)
    runs: Mapping[str, Any] = field(default_factory=dict)
    flags: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Lock:
    """A locked baseline that was read and whose hash matches."""

    path: Path
    sha256: str
    locked_at: str
    previous_sha256: str
    unproven: bool  # locked although its shadow gates had not passed
    budgets: Budgets
    made: Circumstances = Circumstances()


@dataclass(frozen=True)
class LockState:
    """Whether there is a valid lock, for a gate: ``reason`` says why not."""

    locked: bool
    reason: str
    lock: Lock | None = None


def obstacle(workspace: Path, *, locking: bool = True) -> str:
    """Why the current budgets must not be locked, or not be held against a lock; empty when they may be.

    Raises:
        UserError: the budgets file is there but damaged.
    """
    state = lock_state(workspace)
    if not state.locked and (not locking or (workspace / LOCKED_FILE).exists()):
        return state.reason
    path = workspace / BUDGETS_FILE
    if not path.exists():
        return f"{path}: no such file; run step 2 (shadow) first"
    budgets = read_budgets(path)
    if budgets.n_ticks == 0:
        return f"{path}: holds no ticks; run step 2 (shadow) again"
    if locking and budgets.status is not Status.PASS:
        return f"{path}: its shadow gates say {budgets.status.value}, expected PASS"
    return ""


def lock(
    workspace: Path,
    *,
    unproven: bool = False,
    now: datetime | None = None,
    made: Circumstances | None = None,
) -> Lock:
    """Lock the current stage budgets as the baseline, in place of an earlier lock.

    Locking the same budgets again changes nothing. ``unproven`` locks budgets whose shadow gates did not pass, and
    records that it did.

    Raises:
        UserError: no budgets, no ticks in them, or gates that did not pass; an existing lock that was edited
            (remove that file to start anew).
    """
    path = workspace / BUDGETS_FILE
    if (workspace / LOCKED_FILE).exists():
        read_lock(workspace)  # an edited lock is refused by name, not replaced
    why = obstacle(workspace)
    budgets = read_budgets(path) if path.exists() else None
    if budgets is None or budgets.n_ticks == 0 or (why and not unproven):
        raise UserError(f"{why}; nothing was locked")
    previous = read_lock(workspace) if (workspace / LOCKED_FILE).exists() else None
    payload = budgets.to_dict()
    if previous is not None and previous.budgets.to_dict() == payload:
        return previous
    body: dict[str, Any] = {
        "schema": SCHEMA,
        "locked_at": (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "previous_sha256": previous.sha256 if previous else "",
        "unproven": bool(why),
        "budgets": payload,
        "made": {name: _plain(value) for name, value in vars(made or Circumstances()).items()},
    }
    whole = sealed(workspace, LINK, body | {"sha256": sha256_json(body)})
    stamp = body["locked_at"].replace("-", "").replace(":", "")
    write_json(workspace / HISTORY / f"{stamp}_{whole['sha256'][:8]}.json", whole)
    write_json(workspace / LOCKED_FILE, whole)
    return read_lock(workspace)


def read_lock(workspace: Path) -> Lock:
    """Read the lock and check its hash.

    Raises:
        UserError: not locked yet, damaged, or edited after locking.
    """
    path = workspace / LOCKED_FILE
    if not path.exists():
        raise UserError(f"{path}: no such file; expected a locked baseline (finishline baseline --lock)")
    found = read_lock_file(path)
    if edited := fault(workspace, LINK, _object(read_json(path), path)):
        raise UserError(f"{path}: {edited}; expected the file as it was locked; remove it to lock anew")
    return found


def read_lock_file(path: Path) -> Lock:
    """Read a lock, the current one or one of the history, and check its hash.

    Raises:
        UserError: damaged, or edited after locking.
    """
    payload = _object(read_json(path), path)
    body = {k: v for k, v in payload.items() if k not in ("sha256", FIELD)}
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
        made=_circumstances(body.get("made", {}), path),
        **texts,
    )


def _object(payload: Any, path: Path) -> dict[str, Any]:
    if not isinstance(payload, dict) or payload.get("schema") != SCHEMA:
        raise UserError(f"{path}: schema: expected a locked baseline of schema {SCHEMA}")
    return payload


def lock_state(workspace: Path) -> LockState:
    """The lock's state without raising: missing, damaged and edited locks are reasons."""
    try:
        found = read_lock(workspace)
    except UserError as exc:
        return LockState(False, str(exc))
    note = "locked without passing shadow gates" if found.unproven else f"locked at {found.locked_at}"
    return LockState(True, note, found)


def lock_history(workspace: Path) -> tuple[list[Lock], list[str]]:
    """Every lock that was made, oldest first, and what is wrong with those that cannot be read (they are left out)."""
    found, wrong = [], []
    for path in sorted((workspace / HISTORY).glob("*.json")):
        try:
            found.append(read_lock_file(path))
        except UserError as exc:
            wrong.append(str(exc))
    return found, wrong


def flags_since(workspace: Path, current: Mapping[str, Any]) -> dict[str, str]:
    """Since when each flag has its current value, as far as the locks know.

    The time of the first of the latest locks that agree with ``current``; ``after`` the last lock where that one differs, and
    ``never locked`` where no lock names the flag.
    """
    found: dict[str, str] = {}
    known = [one for one in lock_history(workspace)[0] if one.made.flags]
    for name, value in current.items():
        agreed = ""
        for one in reversed(known):
            if one.made.flags.get(name) != value:
                break
            agreed = one.locked_at
        found[name] = agreed or (f"after {known[-1].locked_at}" if known else "never locked")
    return found


def _circumstances(payload: Any, path: Path) -> Circumstances:
    if not isinstance(payload, dict) or not set(payload) <= set(vars(Circumstances())):
        raise UserError(f"{path}: made: expected build_sha256, session, runs and flags")
    return Circumstances(**payload)


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _text(body: dict[str, Any], key: str, path: Path) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise UserError(f"{path}: {key}: expected text, found {value!r}")
    return value
