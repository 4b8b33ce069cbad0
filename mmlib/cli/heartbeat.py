"""No verb is silent: one that has said nothing for a while says on standard error what it is at, and since when."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO

FIRST_S, AGAIN_S = 1.0, 4.0
"""Silence before the first words, and between further ones [s]."""
_LOOK_S = 0.25
_DOING = {
    "mmlib.feeds": "reading feeds",
    "mmlib.metrics": "reading feeds",
    "mmlib.explore": "reading feeds",
    "mmlib.market": "reading market data",
    "mmlib.engine": "simulating",
    "mmlib.exchange": "simulating",
    "mmlib.strategy": "simulating",
    "mmlib.core": "computing in kernels",
    "mmlib.inference": "computing statistics",
    "mmlib.rollout": "computing statistics",
    "mmlib.baseline": "measuring stages",
    "mmlib.gates": "evaluating gates",
    "mmlib.ops": "preparing reports and alerts",
    "mmlib.paper": "serving the exchange",
    "mmlib.workflow.warming": "compiling kernels, once on this machine",
    "mmlib.workflow.operations": "checking alert rules",
    "mmlib.reports": "writing reports",
    "mmlib.figures": "drawing",
    "mmlib.workflow.pages": "writing pages",
    "mmlib.workflow.site": "writing pages",
    "mmlib.workflow.runner": "executing a notebook",
    "mmlib.workflow.sidebyside": "executing notebooks",
}


class _Heard:
    """A stream of text that knows when it was last written to."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.last: float | None = None

    def write(self, text: str) -> int:
        self.last = time.monotonic()
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def spoken_for(verb: str) -> Iterator[None]:
    """Speak for a verb, while it runs, whenever it is silent for ``FIRST_S`` at its begin or ``AGAIN_S`` later on."""
    before = sys.stdout, sys.stderr
    out, err = _Heard(sys.stdout), _Heard(sys.stderr)
    sys.stdout, sys.stderr = out, err
    begun, over = time.monotonic(), threading.Event()

    def speak() -> None:
        while not over.wait(_LOOK_S):
            heard = [one.last for one in (out, err) if one.last is not None]
            silent = time.monotonic() - max(heard, default=begun)
            if silent > (AGAIN_S if heard else FIRST_S) and not over.is_set():
                err.write(f"    {verb}: {doing()}, {time.monotonic() - begun:.0f} s\n")
                err.flush()

    thread = threading.Thread(target=speak, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        sys.stdout, sys.stderr = before


def doing() -> str:
    """What the program is at, by where its threads are: it compiles, imports, reads, simulates."""
    stacks = {ident: list(_outwards(frame)) for ident, frame in sys._current_frames().items()}
    everywhere = {name for names in stacks.values() for name in names}
    if "numba.core.compiler" in everywhere:
        return "compiling kernels, once on this machine"
    main = stacks.get(threading.main_thread().ident or 0, [])
    if "importlib._bootstrap" in main:
        return "importing packages"
    for name in main:
        for prefix, words in _DOING.items():
            if name == prefix or name.startswith(f"{prefix}."):
                return words
    return "working"


def _outwards(frame: FrameType | None) -> Iterator[str]:
    """Names of the modules of a stack, the innermost first."""
    while frame is not None:
        yield str(frame.f_globals.get("__name__", ""))
        frame = frame.f_back
