"""Checks of the machine and the workspace before a long run."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmlib._io import UserError

_PACKAGES = (
    "papermill",
    "scrapbook",
    "pandas",
    "numba",
    "numpy",
    "plotly",
    "duckdb",
    "nbconvert",
    "ipykernel",
)
_DISK_GB = 2.0
_MEMORY_GB = 1.0


@dataclass(frozen=True)
class Check:
    """One thing looked at: whether it is well, and what was found."""

    name: str
    ok: bool
    found: str

    def to_dict(self) -> dict[str, Any]:
        """Builtin types."""
        return asdict(self)


def examine(ws: Path) -> list[Check]:
    """Look at Python, packages, disk, memory, workspace, configuration, gates and the kernel cache."""
    looks: tuple[tuple[str, Callable[[], tuple[bool, str]]], ...] = (
        ("python", _python),
        ("packages", _packages),
        ("workspace", lambda: _writable(ws)),
        ("disk", lambda: _disk(ws)),
        ("memory", _memory),
        ("configuration", lambda: _configuration(ws)),
        ("kernel cache", _kernel_cache),
    )
    return [_look(name, look) for name, look in looks]


def text(checks: list[Check]) -> str:
    """One line a check."""
    return "\n".join(f"{'ok ' if c.ok else 'BAD'}  {c.name:<14} {c.found}" for c in checks)


def _look(name: str, look: Callable[[], tuple[bool, str]]) -> Check:
    try:
        return Check(name, *look())
    except UserError as exc:
        return Check(name, False, str(exc))
    except Exception as exc:  # a broken installation may raise anything on import
        return Check(name, False, f"{type(exc).__name__}: {exc}")


def _python() -> tuple[bool, str]:
    return sys.version_info >= (
        3,
        11,
    ), f"{platform.python_version()} at {sys.executable}; expected 3.11 or later"


def _packages() -> tuple[bool, str]:
    found, missing = [], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    return not missing, f"missing: {', '.join(missing)}" if missing else ", ".join(found)


def _writable(ws: Path) -> tuple[bool, str]:
    try:
        ws.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=ws):
            pass
    except OSError as exc:
        return False, f"{ws}: cannot be written ({exc.strerror})"
    return True, str(ws)


def _disk(ws: Path) -> tuple[bool, str]:
    free = shutil.disk_usage(next(p for p in (ws, *ws.parents) if p.exists())).free / 1e9
    return free >= _DISK_GB, f"{free:.1f} GB free; expected {_DISK_GB:g} GB"


def _memory() -> tuple[bool, str]:
    import psutil

    free = psutil.virtual_memory().available / 1e9
    return free >= _MEMORY_GB, f"{free:.1f} GB free, {os.cpu_count()} cores; expected {_MEMORY_GB:g} GB"


def _configuration(ws: Path) -> tuple[bool, str]:
    from mmlib.config.load import load_config
    from mmlib.gates.spec import load_gates

    if not (ws / "params").is_dir():
        return True, f"{ws / 'params'}: not there yet; the first run copies the shipped parameters"
    load_config(ws)
    return True, f"params/config.yaml is valid; {len(load_gates(ws))} gates"


def _kernel_cache() -> tuple[bool, str]:
    from mmlib.core import _jit

    place = os.environ.get("NUMBA_CACHE_DIR", "")
    return bool(place), f"{place or 'no writable directory'}; jit {'off' if _jit.JIT_DISABLED else 'on'}"
