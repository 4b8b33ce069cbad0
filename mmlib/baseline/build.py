"""A build of this package, kept beside the lock, so that a later change can be measured against it side by side."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mmlib._io import UserError

BUILDS = Path("artifacts") / "baseline" / "builds"
PACKAGE = "mmlib"


@dataclass(frozen=True)
class Build:
    """Source of the package: ``root`` holds the directory ``mmlib``, ``sha256`` is over its Python files."""

    root: Path
    sha256: str


def this_build() -> Build:
    """The build that is running."""
    root = Path(__file__).resolve().parents[2]
    return Build(root, source_sha256(root / PACKAGE))


def keep_build(workspace: Path, build: Build) -> Build:
    """Copy a build's Python files below the workspace; one that is kept already stays as it is.

    Raises:
        UserError: the place cannot be written, or what is kept there was edited.
    """
    home = workspace / BUILDS / build.sha256[:16]
    if home.exists():
        return kept_build(workspace, build.sha256)
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=home.parent, prefix=".build-"))
        for path in _sources(build.root / PACKAGE):
            target = made / path.relative_to(build.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        made.chmod(0o755)
        made.replace(home)
    except OSError as exc:
        raise UserError(f"{home}: cannot be written ({exc.strerror}); expected a writable workspace") from exc
    return kept_build(workspace, build.sha256)


def kept_build(workspace: Path, sha256: str) -> Build:
    """A build that was kept, or the running one when it is the same.

    Raises:
        UserError: it is not there, or a file of it was edited.
    """
    home = workspace / BUILDS / sha256[:16]
    if not (home / PACKAGE).is_dir():
        raise UserError(f"{home}: no such build; expected the one that was locked, or a lock made anew")
    if source_sha256(home / PACKAGE) != sha256:
        raise UserError(f"{home}: was edited; expected the build as it was locked; remove it and lock anew")
    return Build(home, sha256)


def source_sha256(package: Path) -> str:
    """SHA-256 over the Python files of a package directory, by relative path."""
    digest = hashlib.sha256()
    for path in _sources(package):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _sources(package: Path) -> list[Path]:
    return [path for path in sorted(package.rglob("*.py")) if "_shipped" not in path.parts]
