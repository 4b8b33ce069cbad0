"""The Parquet cache: a second reading parses nothing, a changed or broken entry is made anew, compressed feeds, odd layouts."""

from __future__ import annotations

import gzip
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import zstandard

from mmlib import intact
from mmlib._io import UserError
from mmlib.feeds import cache, convert, stream
from mmlib.feeds.cache import beside, cached, sweep
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.writer import FeedWriter
from tests.make_feeds import fills, ticks

TICKS = "pipeline_ticks_20250115.jsonl"
FILLS = "fills_20250115.jsonl"
LONG_AGO_NS = 1_700_000_000 * 10**9


@pytest.fixture
def feeds(tmp_path: Path) -> Path:
    """A directory of feeds that nobody writes any more."""
    home = tmp_path / "feeds"
    with FeedWriter(home, "BTCUSDT") as writer:
        writer.ticks(ticks(300, seed=31, holes=True))
        writer.fills(fills(100, seed=32, holes=True))
    for path in home.iterdir():
        os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    return home


def refuse(*args: Any, **keys: Any) -> Any:
    """Stands for a parser that must not be called."""
    raise AssertionError("parsed again")


def test_a_second_reading_parses_nothing_and_gives_the_same(
    feeds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_feeds(feeds, "ticks", cache_dir=tmp_path / "cache")
    monkeypatch.setattr(cache, "convert", refuse)
    monkeypatch.setattr(stream.FeedStream, "__iter__", refuse)
    second = read_feeds(feeds, "ticks", cache_dir=tmp_path / "cache")
    pd.testing.assert_frame_equal(first.frame, second.frame)
    pd.testing.assert_frame_equal(first.quarantine, second.quarantine)
    os.utime(feeds / TICKS)  # only touched: its bytes are the same
    assert cached(feeds / TICKS, "ticks", tmp_path / "cache").facts.rows == 300


def test_an_entry_of_another_content_is_replaced(feeds: Path, tmp_path: Path) -> None:
    path, home = feeds / TICKS, tmp_path / "cache"
    cached(path, "ticks", home)
    text = path.read_text()
    path.write_text(text.replace('"arm":"A"', '"arm":"B"'))  # as long as before
    assert {group[1] for group in cached(path, "ticks", home).facts.groups} == {"B"}
    path.write_text(text + text.splitlines()[0] + "\n")
    entry = cached(path, "ticks", home)
    assert entry.facts.duplicates == 1
    files = [entry.parquet, entry.quarantine]
    assert sorted(home.iterdir()) == sorted([*files, *map(intact.beside, files)])


def test_a_change_within_the_same_mtime_is_seen_while_the_file_is_fresh(feeds: Path, tmp_path: Path) -> None:
    path, now = feeds / TICKS, time.time_ns()
    os.utime(path, ns=(now, now))
    cached(path, "ticks", tmp_path)
    path.write_text(path.read_text().replace('"arm":"A"', '"arm":"B"'))
    os.utime(path, ns=(now, now))
    assert {group[1] for group in cached(path, "ticks", tmp_path).facts.groups} == {"B"}


@pytest.mark.parametrize(
    "damage", [lambda raw: b"", lambda raw: raw[: len(raw) // 2], lambda raw: raw[:-4] + b"oops"]
)
def test_an_entry_that_is_not_whole_is_made_anew(feeds: Path, tmp_path: Path, damage: Any) -> None:
    entry = cached(feeds / TICKS, "ticks", tmp_path)
    entry.parquet.write_bytes(damage(entry.parquet.read_bytes()))
    assert len(cached(feeds / TICKS, "ticks", tmp_path).table()) == 300


def test_rows_in_parquet_are_typed_sorted_and_counted(feeds: Path, tmp_path: Path) -> None:
    lines = (feeds / TICKS).read_text().splitlines()
    random.Random(3).shuffle(lines)
    (feeds / TICKS).write_text("\n".join([*lines[:100], "", "oops", *lines[100:], lines[7], lines[8][:30]]))
    facts = cached(feeds / TICKS, "ticks", tmp_path).facts
    table = pq.read_table(cached(feeds / TICKS, "ticks", tmp_path).parquet)
    assert (facts.lines, facts.blank, facts.rows, facts.duplicates, facts.unfinished) == (
        304,
        1,
        300,
        1,
        True,
    )
    assert sum(facts.quarantined.values()) == 2
    assert facts.out_of_order > 0
    ts = table.column("ts").cast("int64").to_numpy()
    assert (np.diff(ts) > 0).all()
    assert facts.span_ns == (ts[0], ts[-1])
    assert sorted(table.column("line").to_pylist()) == [k for k in range(1, 303) if k not in (101, 102)]


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_compressed_feeds_are_read_and_cut_ones_as_far_as_they_go(
    feeds: Path, suffix: str, pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = {kind: read_feeds(feeds, kind).frame for kind in ("ticks", "fills")}  # type: ignore[arg-type]
    for name in (TICKS, FILLS):
        packed = pack((feeds / name).read_bytes())
        (feeds / (name + suffix)).write_bytes(packed)
        (feeds / name).unlink()
    for kind in ("ticks", "fills"):
        pd.testing.assert_frame_equal(read_feeds(feeds, kind).frame, plain[kind])  # type: ignore[arg-type]
    path = feeds / (TICKS + suffix)
    path.write_bytes(path.read_bytes()[:-200])
    cut = read_feeds(feeds, "ticks")
    assert len(cut.frame) + len(cut.quarantine) <= 300
    assert cut.unfinished == [path]
    (feeds / TICKS.replace("15", "16")).write_text("")
    old = read_feeds(feeds, "ticks")
    assert len(old.frame) == len(cut.frame)
    assert old.unfinished == []
    assert old.quarantine["reason"].str.contains("compressed data end early").sum() == 1


def test_keys_in_any_order_blanks_and_further_fields_are_read(feeds: Path) -> None:
    expected = read_feeds(feeds, "ticks").frame
    rng = random.Random(5)
    lines = []
    for number, line in enumerate((feeds / TICKS).read_text().splitlines()):
        pairs = list(json.loads(line).items())
        pairs += [("extra", number), ("note", 'a "word"'), ("nested", {"a": [1, {"b": None}]})][: number % 4]
        rng.shuffle(pairs)
        lines.append(
            json.dumps(dict(pairs), separators=rng.choice([(",", ":"), (", ", ": "), (" ,\t", " : ")]))
        )
    (feeds / TICKS).write_text("\r\n".join([*lines, ""]))
    feed = read_feeds(feeds, "ticks")
    assert len(feed.quarantine) == 0
    pd.testing.assert_frame_equal(feed.frame, expected)


def test_columns_may_appear_later(feeds: Path) -> None:
    rows = [json.loads(line) for line in (feeds / FILLS).read_text().splitlines()]
    optional = ("quote_price", "mid_at_quote", "queue_ahead_qty", "order_id")
    early = [{name: value for name, value in row.items() if name not in optional} for row in rows[:50]]
    (feeds / FILLS).write_text("\n".join(json.dumps(row) for row in [*early, *rows[50:]]))
    frame = read_feeds(feeds, "fills").frame
    assert len(frame) == 100
    assert frame["quote_price"][:50].isna().all()
    assert frame["order_id"].isna().sum() == 50


def test_a_line_longer_than_a_block_is_read_and_one_longer_than_any_tick_costs_one_line(
    feeds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LONGEST", 40_000)
    monkeypatch.setattr(stream.FeedStream.__init__, "__defaults__", (5_000,))
    lines = (feeds / TICKS).read_text().splitlines()
    long = lines[3][:-1] + ',"note":"' + "x" * 20_000 + '"}'
    huge = lines[4][:-1] + ',"note":"' + "x" * 90_000 + '"}'
    (feeds / TICKS).write_text("\n".join([*lines[:3], long, huge, *lines[5:], ""]))
    feed = read_feeds(feeds, "ticks")
    assert len(feed.frame) == 299
    assert feed.quarantine["line"].tolist() == [5]
    assert feed.quarantine["reason"].str.startswith("longer than").all()


def test_a_torn_last_line_is_waited_for_unless_nobody_writes_any_more(feeds: Path) -> None:
    path = feeds / FILLS
    whole = path.read_text()
    path.write_text(whole[:-30])
    feed = read_feeds(feeds, "fills")
    assert (len(feed.frame), len(feed.quarantine), feed.unfinished) == (99, 0, [path])
    path.write_text(whole)
    assert len(read_feeds(feeds, "fills").frame) == 100
    path.write_text(whole[:-30])
    (feeds / "fills_20250116.jsonl").write_text("")
    feed = read_feeds(feeds, "fills")
    assert (len(feed.frame), feed.quarantine["line"].tolist(), feed.unfinished) == (99, [100], [])


def test_what_is_kept_of_feeds_that_are_gone_is_swept(feeds: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    paths = sorted(feeds.glob("pipeline_ticks_*.jsonl"))
    copy = tmp_path / paths[0].name
    copy.write_bytes(paths[0].read_bytes())
    stays, goes = cached(paths[0], "ticks", home), cached(copy, "ticks", home)
    for entry in (stays, goes):
        beside(entry.parquet, "key").write_bytes(b"worked out")
    (home / "no-entry.parquet").write_bytes(b"of somebody else")
    assert sweep(home) == 0
    copy.unlink()
    assert sweep(home) == 1
    left = {path.name for path in home.iterdir()}
    checksums = {intact.beside(path).name for path in (stays.parquet, stays.quarantine)}
    kept = {stays.parquet, stays.quarantine, beside(stays.parquet, "key"), home / "no-entry.parquet"}
    assert left == {path.name for path in kept} | checksums


def test_places_that_cannot_be_used_are_named(feeds: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        read_feeds(feeds, "ticks", cache_dir=tmp_path / "file" / "below")
    (feeds / "pipeline_ticks_20250117.jsonl").mkdir()
    with pytest.raises(UserError, match=r"pipeline_ticks_20250117\.jsonl: cannot be read"):
        read_feeds(feeds, "ticks")


@pytest.mark.parametrize("seed", range(3))
def test_few_fills_are_put_in_order_as_many_are(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    home = tmp_path / "feeds"
    for number, symbol in enumerate(("BTCUSDT", "ETHUSDT", 'Ä,"x')):
        with FeedWriter(tmp_path / symbol[:1], symbol) as writer:
            rows = fills(120, seed=seed + number, holes=True)
            rows["ts_ns"] = rows["ts_ns"] // 10**10 * 10**10  # many at the same time
            writer.fills(rows)
    lines = [line for part in "BEÄ" for line in (tmp_path / part / FILLS).read_text().splitlines()]
    rng.shuffle(lines)
    home.mkdir()
    (home / FILLS).write_text("\n".join(lines) + "\n")
    few = cached(home / FILLS, "fills", tmp_path / "few")
    monkeypatch.setattr(convert, "FEW", 0)
    many = cached(home / FILLS, "fills", tmp_path / "many")
    pd.testing.assert_frame_equal(pd.read_parquet(few.parquet), pd.read_parquet(many.parquet))
    assert few.facts.out_of_order == many.facts.out_of_order > 0


def test_keys_in_any_order_and_many_symbols_are_read_as_they_are(tmp_path: Path) -> None:
    with FeedWriter(tmp_path / "one", "BTCUSDT") as writer:
        writer.ticks(ticks(400, seed=5))
    rng = random.Random(5)
    expected, lines = [], []
    for number, line in enumerate((tmp_path / "one" / TICKS).read_text().splitlines()):
        record = json.loads(line) | {"symbol": f"{'WIFBONKPEPE'[: number % 9]}{number * 7919 % 211}USDT"}
        items = list(record.items())
        if number % 3 == 0:
            rng.shuffle(items)
        expected.append((record["symbol"], record["arm"], record["mid"], record["guard_level"]))
        spaces = (", ", ": ") if number % 5 == 0 else (",", ":")
        lines.append(json.dumps(dict(items), separators=spaces))
    home = tmp_path / "feeds"
    home.mkdir()
    (home / TICKS).write_text("\n".join(lines) + "\n")
    frame = read_feeds(home, "ticks").frame
    read = zip(*(frame[name] for name in ("symbol", "arm", "mid", "guard_level")), strict=True)
    assert sorted(read) == sorted(expected)
