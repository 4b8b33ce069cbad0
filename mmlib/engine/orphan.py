"""A worker process that ends when its parent does, however the parent ended."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import wait

_SET_DEATH_SIGNAL, _DEFAULT = 1, 0
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def end_with_parent() -> None:
    """Watch the parent from a daemon thread; a killed session leaves no worker behind that writes or waits.

    For a process that multiprocessing started; in any other it does nothing.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def die_with_parent() -> None:
    """For ``preexec_fn`` of a program that is no Python of ours: the system asks it to end when the parent has, on Linux.

    Source: prctl(2), PR_SET_PDEATHSIG. It holds for the thread that starts the program, so that is to be a lasting one. Whoever
    ignores SIGTERM hands that on to what it starts, which would then outlive it: the default is set again.
    """
    if _LIBC is not None:
        _LIBC.signal(signal.SIGTERM, _DEFAULT)
        _LIBC.prctl(_SET_DEATH_SIGNAL, signal.SIGTERM)


def _watch(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)  # nobody is left to hand a result to, and its place belongs to the next session
