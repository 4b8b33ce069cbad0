"""How far the reading of a long file is: told, while it lasts, to whoever listens in this process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from mmlib._io import regular
from mmlib.feeds.oncefile import OnceFile

Progress = Callable[[str, int, int], None]
"""Is told what, how many are done, and of how many; by several threads, maybe at the same time."""

Item = TypeVar("Item")

_LATER_S = 2.0  # that a file takes before it is told of
_MB = 1_000_000
_listeners: list[Progress] = []


@contextmanager
def told(progress: Progress | None) -> Iterator[None]:
    """Tell ``progress`` of the files that take long to read, whichever thread reads them, until the context is left."""
    if progress is None:
        yield
        return
    _listeners.append(progress)
    try:
        yield
    finally:
        _listeners.remove(progress)


class ToldFile(OnceFile):
    """A file to be read from its beginning on, by ``readinto``; that it takes long, and how far it is, is told."""

    def __init__(self, path: Path) -> None:
        super().__init__(regular(path))
        self._what = f"MB of {path.name}"
        self._size = os.fstat(self.fileno()).st_size
        self._done = 0
        self._from = time.monotonic() + _LATER_S

    def readinto(self, buffer: Any) -> int | None:
        n = super().readinto(buffer)
        self._done += n or 0
        if _listeners and time.monotonic() >= self._from:
            for listener in _listeners:
                listener(self._what, self._done // _MB, max(self._size, self._done) // _MB)
        return n


def counted(items: Sequence[Item], what: str, progress: Progress | None) -> Iterator[Item]:
    """The items, each told to be done when the next one is asked for."""
    for done, item in enumerate(items, 1):
        yield item
        if progress is not None:
            progress(what, done, len(items))
