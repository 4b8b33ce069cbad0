"""Compiles what is missing before anything waits for it: a family of kernels a process, as many at once as there are cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any

from mmlib._io import UserError
from mmlib.core import compiling
from mmlib.core.kernelhome import DIRECTORY
from mmlib.workflow.warm_arguments import DEMO, FAMILIES

OF_STEPS = {"prep": (), "readiness": (), "dataset": ("feeds",), "daily_ops": ("feeds",)}
"""Families that a step needs, where not those of the demo."""
_SHOWN_S = 2.0
Progress = Callable[[int, int], None]
"""Takes the number of kernels that are compiled, and of those known to be there."""


@dataclass
class Warmed:
    """What a warm-up came to.

    Attributes:
        families: what was looked at.
        compiled: number of kernels that had to be compiled; seconds: of the whole.
        missing: with ``check``, the first kernel of each family that is missing.
    """

    families: Sequence[str]
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


def families_of(steps: Iterable[str], *, live: bool = False) -> tuple[str, ...]:
    """Families that steps of a run need."""
    wanted = {name for step in steps for name in OF_STEPS.get(step, DEMO)} | ({"live"} if live else set())
    return tuple(name for name in FAMILIES if name in wanted)


def warm(families: Sequence[str], progress: Progress | None = None, *, check: bool = False) -> Warmed:
    """Compile what is missing of some families, or with ``check`` say what is.

    A second one at the same time shares the work: a kernel that another process is compiling is waited for. What a killed
    one had compiled is kept.

    Raises:
        UserError: a family could not be built; its last words are in the message.
    """
    began, result, ended = time.monotonic(), Warmed(list(families)), 0
    gone = 0
    waiting, running = list(families), list[_Process]()
    said: SimpleQueue[tuple[_Process, dict[str, Any] | None]] = SimpleQueue()
    try:
        while waiting or running:
            while waiting and len(running) < len(os.sched_getaffinity(0)):
                running.append(_Process(waiting.pop(0), said, check=check))
            process, facts = said.get()
            if facts is None:
                running.remove(process)
                process.end()
                ended += process.done
                gone += max(process.made, process.done)
                result.missing |= {process.family: process.missing} if process.missing else {}
                if not process.missing:
                    compiling.note_warm(process.family)
                continue
            process.take(facts)
            result.compiled = ended + sum(one.done for one in running)
            if progress is not None:
                progress(result.compiled, gone + sum(max(one.made, one.done) for one in running))
    finally:
        for process in running:
            process.kill()
    result.seconds = time.monotonic() - began
    return result


class _Process:
    """A family being built by a process of its own."""

    def __init__(self, family: str, said: SimpleQueue[Any], *, check: bool) -> None:
        self.family, self.missing = family, ""
        self.made = self.done = 0
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
        self.made = facts.get("made", self.made)
        self.done += "done" in facts
        self.missing = facts.get("missing", self.missing)

    def end(self) -> None:
        """Wait for its end."""
        code = self._process.wait()
        self._threads[1].join()
        if code and not self.missing:
            last = self._words[-1].strip() if self._words else f"exit code {code}"
            raise UserError(f"kernels of {self.family}: {last}; expected them to be compiled")

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

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

    def __call__(self, compiled: int, known: int) -> None:
        """Take how far it is."""
        text = f"compiling kernels {compiled} of {known}, once on this machine"
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(text, total=known)
            self._bar.update(self._task, description=text, completed=compiled, total=known)
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
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0") or compiling.is_warm(families):
        return
    with Shown() as shown:
        try:
            done = warm(families, shown)
        except UserError as exc:
            _say(str(exc))
            return
    if done.compiled:
        _say(done.text())
