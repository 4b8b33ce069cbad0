"""The synced second: what a session needs to go on after a kill, and how far its files were whole then."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmlib import intact
from mmlib._io import UserError

NAME = "session.npz"
SCHEMA_VERSION = 2
_META = "meta"


@dataclass(frozen=True)
class Checkpoint:
    """A session at a moment at which everything before it was on disk.

    Attributes:
        meta: identity of the session, its counters, and ``files`` (name to size) as they were.
        states: by symbol, see `SymbolBot.save`.
    """

    meta: dict[str, Any]
    states: dict[str, dict[str, np.ndarray]]

    def to_bytes(self) -> bytes:
        """As a NumPy archive; each array holds that of every symbol, in the order of the meta's ``symbols``."""
        names = next(iter(self.states.values()), {})
        arrays: dict[str, Any] = {
            name: np.stack([state[name] for state in self.states.values()]) for name in names
        }
        buffer = io.BytesIO()
        text = json.dumps({"schema": SCHEMA_VERSION, "symbols": list(self.states), **self.meta})
        np.savez(buffer, **{_META: np.frombuffer(text.encode(), np.uint8), **arrays})
        return buffer.getvalue()

    @classmethod
    def read(cls, directory: Path) -> Checkpoint | None:
        """The checkpoint of a directory, None when it has none.

        Raises:
            UserError: it cannot be read, or another version wrote it.
        """
        path = directory / NAME
        if not path.exists():
            return None
        try:
            arrays = intact.read_arrays(path)
            meta = json.loads(arrays.pop(_META).tobytes())
        except (OSError, KeyError, ValueError) as exc:
            why = getattr(exc, "strerror", None) or exc
            raise UserError(
                f"{path}: cannot be read ({why}); expected the state of a session, or remove it"
            ) from exc
        if meta.get("schema") != SCHEMA_VERSION:
            raise UserError(f"{path}: schema {meta.get('schema')!r}; expected {SCHEMA_VERSION}")
        states = {
            symbol: {name: array[k] for name, array in arrays.items()}
            for k, symbol in enumerate(meta.pop("symbols"))
        }
        return cls(meta, states)


def file_sizes(directory: Path) -> dict[str, int]:
    """Name to size of the feeds of a directory."""
    return {path.name: path.stat().st_size for path in sorted(directory.glob("*.jsonl"))}


def store(directory: Path, checkpoint: Checkpoint) -> None:
    """Sync the feeds that the checkpoint names, then write it.

    Raises:
        UserError: the place cannot be written.
    """
    for name in checkpoint.meta["files"]:
        fd = os.open(directory / name, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    intact.write_blob(directory / NAME, checkpoint.to_bytes())


def cut_back(directory: Path, files: Mapping[str, int]) -> int:
    """Bring feeds back to what the checkpoint says, for what came later is not in the state; bytes that went.

    Raises:
        UserError: a file is missing or shorter than it was.
    """
    lost = 0
    for path in sorted(directory.glob("*.jsonl")):
        size = files.get(path.name, 0)
        lost += path.stat().st_size - size
        if size == 0:
            path.unlink()
    for name, size in files.items():
        path = directory / name
        found = path.stat().st_size if path.exists() else -1
        if found < size:
            raise UserError(f"{path}: {max(found, 0)} bytes; expected the {size} that the session had synced")
        if size:
            os.truncate(path, size)
    return lost
