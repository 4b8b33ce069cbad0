"""How far a running session is: told by the notebook that runs it, shown by whoever waits for the notebook."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

PROGRESS_ENV = "FINISHLINE_PROGRESS"
"""Set by the command line: the file in which a session says how far it is."""
_TELL_S, _LOOK_S = 0.5, 0.5


class Teller:
    """Keeps the shares of a session's symbols in the file that `PROGRESS_ENV` names; without one it says nothing."""

    def __init__(self) -> None:
        name = os.environ.get(PROGRESS_ENV, "")
        self._file = Path(name) if name else None
        self._shares: dict[str, float] = {}
        self._told = 0.0

    def __call__(self, symbol: str, share: float) -> None:
        """Take a symbol's share of its window, 0 to 1."""
        self._shares[symbol] = share
        now = time.monotonic()
        if self._file is None or now - self._told < _TELL_S:
            return
        self._told = now
        text = ", ".join(f"{name} {100 * done:.0f} %" for name, done in self._shares.items())
        fresh = self._file.with_suffix(".new")
        try:
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(self._file)
        except OSError:
            self._file = None  # nobody listens any more


@contextmanager
def listening(show: Callable[[str], None]) -> Iterator[None]:
    """Call ``show`` with what sessions say while the block runs, whenever it changes; never raises."""
    over = threading.Event()
    with TemporaryDirectory(prefix="finishline-progress-") as home:
        file = Path(home) / "session"
        before = os.environ.get(PROGRESS_ENV)
        os.environ[PROGRESS_ENV] = str(file)
        thread = threading.Thread(target=_follow, args=(file, show, over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            if before is None:
                del os.environ[PROGRESS_ENV]
            else:
                os.environ[PROGRESS_ENV] = before


def _follow(file: Path, show: Callable[[str], None], over: threading.Event) -> None:
    said = ""
    while not over.wait(_LOOK_S):
        try:
            text = file.read_text(encoding="utf-8")
        except OSError:
            continue
        if text != said:
            said = text
            show(text)
