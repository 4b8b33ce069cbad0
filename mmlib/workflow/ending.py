"""How a run that is on a live market ends when it is asked to: the session first, then the notebook, then the run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mmlib.workflow import kernels


@contextmanager
def asking_first(live: bool) -> Iterator[list[int]]:
    """While a notebook runs a session on a live market, let Ctrl-C or SIGTERM ask that session to end.

    The session flushes its feeds and states why it ended, and the notebook goes on to its record. Whoever asks twice means at
    once: KeyboardInterrupt, as without this. Yields the signals that came; they reach the main thread only.
    """
    asked: list[int] = []
    if not live or threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, _frame: object) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt
        kernels.interrupt_all()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
