"""Runs that are killed, and locks that are not what was locked: never the PASS of before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mmlib._io import write_json
from mmlib.baseline import candidate
from mmlib.dtypes import Status
from mmlib.feeds.sidecar import write_sidecar
from mmlib.workflow import status
from mmlib.workflow.manifest import Planned, begin, resumable, why
from mmlib.workflow.readiness import collect
from mmlib.workflow.record import StepRecord, latest
from mmlib.workflow.steps import get_step
from tests.workflow_fixtures import record_all, result


def test_a_step_that_was_killed_is_an_error_and_not_the_pass_of_before(tmp_path: Path) -> None:
    record_all(tmp_path)
    assert latest(tmp_path)["soak"].status is Status.PASS
    item = Planned(get_step("soak"), Path(__file__), {"workspace": "."})
    begin(tmp_path, item, "20250115T000000Z", "2025-01-15T00:00:00Z")
    record = latest(tmp_path)["soak"]
    assert record.status is Status.ERROR
    assert "has not finished" in record.reason
    assert resumable(tmp_path, item) is None
    found = collect(tmp_path)
    assert found.verdict == "NOT READY"
    assert [row.step for row in found.rows_list if row.status == "ERROR"] == ["soak"]
    assert status.next_step(status.overview(tmp_path)) == "soak"


def test_every_outcome_but_a_pass_says_why() -> None:
    gates = (
        result("soak", "NO_DATA", value=None, title="Hours", reason="the feeds hold no ticks").to_dict(),
    )
    record = StepRecord("soak", Status.NO_DATA, gates=gates)
    assert "Hours" in why(record)
    assert "the feeds hold no ticks" in why(record)
    assert why(replace(record, status=Status.ERROR, reason="it crashed")) == "it crashed"
    assert why(StepRecord("soak", Status.PASS, gates=gates)) == ""


@pytest.mark.parametrize("source", ["a desk's own feeds", "recording:/data/btc.gz"])
def test_a_lock_is_never_compared_with_a_session_on_another_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    feeds = tmp_path / candidate.SHADOW_FEEDS
    write_sidecar(
        feeds,
        dict.fromkeys(("symbols", "arms", "seed", "started", "finished", "tick_interval_ms"), 1)
        | {"grade": "simulated", "source": "simulated", "complete": True},
    )
    write_json(tmp_path / candidate.BUDGETS_FILE, {})
    budgets = SimpleNamespace(source=source, created="today", to_dict=dict)
    monkeypatch.setattr(candidate, "read_budgets", lambda _path: budgets)
    monkeypatch.setattr(
        candidate, "measure_rounds", lambda *_a, **_k: pytest.fail("ran another source again")
    )
    found = candidate.measure_candidate(tmp_path, locking=True)
    assert found.budgets is cast(Any, budgets)
    assert found.sides is None
    assert "no session of ours that can be replayed" in found.said
