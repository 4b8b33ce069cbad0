"""In what order the notebooks of a run are executed, and which of them side by side."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmlib.dtypes import Status
from mmlib.workflow import runs
from mmlib.workflow.manifest import BAD_INPUT, GATE, Planned, RunOutcome, resumable
from mmlib.workflow.params import check_parameters
from mmlib.workflow.record import latest
from mmlib.workflow.runner import Event, OnEvent, check_known, private_kernel, run_step
from mmlib.workflow.sidebyside import run_beside
from mmlib.workflow.steps import BY_KEY


def run_steps(
    ws: Path,
    planned: Sequence[Planned],
    *,
    profile: str = "",
    resume: bool = False,
    on_event: OnEvent | None = None,
    jobs: int | None = None,
    through: bool = True,
) -> tuple[str, list[RunOutcome]]:
    """Execute steps in one run; returns the run's identifier and the outcomes in the order of ``planned``.

    A step that measures durations has the machine for itself; others run side by side, ``jobs`` at once (by default
    one a core, two at most). A step whose predecessor failed still runs and records what is missing, but without ``through``
    a rollout stage waits for the one before to pass: it is not run, and what was recorded of it stays, out of date. Bad input
    in Prep ends the run, for every step would meet it.

    Raises:
        UserError: the workspace cannot be written, or a parameter is unknown or wrong.
    """
    from mmlib.config.load import ensure_params

    for item in planned:
        check_known(item)
        check_parameters(item.params)
    ensure_params(ws)
    at_once = jobs or min(2, os.cpu_count() or 1)
    run_id = runs.new_run(ws)
    outcomes: dict[str, RunOutcome] = {}
    waiting = list(planned)
    with private_kernel():
        while waiting:
            batch = next_batch(waiting, at_once)
            waiting = [item for item in waiting if item not in batch]
            held = [] if through else _held(ws, batch)
            for outcome in held:
                outcomes[outcome.step.key] = outcome
                if on_event:
                    on_event(Event("end", outcome.step, outcome=outcome))
            batch = [item for item in batch if item.step.key not in outcomes]
            for outcome in _run_batch(ws, batch, run_id, profile, resume, on_event):
                outcomes[outcome.step.key] = outcome
            prep = outcomes.get("prep")
            if prep is not None and prep.returncode == BAD_INPUT:
                break
    return run_id, [outcomes[item.step.key] for item in planned if item.step.key in outcomes]


def _held(ws: Path, batch: Sequence[Planned]) -> list[RunOutcome]:
    """The rollout stages of a batch that the stage before does not let run, each with the reason."""
    found = []
    for item in batch:
        before = next((key for key in item.step.depends if BY_KEY[key].family == "ab"), "")
        if item.step.family != "ab" or not before:
            continue
        record = latest(ws).get(before)
        if record is None or record.status is not Status.PASS:
            word = "has not run" if record is None else WORDS[record.status]
            why = f"not decided: {BY_KEY[before].title} {word}; --through runs the stage all the same"
            found.append(RunOutcome(item.step, GATE, Status.NO_DATA, None, 0.0, why))
    return found


WORDS = {
    Status.FAIL: "failed",
    Status.INCONCLUSIVE: "is inconclusive",
    Status.NO_DATA: "has no data",
    Status.ERROR: "ended with an error",
}
"""A stage that did not pass, in words."""


def next_batch(waiting: Sequence[Planned], at_once: int) -> list[Planned]:
    """What runs next: one step that measures, or up to ``at_once`` that do not.

    A measuring step for which another kind of step waits goes first, so that those can share the machine afterwards.
    """
    open_keys = {item.step.key for item in waiting}
    ready = [item for item in waiting if not open_keys.intersection((*item.step.depends, *item.step.after))]
    quiet = [item for item in ready if not item.step.measures]
    wanted = {
        key for item in waiting if not item.step.measures for key in (*item.step.depends, *item.step.after)
    }
    unlocking = [item for item in ready if item.step.measures and item.step.key in wanted]
    if at_once > 1 and len(quiet) < 2 and unlocking and _would_pair(waiting, quiet, unlocking[0]):
        return unlocking[:1]
    if ready[0].step.measures:
        return ready[:1]
    return quiet[:at_once]


def _would_pair(waiting: Sequence[Planned], quiet: Sequence[Planned], first: Planned) -> bool:
    """Whether a quiet step becomes ready by ``first`` that could run beside another."""
    open_keys = {item.step.key for item in waiting} - {first.step.key}
    freed = [
        item
        for item in waiting
        if not item.step.measures
        and item not in quiet
        and not open_keys.intersection((*item.step.depends, *item.step.after))
    ]
    return len(freed) + len(quiet) > 1


def _run_batch(
    ws: Path,
    batch: Sequence[Planned],
    run_id: str,
    profile: str,
    resume: bool,
    on_event: OnEvent | None,
) -> Iterable[RunOutcome]:
    """Outcomes of steps that are ready: kept from before, executed here when there is one, else in processes."""
    due: list[Planned] = []
    for item in batch:
        outcome = resumable(ws, item) if resume else None
        if outcome is None:
            due.append(item)
            continue
        if on_event:
            on_event(Event("end", item.step, outcome=outcome))
        yield outcome
    if len(due) == 1:
        yield run_step(ws, due[0], run_id, profile=profile, on_event=on_event)
    elif due:
        yield from run_beside(ws, due, run_id, profile=profile, on_event=on_event)
