"""A killed warm-up leaves what it had compiled, two at once compile nothing twice, old kernels go; with four small kernels."""

from __future__ import annotations

import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mmlib.core._jit import JIT_DISABLED
from mmlib.workflow.oldkernels import KEPT_DAYS, prune

ROOT = Path(__file__).parents[1]
LIMIT_S = 1200
NAMES = ("first", "second", "third", "fourth")
needs_numba = pytest.mark.skipif(JIT_DISABLED, reason="kernels run as plain Python")

FAMILY = """
import os
from mmlib.core._jit import jit

@jit
def first(x): return x + 1

@jit
def second(x): return x + 2

@jit
def third(x): return x + 3

@jit
def fourth(x): return x + 4

def build(place):
    first(1.0), second(1.0)
    if "HALFWAY" in os.environ:
        with open(os.environ["HALFWAY"], "w") as told:
            told.write("x")
            told.flush()
            os.read(os.open(os.environ["NEVER"], os.O_RDWR), 1)
    third(1.0), fourth(1.0)
"""
PUT_IN_PLACE = """
import mmlib.workflow.kernelfamilies as _families
def _build(place):
    import four_kernels
    four_kernels.build(place)
_families.FAMILIES = {"feeds": _build}
"""


@pytest.fixture(scope="module")
def counter() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compile_events", ROOT / "ci/benches/compile_events.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _environment(counter: ModuleType, place: Path, events: str) -> dict[str, str]:
    """An empty cache, compile events counted, and the family ``feeds`` made of four small kernels."""
    env = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    counted: dict[str, str] = counter.environment(
        place / events, env | {"FINISHLINE_CACHE": str(place / "cache"), "PYTHONPATH": str(ROOT)}
    )
    (place / events / "four_kernels.py").write_text(FAMILY)
    with (place / events / "sitecustomize.py").open("a") as stream:
        stream.write(PUT_IN_PLACE)
    return counted


def _warm(env: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mmlib", "warm", "feeds", "--json"]
    return subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def _compiled(counter: ModuleType, place: Path) -> list[str]:
    return sorted(event["kernel"].removeprefix("four_kernels.") for event in counter.read(place))


@needs_numba
def test_two_warm_ups_at_once_share_the_work(counter: ModuleType, tmp_path: Path) -> None:
    env = _environment(counter, tmp_path, "events")
    both = [_warm(env), _warm(env)]
    said = [process.communicate(timeout=LIMIT_S) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    results = [json.loads(out) for out, _ in said]
    assert [result["ready"] for result in results] == [{"feeds": 4}, {"feeds": 4}]
    assert sum(result["compiled"] for result in results) == 4
    assert _compiled(counter, tmp_path / "events") == sorted(NAMES)


@needs_numba
def test_a_killed_warm_up_leaves_what_it_had_compiled(counter: ModuleType, tmp_path: Path) -> None:
    halfway, never = tmp_path / "halfway", tmp_path / "never"
    os.mkfifo(halfway)
    os.mkfifo(never)
    env = _environment(counter, tmp_path, "before")
    told = os.open(halfway, os.O_RDONLY | os.O_NONBLOCK)
    killed = _warm(env | {"HALFWAY": str(halfway), "NEVER": str(never)})
    try:
        assert select.select([told], [], [], LIMIT_S)[0], "the warm-up never came to its middle"
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate(timeout=LIMIT_S)
        os.close(told)
    assert _compiled(counter, tmp_path / "before") == ["first", "second"]

    after = _environment(counter, tmp_path, "before")
    for path in (tmp_path / "before").glob("*.jsonl"):
        path.unlink()
    again = _warm(after)
    out, err = again.communicate(timeout=LIMIT_S)
    assert again.returncode == 0, err
    assert json.loads(out)["compiled"] == 2
    assert _compiled(counter, tmp_path / "before") == ["fourth", "third"]


def _module(root: Path, name: str, days: float) -> Path:
    place = root / f"mmlib.core.{name}-0123456789abcdef"
    place.mkdir(parents=True)
    (place / "f-0123456789abcdef.kernel").write_bytes(b"x")
    for path in (*place.iterdir(), place):
        os.utime(path, (1e9 - days * 86_400,) * 2)
    return place


def test_kernels_that_nobody_used_for_a_month_are_removed(tmp_path: Path) -> None:
    fresh = _module(tmp_path, "fresh", KEPT_DAYS - 1)
    old = _module(tmp_path, "old", KEPT_DAYS + 1)
    used = _module(tmp_path, "used", KEPT_DAYS + 1)
    written = _module(tmp_path, "written", KEPT_DAYS + 1)
    os.utime(next(written.iterdir()), (1e9, 1e9))
    link = tmp_path / "mmlib.core.link-0123456789abcdef"
    link.symlink_to(used)
    stranger = tmp_path / "notes"
    stranger.mkdir()
    os.utime(stranger, (1.0, 1.0))
    marks = tmp_path / "warm"
    marks.mkdir()
    for name, days in (("feeds-1", KEPT_DAYS - 1), ("feeds-2", KEPT_DAYS + 1)):
        (marks / name).write_text(used.name if name == "feeds-1" else old.name)
        os.utime(marks / name, (1e9 - days * 86_400,) * 2)

    assert prune(tmp_path, now_s=1e9) == [old.name]
    assert fresh.is_dir()
    assert used.is_dir()
    assert written.is_dir()
    assert link.is_symlink()
    assert stranger.is_dir()
    assert [path.name for path in marks.iterdir()] == ["feeds-1"]
    assert prune(tmp_path / "absent", now_s=1e9) == []
