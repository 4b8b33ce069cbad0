"""How far a step is: said by its notebook, heard by the command line; shown by the notebook itself where nobody listens."""

from __future__ import annotations

import threading

import pytest

from mmlib.metrics import farm
from mmlib.workflow.progress import Reporter
from mmlib.workflow.sessionprogress import Counter, Teller, listening


def test_steps_say_how_far_they_are_to_whoever_waits(capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[tuple[str, str]] = []
    came = threading.Event()

    def show(step: str, text: str) -> None:
        heard.append((step, text))
        Reporter(1).said(step, text)
        came.set()

    with listening(show):
        Counter()("files of ticks", 1, 3)
        assert came.wait(10)
        came.clear()
        Teller()("BTCUSDT", 0.5)
        assert came.wait(10)
    assert heard == [("dataset", "files of ticks 1 of 3"), ("soak", "BTCUSDT 50 %")]
    assert capsys.readouterr().err == "    files of ticks 1 of 3\n    BTCUSDT 50 %\n"


def test_without_a_listener_a_dataset_shows_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farm, "_SHOWN_S", 0.0)
    Counter()("slices of the ticks", 2, 3)
    assert capsys.readouterr().err == "slices of the ticks: 2 of 3\n"
