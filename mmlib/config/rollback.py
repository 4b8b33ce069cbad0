"""Roll the feature flags back: the red button, named flags, or one of the gradual options of the workflow."""

from __future__ import annotations

import fcntl
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mmlib._io import UserError, read_json, sha256_file, sha256_json, write_atomic, write_json
from mmlib.config.edit import set_scalar
from mmlib.config.flags import FLAGS, GRADUAL, RED_BUTTON, SNAPSHOT_FILE, read_snapshot
from mmlib.config.load import CONFIG_FILE, SOAK_OVERRIDES_FILE
from mmlib.config.models import Config, flatten
from mmlib.config.relief import RELIEF
from mmlib.yamlfile import read_mapping, suggest

ROLLBACK_FILE = "artifacts/release/ROLLBACK.json"
ROLLBACK_LOG = "artifacts/release/rollbacks.jsonl"
_FILES = (CONFIG_FILE, SOAK_OVERRIDES_FILE)
_RELIEF: dict[str, Callable[[Any, Any], Any]] = {
    "taker_cap.max_taker_share_pct": max,
    "trace.sample_rate": min,
}
"""Relief never tightens: a cap that is higher already, or sampling that is lower already, stays."""

Goal = tuple[str, str, Any]
"""File, dotted key, wanted value."""


@dataclass(frozen=True)
class Edit:
    """One value changed in one file."""

    file: str
    key: str
    old: Any
    new: Any


@dataclass(frozen=True)
class RollbackReport:
    """What a rollback did. ``changed`` holds (key, old, new), ``already`` the keys that were so before."""

    changed: list[tuple[str, Any, Any]]
    already: list[str]
    reason: str
    snapshot_sha256: str | None
    mode: str
    at: str
    edits: list[Edit]
    notes: list[str]
    details: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Builtin types only, as the log keeps it."""
        return asdict(self)


def rollback(
    ws: Path,
    *,
    reason: str,
    flags: Sequence[str] | None = None,
    gradual: str | None = None,
    now: datetime | None = None,
    snapshot_path: Path | None = None,
    details: Mapping[str, Any] | None = None,
) -> RollbackReport:
    """Roll back, once: a second call with the same request changes nothing and writes nothing.

    Without ``flags`` and ``gradual`` it is the red button: the flags go back to what the snapshot holds,
    except those that an earlier rollback still keeps down, and pipeline, md_cache and async_batch go off.
    ``flags`` turns the named switches off; ``gradual`` is ``taker-cap``, ``adaptive`` or ``sampling``. The
    parameter files are edited in place, ``rollbacks.jsonl`` gets a line, ``ROLLBACK.json`` tells a running
    session. ``details`` (metric, value, window, ...) goes into both.

    Raises:
        UserError: no reason, an unknown flag or option, a named snapshot that cannot be read, or a parameter
            file that cannot be changed; nothing has been changed then.
    """
    if not reason.strip():
        raise UserError("--reason: expected why the flags are rolled back, got nothing")
    mode, wanted = _wanted(flags, gradual)
    with _locked(ws):
        present = [file for file in _FILES if file == CONFIG_FILE or (ws / file).is_file()]
        current = {file: flatten(read_mapping(ws / file).tree) for file in present}
        kept = _in_force(ws, _effective(current))
        taken, digest, notes = _snapshot(ws, snapshot_path)
        goals: list[Goal] = []
        if mode == "red button":
            goals = _restored(taken, current, {*kept, *wanted}, notes)
        for file in present:
            goals += [
                (file, key, _relief(key, value, current[file].get(key))) for key, value in wanted.items()
            ]
        edits = _plan(current, goals)
        after = _effective(current, edits)
        if gradual and (loosened := RELIEF[gradual].required) and edits:
            notes.append(f"this loosens a limit; the next Prep fails until {loosened} again")
        changed = {edit.key: (edit.key, edit.old, edit.new) for edit in edits}
        report = RollbackReport(
            changed=list(changed.values()),
            already=[key for key in wanted if key not in changed],
            reason=reason.strip(),
            snapshot_sha256=digest,
            mode=mode,
            at=(now or datetime.now(UTC)).isoformat(),
            edits=edits,
            notes=notes,
            details={key: _finite(value) for key, value in (details or {}).items()},
        )
        sets = {**kept, **{key: after[key] for key in (*changed, *wanted)}}
        if edits or sets != kept:
            _write(ws, report, sets)
    return report


def active_rollback(ws: Path) -> dict[str, Any] | None:
    """The last rollback, None when there was none: ``{schema, id, at, reason, mode, sets, ...}``.

    A running session remembers ``id`` at its start; when it changes, ``sets`` (dotted key -> value) applies.
    A session that starts later finds the same values in the parameter files.

    Raises:
        UserError: the file is there but cannot be read.
    """
    path = ws / ROLLBACK_FILE
    if not path.is_file():
        return None
    payload = read_json(path)
    if not isinstance(payload, dict) or not isinstance(payload.get("sets"), dict) or "id" not in payload:
        raise UserError(f"{path}: expected a rollback record with id and sets")
    return payload


def _wanted(flags: Sequence[str] | None, gradual: str | None) -> tuple[str, dict[str, bool | float]]:
    """Name of the mode and the values it asks for."""
    if flags and gradual:
        raise UserError("--flag, --gradual: expected one of them, got both")
    if gradual:
        if gradual not in GRADUAL:
            raise UserError(
                f"--gradual {gradual}: expected one of {', '.join(GRADUAL)}{suggest(gradual, GRADUAL)}"
            )
        return f"gradual {gradual}", dict(GRADUAL[gradual])
    if flags:
        names = {_switch(name): False for name in flags}
        return f"flags {', '.join(names)}", dict(names)
    return "red button", dict(RED_BUTTON)


def _switch(name: str) -> str:
    """Dotted key of a switch named ``md_cache`` or ``md_cache.enabled``."""
    full = name if name in FLAGS else f"{name}.enabled"
    switches = [flag.name for flag in FLAGS.values() if flag.is_switch]
    if full not in switches:
        short = [flag.removesuffix(".enabled") for flag in switches]
        hint = suggest(name.removesuffix(".enabled"), short)
        raise UserError(f"--flag {name}: not a switch; expected one of {', '.join(short)}{hint}")
    return full


def _effective(current: Mapping[str, Mapping[str, Any]], edits: Sequence[Edit] = ()) -> dict[str, Any]:
    """Every flag as a session with the soak overrides sees it, after some edits."""
    changed = {(edit.file, edit.key): edit.new for edit in edits}
    values = {name: flag.default for name, flag in FLAGS.items()}
    for file, flat in current.items():
        values.update({name: flat[name] for name in FLAGS if name in flat})
        values.update({key: new for (where, key), new in changed.items() if where == file})
    return values


def _plan(current: Mapping[str, Mapping[str, Any]], goals: Sequence[Goal]) -> list[Edit]:
    """The edits that the goals need; an override file is touched only where it spells a key."""
    edits = []
    for file, key, value in goals:
        if file != CONFIG_FILE and key not in current[file]:
            continue
        old = current[file].get(key, FLAGS[key].default)
        if old != value:
            edits.append(Edit(file, key, _finite(old), value))
    return edits


def _relief(key: str, value: bool | float, old: Any) -> bool | float:
    """The wanted value, or the old one where that is relief enough."""
    better = _RELIEF.get(key)
    return better(old, value) if better and isinstance(old, (int, float)) and math.isfinite(old) else value


def _finite(value: Any) -> Any:
    """A value that JSON can hold: what is neither a switch, text nor a finite number becomes text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else str(value)


def _snapshot(ws: Path, path: Path | None) -> tuple[dict[str, Any], str | None, list[str]]:
    """The snapshot (empty when there is none), its SHA-256, and notes; only a named one has to be there."""
    place = path or ws / SNAPSHOT_FILE
    try:
        return read_snapshot(place), sha256_file(place), []
    except UserError as exc:
        if path is not None:
            raise
        return {"restore": {}}, None, [f"nothing to restore from: {exc}"]


def _restored(
    taken: Mapping[str, Any], current: Mapping[str, Mapping[str, Any]], skip: set[str], notes: list[str]
) -> list[Goal]:
    """What the snapshot puts back; values that the models refuse are left out and noted."""
    goals: list[Goal] = []
    for file in current:
        values = taken["restore"].get(file)
        for key, value in values.items() if isinstance(values, dict) else ():
            if key in skip or key not in FLAGS:
                continue
            if _valid(key, value):
                goals.append((file, key, value))
            else:
                notes.append(f"{SNAPSHOT_FILE}: restore.{key}: not a valid value, left as it is")
    return goals


def _valid(key: str, value: Any) -> bool:
    """Whether the models take this value for this flag."""
    section, _, leaf = key.partition(".")
    try:
        Config.model_validate({section: {leaf: value}})
    except ValidationError:
        return False
    return True


def _in_force(ws: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """What earlier rollbacks set and the configuration still has, so nothing turned on again by hand."""
    active = active_rollback(ws) or {"sets": {}}
    return {key: value for key, value in active["sets"].items() if key in values and values[key] == value}


def _write(ws: Path, report: RollbackReport, sets: Mapping[str, Any]) -> None:
    """Edit the files, log, tell running sessions; every new text is made before the first is written."""
    texts: dict[str, str] = {}
    for edit in report.edits:
        text = texts.get(edit.file) or (ws / edit.file).read_bytes().decode("utf-8")
        section, _, key = edit.key.partition(".")
        texts[edit.file] = set_scalar(text, section, key, edit.new, str(ws / edit.file))
    record = {"schema": 1, **report.to_dict(), "sets": dict(sets)}
    record["id"] = sha256_json(record)[:16]
    line = json.dumps(record, sort_keys=True)
    for file, text in texts.items():
        write_atomic(ws / file, text)
    log = ws / ROLLBACK_LOG
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    write_atomic(log, "\n".join([*lines, line]) + "\n")
    write_json(ws / ROLLBACK_FILE, record)


@contextmanager
def _locked(ws: Path) -> Iterator[None]:
    """One rollback at a time: an operator and the monitor of a session may both press the button."""
    path = ws / "artifacts/release/.rollback.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("w")
    except OSError as exc:
        raise UserError(f"{path}: cannot be written ({exc.strerror}); expected a writable workspace") from exc
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
