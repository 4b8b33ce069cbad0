"""Notebooks executed side by side, each by a process of its own; progress and outcomes come back through pipes."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from mmlib.dtypes import Status
from mmlib.engine.orphan import end_with_parent
from mmlib.engine.processes import reuse_fork_server, started
from mmlib.workflow import kernels
from mmlib.workflow.kernels import CONTEXT
from mmlib.workflow.manifest import FAILED, Planned, RunOutcome
from mmlib.workflow.runner import Event, OnEvent, run_step
from mmlib.workflow.steps import BY_KEY

_ENDING_S = 60.0  # a notebook that was interrupted gets this long to be written


@dataclass
class _Worker:
    item: Planned
    process: BaseProcess
    pipe: Connection


def run_beside(
    ws: Path, items: Sequence[Planned], run_id: str, *, profile: str = "", on_event: OnEvent | None = None
) -> Iterator[RunOutcome]:
    """Execute notebooks that do not build on each other, all at once; outcomes in the order in which they end.

    Ctrl-C reaches every process; each notebook is recorded as interrupted before it is raised here.

    Raises:
        KeyboardInterrupt: after all notebooks have ended.
    """
    workers = [_start(ws, item, run_id, profile) for item in items]
    try:
        yield from _outcomes(workers, on_event)
    except KeyboardInterrupt:
        for worker in workers:
            if worker.process.pid is not None and worker.process.is_alive():
                with suppress(ProcessLookupError):
                    os.kill(worker.process.pid, signal.SIGINT)
        with suppress(KeyboardInterrupt):
            for worker in workers:
                worker.process.join(_ENDING_S)
        raise
    finally:
        for worker in workers:
            worker.process.join(1.0)
            if worker.process.is_alive():
                worker.process.kill()
            worker.pipe.close()


def _start(ws: Path, item: Planned, run_id: str, profile: str) -> _Worker:
    ours, theirs = CONTEXT.Pipe()
    task = (str(ws), item.step.key, str(item.notebook), item.json_params(), run_id, profile)
    name, given = f"finishline-{item.step.key}", (theirs, dict(os.environ), *task)
    process = started(lambda: CONTEXT.Process(target=_work, args=given, name=name))
    theirs.close()
    return _Worker(item, process, ours)


def _outcomes(workers: Sequence[_Worker], on_event: OnEvent | None) -> Iterator[RunOutcome]:
    busy = {worker.pipe: worker for worker in workers}
    while busy:
        for pipe in wait(list(busy)):
            worker = busy[pipe]  # type: ignore[index]
            step = worker.item.step
            try:
                kind, details = worker.pipe.recv()
            except EOFError:  # killed: the index of runs still says that the step began and has not finished
                del busy[worker.pipe]
                lost = RunOutcome(
                    step, FAILED, Status.ERROR, None, 0.0, "its process ended without an outcome"
                )
                if on_event:
                    on_event(Event("end", step, outcome=lost))
                yield lost
                continue
            if kind == "raised":
                del busy[worker.pipe]
                raise details
            outcome = _unpacked(worker.item, details.pop("outcome")) if kind == "end" else None
            if on_event:
                on_event(Event(kind, step, outcome=outcome, **details))
            if outcome is not None:
                del busy[worker.pipe]
                yield outcome


def _work(
    pipe: Connection,
    env: dict[str, str],
    ws: str,
    key: str,
    notebook: str,
    params: dict[str, Any],
    run_id: str,
    profile: str,
) -> None:
    """One notebook, in its own process; Ctrl-C interrupts it even where whoever started the run ignores it (``nohup … &``)."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end_with_parent()
    reuse_fork_server()
    os.environ.clear()
    os.environ.update(env)
    kernels.register()
    item = Planned(BY_KEY[key], Path(notebook), params)

    def tell(event: Event) -> None:
        details: dict[str, Any] = {"cell": event.cell, "cells": event.cells}
        if event.outcome is not None:
            details["outcome"] = _packed(event.outcome)
        pipe.send((event.kind, details))

    try:
        run_step(Path(ws), item, run_id, profile=profile, on_event=tell)
    except KeyboardInterrupt:
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    except Exception as exc:
        pipe.send(("raised", exc))


def _packed(outcome: RunOutcome) -> dict[str, Any]:
    return {
        "returncode": outcome.returncode,
        "status": str(outcome.status),
        "notebook": str(outcome.notebook) if outcome.notebook else None,
        "seconds": outcome.seconds,
        "reason": outcome.reason,
    }


def _unpacked(item: Planned, told: dict[str, Any]) -> RunOutcome:
    return RunOutcome(
        item.step,
        told["returncode"],
        Status(told["status"]),
        Path(told["notebook"]) if told["notebook"] else None,
        told["seconds"],
        told["reason"],
    )
