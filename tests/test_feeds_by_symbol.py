"""Ticks read by symbol and arm: the very rows of the whole reader, whatever the files hold and however they overlap."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.feeds.by_symbol import ticks_by_symbol
from mmlib.feeds.reader import read_feeds
from mmlib.metrics.grid import groups
from tests.make_feeds import ticks

START = datetime(2025, 1, 15, tzinfo=UTC)
COLUMNS = ("cache_hit", "errors", "fetch_md_ms", "mid", "guard_level")
SPAN = timedelta(minutes=10)


def write(directory: Path, texts: list[list[bytes]]) -> Path:
    """A feed file of each of some days."""
    directory.mkdir(parents=True, exist_ok=True)
    for number, lines in enumerate(texts):
        name = f"pipeline_ticks_{START + timedelta(days=number):%Y%m%d}.jsonl"
        (directory / name).write_bytes(b"\n".join([*lines, b""]))
    return directory


def lines_of(symbol: str, seed: int, n: int = 300) -> list[bytes]:
    rows = ticks(n, seed, holes=True)
    names = [name for name in rows.dtype.names or () if not name.startswith(("_", "ts", "sched", "arm"))]
    found = []
    for row in rows:
        numbers = {name: row[name].item() for name in names}
        for name in ("cache_hit", "used_stale", "deadline_miss", "breaker_open"):
            numbers[name] = bool(numbers[name])
        held = {"schema": 1, "ts": int(row["ts_ns"]), "symbol": symbol, "arm": "AB"[row["arm"]]}
        found.append(
            orjson.dumps(
                held
                | {"scheduled_ts": int(row["scheduled_ns"])}
                | {name: None if value != value else value for name, value in numbers.items()}
            )
        )
    return found


def check(feeds: Path, start: datetime, end: datetime, cache: Path | None = None) -> int:
    """Hold the rows against those of the whole reader; how many there are."""
    whole = read_feeds(feeds, "ticks", start=start, end=end)
    kept, want_kept = feeds.with_name("kept"), feeds.with_name("want_kept")
    read_feeds(feeds, "ticks", start=start, end=end, quarantine_dir=want_kept)
    found = ticks_by_symbol(feeds, COLUMNS, start, end, quarantine_dir=kept, cache_dir=cache)
    want = whole.frame.sort_values(["symbol", "arm"], kind="stable", ignore_index=True)
    got = found.frame.astype({"symbol": "str", "arm": "str"})
    pd.testing.assert_frame_equal(got, want[["ts", "symbol", "arm", *COLUMNS]])
    assert found.quarantined == len(whole.quarantine)
    assert list(found.spans_ns) == whole.files
    assert texts_in(kept) == texts_in(want_kept)
    shutil.rmtree(kept, ignore_errors=True)
    shutil.rmtree(want_kept, ignore_errors=True)
    return len(got)


def texts_in(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.glob("*")}


@settings(max_examples=15, deadline=None)
@given(
    cut=st.integers(0, 600),
    moved=st.lists(st.integers(0, 599), max_size=4),
    twice=st.lists(st.integers(0, 599), max_size=4),
    mixed=st.booleans(),
    edges=st.tuples(st.integers(0, 310), st.integers(1, 310)),
)
def test_the_rows_are_those_of_the_whole_reader(
    cut: int,
    moved: list[int],
    twice: list[int],
    mixed: bool,
    edges: tuple[int, int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    lines = [*lines_of("ETHUSDT", 1), *lines_of("BTCUSDT", 2)]
    lines.sort(key=lambda line: orjson.loads(line)["ts"])
    first, second = lines[:cut], lines[cut:]
    for place in moved:  # into the other file, and to a wrong place
        (second if place < cut else first).insert(0, lines[place])
    for place in twice:  # word for word once more
        second.append(lines[place])
    if mixed:
        first.append(b'{"schema":1,"ts":')
        first = first[::-1]
    feeds = write(tmp_path_factory.mktemp("feeds") / "feeds", [first, second])
    begin, length = edges
    start = START + timedelta(seconds=begin)
    check(feeds, start, start + timedelta(seconds=length))


def test_a_day_of_several_symbols_is_read_from_the_cache(tmp_path: Path) -> None:
    feeds = write(tmp_path / "feeds", [[*lines_of("B", 1), *lines_of("A", 2)], []])
    for _ in range(2):
        assert check(feeds, START, START + SPAN, tmp_path / "cache") == 600
    assert check(feeds, START + timedelta(days=3), START + timedelta(days=4), tmp_path / "cache") == 0


def test_a_damaged_file_of_the_cache_is_made_again(tmp_path: Path) -> None:
    feeds, cache = write(tmp_path / "feeds", [lines_of("A", 1)]), tmp_path / "cache"
    check(feeds, START, START + SPAN, cache)
    (parquet,) = cache.glob("*.parquet")
    data = bytearray(parquet.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 2000] = bytes(2000)
    parquet.write_bytes(data)
    assert check(feeds, START, START + SPAN, cache) == 300


def test_an_absent_directory_has_the_columns_of_a_full_one(tmp_path: Path) -> None:
    found = ticks_by_symbol(tmp_path / "none", COLUMNS, START, START + SPAN)
    assert (len(found.frame), found.quarantined, found.spans_ns) == (0, 0, {})
    assert found.frame["mid"].dtype == np.float64


@settings(max_examples=30, deadline=None)
@given(
    names=st.lists(st.tuples(st.sampled_from("ZYX"), st.sampled_from("BA")), max_size=30),
    categories=st.booleans(),
)
def test_groups_are_those_of_pandas(names: list[tuple[str, str]], categories: bool) -> None:
    frame = pd.DataFrame(names, columns=["symbol", "arm"], dtype="str").assign(row=range(len(names)))
    if categories:
        frame = frame.astype({"symbol": "category", "arm": "category"})
    want = {key: part["row"].tolist() for key, part in frame.groupby(["symbol", "arm"], observed=True)}
    assert {(s, a): part["row"].tolist() for s, a, (part,) in groups(frame)} == want
    assert [(s, a) for s, a, _ in groups(frame)] == sorted(want)
