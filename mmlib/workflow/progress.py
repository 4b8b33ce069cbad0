"""Progress of a run on standard error: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING

from mmlib.config.terminal import drawing, plain
from mmlib.workflow.runner import Event

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_SHOWN_S = 2.0
_COLOURS = {
    "PASS": "green",
    "INCONCLUSIVE": "yellow",
    "NO_DATA": "bright_black",
    "FAIL": "red",
    "ERROR": "red",
}


class Reporter(AbstractContextManager["Reporter"]):
    """Prints events of the runner; pass the instance as ``on_event``."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.begun = self.done = 0
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._next = 0.0

    def __enter__(self) -> Reporter:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("cell {task.completed:.0f}/{task.total:.0f}"),
                TimeElapsedColumn(),
                console=Console(file=drawing(sys.stderr)),
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Take one event."""
        if event.kind == "start":
            self._start(event)
        elif event.kind == "cell" and self._bar is not None and event.step.key in self._tasks:
            self._bar.update(self._tasks[event.step.key], completed=event.cell, total=event.cells)
        elif event.kind == "end":
            self._end(event)

    def said(self, step: str, text: str) -> None:
        """Show how far a running step says that it is; as plain lines, one every two seconds at most."""
        if self._bar is None:
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + _SHOWN_S
                self._line(f"    {text}")
        elif step in self._tasks:
            self._bar.update(self._tasks[step], description=f"{step.capitalize()}: {_plain(text)}")

    def _start(self, event: Event) -> None:
        self.begun += 1
        label = f"[{self.begun}/{self.total}] {event.step.title}"
        if self._bar is None:
            self._line(f"{label} ...")
        else:
            self._tasks[event.step.key] = self._bar.add_task(_plain(label), total=1)

    def _end(self, event: Event) -> None:
        self.done += 1
        outcome = event.outcome
        if outcome is None:
            return
        self.begun = max(self.begun, self.done)
        task = self._tasks.pop(event.step.key, None)
        if self._bar is not None and task is not None:
            self._bar.remove_task(task)
        took = "kept from before" if outcome.resumed else f"{outcome.seconds:.1f} s"
        label = f"[{self.done}/{self.total}] {event.step.title}"
        tail = f" - {outcome.reason}" if outcome.reason else ""
        if self._bar is None:
            self._line(f"{label}: {outcome.status} ({took}){tail}")
            return
        colour = _COLOURS.get(str(outcome.status), "white")
        text = f"{_plain(label)}: [{colour}]{outcome.status}[/] ({took}){_plain(tail)}"
        self._bar.console.print(text, highlight=False)

    @staticmethod
    def _line(text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(plain(text))
