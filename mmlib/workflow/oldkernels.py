"""Removes compiled kernels that nobody has used for a month: a change of the sources leaves those of before behind."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mmlib.core import compiling
from mmlib.core.kernelhome import DIRECTORY

KEPT_DAYS = 30
_OF_A_MODULE = re.compile(r"[\w.]+-[0-9a-f]{16}")
_MARKS = "warm"


def note_used(family: str, places: Iterable[str] | None = None) -> None:
    """Keep that a family is used now and, where known, the names of the directories that its kernels lie in."""
    if DIRECTORY:
        with suppress(OSError):
            mark = compiling._mark(family)
            if places is None:
                mark.touch()
            else:
                mark.write_text("\n".join(places), encoding="utf-8")


def prune(root: Path, now_s: float | None = None) -> list[str]:
    """Remove what no family used within ``KEPT_DAYS`` lists, and nobody wrote to since; names of the directories.

    Each file is removed whole, so a process that reads there meanwhile finds a kernel or compiles it.

    Args:
        root: directory of all compiled kernels.
        now_s: seconds since 1970, by default those of the clock.
    """
    since_s = (time.time() if now_s is None else now_s) - KEPT_DAYS * 86_400
    kept, removed = set[str](), []
    for mark in root.joinpath(_MARKS).glob("*"):
        with suppress(OSError):
            if mark.stat().st_mtime < since_s:
                mark.unlink()  # a family whose kernels may go is looked at again before it is used
            else:
                kept |= set(mark.read_text(encoding="utf-8").split())
    for place in root.glob("*"):
        with suppress(OSError):
            ours = _OF_A_MODULE.fullmatch(place.name) and place.is_dir() and not place.is_symlink()
            if ours and place.name not in kept and _written_s(place) < since_s:
                shutil.rmtree(place, ignore_errors=True)
                removed.append(place.name)
    return sorted(removed)


def _written_s(place: Path) -> float:
    """When a directory or a file in it was last written."""
    return max(path.stat().st_mtime for path in (place, *place.iterdir()))
