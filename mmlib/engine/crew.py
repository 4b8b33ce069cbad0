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

    def __init__(self, halts: Any, shares: Any) -> None:
        self.halts, self.shares = halts, shares
        self.on_tell: Callable[[], None] | None = None

    def halt_ns(self) -> int:
        return min(self.halts)

    def halt(self, index: int, at_ns: int) -> None:
        self.halts[index] = at_ns

    def tell(self, index: int, share: float) -> None:
        self.shares[index] = share
        if self.on_tell is not None:
            self.on_tell()


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
    """Runs jobs in this process and in others beside it, and merges what they wrote."""

    def __init__(
        self, pool: ProcessPoolExecutor | None, jobs: Sequence[Job], board: _Shared, progress: Progress | None
    ) -> None:
        self._pool, self._jobs, self._board, self._progress = pool, jobs, board, progress
        self._elsewhere: dict[int, Future[Any]] = {}

    def outcomes(self) -> list[Outcome]:
        """Run every symbol; outcomes in the order of the jobs."""
        return self._each(
            lambda k: run_symbol(self._jobs[k], self._board),
            lambda pool, k: pool.submit(_work, self._jobs[k]),
            len(self._jobs),
        )

    def merge(
        self, directory: Path, symbols: Sequence[str], arms: Sequence[str], rows: Rows, source: str = ""
    ) -> None:
        """Turn the first rows of all symbols into the daily files.

        Args:
            directory: where the feeds go.
            symbols, arms: names by index.
            rows: of each kind, how many rows of each symbol count.
            source: what every line states as its source.
        """
        homes = [job.home for job in self._jobs]
        tasks = [(kind, directory, homes, symbols, arms, rows[kind], source) for kind in KINDS]
        self._each(lambda k: merge(*tasks[k]), lambda pool, k: pool.submit(merge, *tasks[k]), len(tasks))

    def tell(self) -> None:
        """Report how far every symbol is.

        Raises:
            BaseException: what ended the work of another process.
        """
        for future in self._elsewhere.values():
            if future.done():
                future.result()
        if self._progress is not None:
            for job, share in zip(self._jobs, self._board.shares, strict=True):
                self._progress(job.symbol, share)

    def _each(
        self,
        here: Callable[[int], Any],
        there: Callable[[ProcessPoolExecutor, int], Future[Any]],
        count: int,
    ) -> list[Any]:
        """Results of tasks 0 to ``count - 1``: this process does the first, and of the others, last first, those not begun.

        The first error ends it.
        """
        if self._pool is None:
            return [here(k) for k in range(count)]
        self._elsewhere = {k: there(self._pool, k) for k in range(1, count)}
        results = {0: here(0)}
        for k in range(count - 1, 0, -1):
            if self._elsewhere[k].cancel():
                del self._elsewhere[k]
                results[k] = here(k)
        while wait(self._elsewhere.values(), timeout=_LOOK_S).not_done:
            self.tell()
        results |= {k: future.result() for k, future in self._elsewhere.items()}
        return [results[k] for k in range(count)]


@contextmanager
def workers(count: int, jobs: Sequence[Job], progress: Progress | None) -> Iterator[Crew]:
    """A crew of this process and ``count - 1`` others."""
    if count <= 1:
        alone = _Shared([NEVER_NS] * len(jobs), [0.0] * len(jobs))
        crew = Crew(None, jobs, alone, progress)
        alone.on_tell = crew.tell
        yield crew
        return
    context = process_context()
    halts, shares = context.RawArray("q", [NEVER_NS] * len(jobs)), context.RawArray("d", len(jobs))
    with ProcessPoolExecutor(
        count - 1, context, initializer=_join, initargs=(halts, shares, dict(os.environ))
    ) as pool:
        board = _Shared(halts, shares)
        crew = Crew(pool, jobs, board, progress)
        board.on_tell = crew.tell
        try:
            yield crew
        except BaseException:
            for index in range(len(jobs)):
                halts[index] = 0  # nobody waits for what the others still do
            pool.shutdown(cancel_futures=True)
            raise
