"""JupyterLab on the notebooks, and the doctor's looks at kernel, clock, promtool and browser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import namedtuple
from pathlib import Path
from urllib.error import URLError
from urllib.parse import parse_qs, urlsplit

import pytest

from mmlib.workflow import doctor

Spec = namedtuple("Spec", "argv resource_dir")


def ask(address: str, path: str, token: str) -> object:
    request = urllib.request.Request(f"{address}{path}", headers={"Authorization": f"token {token}"})
    with urllib.request.urlopen(request, timeout=100) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_lab_serves_the_notebooks_with_the_kernel_of_this_environment(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mmlib", "lab", "--no-browser", "--workspace", str(tmp_path)]
    with (
        (tmp_path / "lab.log").open("w") as log,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True) as lab,
    ):
        try:
            assert lab.stdout is not None
            address = lab.stdout.readline().strip()
            parts = urlsplit(address)
            assert parts.hostname == "127.0.0.1"
            token, home = parse_qs(parts.query)["token"][0], f"http://{parts.netloc}"
            deadline = time.monotonic() + 600
            while True:
                try:
                    kernels = ask(home, "/api/kernelspecs", token)
                    break
                except (URLError, ConnectionError):
                    assert time.monotonic() < deadline, (tmp_path / "lab.log").read_text()[-2000:]
                    assert lab.poll() is None, (tmp_path / "lab.log").read_text()[-2000:]
                    time.sleep(0.2)
            listed = ask(home, "/api/contents", token)
            commands = Path(f"/proc/{lab.pid}/cmdline")
            assert not commands.exists() or token not in commands.read_text()
        finally:
            os.killpg(lab.pid, 15)
            lab.wait(300)
    assert kernels["default"] == "python3"
    assert kernels["kernelspecs"]["python3"]["spec"]["argv"][1:3] == ["-m", "ipykernel_launcher"]
    names = {entry["name"] for entry in listed["content"]}
    assert {"01_prep.ipynb", "07_daily_ops.ipynb"} <= names


def test_a_kernel_of_another_python_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._jupyter_kernel()[0] is True
    from jupyter_client import kernelspec

    monkeypatch.setattr(
        kernelspec.KernelSpecManager, "get_kernel_spec", lambda self, name: Spec(["/opt/other/python"], "/k")
    )
    ok, found = doctor._jupyter_kernel()
    assert ok is False
    assert f"expected {sys.executable}" in found


def test_a_clock_that_was_set_while_looking_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1000.0, 1005.0])
    monkeypatch.setattr(time, "time", lambda: next(times))
    ok, found = doctor.clock()
    assert ok is False
    assert "stepped by 4900 ms" in found or "stepped by 4" in found


@pytest.mark.parametrize(
    ("said", "ok", "word"),
    [
        (None, None, "unknown"),
        ((True, 1.5), True, "at most 1.5 ms"),
        ((False, 0.0), None, "not synchronised"),
    ],
)
def test_the_clock_says_what_is_known(
    said: tuple[bool, float] | None, ok: bool | None, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_DRIFT_MS", 1e6)
    monkeypatch.setattr(doctor, "_ntp", lambda: said)
    found = doctor.clock()
    assert found[0] is ok
    assert word in found[1]


def test_what_is_missing_but_not_needed_does_not_fail_the_doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    checks = {check.name: check for check in doctor.examine(tmp_path)}
    assert checks["promtool"].ok is None
    assert checks["browser"].ok is None
    assert "?    promtool" in doctor.text(list(checks.values()))
    assert {"jupyter kernel", "decoded cache", "clock", "disk"} <= set(checks)
