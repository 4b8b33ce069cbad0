"""The index of runs: which run holds the latest record of each step, updated under a file lock."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmlib._io import UserError, read_json, write_json
from mmlib.seal import sealed
from mmlib.workflow.times import run_stamp

SCHEMA = 1
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def runs_dir(ws: Path) -> Path:
    """Where executed notebooks are kept."""
    return ws / "artifacts" / "runs"


def check_run_id(run_id: str) -> str:
    """Return ``run_id`` unchanged when it is safe as a directory name.

    Raises:
        UserError: it is not.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise UserError(f"run id {run_id!r}: expected letters, digits, '-' and '_' only, at most 64")
    return run_id


def new_run(ws: Path) -> str:
    """Make the directory of a new run and return its identifier; two runs in one second get different ones.

    Raises:
        UserError: the workspace cannot be written.
    """
    stamp = run_stamp()
    for attempt in range(1000):
        run_id = stamp if attempt == 0 else f"{stamp}-{attempt + 1}"
        try:
            (runs_dir(ws) / run_id).mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as exc:
            where = runs_dir(ws)
            raise UserError(
                f"{where}: cannot be written ({exc.strerror}); expected a writable workspace"
            ) from exc
        return run_id
    raise UserError(f"{runs_dir(ws)}: no free run identifier for {stamp}")


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = (directory / ".lock").open("a")
    except OSError as exc:
        raise UserError(
            f"{directory}: cannot be written ({exc.strerror}); expected a writable workspace"
        ) from exc
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def read_index(ws: Path) -> dict[str, dict[str, Any]]:
    """Step key -> {run_id, path (below artifacts/runs), sha256, finished, ...}; empty when nothing ran.

    Raises:
        UserError: the index exists and is not what was written.
    """
    path = runs_dir(ws) / "index.json"
    if not path.exists():
        return {}
    payload = read_json(path)
    steps = payload.get("steps") if isinstance(payload, dict) else None
    if not isinstance(steps, dict) or not all(isinstance(entry, dict) for entry in steps.values()):
        raise UserError(f"{path}: 'steps': expected a mapping of step names to entries")
    return steps


def update_index(ws: Path, step: str, entry: dict[str, Any]) -> None:
    """Make ``entry`` the latest record of ``step``, sealed where there is a key.

    Raises:
        UserError: the workspace cannot be written.
    """
    with _locked(runs_dir(ws)):
        steps = read_index(ws)
        steps[step] = sealed(ws, step, entry)
        write_json(runs_dir(ws) / "index.json", {"schema": SCHEMA, "steps": steps})
