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

from mmlib._io import UserError, write_atomic

NAME = "session.npz"
SCHEMA_VERSION = 1
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
        """As a NumPy archive."""
        arrays: dict[str, Any] = {
            f"{symbol}|{name}": value
            for symbol, state in self.states.items()
            for name, value in state.items()
        }
        buffer = io.BytesIO()
        text = json.dumps({"schema": SCHEMA_VERSION, **self.meta})
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
        states: dict[str, dict[str, np.ndarray]] = {}
        try:
            with np.load(path, allow_pickle=False) as archive:
                meta = json.loads(archive[_META].tobytes())
                for key in archive.files:
                    symbol, bar, name = key.partition("|")
                    if bar:
                        states.setdefault(symbol, {})[name] = archive[key]
        except (OSError, ValueError, KeyError) as exc:
            raise UserError(
                f"{path}: cannot be read ({exc}); expected the state of a session, or remove it"
            ) from exc
        if meta.get("schema") != SCHEMA_VERSION:
            raise UserError(f"{path}: schema {meta.get('schema')!r}; expected {SCHEMA_VERSION}")
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
    write_atomic(directory / NAME, checkpoint.to_bytes())


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
