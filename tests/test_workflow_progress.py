"""How far a step is: said by its notebook, heard by the command line; shown by the notebook itself where nobody listens."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmlib.metrics import farm
from mmlib.workflow import progress, sessionprogress
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
        assert came.wait(100)
        came.clear()
        Teller()("BTCUSDT", 0.5)
        assert came.wait(100)
    assert heard == [("dataset", "files of ticks 1 of 3"), ("soak", "BTCUSDT 50 %")]
    assert capsys.readouterr().err == "    files of ticks 1 of 3\n    BTCUSDT 50 %\n"


def test_in_a_log_a_step_says_a_line_in_two_seconds_at_most(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter, now = Reporter(1), 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    for now in (100.0, 100.5, 101.9, 102.0, 103.0, 104.5):
        reporter.said("dataset", f"at {now}")
    assert capsys.readouterr().err == "    at 100.0\n    at 102.0\n    at 104.5\n"


def test_many_threads_may_say_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessionprogress, "_TELL_S", 0.0)
    heard: list[str] = []
    with listening(lambda step, text: heard.append(text)):
        counter = Counter()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda k: counter("MB of a file", k, 400), range(400)))
        counter("MB of a file", 400, 400)
        deadline = time.monotonic() + 100
        while "MB of a file 400 of 400" not in heard and time.monotonic() < deadline:
            time.sleep(0.01)
    assert heard[-1] == "MB of a file 400 of 400"


def test_without_a_listener_a_dataset_shows_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farm, "_SHOWN_S", 0.0)
    Counter()("slices of the ticks", 2, 3)
    assert capsys.readouterr().err == "slices of the ticks: 2 of 3\n"
