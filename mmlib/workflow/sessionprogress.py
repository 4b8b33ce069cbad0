"""How far a soak or a dataset is: told by the notebook that runs it, shown by whoever waits for the notebook."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from mmlib.metrics.farm import Shown

PROGRESS_ENV = "FINISHLINE_PROGRESS"
"""Set by the command line: the file in which a step says how far it is."""
_TELL_S, _LOOK_S = 0.5, 0.5


class _Said:
    """The file that `PROGRESS_ENV` names, with what one step said last; without the file nobody listens."""

    def __init__(self, step: str) -> None:
        name = os.environ.get(PROGRESS_ENV, "")
        self._file = Path(name) if name else None
        self._step = step
        self._told = 0.0
        self._lock = threading.Lock()

    @property
    def heard(self) -> bool:
        """Whether somebody listens."""
        return self._file is not None

    def say(self, text: str) -> None:
        """Replace what was said, unless that was a moment ago; any thread may."""
        with self._lock:
            now = time.monotonic()
            if self._file is None or now - self._told < _TELL_S:
                return
            self._told = now
            fresh = self._file.with_suffix(".new")
            try:
                fresh.write_text(f"{self._step}\n{text}", encoding="utf-8")
                fresh.replace(self._file)
            except OSError:
                self._file = None  # nobody listens any more


class Teller:
    """Tells the shares of a session's symbols."""

    def __init__(self) -> None:
        self._said = _Said("soak")
        self._shares: dict[str, float] = {}

    def __call__(self, symbol: str, share: float) -> None:
        """Take a symbol's share of its window, 0 to 1."""
        self._shares[symbol] = share
        self._said.say(", ".join(f"{name} {100 * done:.0f} %" for name, done in self._shares.items()))


class Counter:
    """Tells how many files, megabytes and slices of a dataset are done; where nobody listens, by lines on standard error."""

    def __init__(self) -> None:
        self._said, self._shown = _Said("dataset"), Shown()

    def __call__(self, what: str, done: int, of: int) -> None:
        """See ``metrics.farm.Progress``."""
        if self._said.heard:
            self._said.say(f"{what} {done} of {of}")
        else:
            self._shown(what, done, of)


@contextmanager
def listening(show: Callable[[str, str], None]) -> Iterator[None]:
    """Call ``show`` with a step's key and what it says while the block runs, whenever that changes; never raises."""
    over = threading.Event()
    with TemporaryDirectory(prefix="finishline-progress-") as home:
        file = Path(home) / "said"
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


def _follow(file: Path, show: Callable[[str, str], None], over: threading.Event) -> None:
    said = ""
    while not over.wait(_LOOK_S):
        try:
            text = file.read_text(encoding="utf-8")
        except OSError:
            continue
        if text != said:
            said = text
            step, _, line = text.partition("\n")
            show(step, line)
