"""The calibration dataset: UTC-aligned intervals, every filter, the acceptance numbers, strict JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmlib._io import UserError
from mmlib.feeds.writer import FeedWriter
from mmlib.metrics.dataset import Dataset, build_dataset, write_dataset
from mmlib.metrics.intervals import NO_TICKS, WITH_FILLS
from mmlib.metrics.money import decompose
from tests.make_feeds import SECOND_NS, START_NS, fill_frame, fills, tick_frame, ticks

START = datetime(2025, 1, 15, tzinfo=UTC)
INTERVAL_NS = 300 * SECOND_NS


def sane(n: int, seed: int) -> np.ndarray:
    """Ticks that pass every filter, both arms at each second."""
    rows = np.repeat(ticks(n, seed), 2)
    rows["arm"] = np.tile([0, 1], n)
    rows["inventory"] = 0.0
    rows["tick_total_ms"] = np.minimum(rows["tick_total_ms"], 900)
    return rows


def write(directory: Path, rows: np.ndarray, deals: np.ndarray, symbol: str = "BTCUSDT") -> None:
    with FeedWriter(directory, symbol) as writer:
        writer.ticks(rows)
        writer.fills(deals)


def place(rows: np.ndarray, interval: int, arm: int | None = None) -> np.ndarray:
    """Which rows lie in an interval (and are of an arm)."""
    inside = (rows["ts_ns"] - START_NS) // INTERVAL_NS == interval
    return inside if arm is None else inside & (rows["arm"] == arm)


def test_intervals_are_aligned_complete_and_end_exclusive(tmp_path: Path) -> None:
    write(tmp_path, sane(3000, 71), fills(300, 72, span_ns=3000 * SECOND_NS))
    start, end = START + timedelta(minutes=7), START + timedelta(minutes=20)
    dataset = build_dataset(tmp_path, start=start, end=end)
    assert sorted(set(dataset.intervals["ts"])) == [START + timedelta(minutes=5 * k) for k in (1, 2, 3)]
    assert dataset.summary["from"] == "2025-01-15T00:07:00Z"
    assert dataset.summary["to"] == "2025-01-15T00:20:00Z"
    assert dataset.intervals["n_ticks"].tolist() == [180, 180, 300, 300, 300, 300]
    assert dataset.summary["ticks"] == 2 * 780


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [(datetime(2025, 1, 15), None, "no zone"), (START, START - timedelta(hours=1), "end after the start")],
)
def test_a_range_that_is_none_is_refused(
    tmp_path: Path, start: datetime, end: datetime | None, says: str
) -> None:
    write(tmp_path, sane(300, 70), fills(5, 70))
    with pytest.raises(UserError, match=says):
        build_dataset(tmp_path, start=start, end=end)


def test_a_fill_id_counts_once_for_each_symbol(tmp_path: Path) -> None:
    deals = fills(40, 69, span_ns=600 * SECOND_NS)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        write(tmp_path, sane(600, 68), deals, symbol)
    summary = build_dataset(tmp_path).summary
    assert (summary["fills"], summary["duplicate_lines"]) == (2 * len(deals), 0)


def test_money_of_the_intervals_adds_up_to_the_whole(tmp_path: Path) -> None:
    rows, deals = sane(3600, 73), fills(200, 74, span_ns=3600 * SECOND_NS)
    write(tmp_path, rows, deals)
    dataset = build_dataset(tmp_path)
    whole = decompose(tick_frame(rows), fill_frame(deals)).set_index("arm")
    for name in ("pnl", "fees", "notional", "n_fills"):
        by_arm = dataset.intervals.groupby("arm")[name].sum()
        assert by_arm.tolist() == pytest.approx(whole[name].tolist())
    assert dataset.summary["valid_hours"] == 1.0
    assert dataset.summary["nonfinite_values"] == 0
    assert dataset.summary["filtered_pct"] == 0.0


def test_every_filter_gives_its_reason(tmp_path: Path) -> None:
    rows = sane(3000, 75)
    rows["tick_total_ms"][place(rows, 1)] = 1001.0
    rows["cache_hit"][place(rows, 2)] = 0
    rows["mid"][place(rows, 3, arm=1)] = np.nan
    rows["tick_total_ms"][place(rows, 6)] = 1000.0
    sparse, silent = place(rows, 4), place(rows, 5)
    rows = rows[~silent & ~(sparse & (np.arange(len(rows)) % 10 < 6))]
    write(tmp_path, rows, fills(100, 76, span_ns=3000 * SECOND_NS))
    dataset = build_dataset(tmp_path)
    got = dataset.intervals.set_index(["ts", "arm"])["reason"]
    at = [START + timedelta(minutes=5 * k) for k in range(10)]
    assert got[at[1], "A"] == "tick_total p95 above 1000 ms"
    assert got[at[2], "A"] == "hit ratio below 0.3"
    assert [got[at[3], arm] for arm in "AB"] == ["", "not finite: mid_last"]
    assert got[at[4], "A"] == "coverage below 0.5"
    assert got[at[5], "B"] == NO_TICKS
    assert got[at[6], "A"] == ""
    assert dataset.summary["intervals_filtered"] == 7
    assert dataset.summary["intervals_without_ticks"] == 2
    assert dataset.summary["filtered_pct"] == pytest.approx(100 * 7 / 18)
    assert dataset.summary["valid_hours"] == pytest.approx(5 * 5 / 60)
    assert len(dataset.filtered) == 9
    assert (dataset.filtered["reason"] != "").all()
    assert len(dataset.kept) + len(dataset.filtered) == len(dataset.intervals)


def test_valid_hours_are_those_of_the_worst_symbol_and_arms_may_take_turns(tmp_path: Path) -> None:
    rows = sane(3600, 77)
    turns = rows[rows["arm"] == (rows["ts_ns"] - START_NS) // INTERVAL_NS % 2]
    write(tmp_path, turns, fills(0, 0))
    assert build_dataset(tmp_path).summary["valid_hours"] == 1.0
    write(tmp_path, rows[:1800], fills(0, 0), "ETHUSDT")
    assert build_dataset(tmp_path).summary["valid_hours"] == 0.25


def test_fills_without_mids_are_counted_as_values_that_are_not_finite(tmp_path: Path) -> None:
    deals = fills(100, 78, span_ns=1200 * SECOND_NS)
    deals["mid_at_quote"] = np.nan
    write(tmp_path, sane(1200, 79), deals)
    summary = build_dataset(tmp_path).summary
    assert summary["filtered_pct"] == 0.0
    assert summary["nonfinite_values"] >= 8


def test_an_interval_without_fills_is_whole_and_its_money_ratios_are_null(tmp_path: Path) -> None:
    write(tmp_path / "feeds", sane(600, 80), fills(0, 0))
    dataset = build_dataset(tmp_path / "feeds")
    assert dataset.summary["nonfinite_values"] == 0
    json_path, _ = write_dataset(tmp_path, dataset)
    record = json.loads(json_path.read_text())["intervals"][0]
    assert all(record[name] is None for name in WITH_FILLS)


def test_files_are_named_after_the_range_and_hold_strict_json(tmp_path: Path) -> None:
    rows = sane(1500, 81)
    rows["mid"][place(rows, 2)] = np.nan
    write(tmp_path / "feeds", rows, fills(50, 82))
    with (tmp_path / "feeds" / "fills_20250115.jsonl").open("a") as handle:
        handle.write("oops\n")
    dataset = build_dataset(tmp_path / "feeds", start=START, end=START + timedelta(days=2))
    json_path, parquet_path = write_dataset(tmp_path, dataset)
    assert json_path == tmp_path / "artifacts/edge/datasets/calib_20250115_20250117.json"
    payload = json.loads(json_path.read_text(), parse_constant=lambda text: pytest.fail(text))
    assert payload["summary"] == dataset.summary
    assert payload["summary"]["quarantined_lines"] == 1
    assert len(payload["intervals"]) == len(dataset.kept)
    assert payload["intervals"][0]["ts"] == "2025-01-15T00:00:00Z"
    assert {row["reason"] for row in payload["filtered"]} == {"not finite: mid_last", NO_TICKS}
    pd.testing.assert_frame_equal(pd.read_parquet(parquet_path), dataset.intervals)


def test_the_same_feeds_give_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "feeds", sane(900, 83), fills(50, 84))
    paths = [write_dataset(tmp_path / name, build_dataset(tmp_path / "feeds"))[0] for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("bounds", [{}, {"start": START, "end": START + timedelta(days=1)}])
def test_empty_feeds_give_no_acceptance_numbers(tmp_path: Path, bounds: dict[str, datetime]) -> None:
    dataset = build_dataset(tmp_path, **bounds)
    assert dataset.summary["valid_hours"] == 0.0
    assert dataset.summary["filtered_pct"] is None
    assert dataset.summary["nonfinite_values"] is None
    assert dataset.summary["grade"] is None
    assert len(dataset.intervals) == len(dataset.kept) == len(dataset.filtered) == 0


def test_nothing_is_written_for_no_intervals(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no intervals"):
        write_dataset(tmp_path, Dataset(pd.DataFrame(), {"from": None}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("interval_min", [0, -5, 7, 1e-9, float("nan"), 1441])
def test_intervals_that_do_not_divide_a_day_are_refused(tmp_path: Path, interval_min: float) -> None:
    with pytest.raises(UserError, match="divide a day"):
        build_dataset(tmp_path, interval_min=interval_min)


def test_a_reversed_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="end after the start"):
        build_dataset(tmp_path, start=START, end=START - timedelta(hours=1))
