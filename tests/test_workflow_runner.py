"""The runner with tiny notebooks in real kernels: success, every way to fail, resume, refusal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from mmlib._io import UserError
from mmlib.config.load import ensure_params
from mmlib.dtypes import Grade, Status
from mmlib.workflow import runs
from mmlib.workflow.manifest import BAD_INPUT, FAILED, GATE, OK, Planned
from mmlib.workflow.order import run_steps
from mmlib.workflow.record import latest
from mmlib.workflow.runner import Event, check_known, parameters_of
from mmlib.workflow.steps import get_step
from tests.workflow_fixtures import OPEN, passing_cells, write_notebook

pytestmark = pytest.mark.slow

PREP_PARAMS = {"workspace": ".", "profile": ""}


def planned(home: Path, key: str, cells: list[str], **params: object) -> Planned:
    step = get_step(key)
    notebook = write_notebook(home / f"{step.notebook}.ipynb", cells, PREP_PARAMS | params)
    return Planned(step, notebook, {"workspace": ".", **params})


def test_success_failure_and_bad_input_in_one_run(tmp_path: Path) -> None:
    """A pass, a failed gate, a crash, bad input, an early exit and a record under another name, in one run."""
    ws, home = tmp_path / "ws", tmp_path / "nb"
    ws.mkdir()
    open_soak = OPEN.format(step="soak", rest="")
    events: list[Event] = []
    items = [
        planned(home, "prep", passing_cells("prep")),
        planned(home, "shadow", passing_cells("shadow", "FAIL", 0.2)),
        planned(home, "soak", [open_soak, "1 / 0"]),
        planned(home, "dataset", [OPEN.format(step="dataset", rest="interval_min=-5")]),
        planned(home, "baseline_lock", ["import sys; sys.exit(0)"]),
        planned(home, "daily_ops", passing_cells("prep")),
    ]
    run_id, outcomes = run_steps(ws, items, profile="demo", on_event=events.append)
    codes = {o.step.key: (o.returncode, o.status) for o in outcomes}
    told = [f"{o.step.key}: {o.reason}" for o in outcomes]
    assert codes == {
        "prep": (OK, Status.PASS),
        "shadow": (GATE, Status.FAIL),
        "soak": (FAILED, Status.ERROR),
        "dataset": (BAD_INPUT, Status.ERROR),
        "baseline_lock": (FAILED, Status.ERROR),
        "daily_ops": (FAILED, Status.ERROR),
    }, told
    reasons = {o.step.key: o.reason for o in outcomes}
    assert "ZeroDivisionError in cell" in reasons["soak"]
    assert reasons["dataset"] == "interval_min: -5; expected a number above 0 and at most 1440"
    assert "did not finish" in reasons["baseline_lock"]
    assert "expected 'daily_ops'" in reasons["daily_ops"]

    folder = runs.runs_dir(ws) / run_id
    assert not list(folder.glob("*.partial.ipynb"))
    manifest = json.loads((folder / "03_soak.json").read_text())
    assert manifest["error"]["name"] == "ZeroDivisionError"
    assert manifest["returncode"] == FAILED
    assert manifest["profile"] == "demo"
    bad = nbformat.read(folder / "04_dataset.ipynb", as_version=4)
    traces = [o.traceback for c in bad.cells for o in c.get("outputs", []) if o.output_type == "error"]
    assert traces == [["UserError: interval_min: -5; expected a number above 0 and at most 1440"]]
    assert str(tmp_path) not in json.dumps(bad.metadata)

    records = latest(ws)
    assert records["prep"].grade is Grade.SIMULATED
    assert records["shadow"].status is Status.FAIL
    assert records["soak"].status is Status.ERROR
    assert records["prep"].run_id == run_id
    kinds = [e.kind for e in events if e.step.key == "prep"]
    assert kinds[0] == "start"
    assert kinds[-1] == "end"
    assert kinds.count("cell") >= 4


def test_bad_input_in_prep_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    cells = [
        "from mmlib._io import UserError",
        "raise UserError('params/config.yaml:3: key: expected a number')",
    ]
    items = [planned(tmp_path, "prep", cells), planned(tmp_path, "shadow", passing_cells("shadow"))]
    _, outcomes = run_steps(tmp_path / "ws", items)
    assert [(o.step.key, o.returncode) for o in outcomes] == [("prep", BAD_INPUT)]
    assert outcomes[0].reason == "params/config.yaml:3: key: expected a number"


def test_dead_kernel_is_an_error_with_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    item = planned(tmp_path, "prep", ["import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
    run_id, outcomes = run_steps(tmp_path / "ws", [item])
    assert outcomes[0].returncode == FAILED
    assert "DeadKernelError" in outcomes[0].reason
    assert (runs.runs_dir(tmp_path / "ws") / run_id / "01_prep.json").is_file()


def test_interrupt_keeps_the_notebook_and_says_so(tmp_path: Path) -> None:
    """Ctrl-C during a long cell: exit 130, kernel gone, record ERROR, nothing half-written."""
    ensure_params(tmp_path / "ws")
    mark = tmp_path / "kernel.pid"
    cell = f"import os, pathlib, time\npathlib.Path({str(mark)!r}).write_text(str(os.getpid()))\ntime.sleep(3600)"
    notebook = write_notebook(tmp_path / "01_prep.ipynb", [cell], PREP_PARAMS)
    code = (
        "import pathlib, signal, sys\nfrom mmlib import cli\nfrom mmlib.workflow import plan\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background ignores it
        f"plan.notebooks_dir = lambda: pathlib.Path({str(notebook.parent)!r})\n"
        "plan._step_file = lambda *_: {}\n"
        f"sys.exit(cli.main(['run', '--step', '1', '--workspace', {str(tmp_path / 'ws')!r}]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 600
    while not (mark.is_file() and mark.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert err.strip().splitlines()[-1] == "finishline run: interrupted"
    assert not psutil.pid_exists(int(mark.read_text()))
    record = latest(tmp_path / "ws")["prep"]
    assert record.status is Status.ERROR
    assert "interrupted" in record.reason
    folder = runs.runs_dir(tmp_path / "ws") / record.run_id
    assert sorted(p.name for p in folder.iterdir()) == ["01_prep.ipynb", "01_prep.json"]


def test_a_live_session_is_asked_to_end_and_its_notebook_goes_on_to_its_record(tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    mark = tmp_path / "running"
    session = (
        "import pathlib, signal, time\nasked = []\n"
        "before = signal.signal(signal.SIGINT, lambda *_: asked.append(1))\n"
        f"pathlib.Path({str(mark)!r}).touch()\n"
        "while not asked:\n    time.sleep(0.02)\n"
        "signal.signal(signal.SIGINT, before)"
    )
    item = planned(tmp_path, "soak", [session, *passing_cells("soak")], source="live:binance")
    helper = threading.Thread(target=ask_to_end, args=(mark,))
    helper.start()
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):  # whatever else was planned is not begun
        run_steps(tmp_path / "ws", [item, planned(tmp_path, "dataset", passing_cells("dataset"))])
    helper.join()
    assert {key: one.status for key, one in latest(tmp_path / "ws").items()} == {"soak": Status.PASS}
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def ask_to_end(mark: Path) -> None:
    """Send SIGTERM to this process once the cell runs; the runner has its handler by then."""
    deadline = time.monotonic() + 600
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    if mark.exists():
        os.kill(os.getpid(), signal.SIGTERM)


def test_resume_keeps_what_did_not_change(tmp_path: Path) -> None:
    ws = tmp_path / "ws"
    ensure_params(ws)
    items = [
        planned(tmp_path, "prep", passing_cells("prep")),
        planned(tmp_path, "shadow", passing_cells("shadow")),
    ]
    first, _ = run_steps(ws, items)
    _, again = run_steps(ws, items, resume=True)
    assert [o.resumed for o in again] == [True, True]
    assert [o.returncode for o in again] == [OK, OK]

    gates = ws / "params" / "gates.yaml"
    gates.write_text(gates.read_text() + "\n# a comment\n")
    assert [o.resumed for o in run_steps(ws, items, resume=True)[1]] == [True, True]
    gates.write_text(gates.read_text().replace("source: fetch_md p95 <= 35ms", "source: other words"))
    _, third = run_steps(ws, items[:1], resume=True)
    assert [o.resumed for o in third] == [False]
    assert latest(ws)["prep"].run_id != first
    _, fourth = run_steps(ws, items[:1], resume=True)
    assert [o.resumed for o in fourth] == [True]


def test_unknown_parameter_is_refused_before_anything_runs(tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path / "02_shadow.ipynb", [], {"workspace": ".", "duration_min": 5.0})
    item = Planned(get_step("shadow"), notebook, {"duration_mins": 5.0})
    with pytest.raises(UserError, match="did you mean 'duration_min'"):
        check_known(item)
    with pytest.raises(UserError, match="duration_mins"):
        run_steps(tmp_path / "ws", [item])
    assert not (tmp_path / "ws").exists()


def test_missing_and_damaged_notebooks_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such notebook"):
        parameters_of(tmp_path / "absent.ipynb")
    (tmp_path / "bad.ipynb").write_text("{")
    with pytest.raises(UserError, match="no readable notebook"):
        parameters_of(tmp_path / "bad.ipynb")


def test_workspace_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "ws").write_text("a file")
    item = planned(tmp_path, "prep", passing_cells("prep"))
    with pytest.raises(UserError, match="cannot be written"):
        run_steps(tmp_path / "ws", [item])
