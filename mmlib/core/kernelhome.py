"""Where compiled kernels are kept; to ask for it, numba need not be imported."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def kernel_directory() -> str:
    """Directory of all compiled kernels, writable; empty where there is none."""
    base = (
        os.environ.get("FINISHLINE_CACHE") or os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    )
    for root in (Path(base) / "mm-finishline", Path(tempfile.gettempdir()) / f"mm-finishline-{os.getuid()}"):
        path = root / "numba"
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(path, os.W_OK):
            return str(path)
    return ""


DIRECTORY = os.environ.get("NUMBA_CACHE_DIR") or kernel_directory()
"""That of this process; as it was when it was first asked for, whatever becomes of the environment since."""
