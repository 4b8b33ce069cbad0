"""Two builds measured in turns: rounds of one process each, in random order, on the same market."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmlib._io import UserError, read_json, write_json
from mmlib.baseline.build import Build
from mmlib.baseline.repeat import NAMES
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
    duration and never takes from it; NaN where the stage has no values. ``histograms`` count every tick of every pass.
    """

    build_sha256: str
    runs: Mapping[str, tuple[float, ...]]
    histograms: Mapping[str, Histogram]
    n_ticks: int
    n_hits: int
    n_misses: int

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
            values = [one[name] for one in run["passes"] if one[name] is not None]
            self.runs[name].append(min(values, default=float("nan")))
            self.histograms[name] = self.histograms[name] + Histogram.from_dict(run["histograms"][name])
        self.counts = [
            a + run[key] for a, key in zip(self.counts, ("n_ticks", "n_hits", "n_misses"), strict=True)
        ]

    def side(self, build: Build) -> Side:
        runs = {name: tuple(values) for name, values in self.runs.items()}
        return Side(build.sha256, runs, self.histograms, *self.counts)


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
    builds = (baseline, candidate)
    tallies = (_Tally(), _Tally())
    first = np.random.default_rng(seed).integers(0, 2, rounds)
    with tempfile.TemporaryDirectory(prefix="finishline-rounds-") as scratch:
        jobs = []
        for build, session, name in zip(builds, sessions, ("baseline", "candidate"), strict=True):
            job = {"spec": session["spec"], "config": session["config"], "passes": passes}
            jobs.append(write_json(Path(scratch) / f"{name}.json", job))
            _run(build, jobs[-1])
        for number in range(rounds):
            for which in (int(first[number]), 1 - int(first[number])):
                tallies[which].add(_run(builds[which], jobs[which]))
            if progress is not None:
                progress(number + 1, rounds)
    return tallies[0].side(baseline), tallies[1].side(candidate)


def _run(build: Build, job: Path) -> dict[str, Any]:
    """One run in a fresh process, with the build first on its path."""
    out = job.with_suffix(".out.json")
    out.unlink(missing_ok=True)
    env = {**os.environ, "PYTHONPATH": str(build.root), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "mmlib.baseline.repeat", str(job), str(out)]
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise UserError(f"{build.root}: a run took longer than {_PATIENCE_S:g} s; expected seconds") from exc
    if done.returncode != 0 or not out.exists():
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1][:300]
        raise UserError(
            f"{build.root}: a run of this build failed ({said}); expected one that replays the session"
        )
    return dict(read_json(out))
