"""The A/B part of the daily report: the stage that ran that day, its gates, its alerts; NO_DATA where none ran."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmlib.dtypes import Status
from mmlib.feeds.schema import FILE_STEM
from mmlib.gates.spec import GateBook, load_gates
from mmlib.ops import daily as ops
from mmlib.ops.day import load_day
from mmlib.reports import daily
from mmlib.reports.ab_of_day import STAGES, fired_in, stages_of
from mmlib.reports.render import Provenance
from tests import make_days

DAY = date(2025, 1, 15)
SLOW = (300, 330)  # minutes in which arm B's ticks take twice as long


@dataclass
class Record:
    """What a stage recorded."""

    status: Status = Status.FAIL
    gates: tuple[dict[str, Any], ...] = ()
    data: dict[str, Any] = field(
        default_factory=lambda: {"params": {"source": "simulated"}, "facts": {"sentence": "Held."}}
    )


@pytest.fixture(scope="module")
def book() -> GateBook:
    return load_gates(Path(__file__).resolve().parents[1])


def lines(frame: pd.DataFrame) -> str:
    frame = frame.assign(schema=1, ts=frame["ts"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    frame = frame.assign(scheduled_ts=frame["ts"])
    return frame.to_json(orient="records", lines=True)


def write_ticks(feeds: Path) -> pd.DataFrame:
    """Ten hours of both arms, a tick every ten seconds."""
    feeds.mkdir(parents=True)
    ticks = pd.concat([make_days.ticks(3600, arm=arm) for arm in ("A", "B")]).sort_values("ts", kind="stable")
    minute = ((ticks["ts"] - make_days.DAY).dt.total_seconds() // 60).to_numpy()
    slow = (ticks["arm"] == "B") & (minute >= SLOW[0]) & (minute < SLOW[1])
    ticks.loc[slow, "tick_total_ms"] = 40.0
    ticks.loc[slow, "deadline_miss"] = True
    (feeds / f"{FILE_STEM['ticks']}_20250115.jsonl").write_text(lines(ticks))
    return ticks


def alarm(ticks: pd.DataFrame, limit_pct: float, for_min: int) -> tuple[int, int] | None:
    """By hand: (first minute of the violation, minute at which it fired) of the p95 over the trailing hour, B over A."""
    minute = ((ticks["ts"] - make_days.DAY).dt.total_seconds() // 60).astype(int)
    since = None
    for now in range(int(minute.max()) + 1):
        window = ticks[(minute > now - 60) & (minute <= now)]
        p95 = {
            arm: np.quantile(part["tick_total_ms"], 0.95, method="inverted_cdf")
            for arm, part in window.groupby("arm")
        }
        bad = (p95["B"] / p95["A"] - 1) * 100 > limit_pct
        since = (now if since is None else since) if bad else None
        if since is not None and now - since >= for_min:
            return since, now
    return None


def test_a_stage_of_the_day_stands_in_the_report_with_its_gates_and_alerts(
    tmp_path: Path, book: GateBook
) -> None:
    ticks = write_ticks(tmp_path / "artifacts" / "edge" / "ab" / "stage_10")
    gate = book.get("ab.safety.tick_p95")
    row = {"id": gate.id, "status": "FAIL", "severity": "critical"}
    home = tmp_path / "artifacts" / "edge" / "feeds"
    stages = stages_of(tmp_path, DAY, book, {"ab_10": Record(gates=(row,)), "ab_50": Record()}, home=home)
    assert [stage.stage for stage in stages] == list(STAGES)
    assert stages[0].ran == "00:00 to 09:59"
    assert [stage.status for stage in stages[1:]] == [Status.NO_DATA, Status.NO_DATA]
    expected = alarm(ticks, gate.limit, int(gate.for_s // 60))
    assert expected is not None
    fired = fired_in(stages).set_index("gate").loc["ab.safety.tick_p95"]
    assert [(fired[at] - make_days.DAY).total_seconds() / 60 for at in ("start", "fired")] == list(expected)
    assert fired["who"] == "ab_10 BTCUSDT"
    summary = ops.daily_summary(load_day(home, DAY), book, fired_in(stages))
    assert summary.health == ops.CRITICAL and any("ab.safety.tick_p95" in text for text in summary.actions)
    text = daily.daily(summary, Provenance("test"), None, stages)
    part = text.split("## A/B")[1].split("\n## ")[0]
    assert "Held." in part and "ab_10, over all of its length" in part and "It has not run." in part


def test_no_stage_is_no_data_and_says_where_its_ticks_are(tmp_path: Path, book: GateBook) -> None:
    feeds = tmp_path / "desk"
    write_ticks(feeds)
    desk = Record(data={"params": {"source": f"feeds:{feeds}"}})
    later = date(2025, 1, 16)
    stages = stages_of(tmp_path, later, book, {"ab_10": desk}, home=feeds)
    assert {stage.status for stage in stages} == {Status.NO_DATA}
    assert "its ticks are of 2025-01-15 to 2025-01-15" in stages[0].sentence
    assert not len(fired_in(stages))
    summary = ops.daily_summary(load_day(feeds, later), book, fired_in(stages))
    assert summary.health == ops.NO_DATA
    assert "NO_DATA" in daily.daily(summary, Provenance("test"), None, stages).split("## A/B")[1]


def test_what_the_days_own_feeds_are_judged_for_is_not_told_twice(tmp_path: Path, book: GateBook) -> None:
    feeds = tmp_path / "desk"
    write_ticks(feeds)
    desk = Record(data={"params": {"source": f"feeds:{feeds}"}})
    stages = stages_of(tmp_path, DAY, book, {"ab_10": desk}, home=feeds)
    summary = ops.daily_summary(load_day(feeds, DAY), book, fired_in(stages))
    keys = summary.fired[["gate", "start"]].astype(str).agg(" ".join, axis=1)
    assert keys.is_unique and "ab.safety.tick_p95" in set(summary.fired["gate"])


def test_alerts_of_an_arm_b_without_a_stage_are_explained(tmp_path: Path, book: GateBook) -> None:
    feeds = tmp_path / "desk"
    write_ticks(feeds)

    def section(records: dict[str, Record]) -> str:
        stages = stages_of(tmp_path, DAY, book, records, home=feeds)
        summary = ops.daily_summary(load_day(feeds, DAY), book, fired_in(stages))
        assert "ab.safety.deadline_miss" in set(summary.fired["gate"])
        return daily.daily(summary, Provenance("test"), None, stages).split("## A/B")[1].split("\n## ")[0]

    said = "are of arm B in the day's own feeds, and no stage is recorded"
    assert said in section({})
    assert said in section({"ab_10": Record()})  # it ran on other feeds
    assert said not in section({"ab_10": Record(data={"params": {"source": f"feeds:{feeds}"}})})
