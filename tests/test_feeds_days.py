"""A line belongs to the UTC day of its time, whatever the name of its file: in reports, latest day, catch-up and check."""

from __future__ import annotations

import gzip
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import zstandard

from mmlib.feeds.check import check_feeds
from mmlib.feeds.held import held_days
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.timestamps import DAY_NS
from mmlib.feeds.writer import FeedWriter
from mmlib.ops.day import load_day, parse_date
from mmlib.ops.days import days_with_feeds
from mmlib.workflow.catchup import missing_days
from tests import make_feeds

HOUR_NS = DAY_NS // 24
START = date(2025, 1, 15)

# hours by which the calendar that names the files is ahead of UTC, and the files' suffix
CALENDARS = {
    "utc": (0, ""),
    "tokyo": (9, ""),
    "los angeles": (-8, ""),
    "tokyo, gzip": (9, ".gz"),
    "new york, zstd": (-5, ".zst"),
    "lisbon in summer, zstd": (1, ".zst"),
    "a year off": (24 * 365, ""),
    "a month off, gzip": (-24 * 31, ".gz"),
}


@pytest.fixture(params=list(CALENDARS))
def feeds(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Three UTC days of ticks every twenty minutes, in files named and cut by a calendar."""
    ahead, suffix = CALENDARS[request.param]
    rows = make_feeds.ticks(216, 3, interval_ns=HOUR_NS // 3)
    home = tmp_path / "feeds"
    home.mkdir()
    local_day = (rows["ts_ns"] + ahead * HOUR_NS) // DAY_NS
    for day in np.unique(local_day):
        part = tmp_path / f"part_{day}"
        with FeedWriter(part, "BTCUSDT") as writer:
            writer.ticks(rows[local_day == day])
        content = b"".join(path.read_bytes() for path in sorted(part.iterdir()))
        packed = {"": lambda b: b, ".gz": gzip.compress, ".zst": zstandard.compress}[suffix](content)
        name = np.datetime_as_string(np.datetime64(int(day), "D")).replace("-", "")
        (home / f"pipeline_ticks_{name}.jsonl{suffix}").write_bytes(packed)
    return home


def test_the_times_decide_the_day(feeds: Path, tmp_path: Path) -> None:
    days = [START + timedelta(days=n) for n in range(3)]
    assert days_with_feeds(feeds) == days
    assert parse_date("latest", feeds) == days[-1]
    workspace = tmp_path / "ws"
    assert missing_days(workspace, feeds, today=days[-1]) == days[:2]
    for day in days:
        loaded = load_day(feeds, day, cache_dir=tmp_path / "cache")
        assert len(loaded.of_day(loaded.ticks)) == 72
        start = loaded.start.to_pydatetime()
        assert len(read_feeds(feeds, "ticks", start=start, end=loaded.end.to_pydatetime()).frame) == 72


def test_a_name_of_another_day_is_not_clean(feeds: Path) -> None:
    found = check_feeds(feeds)
    named = {path.name: path.name[15:23] for path in feeds.iterdir()}
    frames = read_feeds(feeds, "ticks").frame["ts"].dt.strftime("%Y%m%d")
    wrong = sum(one.other_day for one in found.files)
    assert found.clean == (wrong == 0) == (set(named.values()) == set(frames) and len(named) == 3)
    assert sum(one.readable for one in found.files) == 216


@pytest.mark.parametrize("content", [b"", b"not a tick\n" * 9, b'{"ts": "tomorrow"}\n', b'{"ts": 17'])
def test_of_a_file_without_any_time_the_name_is_all_there_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pipeline_ticks_20250117.jsonl"
    path.write_bytes(content)
    assert held_days(path) == [date(2025, 1, 17)]
    assert held_days(path.rename(tmp_path / "pipeline_ticks_20259999.jsonl")) == []


def test_damage_at_both_ends_hides_no_day(tmp_path: Path) -> None:
    with FeedWriter(tmp_path / "a", "BTCUSDT") as writer:
        writer.ticks(make_feeds.ticks(3, 1, interval_ns=DAY_NS))
    content = b"".join(path.read_bytes() for path in sorted((tmp_path / "a").iterdir()))
    path = tmp_path / "pipeline_ticks_20200101.jsonl"
    path.write_bytes(b"\xff\xfe junk\n" * 9_000 + content + b"junk\n" * 40_000 + b'{"ts": "2025-')
    assert held_days(path) == [START + timedelta(days=n) for n in range(3)]
