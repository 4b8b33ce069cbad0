"""Two builds measured in turns: rounds of one process each, in random order, on the same market."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmlib._io import UserError, write_json
from mmlib.baseline.build import Build
from mmlib.baseline.repeat import NAMES, READY
from mmlib.core.histogram import Histogram

ROUNDS = 30
PASSES = 4
_PATIENCE_S = 900.0
"""A run that takes longer has hung; the first one of a build compiles its kernels."""

Progress = Callable[[int, int], None]
"""Takes how many rounds are done, and of how many."""


@dataclass(frozen=True)
class Side:
    """What the runs of one build came to.

    ``runs`` holds stage -> p95 of each run [ms]: that of its least disturbed pass, since what else runs on a host adds to a
    duration and never takes from it; NaN where the stage has no values. ``histograms`` count every tick of every pass;
    ``seconds_a_run`` is what a run took.
    """

    build_sha256: str
    runs: Mapping[str, tuple[float, ...]]
    histograms: Mapping[str, Histogram]
    n_ticks: int
    n_hits: int
    n_misses: int
    seconds_a_run: float = 0.0

    @property
    def n_runs(self) -> int:
        """How many runs there are."""
        return len(next(iter(self.runs.values()), ()))


@dataclass
class _Tally:
    runs: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in NAMES})
    histograms: dict[str, Histogram] = field(default_factory=lambda: {name: Histogram() for name in NAMES})
    counts: list[int] = field(default_factory=lambda: [0, 0, 0])

    def add(self, run: Mapping[str, Any]) -> None:
        for name in NAMES:
            values = [one[name] for one in run["passes"] if one.get(name) is not None]
            self.runs[name].append(min(values, default=float("nan")))
            if name in run["histograms"]:  # a build locked before it was measured states no compute
                self.histograms[name] = self.histograms[name] + Histogram.from_dict(run["histograms"][name])
        self.counts = [
            a + run[key] for a, key in zip(self.counts, ("n_ticks", "n_hits", "n_misses"), strict=True)
        ]

    def side(self, build: Build, seconds_a_run: float) -> Side:
        runs = {name: tuple(values) for name, values in self.runs.items()}
        n_ticks, n_hits, n_misses = self.counts
        return Side(build.sha256, runs, self.histograms, n_ticks, n_hits, n_misses, seconds_a_run)


def measure_rounds(
    baseline: Build,
    candidate: Build,
    *,
    sessions: tuple[Mapping[str, Any], Mapping[str, Any]],
    rounds: int = ROUNDS,
    passes: int = PASSES,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Side, Side]:
    """Run baseline and candidate in turns and return what each came to; needs a market that can be replayed.

    Args:
        sessions: for baseline and candidate, a mapping with ``spec`` and ``config`` as a session's sidecar holds them.
        rounds: runs of each; one run of each before them warms caches up and is not counted.
        passes: passes over the market in a run.
        seed: of the order within the rounds.

    Raises:
        UserError: a run failed; names the build and the last thing it said.
    """
    tallies = (_Tally(), _Tally())
    first = np.random.default_rng(seed).integers(0, 2, rounds)
    with tempfile.TemporaryDirectory(prefix="finishline-rounds-") as name, ExitStack() as stack:
        benches = [
            stack.enter_context(_Bench(build, Path(name) / side, {**session, "passes": passes}))
            for build, session, side in zip(
                (baseline, candidate), sessions, ("baseline", "candidate"), strict=True
            )
        ]
        for bench in benches:  # both have begun to import by now
            bench.wait()
        for bench in benches:
            bench.run()
        began = time.monotonic()
        for number in range(rounds):
            for which in (int(first[number]), 1 - int(first[number])):
                tallies[which].add(benches[which].run())
            if progress is not None:
                progress(number + 1, rounds)
        taken = (time.monotonic() - began) / max(2 * rounds, 1)
    return tallies[0].side(baseline, taken), tallies[1].side(candidate, taken)


class _Bench:
    """A process with a build first on its path that makes a run whenever it is asked to.

    Args:
        build: whose code runs.
        place: stem of its files.
        job: spec, config and passes, as ``repeat`` reads them.
    """

    def __init__(self, build: Build, place: Path, job: Mapping[str, Any]) -> None:
        self._root = build.root
        path = write_json(place.with_suffix(".json"), job)
        env = {**os.environ, "PYTHONPATH": str(build.root), "PYTHONSAFEPATH": "1"}
        command = [sys.executable, "-m", "mmlib.baseline.repeat", str(path)]
        self._errors = place.with_suffix(".err").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )

    def __enter__(self) -> _Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def wait(self) -> None:
        """Return when runs may begin.

        Raises:
            UserError: the build cannot read the session.
        """
        said = self._line()
        if said != READY:
            raise UserError(f"{self._root}: said {said[:80]!r}; expected a build that makes runs when asked")

    def run(self) -> dict[str, Any]:
        """What one run, in a process of its own, found.

        Raises:
            UserError: it failed, or took longer than ``_PATIENCE_S``.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended; the line that is missing below tells why
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        return dict(json.loads(self._line()))

    def _line(self) -> str:
        stdout = self._process.stdout
        assert stdout is not None
        if not select.select([stdout], [], [], _PATIENCE_S)[0]:
            raise UserError(f"{self._root}: a run took longer than {_PATIENCE_S:g} s; expected seconds")
        line = stdout.readline()
        if not line.endswith("\n"):
            self._process.wait()
            self._errors.seek(0)
            said = (self._errors.read().strip().splitlines() or ["nothing"])[-1][:300]
            raise UserError(
                f"{self._root}: a run of this build failed ({said}); expected one that replays the session"
            )
        return line.rstrip("\n")
