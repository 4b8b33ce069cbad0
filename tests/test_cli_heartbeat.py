"""A verb that is silent is spoken for; one that speaks is not interrupted."""

from __future__ import annotations

import importlib.util
import sys
import threading
from pathlib import Path

import pytest

from mmlib.cli import heartbeat as module


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_S", 0.0)
    monkeypatch.setattr(module, "AGAIN_S", 0.0)
    monkeypatch.setattr(module, "_LOOK_S", 0.001)


@pytest.mark.usefixtures("at_once")
def test_silence_is_broken_on_standard_error_alone(capsys: pytest.CaptureFixture[str]) -> None:
    spoken = threading.Event()
    with module.spoken_for("dataset"):
        written = sys.stderr.write

        def write(text: str) -> int:
            spoken.set()
            return written(text)

        sys.stderr.write = write  # type: ignore[method-assign]
        assert spoken.wait(100)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0].startswith("    dataset: ")
    assert threading.active_count() == 1 or "heartbeat" not in {t.name for t in threading.enumerate()}


def test_who_speaks_is_not_spoken_for(capsys: pytest.CaptureFixture[str]) -> None:
    with module.spoken_for("status"):
        print("done")
        assert sys.stdout.isatty() is False
    assert capsys.readouterr() == ("done\n", "")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mmlib.feeds.reader", "reading feeds"),
        ("mmlib.engine.replay", "simulating"),
        ("mmlib.workflow.runner", "executing a notebook"),
        ("numba.core.compiler", "compiling kernels, once on this machine"),
        ("mmlib.feedstock", "working"),
    ],
)
def test_what_it_is_at_is_where_the_program_is(name: str, words: str) -> None:
    found: list[str] = []
    exec(
        "def inner(): found.append(doing())\ninner()",
        {"__name__": name, "found": found, "doing": module.doing},
    )
    assert found == [words]


def test_an_import_is_called_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slowly_imported.py").write_text("from mmlib.cli.heartbeat import doing\nSAID = doing()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert importlib.util.find_spec("slowly_imported")
    assert importlib.import_module("slowly_imported").SAID == "importing packages"
    del sys.modules["slowly_imported"]
