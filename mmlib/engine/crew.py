"""The processes that run the symbols of a session, what they tell each other, and the feeds that they write at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mmlib.engine.orphan import end_with_parent
from mmlib.engine.parts import merge
from mmlib.engine.processes import process_context
from mmlib.engine.symbol import Board, Job, Outcome, run_symbol
from mmlib.feeds.schema import KINDS, Kind

Progress = Callable[[str, float], None]
"""Takes a symbol and the share of its window that is done, 0 to 1."""
Rows = Mapping[Kind, Sequence[int]]
NEVER_NS = int(np.iinfo(np.int64).max)
_LOOK_S = 0.25  # between two looks at the progress of other processes


class _Shared(Board):
    """A board in memory that processes share; every symbol writes its own places only."""

    def __init__(self, halts: Any, shares: Any, on_tell: Callable[[int, float], None] | None = None) -> None:
        self.halts, self.shares, self._on_tell = halts, shares, on_tell

    def halt_ns(self) -> int:
        return min(self.halts)

    def halt(self, index: int, at_ns: int) -> None:
        self.halts[index] = at_ns

    def tell(self, index: int, share: float) -> None:
        self.shares[index] = share
        if self._on_tell is not None:
            self._on_tell(index, share)


_BOARD: _Shared | None = None  # of a worker process


def _join(halts: Any, shares: Any, env: Mapping[str, str]) -> None:
    """Begin as a worker, in the environment of whoever wants the work."""
    global _BOARD
    end_with_parent()
    os.environ.update(env)
    _BOARD = _Shared(halts, shares)


def _work(job: Job) -> Outcome:
    assert _BOARD is not None
    return run_symbol(job, _BOARD)


class Crew:
    """Runs jobs in this process or in others, and merges what they wrote."""

    def __init__(
        self, pool: ProcessPoolExecutor | None, jobs: Sequence[Job], board: _Shared, progress: Progress | None
    ) -> None:
        self._pool, self._jobs, self._board, self._progress = pool, jobs, board, progress

    def outcomes(self) -> list[Outcome]:
        """Run every symbol; outcomes in the order of the jobs."""
        if self._pool is None:
            return [run_symbol(job, self._board) for job in self._jobs]
        return self._gather([self._pool.submit(_work, job) for job in self._jobs])

    def merge(self, directory: Path, symbols: Sequence[str], arms: Sequence[str], rows: Rows) -> None:
        """Turn the first rows of all symbols into the daily files.

        Args:
            directory: where the feeds go.
            symbols, arms: names by index.
            rows: of each kind, how many rows of each symbol count.
        """
        homes = [job.home for job in self._jobs]
        if self._pool is None:
            for kind in KINDS:
                merge(kind, directory, homes, symbols, arms, rows[kind])
        else:
            self._gather(
                [
                    self._pool.submit(merge, kind, directory, homes, symbols, arms, rows[kind])
                    for kind in KINDS
                ]
            )

    def _gather(self, futures: Sequence[Future[Any]]) -> list[Any]:
        """Results of all; the first error ends it."""
        pending = set(futures)
        while pending:
            done, pending = wait(pending, timeout=_LOOK_S)
            for future in done:
                future.result()
            if self._progress is not None:
                for job, share in zip(self._jobs, self._board.shares, strict=True):
                    self._progress(job.symbol, share)
        return [future.result() for future in futures]


@contextmanager
def workers(count: int, jobs: Sequence[Job], progress: Progress | None) -> Iterator[Crew]:
    """A crew of ``count`` processes, or of this one alone."""
    if count <= 1:

        def tell(index: int, share: float) -> None:
            if progress is not None:
                progress(jobs[index].symbol, share)

        yield Crew(None, jobs, _Shared([NEVER_NS] * len(jobs), [0.0] * len(jobs), tell), progress)
        return
    context = process_context()
    halts, shares = context.RawArray("q", [NEVER_NS] * len(jobs)), context.RawArray("d", len(jobs))
    with ProcessPoolExecutor(
        count, context, initializer=_join, initargs=(halts, shares, dict(os.environ))
    ) as pool:
        try:
            yield Crew(pool, jobs, _Shared(halts, shares), progress)
        except BaseException:
            for index in range(len(jobs)):
                halts[index] = 0  # nobody waits for what the others still do
            pool.shutdown(cancel_futures=True)
            raise
