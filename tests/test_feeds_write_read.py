"""Feeds: what is written is read back; daily files; several writers; torn files; the sidecar."""

from __future__ import annotations

import json
import multiprocessing
import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmlib._io import UserError
from mmlib.dtypes import FILL, TICK, Grade
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.schema import KINDS, fields, schema, validator
from mmlib.feeds.sidecar import grade_of, read_sidecar, write_sidecar
from mmlib.feeds.writer import FeedWriter
from tests.make_feeds import START_NS, fills, ticks

DAY_NS = 86_400_000_000_000
SIDECAR = {
    "grade": "simulated",
    "source": "simulated",
    "symbols": ["BTCUSDT"],
    "arms": ["A", "B"],
    "seed": 7,
    "started": "2025-01-15T00:00:00Z",
    "finished": "2025-01-16T00:00:00Z",
    "complete": True,
    "tick_interval_ms": 1000,
}


def test_ticks_and_fills_survive_the_round_trip(tmp_path: Path) -> None:
    tick_rows, fill_rows = ticks(500, seed=1), fills(200, seed=2)
    with FeedWriter(tmp_path, "BTCUSDT") as writer:
        writer.ticks(tick_rows[:123])
        writer.ticks(tick_rows[123:])
        writer.fills(fill_rows)
    frame = read_feeds(tmp_path, "ticks").frame
    np.testing.assert_array_equal(frame["ts"].astype("int64"), tick_rows["ts_ns"])
    np.testing.assert_array_equal(frame["scheduled_ts"].astype("int64"), tick_rows["scheduled_ns"])
    for name in ("mid", "spread_bps", "inventory", "rss_mb", "errors", "guard_level"):
        np.testing.assert_array_equal(frame[name], tick_rows[name])
    for name in ("fetch_md_ms", "tick_total_ms", "modelled_ms", "cache_age_ms"):
        np.testing.assert_allclose(frame[name], tick_rows[name], atol=5.1e-7)
    for name in ("cache_hit", "used_stale", "deadline_miss", "breaker_open"):
        assert frame[name].dtype == bool
        np.testing.assert_array_equal(frame[name], tick_rows[name].astype(bool))
    assert frame["arm"].tolist() == ["AB"[arm] for arm in tick_rows["arm"]]
    got = read_feeds(tmp_path, "fills").frame
    for name in ("price", "qty", "fee", "quote_price", "mid_at_quote", "mid_at_fill", "queue_ahead_qty"):
        np.testing.assert_array_equal(got[name], fill_rows[name])
    assert got["fill_id"].tolist() == [str(number) for number in fill_rows["fill_id"]]
    assert got["side"].tolist() == ["buy" if side > 0 else "sell" for side in fill_rows["side"]]
    assert got["liquidity"].tolist() == [("maker", "taker")[k] for k in fill_rows["liquidity"]]


def test_every_written_line_fits_its_schema_and_holds_all_its_fields(tmp_path: Path) -> None:
    with FeedWriter(tmp_path, "BTCUSDT", source="simulated") as writer:
        writer.ticks(ticks(50, seed=3, holes=True))
        writer.fills(fills(50, seed=4, holes=True))
    for kind in KINDS:
        for path in tmp_path.glob("pipeline_*" if kind == "ticks" else "fills_*"):
            for line in path.read_text().splitlines():
                row = json.loads(line)
                validator(kind)(row)
                assert tuple(row) == fields(kind)


def test_unknown_numbers_are_null_in_the_file_and_nan_in_the_frame(tmp_path: Path) -> None:
    rows = ticks(3, seed=5)
    rows["mid"] = [np.nan, np.inf, 100.0]
    with FeedWriter(tmp_path, "BTCUSDT") as writer:
        writer.ticks(rows)
    (path,) = tmp_path.glob("*.jsonl")
    assert [json.loads(line)["mid"] for line in path.read_text().splitlines()] == [None, None, 100.0]
    np.testing.assert_array_equal(read_feeds(tmp_path, "ticks").frame["mid"], [np.nan, np.nan, 100.0])


def test_a_column_of_nulls_is_still_typed(tmp_path: Path) -> None:
    rows = ticks(4, seed=6)
    rows["mid"] = np.nan
    with FeedWriter(tmp_path, "BTCUSDT") as writer:
        writer.ticks(rows)
    frame = read_feeds(tmp_path, "ticks").frame
    assert frame["mid"].dtype == "float64"
    assert frame["mid"].isna().all()


def test_files_rotate_by_utc_day_at_the_nanosecond(tmp_path: Path) -> None:
    rows = ticks(4, seed=7)
    midnight = START_NS // DAY_NS * DAY_NS + DAY_NS
    rows["ts_ns"] = [midnight - 1, midnight, midnight + 1, midnight + DAY_NS]
    with FeedWriter(tmp_path, "BTCUSDT") as writer:
        writer.ticks(rows)
    counts = {path.name: len(path.read_text().splitlines()) for path in sorted(tmp_path.iterdir())}
    assert counts == {
        "pipeline_ticks_20250115.jsonl": 1,
        "pipeline_ticks_20250116.jsonl": 2,
        "pipeline_ticks_20250117.jsonl": 1,
    }


def test_two_symbols_share_a_file_and_come_out_sorted(tmp_path: Path) -> None:
    rows = ticks(3000, seed=8)
    first, second = FeedWriter(tmp_path, "ETHUSDT"), FeedWriter(tmp_path, "BTCUSDT")
    for part in np.array_split(rows, 7):
        first.ticks(part)
        second.ticks(part)
    first.close()
    second.close()
    second.close()
    feed = read_feeds(tmp_path, "ticks")
    assert len(feed.files) == 1
    assert len(feed.frame) == 6000
    keys = list(zip(feed.frame["ts"], feed.frame["symbol"], feed.frame["arm"], strict=True))
    assert keys == sorted(keys)


def append_in_parts(directory: Path, symbol: str) -> None:
    """Write 2,000 ticks in small appends; runs in a process of its own."""
    with FeedWriter(directory, symbol) as writer:
        for part in np.array_split(ticks(2000, seed=17), 200):
            writer.ticks(part)


def test_processes_that_write_at_once_never_mix_their_lines(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=append_in_parts, args=(tmp_path, f"S{k}")) for k in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    feed = read_feeds(tmp_path, "ticks")
    assert len(feed.quarantine) == 0
    assert feed.frame.groupby("symbol").size().to_dict() == {"S0": 2000, "S1": 2000}


def test_a_torn_last_line_stays_one_bad_line_when_writing_goes_on(tmp_path: Path) -> None:
    rows = ticks(10, seed=9)
    with FeedWriter(tmp_path, "BTCUSDT") as writer:
        writer.ticks(rows[:5])
    (path,) = tmp_path.glob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-40])
    with FeedWriter(tmp_path, "BTCUSDT") as writer:
        writer.ticks(rows[5:])
    feed = read_feeds(tmp_path, "ticks")
    assert len(feed.frame) == 9
    assert feed.quarantine["line"].tolist() == [5]
    assert feed.quarantine["reason"].str.startswith("not JSON").all()


def test_a_whole_last_line_without_a_line_end_counts(tmp_path: Path) -> None:
    with FeedWriter(tmp_path, "BTCUSDT") as writer:
        writer.ticks(ticks(5, seed=10))
    (path,) = tmp_path.glob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-1])
    assert len(read_feeds(tmp_path, "ticks").frame) == 5


def test_a_failed_write_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ticks(20, seed=11)
    writer = FeedWriter(tmp_path, "BTCUSDT")
    writer.ticks(rows[:10])
    real, calls = os.write, []

    def full_disk(fd: int, data: memoryview) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real(fd, data[:100])

    monkeypatch.setattr("mmlib.feeds.writer.os.write", full_disk)
    with pytest.raises(UserError, match="No space left on device"):
        writer.ticks(rows[10:])
    monkeypatch.undo()
    writer.close()
    feed = read_feeds(tmp_path, "ticks")
    assert len(feed.frame) == 10
    assert len(feed.quarantine) == 0


def test_nothing_written_makes_no_file_and_empty_frames_have_the_same_types(tmp_path: Path) -> None:
    with FeedWriter(tmp_path / "empty", "BTCUSDT") as writer:
        writer.ticks(np.empty(0, TICK))
        writer.fills(np.empty(0, FILL))
    assert list((tmp_path / "empty").iterdir()) == []
    with FeedWriter(tmp_path / "full", "BTCUSDT") as writer:
        writer.ticks(ticks(3, seed=12))
        writer.fills(fills(3, seed=12))
    for kind in KINDS:
        for directory in (tmp_path / "empty", tmp_path / "missing"):
            empty = read_feeds(directory, kind)
            assert len(empty.frame) == 0
            assert empty.files == []
            assert empty.frame.dtypes.equals(read_feeds(tmp_path / "full", kind).frame.dtypes)


def test_range_symbols_and_arms_are_kept_apart(tmp_path: Path) -> None:
    rows = ticks(300, seed=13)
    with FeedWriter(tmp_path, "BTCUSDT") as first, FeedWriter(tmp_path, "ETHUSDT") as second:
        first.ticks(rows)
        second.ticks(rows)
    start = pd.Timestamp(rows["ts_ns"][100], tz="UTC").to_pydatetime(warn=False)
    end = pd.Timestamp(rows["ts_ns"][200], tz="UTC").to_pydatetime(warn=False)
    frame = read_feeds(tmp_path, "ticks", start=start, end=end, symbols=["ETHUSDT"], arms=["B"]).frame
    assert set(frame["symbol"]) == {"ETHUSDT"}
    assert len(frame) == int((rows["arm"][100:200] == 1).sum())
    assert frame["ts"].min() >= start
    assert frame["ts"].max() < end


def test_only_files_that_can_hold_the_range_are_read(tmp_path: Path) -> None:
    rows = ticks(5, seed=14)
    rows["ts_ns"] = START_NS + np.arange(5) * DAY_NS
    with FeedWriter(tmp_path, "BTCUSDT") as writer:
        writer.ticks(rows)
    feed = read_feeds(tmp_path, "ticks", start=datetime(2025, 1, 19, tzinfo=UTC))
    assert [path.name[-14:-6] for path in feed.files] == ["20250118", "20250119"]
    assert len(feed.frame) == 1


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (
            datetime(2025, 1, 2, tzinfo=UTC),
            datetime(2025, 1, 1, tzinfo=UTC),
            "expected the end after the start",
        ),
        (datetime(2025, 1, 2), None, "has no zone"),
    ],
)
def test_bad_ranges_are_refused(tmp_path: Path, start: datetime, end: datetime | None, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        read_feeds(tmp_path, "ticks", start=start, end=end)


def test_places_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="not a directory"):
        read_feeds(tmp_path / "file", "ticks")
    with pytest.raises(UserError, match="cannot be written"):
        FeedWriter(tmp_path / "file" / "below", "BTCUSDT")
    with pytest.raises(UserError, match="without braces"):
        FeedWriter(tmp_path, 'X"},{"a')


def test_hostile_but_legal_symbols_round_trip(tmp_path: Path) -> None:
    symbol = "<b>\"币\\安\"</b> 'x'\u2028\n"
    with FeedWriter(tmp_path, symbol) as writer:
        writer.ticks(ticks(3, seed=15))
    assert set(read_feeds(tmp_path, "ticks").frame["symbol"]) == {symbol}


def test_directory_names_are_not_patterns(tmp_path: Path) -> None:
    directory = tmp_path / "a*[b]?'"
    with FeedWriter(directory, "BTCUSDT") as writer:
        writer.ticks(ticks(3, seed=16))
    assert len(read_feeds(directory, "ticks").frame) == 3


def test_sidecar_round_trip_and_grades(tmp_path: Path) -> None:
    assert read_sidecar(tmp_path) is None
    assert grade_of(tmp_path) is Grade.STATED
    write_sidecar(tmp_path, SIDECAR)
    assert read_sidecar(tmp_path) == {"schema": 1, **SIDECAR}
    assert grade_of(tmp_path) is Grade.SIMULATED


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"grade": "lvie"}, "grade: expected one of simulated"),
        ({"complete": "yes"}, "complete: expected true or false"),
        ({"schema": 2}, "schema: expected 1"),
    ],
)
def test_sidecars_that_cannot_be_trusted_are_refused(
    tmp_path: Path, change: dict[str, object], expected: str
) -> None:
    (tmp_path / "feeds.json").write_text(json.dumps({"schema": 1, **SIDECAR, **change}))
    with pytest.raises(UserError, match=expected):
        grade_of(tmp_path)


def test_a_sidecar_without_a_grade_never_counts_as_live(tmp_path: Path) -> None:
    (tmp_path / "feeds.json").write_text(
        json.dumps({"schema": 1, **{k: v for k, v in SIDECAR.items() if k != "grade"}})
    )
    with pytest.raises(UserError, match="grade: missing"):
        grade_of(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_describe_every_field(kind: str) -> None:
    properties = schema(kind)["properties"]  # type: ignore[arg-type]
    assert all(spec["description"] for spec in properties.values())
    assert set(schema(kind)["required"]) <= set(properties)  # type: ignore[arg-type]
