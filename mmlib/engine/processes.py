"""Where further processes come from: from the fork server that this one came from, which has imported much, else fresh."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext
from types import ModuleType

_PATIENCE_S, _LOOK_S = 20.0, 0.05


def process_context() -> ForkServerContext | SpawnContext:
    """Context of processes for work; those of a fork server have its environment, not that of this process."""
    if forkserver.get_inherited_fds() is None:
        return multiprocessing.get_context("spawn")
    return multiprocessing.get_context("forkserver")


def reuse_fork_server() -> None:
    """Let a process that came from a fork server use that one for its own children, instead of a new one.

    ``ensure_running`` promises as much, but knows a server only by being its parent. The server lives as long as this process,
    which holds the end of a pipe by which the server sees it. From Python 3.14 on a server obeys only who has its key, which is
    its parent; there each process begins a server of its own.
    """
    if sys.version_info >= (3, 14):
        return
    server = forkserver.ensure_running.__self__  # type: ignore[attr-defined]
    server.ensure_running = resource_tracker.ensure_running


@contextmanager
def without_main() -> Iterator[None]:
    """Processes started meanwhile do not run the program of this one again for the sake of its names, as they otherwise do."""
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def started(make: Callable[[], ForkServerProcess]) -> ForkServerProcess:
    """Start a process by the fork server, and by the next one where that was killed.

    A killed server takes a moment to end, longer where it has many threads; until then it is not replaced, and does not answer.

    Args:
        make: makes the process; called again for each try.

    Raises:
        EOFError, ConnectionError: no server answers, nor does one that would replace it.
    """
    until = time.monotonic() + _PATIENCE_S
    while True:
        process = make()
        try:
            with without_main():
                process.start()
            return process
        except (EOFError, ConnectionError):
            if time.monotonic() > until:
                raise
            time.sleep(_LOOK_S)
