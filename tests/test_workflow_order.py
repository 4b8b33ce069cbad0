"""Which notebooks run side by side, and what becomes of them when they do."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from mmlib.dtypes import Status
from mmlib.workflow.manifest import FAILED, GATE, OK, Planned
from mmlib.workflow.order import next_batch, run_steps
from mmlib.workflow.record import latest
from mmlib.workflow.runner import Event
from mmlib.workflow.steps import STEPS, get_step
from tests.workflow_fixtures import gone, passing_cells, write_notebook


def batches(keys: list[str], at_once: int) -> list[list[str]]:
    """The order in which steps would run."""
    waiting = [Planned(get_step(key), Path("x.ipynb"), {}) for key in keys]
    found = []
    while waiting:
        batch = next_batch(waiting, at_once)
        assert 1 <= len(batch) <= at_once
        found.append([item.step.key for item in batch])
        waiting = [item for item in waiting if item not in batch]
    return found


def test_only_steps_that_measure_nothing_share_the_machine() -> None:
    every = [step.key for step in STEPS]
    order = batches(every, 2)
    assert order == [
        ["prep"],
        ["shadow"],
        ["soak"],
        ["baseline_lock"],
        ["dataset", "daily_ops"],
        ["ab_10"],
        ["ab_50"],
        ["ab_100"],
        ["readiness"],
    ]
    assert batches(every, 1) == [[key] for key in every]
    assert all(len(b) == 1 or not any(get_step(k).measures for k in b) for b in order)


@pytest.mark.parametrize(
    "keys", [["dataset"], ["dataset", "daily_ops"], ["ab_10", "readiness"], ["daily_ops", "ab_50"]]
)
def test_a_part_of_the_steps_keeps_the_dependences(keys: list[str]) -> None:
    flat = [key for batch in batches(keys, 2) for key in batch]
    assert sorted(flat) == sorted(keys)
    for at, key in enumerate(flat):
        assert not set(flat[at:]) & set(get_step(key).depends)


def pair(home: Path, first: list[str], second: list[str]) -> list[Planned]:
    """Two notebooks that may run side by side."""
    cells = {"dataset": first, "daily_ops": second}
    items = []
    for key, code in cells.items():
        step = get_step(key)
        notebook = write_notebook(home / f"{step.notebook}.ipynb", [*code, *passing_cells(key)])
        items.append(Planned(step, notebook, {"workspace": "."}))
    return items


def meet(home: Path, own: str, other: str) -> str:
    """Code that ends only when the other notebook runs at the same time."""
    return (
        f"import pathlib, time\nhome = pathlib.Path({str(home)!r})\n(home / {own!r}).touch()\n"
        f"until = time.monotonic() + 600\nwhile not (home / {other!r}).exists():\n"
        "    assert time.monotonic() < until\n    time.sleep(0.02)"
    )


@pytest.mark.slow
def test_two_notebooks_run_at_the_same_time_and_both_are_recorded(tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    items = pair(tmp_path, [meet(tmp_path, "a", "b")], [meet(tmp_path, "b", "a")])
    events: list[Event] = []
    _, outcomes = run_steps(tmp_path / "ws", items, on_event=events.append, jobs=2)
    assert [(o.step.key, o.returncode) for o in outcomes] == [("dataset", OK), ("daily_ops", OK)]
    for key in ("dataset", "daily_ops"):
        kinds = [e.kind for e in events if e.step.key == key]
        assert kinds[0] == "start"
        assert kinds[-1] == "end"
        assert kinds.count("end") == 1
        assert latest(tmp_path / "ws")[key].status is Status.PASS


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_an_error_and_the_other_goes_on(tmp_path: Path) -> None:
    """The notebook's own process is killed, not its kernel: nothing is left to write a manifest."""
    (tmp_path / "ws").mkdir()
    mark = tmp_path / "kernel.pid"
    wait = f"import os, pathlib, time\npathlib.Path({str(mark)!r}).write_text(str(os.getpid()))\ntime.sleep(3600)"
    items = pair(tmp_path, [wait], ["1 + 1"])

    def kill() -> None:
        until = time.monotonic() + 600
        while not (mark.is_file() and mark.read_text()) and time.monotonic() < until:
            time.sleep(0.02)
        workers = {process.name: process for process in multiprocessing.active_children()}
        workers["finishline-dataset"].kill()

    threading.Thread(target=kill, daemon=True).start()
    _, outcomes = run_steps(tmp_path / "ws", items, jobs=2)
    assert gone(int(mark.read_text()))
    found = {o.step.key: o for o in outcomes}
    assert found["dataset"].returncode == FAILED
    assert "ended without an outcome" in found["dataset"].reason
    assert found["daily_ops"].returncode == OK
    record = latest(tmp_path / "ws")["dataset"]
    assert record.status is Status.ERROR
    assert "has not finished" in record.reason


@pytest.mark.slow
def test_ctrl_c_ends_both_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    wait = "import time\ntime.sleep(3600)"
    items = pair(tmp_path, [meet(tmp_path, "a", "b"), wait], [meet(tmp_path, "b", "a"), wait])

    def press() -> None:
        until = time.monotonic() + 600
        while not ((tmp_path / "a").exists() and (tmp_path / "b").exists()) and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=press, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_steps(tmp_path / "ws", items, jobs=2)
    finally:
        signal.signal(signal.SIGINT, before)
    for key in ("dataset", "daily_ops"):
        record = latest(tmp_path / "ws")[key]
        assert record.status is Status.ERROR
        assert "interrupted" in record.reason


def stages(tmp_path: Path, statuses: dict[str, str]) -> list[Planned]:
    """The three rollout stages as notebooks that record one gate each."""
    items = []
    for key, status in statuses.items():
        step = get_step(key)
        params = {"workspace": ".", **step.fixed}
        notebook = write_notebook(tmp_path / f"{key}.ipynb", passing_cells("ab", status), params)
        items.append(Planned(step, notebook, params))
    return items


@pytest.mark.slow
def test_a_stage_waits_for_the_one_before_unless_it_is_run_through(tmp_path: Path) -> None:
    ws = tmp_path / "ws"
    ws.mkdir()
    items = stages(tmp_path, {"ab_10": "INCONCLUSIVE", "ab_50": "PASS"})
    events: list[Event] = []
    _, alone = run_steps(ws, items[1:], through=False, on_event=events.append)
    assert [(o.returncode, o.notebook) for o in alone] == [(GATE, None)]
    assert alone[0].reason.startswith("not decided: A/B 10 % has not run")
    assert [event.kind for event in events] == ["end"]
    _, held = run_steps(ws, items, through=False)
    assert [str(o.status) for o in held] == ["INCONCLUSIVE", "NO_DATA"]
    assert held[1].reason.startswith("not decided: A/B 10 % is inconclusive")
    assert set(latest(ws)) == {"ab_10"}
    _, through = run_steps(ws, items, through=True)
    assert [str(o.status) for o in through] == ["INCONCLUSIVE", "PASS"]
