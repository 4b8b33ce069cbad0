"""Hashes that say what a record was made from: package source, parameter files, outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from mmlib._io import sha256_file

PARAM_FILES = ("params/config.yaml", "params/config.soak_overrides.yaml", "params/gates.yaml")
"""Files whose change makes earlier results stale."""


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

    A path that does not exist is listed as ``missing``: a record never claims a file that was not written.
    """
    base = ws.resolve()
    hashes: dict[str, str] = {}
    for given in paths:
        path = (base / given).resolve()
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            name = file.relative_to(base).as_posix() if file.is_relative_to(base) else str(file)
            hashes[name] = sha256_file(file) if file.is_file() else "missing"
    return hashes
