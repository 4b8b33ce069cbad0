"""Compiles what is missing before anything waits for it: a family of kernels a process, as many at once as there are cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any

from mmlib._io import UserError
from mmlib.core import compiling
from mmlib.core.kernelhome import DIRECTORY
from mmlib.workflow import oldkernels
from mmlib.workflow.warm_arguments import DEMO, FAMILIES, KERNELS

OF_STEPS = {"prep": (), "readiness": (), "dataset": ("feeds",), "daily_ops": ("feeds",)}
"""Families that a step needs, where not those of the demo."""
_OF_SOURCES = {"recording": "recording", "live": "live"}
_SHOWN_S = 2.0
Progress = Callable[[int, int], None]
"""Takes how many kernels are there, and how many are wanted."""


@dataclass
class Warmed:
    """What a warm-up came to.

    Attributes:
        families: what was looked at.
        ready: number of kernels, each with its types of arguments, that are there now, by family.
        compiled: number of those that Python calls and that had to be compiled here; seconds: of the whole.
        missing: with ``check``, the first kernel of each family that is missing.
    """

    families: Sequence[str]
    ready: dict[str, int] = field(default_factory=dict)
    compiled: int = 0
    seconds: float = 0.0
    missing: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Builtin types."""
        return asdict(self)

    def text(self) -> str:
        """In words."""
        if self.missing:
            return "\n".join(f"{family}: {kernel} is not compiled" for family, kernel in self.missing.items())
        if not self.compiled:
            return f"all kernels are compiled ({', '.join(self.families)})"
        return f"compiled {self.compiled} kernels in {self.seconds:.1f} s"


def families_of(steps: Iterable[str], *sources: str, live: bool = False) -> tuple[str, ...]:
    """Families that steps of a run need; with ``live``, or by their sources, those of a market as well."""
    wanted = {name for step in steps for name in OF_STEPS.get(step, DEMO)} | ({"live"} if live else set())
    wanted |= {_OF_SOURCES[kind] for source in sources if (kind := source.partition(":")[0]) in _OF_SOURCES}
    return tuple(name for name in FAMILIES if name in wanted)


def of_market(source: str, *more: str) -> tuple[str, ...]:
    """Families that reading a market needs, simulated or recorded, and ``more``."""
    wanted = {"recording" if source.startswith("recording:") else "market", *more}
    return tuple(name for name in FAMILIES if name in wanted)


def warm(families: Sequence[str], progress: Progress | None = None, *, check: bool = False) -> Warmed:
    """Compile what is missing of some families, or with ``check`` say what is.

    A second one at the same time shares the work: a kernel that another process is compiling is waited for. What a killed
    one had compiled is kept.

    Raises:
        UserError: a family could not be built; its last words are in the message.
    """
    began, result = time.monotonic(), Warmed(list(families))
    total, processes = sum(KERNELS[family] for family in families), list[_Process]()
    waiting, running = list(families), list[_Process]()
    said: SimpleQueue[tuple[_Process, dict[str, Any] | None]] = SimpleQueue()
    try:
        while waiting or running:
            while waiting and len(running) < len(os.sched_getaffinity(0)):
                running.append(_Process(waiting.pop(0), said, check=check))
                processes.append(running[-1])
            process, facts = said.get()
            if facts is None:
                running.remove(process)
                process.end()
                result.ready[process.family] = process.ready
                result.missing |= {process.family: process.missing} if process.missing else {}
                if not process.missing:
                    compiling.note_warm(process.family)
                    oldkernels.note_used(process.family, process.places)
                continue
            process.take(facts)
            result.compiled = sum(one.compiled for one in processes)
            if progress is not None and any(one.compiles for one in processes):
                there = sum(one.ready for one in processes)
                progress(there, max(there, total))
    finally:
        for process in running:
            process.kill()
    result.seconds = time.monotonic() - began
    if DIRECTORY and not check:
        oldkernels.prune(Path(DIRECTORY))
    return result


class _Process:
    """A family being built by a process of its own."""

    def __init__(self, family: str, said: SimpleQueue[Any], *, check: bool) -> None:
        self.family, self.missing = family, ""
        self.compiles = False
        self.ready = self.compiled = 0
        self.places: list[str] = []
        command = [sys.executable, "-m", "mmlib.workflow.warmone", family, *(["--check"] if check else [])]
        env = os.environ | ({"NUMBA_CACHE_DIR": DIRECTORY} if DIRECTORY else {})
        self._process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._words: list[str] = []
        self._threads = [
            Thread(target=self._read, args=(self._process.stdout, said), daemon=True),
            Thread(target=lambda: self._words.extend(self._process.stderr or ()), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def take(self, facts: dict[str, Any]) -> None:
        """What it says."""
        self.compiles |= bool(facts.get("compiling"))
        self.ready = max(self.ready, facts.get("ready", 0))
        self.compiled = max(self.compiled, facts.get("compiled", 0))
        self.places = facts.get("places", self.places)
        self.missing = facts.get("missing", self.missing)

    def end(self) -> None:
        """Wait for its end."""
        code = self._close()
        if code and not self.missing:
            last = self._words[-1].strip() if self._words else f"exit code {code}"
            raise UserError(f"kernels of {self.family}: {last}; expected them to be compiled")

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._close()

    def _close(self) -> int:
        code = self._process.wait()
        for thread, pipe in zip(self._threads, (self._process.stdout, self._process.stderr), strict=True):
            thread.join()
            if pipe is not None:
                pipe.close()
        return code

    def _read(self, lines: IO[str], said: SimpleQueue[Any]) -> None:
        for line in lines:
            if line.startswith("{"):
                said.put((self, json.loads(line)))
        said.put((self, None))


class Shown:
    """Shows on standard error that kernels are compiled, and how many are: a bar on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._next = 0.0

    def __enter__(self) -> Shown:
        _say("looking for compiled kernels ...")
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TimeElapsedColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, there: int, wanted: int) -> None:
        """Take how far it is."""
        text = f"compiling kernels {there} of {wanted}, once on this machine"
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(text, total=wanted)
            self._bar.update(self._task, description=text, completed=there, total=wanted)
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + _SHOWN_S
            _say(text)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def ensure(families: Sequence[str]) -> None:
    """Compile what is missing of some families and show it; at once where that was done before.

    A family that cannot be built is left to the work that needs it, which then says why.
    """
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return
    if compiling.is_warm(families):
        for family in families:
            oldkernels.note_used(family)
        return
    with Shown() as shown:
        try:
            done = warm(families, shown)
        except UserError as exc:
            _say(str(exc))
            return
    if done.compiled:
        _say(done.text())
