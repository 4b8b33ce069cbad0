"""Forked kernels: what they begin with, and that none outlives its run however that ends."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmlib.engine.processes import started
from mmlib.workflow import ahead
from mmlib.workflow.manifest import OK, Planned
from mmlib.workflow.order import run_steps
from mmlib.workflow.steps import get_step
from tests.workflow_fixtures import gone, passing_cells, write_notebook

ROOT = Path(__file__).parents[1]
MARK = "import os, pathlib\npathlib.Path({path!r}).write_text(f'{{os.getpid()}} {{os.getppid()}}')\n"


def test_imports_of_a_notebook_are_found_whatever_its_cells_hold(tmp_path: Path) -> None:
    cells = [
        "import os, pandas as pd\nfrom mmlib.figures import ab, gates",
        "%magic that is no Python",
        "x = 1",
    ]
    path = write_notebook(tmp_path / "a.ipynb", cells)
    names = ahead.imported(path)
    assert {"os", "pandas", "mmlib.figures", "mmlib.figures.ab", "mmlib.figures.gates"} == set(names)
    shipped = [
        name for path in sorted((ROOT / "notebooks").glob("0*.ipynb")) for name in ahead.imported(path)
    ]
    assert {"mmlib.engine.session", "mmlib.figures.readiness", "mmlib.workflow.record"} <= set(shipped)
    assert all(
        importlib.util.find_spec(name) for name in ahead.LATER
    )  # a wrong one would be left out in silence


@pytest.mark.slow
def test_a_kernel_has_the_environment_and_directory_of_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the moment, though the process that forks it began with others; and a module that is missing harms nobody."""
    ahead.prepare([write_notebook(tmp_path / "other.ipynb", ["import no_such_module"])])
    monkeypatch.setenv("FINISHLINE_TEST_WORD", "first")
    for word in ("first", "second"):
        ws = tmp_path / word
        ws.mkdir()
        monkeypatch.setenv("FINISHLINE_TEST_WORD", word)
        step = get_step("prep")
        cell = (
            f"import os\nassert (os.environ['FINISHLINE_TEST_WORD'], os.getcwd()) == ({word!r}, {str(ws)!r})"
        )
        notebook = write_notebook(tmp_path / f"{step.notebook}.ipynb", [cell, *passing_cells("prep")])
        _, outcomes = run_steps(ws, [Planned(step, notebook, {"workspace": "."})])
        assert (outcomes[0].returncode, outcomes[0].reason) == (OK, "")
    assert multiprocessing.active_children() == []


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_ended_leaves_no_process(tmp_path: Path, how: signal.Signals) -> None:
    """The command, its kernel, the process that forked it and what the notebook started itself."""
    mark, ws = tmp_path / "pids", tmp_path / "ws"
    ws.mkdir()
    cell = MARK.format(path=str(mark)) + "import time\ntime.sleep(3600)"
    notebook = write_notebook(tmp_path / "01_prep.ipynb", [cell])
    code = (
        "import pathlib, signal, sys\nfrom mmlib.workflow.manifest import Planned\nfrom mmlib.workflow.order import run_steps\n"
        "from mmlib.workflow.steps import get_step\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "item = Planned(get_step('prep'), pathlib.Path(sys.argv[1]), {'workspace': '.'})\n"
        "run_steps(pathlib.Path(sys.argv[2]), [item])"
    )
    program = tmp_path / "program.py"
    program.write_text(code)  # without a guard: a kernel must not run it again
    command = [sys.executable, str(program), str(notebook), str(ws)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as run:
        until = time.monotonic() + 600
        while not (mark.is_file() and len(mark.read_text().split()) == 2) and time.monotonic() < until:
            time.sleep(0.05)
        kernel, server = (int(word) for word in mark.read_text().split())
        assert server != run.pid
        os.kill(run.pid, how)
        run.wait(600)
    assert gone(kernel)
    assert gone(server)


@pytest.mark.slow
def test_a_fork_server_that_was_killed_is_replaced(tmp_path: Path) -> None:
    """Also at once, while it has not quite ended."""
    mark, ws = tmp_path / "pids", tmp_path / "ws"
    ws.mkdir()
    step = get_step("prep")
    cells = [MARK.format(path=str(mark)), *passing_cells("prep")]
    item = Planned(step, write_notebook(tmp_path / "01_prep.ipynb", cells), {"workspace": "."})
    assert run_steps(ws, [item])[1][0].returncode == OK
    for waits in (True, False):
        server = int(mark.read_text().split()[1])
        os.kill(server, signal.SIGKILL)
        assert not waits or gone(server)
        assert run_steps(ws, [item])[1][0].returncode == OK
        assert int(mark.read_text().split()[1]) != server


@pytest.mark.parametrize("error", [EOFError, ConnectionRefusedError, BrokenPipeError])
def test_a_process_is_asked_for_again_while_a_killed_fork_server_ends(error: type[Exception]) -> None:
    class Asked:
        tries = 0

        def start(self) -> None:
            Asked.tries += 1
            if Asked.tries < 4:
                raise error

    assert isinstance(started(Asked), Asked)  # type: ignore[arg-type]
    assert Asked.tries == 4


def test_a_notebook_that_is_none_does_not_hinder(tmp_path: Path) -> None:
    (tmp_path / "bad.ipynb").write_text(json.dumps({"cells": 3}))
    assert ahead.imported(tmp_path / "bad.ipynb") == []
    assert ahead.imported(tmp_path / "absent.ipynb") == []
