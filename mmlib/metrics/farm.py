"""Who works tasks out: threads of this process, processes on this machine, or a cluster; always with the same result."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from mmlib._extras import need
from mmlib._io import UserError
from mmlib.feeds.progress import Progress as Progress

Task = TypeVar("Task")
Result = TypeVar("Result")

_RETRIES = 5
ANY_PORT = {"dashboard_address": "127.0.0.1:0"}
"""For the scheduler's HTTP server, which runs without a dashboard, too; two farms cannot share its default, 8787."""
_REACH_S = 30
_SHOWN_S = 2.0


class Farm(Protocol):
    """Works tasks out."""

    def each(
        self, work: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Generator[tuple[int, Result], None, None]:
        """Number of a task and its result, in the order in which they come; what failed is raised.

        Args:
            work: of a module, and tasks that can be pickled, where other processes do it.
        """
        ...


def collect(
    farm: Farm,
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    what: str,
    progress: Progress | None = None,
) -> Iterator[Result]:
    """Results in the order of the tasks, each as soon as those before it are there; none is held any longer.

    Raises:
        UserError: see ``Cluster``; and whatever ``work`` raises.
    """
    waiting: dict[int, Result] = {}
    given = 0
    for number, result in farm.each(work, tasks):
        waiting[number] = result
        if progress is not None:
            progress(what, given + len(waiting), len(tasks))
        while given in waiting:
            yield waiting.pop(given)
            given += 1


class Here:
    """This thread, a task after the other."""

    def each(
        self, work: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Generator[tuple[int, Result], None, None]:
        """See ``Farm``."""
        for number, task in enumerate(tasks):
            yield number, work(task)


class Pool:
    """Workers of ``concurrent.futures``, which ``executor`` makes; they end with the tasks."""

    def __init__(self, executor: Callable[[], Executor]) -> None:
        self._executor = executor

    def each(
        self, work: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Generator[tuple[int, Result], None, None]:
        """See ``Farm``."""
        with self._executor() as pool:
            futures: dict[Future[Result], int] = {pool.submit(work, task): k for k, task in enumerate(tasks)}
            try:
                for future in as_completed(futures):
                    yield futures.pop(future), future.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def threads(workers: int | None = None) -> Pool:
    """Threads of this process: the work is done by compiled code, which they do at the same time."""
    n = workers or os.cpu_count() or 1
    return Pool(lambda: ThreadPoolExecutor(n, thread_name_prefix="slice"))


def processes(workers: int, initializer: Callable[[], None] | None = None) -> Pool:
    """Processes of this machine; each begins with ``initializer``."""
    context = multiprocessing.get_context("spawn")
    return Pool(lambda: ProcessPoolExecutor(workers, context, initializer))


class Cluster:
    """Workers of dask.distributed; what one did not finish, another one does again."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def each(
        self, work: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Generator[tuple[int, Result], None, None]:
        """See ``Farm``.

        Raises:
            UserError: a task lost one worker after the other, or the scheduler is gone.
        """
        from distributed import CancelledError, KilledWorker
        from distributed import as_completed as completed

        futures = self._client.map(work, tasks, pure=False, retries=_RETRIES)
        number = {future.key: k for k, future in enumerate(futures)}
        try:
            for future, result in completed(futures, with_results=True):
                if isinstance(result, CancelledError):  # of a lost scheduler
                    break
                yield number.pop(future.key), result
        except (CancelledError, OSError):  # of a connection; what a task raises comes with its own type
            if self._client.status == "running":
                raise
        except KilledWorker as exc:
            raise UserError(
                f"cluster: lost one worker after the other ({exc}); expected workers with memory"
            ) from exc
        if number:
            raise UserError(
                f"cluster: the scheduler is gone, {len(number)} of {len(futures)} results are missing; "
                "expected one that stays until the end"
            )


@contextmanager
def open_farm(workers: int = 0, scheduler: str = "") -> Iterator[Farm]:
    """A farm for the length of the context.

    Args:
        workers: processes on this machine, reachable from it alone; 0 for threads of this process.
        scheduler: address of a cluster's scheduler instead, such as ``tcp://10.0.0.5:8786``.

    Raises:
        UserError: the scheduler does not answer, both are given, or dask.distributed is not installed.
    """
    if not workers and not scheduler:
        yield threads()
        return
    if workers and scheduler:
        raise UserError("workers and scheduler: expected one of them; a cluster has its own workers")
    need("distributed", f"scheduler {scheduler}" if scheduler else f"workers {workers}")
    from distributed import Client, LocalCluster

    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a lost scheduler is our own error
    if scheduler:
        try:
            client = Client(scheduler, timeout=_REACH_S)
        except (OSError, ValueError) as exc:
            raise UserError(f"scheduler {scheduler}: no answer ({exc}); expected tcp://host:port") from exc
        with client:
            yield Cluster(client)
        return
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            scheduler_kwargs=ANY_PORT,
            silence_logs=logging.ERROR,
            worker_dashboard_address=None,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield Cluster(client)


class Shown:
    """Progress as lines on standard error, one every two seconds at most."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _SHOWN_S
        self._lock = threading.Lock()

    def __call__(self, what: str, done: int, of: int) -> None:
        with self._lock:
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + _SHOWN_S
                sys.stderr.write(f"{what}: {done} of {of}\n")
