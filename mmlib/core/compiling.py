"""Who wants to know that kernels are compiled, and whether all there are have been; importable without numba."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

from mmlib.core.kernelhome import DIRECTORY

Listener = Callable[[str, bool], None]
"""Takes a kernel's full name, and whether it is done (False: it begins)."""
LISTENERS: list[Listener] = []
"""Those of this process."""


def tell(kernel: str, *, done: bool) -> None:
    """Tell everybody that a kernel's compilation begins, or is done."""
    for listener in tuple(LISTENERS):
        listener(kernel, done)


@contextmanager
def heard(listener: Listener) -> Iterator[None]:
    """Have a listener told of what is compiled meanwhile."""
    LISTENERS.append(listener)
    try:
        yield
    finally:
        LISTENERS.remove(listener)


def is_warm(families: Iterable[str]) -> bool:
    """Whether all kernels of these families have been compiled or loaded here, by these sources on this processor."""
    return not DIRECTORY or all(_mark(family).is_file() for family in families)


def note_warm(family: str) -> None:
    """Keep that they have been."""
    if DIRECTORY:
        with suppress(OSError):
            _mark(family).parent.mkdir(parents=True, exist_ok=True)
            _mark(family).touch()


def _mark(family: str) -> Path:
    return Path(DIRECTORY, "warm", f"{family}-{_state()}")


def _state() -> str:
    """What kernels hang on: all sources (types come from callers), versions, processor, settings of numba."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {platform.machine()}".encode())
    for name in ("numba", "llvmlite", "numpy"):
        digest.update(version(name).encode())
    for name in sorted(os.environ):
        if name.startswith("NUMBA_") and name != "NUMBA_CACHE_DIR":
            digest.update(f"{name}={os.environ[name]}".encode())
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        digest.update("".join(sorted({x for x in lines if x.startswith(("model name", "flags"))})).encode())
    package = Path(__file__).resolve().parents[1]
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]
