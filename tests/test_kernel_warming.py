"""Warm-ups: what is missing is named, what was warmed is not compiled by the verbs, and a session that compiles says so."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmlib.core import compiling
from mmlib.core._jit import JIT_DISABLED
from mmlib.engine.realtime.ledger import Ledger
from mmlib.engine.realtime.run import _Runner
from mmlib.market.live import codes
from mmlib.workflow.kernelfamilies import FAMILIES as BUILT
from mmlib.workflow.warm_arguments import FAMILIES, KERNELS
from mmlib.workflow.warming import families_of, of_market

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="kernels run as plain Python")


def _counter() -> object:
    spec = importlib.util.spec_from_file_location("compile_events", ROOT / "ci/benches/compile_events.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _finishline(*args: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mmlib", *args]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=1800, check=False)


def test_every_family_is_built_and_every_step_is_given_some() -> None:
    assert set(BUILT) == set(FAMILIES)
    assert families_of(["prep", "readiness"]) == ()
    assert families_of(["dataset"]) == ("feeds",)
    assert families_of(["prep", "shadow"], live=True) == ("feeds", "session", "live")
    assert families_of(["shadow"], "recording:a.gz") == ("feeds", "session", "recording")
    assert families_of(["soak"], "live:binance") == ("feeds", "session", "live")
    assert of_market("recording:a.gz", "orders") == ("recording", "orders")
    assert of_market("simulated", "exchange") == ("exchange", "market")


@pytest.mark.slow
def test_a_check_of_an_empty_cache_names_what_is_missing_and_compiles_nothing(tmp_path: Path) -> None:
    env = os.environ | {"FINISHLINE_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    env.pop("NUMBA_CACHE_DIR", None)
    done = _finishline("warm", "feeds", "--check", "--json", env=env)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["missing"]["feeds"].startswith("mmlib.")
    assert list(tmp_path.rglob("*.kernel")) == []


def test_a_family_that_is_none_is_refused(tmp_path: Path) -> None:
    done = _finishline("warm", "flow", env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stdout) == (2, "")
    assert "flow: no such family" in done.stderr


@pytest.mark.slow
def test_after_a_warm_up_the_steps_of_a_run_compile_nothing(tmp_path: Path) -> None:
    """With this suite's own kernels, so that what it costs is not paid twice."""
    events = _counter()
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    warmed = _finishline("warm", "--json", env=env)
    assert warmed.returncode == 0, warmed.stderr
    assert json.loads(warmed.stdout)["ready"] == KERNELS
    counted = events.environment(tmp_path / "events", env)  # type: ignore[attr-defined]
    steps = ["prep", "shadow", "soak", "dataset", "daily_ops"]
    profile = str(ROOT / "ci" / "profile.yaml")
    done = _finishline(
        "run", "--profile", profile, "--workspace", str(tmp_path / "ws"), "--step", *steps, env=counted
    )
    assert done.returncode in (0, 1), done.stderr
    assert [event["kernel"] for event in events.read(tmp_path / "events")] == []  # type: ignore[attr-defined]


def test_a_kernel_compiled_in_a_session_is_one_error_of_it() -> None:
    ledger = Ledger(("BTCUSDT",), ("A",))
    runner = SimpleNamespace(loop=SimpleNamespace(ledger=ledger), _compiling=0)
    with compiling.heard(lambda kernel, done: _Runner._compiled(runner, kernel, done)):  # type: ignore[arg-type]
        for kernel, done in (("outer", False), ("inner", False), ("inner", True), ("outer", True)):
            compiling.tell(kernel, done=done)
    compiling.tell("later", done=False)
    assert ledger.take_errors("BTCUSDT").counted == Counter({codes.COMPILED: 1})
    assert "outer was compiled while the session ran" in ledger.recent[0]
