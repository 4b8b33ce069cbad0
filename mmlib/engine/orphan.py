"""A worker process that ends when its parent does, however the parent ended."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


def end_with_parent() -> None:
    """Watch the parent from a daemon thread; a killed session leaves no worker behind that writes or waits.

    For a process that multiprocessing started; in any other it does nothing.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)  # nobody is left to hand a result to, and its place belongs to the next session
