"""Every step's notebook on next to nothing: no file, no row, one row, one symbol, one arm. It completes, and nothing passes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmlib.dtypes import Status
from mmlib.feeds.writer import FeedWriter
from mmlib.gates.result import GateResult, aggregate
from mmlib.workflow.record import StepContext
from tests import make_feeds

ROOT = Path(__file__).resolve().parents[1]
DAY = "20250115"
STEPS: dict[str, tuple[str, dict[str, Any]]] = {
    "shadow": ("02_shadow", {"duration_min": 60.0}),
    "soak": ("03_soak", {"duration_hours": 24.0}),
    "dataset": ("04_dataset", {}),
    "ab_10": ("05_ab", {"rollout_pct": 10}),
    "ab_100": ("05_ab", {"rollout_pct": 100}),
    "daily_ops": ("07_daily_ops", {"date": "2025-01-15"}),
}


def rows(n: int, arm: int | None, make: Any) -> np.ndarray:
    made = make(n, 3)
    if arm is not None:
        made["arm"] = arm
    return made


# symbols, ticks, fills, arm (None: both in turns)
LITTLE: dict[str, tuple[tuple[str, ...], int, int, int | None]] = {
    "no file": ((), 0, 0, None),
    "no row": (("BTCUSDT",), 0, 0, None),
    "one tick": (("BTCUSDT",), 1, 0, 0),
    "one fill": (("BTCUSDT",), 0, 1, 0),
    "one tick and one fill": (("BTCUSDT",), 1, 1, 1),
    "one arm": (("BTCUSDT",), 120, 9, 0),
    "the other arm": (("BTCUSDT",), 120, 9, 1),
    "a tick an arm": (("BTCUSDT",), 2, 2, None),
    "ticks alone": (("BTCUSDT",), 120, 0, None),
    "fills alone": (("BTCUSDT",), 0, 9, None),
    "a tick a symbol": (("BTCUSDT", "ETHUSDT"), 1, 1, 0),
}


def write_little(home: Path, name: str) -> Path:
    """A directory of feeds with as much as ``LITTLE`` says."""
    symbols, n_ticks, n_fills, arm = LITTLE[name]
    home.mkdir(parents=True)
    if symbols and not (n_ticks or n_fills):
        for kind in ("pipeline_ticks", "fills"):
            (home / f"{kind}_{DAY}.jsonl").write_bytes(b"")
        return home
    for symbol in symbols:
        with FeedWriter(home, symbol, ["A", "B"]) as writer:
            writer.ticks(rows(n_ticks, arm, make_feeds.ticks))
            writer.fills(rows(n_fills, arm, make_feeds.fills))
    return home


def run_cells(notebook: str, parameters: dict[str, Any]) -> None:
    """The code of a shipped notebook with parameters in place of its own, in this process."""
    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text())["cells"]
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        exec(compile("".join(cell["source"]), notebook, "exec"), names)
        if "parameters" in cell["metadata"].get("tags", ()):
            names |= {key: value for key, value in parameters.items() if key in names}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One workspace for all members, so that the study of the A/B rules is made once."""
    return tmp_path_factory.mktemp("little")


@pytest.mark.parametrize("name", LITTLE)
def test_every_step_completes_on_next_to_nothing(
    workspace: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds = write_little(workspace / name / "feeds", name)
    finished: list[list[GateResult]] = []
    finish = StepContext.finish

    def noted(self: StepContext, results: Sequence[GateResult], **more: Any) -> Any:
        finished.append(list(results))
        return finish(self, results, **more)

    monkeypatch.setattr(StepContext, "finish", noted)
    for step, (notebook, more) in STEPS.items():
        given = {"workspace": str(workspace), "source": f"feeds:{feeds}", "feeds": str(feeds)}
        run_cells(notebook, given | {"symbols": ["BTCUSDT"]} | more)
        results = finished.pop()
        verdict = aggregate(results, step)
        if step == "daily_ops":  # its gates ask whether the report was written
            continue
        assert verdict.status in (Status.NO_DATA, Status.INCONCLUSIVE, Status.FAIL), (step, verdict)
        if name in ("no file", "no row"):
            assert not [result.id for result in results if result.passed], step
    day = (workspace / "artifacts/reports/daily/2025-01-15.md").read_text()
    assert not [line for line in day.splitlines() if "nan" in line.lower().split()]
