"""Commands as a newcomer runs them: in an empty home, with the times of what they say and what numba compiled meanwhile."""

from __future__ import annotations

import itertools
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import compile_events

_DROPPED = (
    "XDG_",
    "FINISHLINE_",
    "NUMBA_",
    "JUPYTER_",
    "IPYTHON",
    "PYTHON",
    "VIRTUAL_ENV",
    "CONDA",
    "BENCH_",
)


@dataclass
class Ran:
    """A command that has ended. Seconds of wall clock since its start; ``said`` are time and text of each piece of output."""

    command: str
    code: int
    seconds: float
    said: list[tuple[float, str]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    began: float = 0.0

    @property
    def first_words_s(self) -> float:
        """Time to the first piece of output [s]; all of it where there was none."""
        return self.said[0][0] if self.said else self.seconds

    def largest_gap(self) -> tuple[float, str]:
        """The longest silence [s], and what was said before it."""
        times = [0.0, *(at for at, _ in self.said), self.seconds]
        words = ["(start)", *(text for _, text in self.said)]
        gaps = [(after - before, words[k]) for k, (before, after) in enumerate(itertools.pairwise(times))]
        gap, before = max(gaps)
        return round(gap, 2), " ".join(before.split())[-120:]

    def at(self, word: str) -> float:
        """When a word was first said [s]; NaN when it was not."""
        return next((at for at, text in self.said if word in text), float("nan"))

    def compile_cpu_s(self) -> float:
        """CPU seconds of all compile events."""
        return float(sum(event["self_s"] for event in self.events))

    def compile_wall_s(self) -> float:
        """Seconds in which at least one process compiled."""
        total, end = 0.0, 0.0
        for event in sorted(self.events, key=lambda one: one["began"]):
            total += max(event["ended"] - max(event["began"], end), 0.0)
            end = max(end, event["ended"])
        return total


def newcomer(home: Path, downloads: Path, **more: str) -> dict[str, str]:
    """The environment of somebody who has nothing but downloads."""
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_DROPPED)}
    own = {"HOME": str(home), "UV_CACHE_DIR": str(downloads / "uv"), "PIP_CACHE_DIR": str(downloads / "pip")}
    return kept | own | more


def run(
    command: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    events: Path | None = None,
    limit_s: float = 3600.0,
) -> Ran:
    """Run a command to its end, or to ``limit_s``, when it is asked to end.

    Args:
        events: an empty directory for what numba compiles; None for not counted.
    """
    given = dict(env) if events is None else compile_events.environment(events, env)
    start, began = time.perf_counter(), time.time()
    said: list[tuple[float, str]] = []
    with subprocess.Popen(
        list(command), cwd=cwd, env=given, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            asked = False
            while True:
                ready = selector.select(1.0)
                now = time.perf_counter() - start
                if ready:
                    data = os.read(process.stdout.fileno(), 1 << 16)
                    if not data:
                        break
                    said.append((now, data.decode("utf-8", "replace")))
                elif process.poll() is not None:
                    break  # what still holds the pipe is no part of the command
                if now > limit_s and not asked:
                    asked = True
                    os.killpg(process.pid, signal.SIGTERM)
                if now > limit_s + 60.0:
                    os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    found = [] if events is None else compile_events.read(events)
    return Ran(" ".join(command), code, time.perf_counter() - start, said, found, began)


def size_mb(path: Path) -> int:
    """What a directory takes on the disk, as ``du -sm`` counts."""
    return int(
        subprocess.run(["du", "-sm", str(path)], capture_output=True, text=True, check=True).stdout.split()[0]
    )
