"""A critical day passes nowhere: gate, status, exit code and what the terminal says."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from mmlib.cli import main
from mmlib.dtypes import Status
from mmlib.gates.evaluate import evaluate_all
from mmlib.gates.result import aggregate
from mmlib.gates.spec import load_gates
from mmlib.ops.daily import CRITICAL, DEGRADED, HEALTHY
from mmlib.ops.written import as_notes, written_measurements
from mmlib.workflow import operations, verbs

ROOT = Path(__file__).resolve().parents[1]
BOOK = load_gates(ROOT)


def day(health: str, severity: str = "", ticks: int = 10) -> Any:
    fired = pd.DataFrame({"gate": ["soak.stop.taker_share"], "severity": [severity]}) if severity else []
    frame = fired if len(fired) else pd.DataFrame({"gate": [], "severity": []})
    totals = {"n_ticks": ticks}
    return SimpleNamespace(health=health, date=date(2025, 1, 15), fired=frame, results=[], totals=totals)


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        (day(HEALTHY), Status.PASS),
        (day(DEGRADED, "warning"), Status.PASS),
        (day(CRITICAL, "critical"), Status.FAIL),
        (day(CRITICAL, "critical", ticks=0), Status.FAIL),
        (day("NO DATA", ticks=0), Status.NO_DATA),
    ],
)
def test_the_day_decides(summary: Any, expected: Status, tmp_path: Path) -> None:
    measured = written_measurements(summary, tmp_path / "r.md", tmp_path / "a.md", tmp_path / "r.yaml", BOOK)
    gate = [one for one in BOOK.step("daily_ops") if one.id == "daily_ops.health"]
    (result,) = evaluate_all(gate, measured)
    assert result.status is expected
    assert aggregate([result, *as_notes([])], "daily_ops").status is expected
    if expected is Status.FAIL:
        assert "soak.stop.taker_share" in result.reason


@pytest.mark.parametrize(("code", "health"), [(1, CRITICAL), (0, HEALTHY), (0, DEGRADED), (1, "NO DATA")])
@pytest.mark.parametrize("json_wanted", [False, True])
def test_the_terminal_shows_health_and_path(
    code: int, health: str, json_wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    done = SimpleNamespace(returncode=code, text=lambda: "step  status", to_dict=lambda: {"returncode": code})
    facts = {"facts": {"health": health, "date": "2025-01-15"}}
    monkeypatch.setattr(verbs, "execute", lambda *_, **__: done)
    monkeypatch.setattr("mmlib.workflow.record.latest", lambda _: {"daily_ops": SimpleNamespace(data=facts)})
    words = [
        "daily",
        "--date",
        "2025-01-15",
        "--workspace",
        str(tmp_path),
        *(["--json"] if json_wanted else []),
    ]
    assert main(words) == code
    out = capsys.readouterr().out
    assert health in out
    assert "artifacts/reports/daily/2025-01-15.md" in out


def test_no_record_says_nothing(tmp_path: Path) -> None:
    assert operations.day_facts(tmp_path) == {}
