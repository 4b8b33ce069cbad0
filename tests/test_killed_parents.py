"""Programs that are no Python of ours end with the one that started them, even after kill -9."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the system tells children of a parent's end on Linux"
)

NOTIFY = """
import sys
from mmlib.workflow.catchup import notify
notify([sys.executable, {child!r}], "subject", "text", timeout_s=600)
"""
LAB = """
import sys
from pathlib import Path
from mmlib.workflow import verbs
verbs.sys.executable = {python!r}
verbs.open_lab(Path({home!r}), browser=False, port=0)
"""
CHILD = (
    "import os, time\nwith open({fifo!r}, 'w') as out:\n    out.write(str(os.getpid()))\ntime.sleep(600)\n"
)


def said_by(started: subprocess.Popen[bytes], fifo: Path) -> int:
    """Number of the child, which it writes into the pipe; the parent that ends before is the failure."""
    pipe = os.open(fifo, os.O_RDWR)
    try:
        while not select.select([pipe], [], [], 1.0)[0]:
            assert started.poll() is None, "the parent ended before its child began"
        return int(os.read(pipe, 32))
    finally:
        os.close(pipe)


@pytest.mark.parametrize("ignoring", [False, True])
@pytest.mark.parametrize("parent", ["notify.command", "JupyterLab"])
def test_a_child_ends_with_a_parent_that_was_killed(parent: str, ignoring: bool, tmp_path: Path) -> None:
    fifo, child = tmp_path / "pid", tmp_path / "child.py"
    os.mkfifo(fifo)
    child.write_text(CHILD.format(fifo=str(fifo)))
    stand_in = tmp_path / "python"  # takes the place of the interpreter that is asked for JupyterLab
    stand_in.write_text(f"#!/bin/sh\nexec {sys.executable} {child}\n")
    stand_in.chmod(0o700)
    code = (NOTIFY if parent == "notify.command" else LAB).format(
        child=str(child), python=str(stand_in), home=str(tmp_path / "ws")
    )
    if ignoring:  # as a program does that a shell or a service started so
        code = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + code
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL) as started:
        try:
            one = psutil.Process(said_by(started, fifo))
        finally:
            started.kill()
    try:
        one.wait(timeout=300)
    except psutil.NoSuchProcess:
        return
    assert not one.is_running()
