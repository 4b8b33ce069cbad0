"""Where what was read once is kept; to ask for it, nothing that reads need be imported."""

from __future__ import annotations

import os
from pathlib import Path


def cache_home() -> Path:
    """Where decoded recordings are kept."""
    base = os.environ.get("FINISHLINE_CACHE") or os.environ.get("XDG_CACHE_HOME")
    return Path(base or Path.home() / ".cache") / "mm-finishline" / "recordings"
