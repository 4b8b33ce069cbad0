"""A desk's own feeds: read where they are, never written into, never taken for something this run made."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mmlib.engine.measure import measure
from mmlib.feeds.writer import FeedWriter
from mmlib.metrics.dataset import build_dataset
from mmlib.ops.day import load_day
from mmlib.workflow.record import latest, open_step
from tests.make_feeds import fills, ticks
from tests.workflow_fixtures import result


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A desk's directory: both feeds, one damaged line, no sidecar."""
    home = tmp_path / "desk"
    with FeedWriter(home, "BTCUSDT") as writer:
        writer.ticks(ticks(200, seed=3))
        writer.fills(fills(20, seed=4))
    with (home / "fills_20250115.jsonl").open("a") as handle:
        handle.write("garbage\n")
    return home


def contents(home: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of everything in a directory."""
    return {
        path.relative_to(home).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(home.rglob("*"))
        if path.is_file()
    }


def test_reading_a_desks_feeds_leaves_them_as_they_were(desk: Path, tmp_path: Path) -> None:
    before = contents(desk)
    ours = tmp_path / "ours"
    assert measure(desk, quarantine=ours / "soak").quarantined == 1
    assert measure(desk).quarantined == 1
    assert build_dataset(desk, quarantine_dir=ours / "dataset").summary["quarantined_lines"] == 1
    assert load_day(desk, "2025-01-15", quarantine=ours / "daily_ops").quarantined == 1
    assert contents(desk) == before
    assert len(list(ours.rglob("*.quarantine.jsonl"))) == 3


@pytest.mark.parametrize("inside", [False, True])
def test_a_desks_feeds_are_an_input_of_the_step_wherever_they_are(
    desk: Path, tmp_path: Path, inside: bool
) -> None:
    ws = tmp_path if inside else tmp_path / "ws"
    step = open_step("soak", workspace=ws, source=f"feeds:{desk}", symbols=["BTCUSDT"])
    step.finish([result("soak")], outputs=[desk])
    record = latest(ws)["soak"].data
    name = "desk/fills_20250115.jsonl" if inside else str(desk / "fills_20250115.jsonl")
    assert len(record["inputs"][name]) == 64
    assert record["outputs"] == {}


def test_each_step_keeps_its_own_quarantine_below_the_workspace(tmp_path: Path) -> None:
    places = {open_step(step, workspace=tmp_path).quarantine for step in ("shadow", "soak", "daily_ops")}
    assert len(places) == 3
    assert all(tmp_path / "artifacts" / "quarantine" in place.parents for place in places)
