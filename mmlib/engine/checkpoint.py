"""What lets a killed session go on: who it is, how far each symbol came, and what a finished symbol came to."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mmlib._io import UserError, read_json, write_atomic, write_json
from mmlib.config.models import flatten

IDENTITY = "session.json"
_STATE, _DONE = "state.npz", "run.json"
_SOURCES = ("core", "engine", "market")  # what a running session's state depends on


@cache
def code_sha256() -> str:
    """SHA-256 over the sources of the kernels, the engine and the markets: another code cannot take up its state."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256((root / "dtypes.py").read_bytes())
    for name in _SOURCES:
        for path in sorted((root / name).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def keep_identity(partial: Path, identity: Mapping[str, Any]) -> None:
    """State which session works in ``partial``."""
    write_json(partial / IDENTITY, dict(identity))


def same_identity(place: Path, begun: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Refuse to go on with a session that is not the one that was begun.

    Raises:
        UserError: naming what differs.
    """
    before, now = flatten(dict(begun)), flatten(dict(identity))
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    if not changed:
        return
    shown = [f"{key} is {now.get(key, 'absent')}, was {before.get(key, 'absent')}" for key in changed[:3]]
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    raise UserError(
        f"{place}: holds a session that began differently: {'; '.join(shown)}{more}; "
        "expected the same to resume, or start without --resume"
    )


def read_identity(partial: Path) -> dict[str, Any] | None:
    """What `keep_identity` wrote; None where nothing was begun.

    Raises:
        UserError: the file is damaged.
    """
    path = partial / IDENTITY
    return dict(read_json(path)) if path.is_file() else None


def keep_state(home: Path, state: Mapping[str, np.ndarray]) -> None:
    """Replace a symbol's checkpoint, in one step."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(state))
    write_atomic(home / _STATE, buffer.getvalue())


def read_state(home: Path) -> dict[str, np.ndarray] | None:
    """A symbol's checkpoint, None before the first.

    Raises:
        UserError: the file is damaged.
    """
    path = home / _STATE
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as held:
            return dict(held)
    except (OSError, ValueError, KeyError) as exc:
        raise UserError(f"{path}: no checkpoint ({exc}); start without --resume") from exc


def keep_done(home: Path, facts: Mapping[str, Any]) -> None:
    """State that a symbol's replay has ended, and what it came to."""
    write_json(home / _DONE, dict(facts))


def read_done(home: Path) -> dict[str, Any] | None:
    """What `keep_done` wrote; None while the symbol is under way."""
    path = home / _DONE
    return dict(read_json(path)) if path.is_file() else None


def nested(groups: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays of several owners in one mapping, as ``owner/name``."""
    return {f"{owner}/{name}": array for owner, held in groups.items() for name, array in held.items()}


def owned(state: Mapping[str, np.ndarray], owner: str) -> dict[str, np.ndarray]:
    """One owner's arrays out of a `nested` mapping."""
    return {name.partition("/")[2]: array for name, array in state.items() if name.startswith(f"{owner}/")}
