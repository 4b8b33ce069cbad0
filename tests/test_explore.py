"""``mm.load_soak``: lazily opened, any part of it, the same rows as the plain reader gives, from the cache or without one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from mmlib import explore
from mmlib._io import UserError
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.timestamps import DAY_NS
from mmlib.feeds.writer import FeedWriter
from mmlib.metrics.dataset import build_dataset
from mmlib.metrics.latency import minute_series
from tests.make_feeds import fills, ticks


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINISHLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def feeds(tmp_path: Path) -> Path:
    """Two symbols, two arms, two days."""
    home = tmp_path / "ws" / "artifacts" / "edge" / "feeds"
    for k, symbol in enumerate(("BTCUSDT", "ETHUSDT")):
        rows, trades = ticks(900, seed=k, holes=True), fills(60, seed=k + 5, span_ns=900 * 10**9)
        for late in (rows, trades):
            late["ts_ns"][len(late) // 2 :] += DAY_NS
        rows["scheduled_ns"][450:] += DAY_NS
        with FeedWriter(home, symbol) as writer:
            writer.ticks(rows)
            writer.fills(trades)
    return home


def test_import_stays_light() -> None:
    code = "import sys, mmlib; print(sorted(set(sys.modules) & {'numpy', 'pandas', 'duckdb', 'pyarrow', 'plotly'}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
    assert "load_soak" in dir(mm)
    with pytest.raises(AttributeError, match="no attribute 'load_soke'"):
        mm.load_soke  # noqa: B018


def test_the_whole_is_what_the_reader_gives(feeds: Path) -> None:
    soak = mm.load_soak(feeds.parents[2])
    assert soak.directory == feeds
    for _ in range(2):  # the second time from the cache
        pd.testing.assert_frame_equal(soak.ticks(), read_feeds(feeds, "ticks").frame)
        pd.testing.assert_frame_equal(soak.fills(), read_feeds(feeds, "fills").frame)
    assert (soak.symbols, soak.arms) == (["BTCUSDT", "ETHUSDT"], ["A", "B"])
    assert soak.about["ticks"].tolist() == [450] * 4
    assert soak.span is not None
    assert [f"{t:%d %H:%M:%S}" for t in soak.span] == ["15 00:00:00", "16 00:14:59"]


@pytest.mark.parametrize(
    "part",
    [
        {},
        {"start": "2025-01-15T00:03:00Z"},
        {"end": "2025-01-16 00:10"},
        {
            "start": pd.Timestamp("2025-01-15T01:02:00+01:00"),
            "end": "2025-01-16T00:12:00Z",
            "symbols": "ETHUSDT",
        },
        {"symbols": ["BTCUSDT", "NONE"], "arm": "B"},
        {"arm": "C"},
        {"start": "2031-01-01"},
    ],
)
def test_any_part_is_the_same_part(part: dict, feeds: Path) -> None:
    whole = read_feeds(feeds, "ticks").frame
    keep = np.ones(len(whole), bool)
    if "start" in part:
        keep &= (whole["ts"] >= pd.to_datetime(part["start"], utc=True)).to_numpy()
    if "end" in part:
        keep &= (whole["ts"] < pd.to_datetime(part["end"], utc=True)).to_numpy()
    if "symbols" in part:
        wanted = [part["symbols"]] if isinstance(part["symbols"], str) else part["symbols"]
        keep &= whole["symbol"].isin(wanted).to_numpy()
    if "arm" in part:
        keep &= (whole["arm"] == part["arm"]).to_numpy()
    expected = whole[keep].reset_index(drop=True)
    names = ["tick_total_ms", "ts", "arm", "cache_hit", "errors", "scheduled_ts"]
    opened = mm.load_soak(feeds, **part)
    pd.testing.assert_frame_equal(opened.ticks(names), expected[names])
    pd.testing.assert_frame_equal(mm.load_soak(feeds).ticks(names, **part), expected[names])
    assert (opened.ticks["mid"].isna() == expected["mid"].isna()).all()


def test_a_call_narrows_and_never_widens(feeds: Path) -> None:
    soak = mm.load_soak(feeds, start="2025-01-15T00:05:00Z", symbols=["BTCUSDT"], arm="A")
    assert len(soak.ticks(start="2025-01-15T00:00:00Z", end="2025-01-15T00:06:00Z")) == 30
    assert soak.ticks(symbols="ETHUSDT").empty and soak.ticks(arm="B").empty
    assert soak.ticks(end="2025-01-15T00:01:00Z").empty
    assert list(soak.ticks(["mid"], end="2025-01-15T00:01:00Z").columns) == ["mid"]


def test_intervals_and_minutes_are_those_of_the_steps(feeds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soak = mm.load_soak(feeds, end="2025-01-15T00:30:00Z")
    end = pd.Timestamp("2025-01-15T00:30:00Z")
    expected = build_dataset(feeds, end=end, interval_min=1).intervals
    pd.testing.assert_frame_equal(soak.intervals(1), expected)
    monkeypatch.setattr("mmlib.feeds.cache.convert", None)  # the second time nothing is parsed
    pd.testing.assert_frame_equal(soak.intervals(1), expected)
    monkeypatch.undo()
    one = soak.intervals(1, symbols="BTCUSDT", arm="A")
    assert set(one["symbol"]) == {"BTCUSDT"} and set(one["arm"]) == {"A"} and len(one) < len(expected)
    pd.testing.assert_frame_equal(soak.minutes(), minute_series(soak.ticks(), soak.fills()))


def test_lines_that_stand_in_two_files_are_there_once(feeds: Path) -> None:
    day = feeds / "pipeline_ticks_20250115.jsonl"
    (feeds / "pipeline_ticks_20250115_copy.jsonl").write_bytes(
        b"".join(day.read_bytes().splitlines(True)[:99])
    )
    soak = mm.load_soak(feeds)
    assert len(soak.ticks(["ts", "mid"])) == 1800
    pd.testing.assert_frame_equal(soak.ticks(["mid"]), read_feeds(feeds, "ticks").frame[["mid"]])


def test_a_cache_that_cannot_be_written_costs_time_only(feeds: Path, cache: Path) -> None:
    cache.write_text("a file where a directory should be")
    assert len(mm.load_soak(feeds).ticks(["mid"])) == 1800
    assert len(mm.load_soak(feeds).fills()) == 120


def test_the_second_reading_parses_nothing(feeds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mm.load_soak(feeds).ticks(["mid"])
    monkeypatch.setattr("mmlib.feeds.convert.decode", lambda *_: pytest.fail("parsed again"))
    assert len(mm.load_soak(feeds).ticks(["mid"])) == 1800


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"start": "yesterday"}, "start 'yesterday': is no time"),
        ({"start": "2025-01-16", "end": "2025-01-15"}, "expected the end after the start"),
        ({"end": float("nan")}, "is no time"),
    ],
)
def test_a_range_that_is_none_is_named(arguments: dict, words: str, feeds: Path) -> None:
    with pytest.raises(UserError, match=words):
        mm.load_soak(feeds, **arguments)


def test_what_is_not_there_is_named(tmp_path: Path, feeds: Path) -> None:
    for place in (tmp_path / "absent", tmp_path):
        with pytest.raises(UserError, match=r"no feeds; expected pipeline_ticks_YYYYMMDD\.jsonl"):
            mm.load_soak(place)
    with pytest.raises(UserError, match=r"ticks: no column 'tick_ms'; expected some of ts, symbol"):
        mm.load_soak(feeds).ticks(["tick_ms"])


def test_it_says_what_it_is_without_reading(feeds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explore, "_read", lambda *_: pytest.fail("was read"))
    soak = mm.load_soak(feeds, symbols="BTCUSDT", arm="A", start="2025-01-15")
    assert "4 feed files; grade stated by the desk; from 2025-01-15T00:00:00Z; BTCUSDT; arm A" in repr(soak)
    assert "call it for a frame" in repr(soak.ticks)
