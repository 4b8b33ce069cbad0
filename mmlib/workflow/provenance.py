"""What a record was made from: hashes of package source, parameter files and data; versions; the command."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mmlib import __version__
from mmlib._io import sha256_file

SOAK_OVERRIDES = "params/config.soak_overrides.yaml"
PARAM_FILES = ("params/config.yaml", SOAK_OVERRIDES, "params/gates.yaml")
"""Files whose change makes earlier results stale."""
COMMAND_ENV = "FINISHLINE_COMMAND"
"""Set by the command line: what the user typed, for the record."""
MISSING = "missing"
_PACKAGES = ("numpy", "numba", "pandas", "duckdb", "plotly", "papermill")


@cache
def versions() -> dict[str, str]:
    """Name -> version of Python, this package and what its numbers rest on."""
    found = {"mm-finishline": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def command() -> str:
    """The command line that led here, empty for a notebook run by hand."""
    return os.environ.get(COMMAND_ENV, "")


@cache
def code_sha256() -> str:
    """SHA-256 over the package's own source files, by relative path."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        if "_shipped" not in path.parts:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def param_hashes(ws: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of the parameter files that exist."""
    return {rel: sha256_file(ws / rel) for rel in PARAM_FILES if (ws / rel).is_file()}


def hash_files(ws: Path, paths: Iterable[Path | str]) -> dict[str, str]:
    """Path below the workspace (absolute when outside) -> SHA-256; directories stand for the files in them.

    A path that does not exist is listed as ``missing``: a record never claims a file that was not written. Feeds are large, so
    files are read side by side.
    """
    base = ws.resolve()
    named: dict[str, Path] = {}
    for given in paths:
        path = (base / given).resolve()
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            name = file.relative_to(base).as_posix() if file.is_relative_to(base) else str(file)
            named[name] = file
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        digests = pool.map(lambda file: sha256_file(file) if file.is_file() else MISSING, named.values())
    return dict(zip(named, digests, strict=True))


def stamps(ws: Path, names: Iterable[str]) -> dict[str, str]:
    """Path as ``hash_files`` names it -> size and time of change, by which an untouched file is known without reading."""
    found = {}
    for name in names:
        path = ws / name
        if path.is_file():
            status = path.stat()
            found[name] = f"{status.st_size}:{status.st_mtime_ns}"
    return found
