"""The directories of a workspace that the steps write into."""

from __future__ import annotations

from pathlib import Path

from mmlib._io import UserError

DIRECTORIES = (
    "artifacts/release",
    "artifacts/reports",
    "artifacts/reports/daily",
    "artifacts/baseline",
    "artifacts/md_cache",
    "artifacts/shadow",
    "artifacts/edge/feeds",
    "artifacts/edge/datasets",
    "artifacts/edge/reports",
    "artifacts/edge/ab",
    "artifacts/runs",
    "artifacts/html",
    "docs",
)


def make_directories(ws: Path) -> list[str]:
    """Make every directory that is missing; returns all of them, relative to the workspace.

    Raises:
        UserError: the workspace cannot be written.
    """
    for name in DIRECTORIES:
        try:
            (ws / name).mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise UserError(
                f"{ws / name}: cannot be made ({exc.strerror}); expected a writable workspace"
            ) from exc
    return list(DIRECTORIES)
