"""What lets a killed session go on: who it is, how far each symbol came, and what a finished symbol came to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mmlib import intact
from mmlib._io import UserError
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
    intact.write_json(partial / IDENTITY, identity)


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
    """What `keep_identity` wrote; None where nothing was begun, or the file is damaged."""
    return _or_none(intact.read_json, partial / IDENTITY)


def keep_state(home: Path, state: Mapping[str, np.ndarray]) -> None:
    """Replace a symbol's checkpoint, in one step."""
    intact.write_arrays(home / _STATE, state)


def read_state(home: Path) -> dict[str, np.ndarray] | None:
    """A symbol's checkpoint, None before the first, or where it is damaged: the symbol is replayed from its start then."""
    return _or_none(intact.read_arrays, home / _STATE)


def keep_done(home: Path, facts: Mapping[str, Any]) -> None:
    """State that a symbol's replay has ended, and what it came to."""
    intact.write_json(home / _DONE, {"facts": dict(facts), "rows": _crcs(home)})


def read_done(home: Path) -> dict[str, Any] | None:
    """What `keep_done` wrote; None while the symbol is under way, or where it or the symbol's rows are damaged."""
    held = _or_none(intact.read_json, home / _DONE)
    return dict(held["facts"]) if held is not None and held.get("rows") == _crcs(home) else None


def _crcs(home: Path) -> dict[str, int]:
    """CRC-32 of the files of a symbol's rows."""
    return {path.name: intact.crc_of(path) for path in sorted(home.glob("*.rows"))}


def _or_none(read: Callable[[Path], dict[str, Any]], path: Path) -> dict[str, Any] | None:
    try:
        return read(path)
    except intact.Damaged:
        return None


def nested(groups: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays of several owners in one mapping, as ``owner/name``."""
    return {f"{owner}/{name}": array for owner, held in groups.items() for name, array in held.items()}


def owned(state: Mapping[str, np.ndarray], owner: str) -> dict[str, np.ndarray]:
    """One owner's arrays out of a `nested` mapping."""
    return {name.partition("/")[2]: array for name, array in state.items() if name.startswith(f"{owner}/")}
