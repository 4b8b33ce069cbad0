"""The same function over many jobs: in this process, in processes of this machine, or on a dask cluster.

Unlike ``metrics.farm`` it hands each result over when it is there, so that what an interrupted search has done is kept.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

from mmlib._io import UserError
from mmlib.engine.orphan import end_with_parent

_PATIENCE_S = 10.0
Job = TypeVar("Job")
Result = TypeVar("Result")


def farm(
    function: Callable[[Job], Result], jobs: Sequence[Job], *, workers: int = 1, scheduler: str = ""
) -> Iterator[Result]:
    """Results in the order in which they come; each job is independent and says itself what it is.

    Args:
        function: of a module, so that it can be sent; jobs have to be picklable.
        workers: processes of this machine; 1 works in this one.
        scheduler: address of a dask scheduler, such as tcp://10.0.0.7:8786; empty for none. Its workers need this version
            of the package and the same recordings under the same paths.

    Raises:
        UserError: the scheduler cannot be reached.
    """
    if scheduler:
        yield from _on_cluster(function, jobs, scheduler)
    elif workers < 2 or len(jobs) < 2:
        for job in jobs:
            yield function(job)
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            min(workers, len(jobs)), mp_context=context, initializer=end_with_parent
        ) as pool:
            futures = [pool.submit(function, job) for job in jobs]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _on_cluster(function: Callable[[Job], Result], jobs: Sequence[Job], scheduler: str) -> Iterator[Result]:
    from distributed import Client
    from distributed import as_completed as completed

    try:
        client = Client(scheduler, timeout=_PATIENCE_S)
    except (OSError, ValueError) as exc:
        raise UserError(
            f"--scheduler {scheduler}: cannot be reached ({exc}); expected tcp://HOST:PORT"
        ) from exc
    with client:
        futures = [client.submit(function, job, pure=False) for job in jobs]
        for _, result in completed(futures, with_results=True):
            yield result
