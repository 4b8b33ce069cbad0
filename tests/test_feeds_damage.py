"""Damaged feeds: each bad line costs one line, is kept with its reason, and nothing passes in silence."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmlib.feeds.careful import judge
from mmlib.feeds.order import CONFLICT, DUPLICATE
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.schema import KINDS, Kind
from mmlib.feeds.timestamps import to_ns, to_text
from mmlib.feeds.writer import FeedWriter
from tests import naive_feeds
from tests.make_feeds import START_NS, fills, ticks

FILES = {"ticks": "pipeline_ticks_20250115.jsonl", "fills": "fills_20250115.jsonl"}


@cache
def good_lines() -> dict[str, list[str]]:
    """Good lines of both feeds."""
    with TemporaryDirectory() as name:
        directory = Path(name)
        with FeedWriter(directory, "BTCUSDT") as writer:
            writer.ticks(ticks(40, seed=21))
            writer.fills(fills(40, seed=22))
        return {kind: (directory / FILES[kind]).read_text().splitlines() for kind in KINDS}


@pytest.fixture
def good() -> dict[str, list[str]]:
    """Good lines of both feeds."""
    return good_lines()


def change(line: str, **fields: Any) -> str:
    """The line with fields changed; ``...`` takes one out."""
    row = {**json.loads(line), **fields}
    return json.dumps({name: value for name, value in row.items() if value is not ...})


DAMAGE = [
    "garbage",
    "{",
    "[]",
    "null",
    "42",
    '"text"',
    "\x00\x00\x00",
    '{"schema": 1}',
    "{}",
    '{"a": ' * 2000,
]


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_lines_are_kept_and_counted_and_the_others_are_read(
    kind: Kind, good: dict[str, list[str]], tmp_path: Path
) -> None:
    lines = list(good[kind])
    torn = lines[-1][:50]
    for place, text in enumerate(DAMAGE):
        lines.insert(3 * place, text)
    path = tmp_path / FILES[kind]
    (tmp_path / FILES[kind].replace("0115", "0116")).write_text("")  # so the other is no longer written
    path.write_text("\n".join([*lines, "", "   ", torn]))
    feed = read_feeds(tmp_path, kind, quarantine_dir=tmp_path / "quarantine")
    bad = {number for number, line in enumerate(path.read_text().split("\n"), 1) if line in {*DAMAGE, torn}}
    assert set(feed.quarantine["line"]) == bad
    assert len(feed.frame) == len(good[kind])
    assert set(feed.quarantine["file"]) == {FILES[kind]}
    assert (feed.quarantine["reason"].str.len() > 5).all()
    assert not feed.quarantine["reason"].str.contains("\n").any()
    assert "the file ends in this line" in feed.quarantine["reason"].iloc[-1]
    kept = (tmp_path / "quarantine" / f"{FILES[kind]}.quarantine.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in kept][-1] == torn
    assert {json.loads(line)["line"] for line in kept} == bad


def test_quarantine_of_a_repaired_file_goes_away_and_a_second_reading_adds_nothing(
    good: dict[str, list[str]], tmp_path: Path
) -> None:
    path = tmp_path / FILES["fills"]
    place = tmp_path / "quarantine"
    kept = place / f"{path.name}.quarantine.jsonl"
    path.write_text("\n".join([*good["fills"], "oops", ""]))
    read_feeds(tmp_path, "fills", quarantine_dir=place)
    read_feeds(tmp_path, "fills", quarantine_dir=place)
    assert len(kept.read_text().splitlines()) == 1
    path.write_text("\n".join([*good["fills"], ""]))
    assert len(read_feeds(tmp_path, "fills", quarantine_dir=place).quarantine) == 0
    assert not kept.exists()


def test_nothing_is_ever_written_beside_the_feeds(good: dict[str, list[str]], tmp_path: Path) -> None:
    (tmp_path / "desk").mkdir()
    (tmp_path / "desk" / FILES["fills"]).write_text("oops\n")
    assert len(read_feeds(tmp_path / "desk", "fills").quarantine) == 1
    read_feeds(tmp_path / "desk", "fills", quarantine_dir=tmp_path / "ours")
    assert [path.name for path in (tmp_path / "desk").iterdir()] == [FILES["fills"]]
    assert len(list((tmp_path / "ours").iterdir())) == 1


def test_bytes_that_are_no_text_are_kept(good: dict[str, list[str]], tmp_path: Path) -> None:
    path = tmp_path / FILES["ticks"]
    path.write_bytes(b"\xff\xfe\x80 half\n" + "\n".join(good["ticks"]).encode() + b"\n")
    feed = read_feeds(tmp_path, "ticks")
    assert feed.quarantine["line"].tolist() == [1]
    assert len(feed.frame) == 40


def test_repeated_fills_and_ticks_are_dropped_and_counted(good: dict[str, list[str]], tmp_path: Path) -> None:
    first = good["fills"][0]
    other_arm = change(first, arm="B" if json.loads(first)["arm"] == "A" else "A")
    other_price = change(first, price=1.0)
    (tmp_path / FILES["fills"]).write_text("\n".join([*good["fills"], other_arm, other_price, first, ""]))
    feed = read_feeds(tmp_path, "fills", quarantine_dir=tmp_path / "quarantine")
    assert len(feed.frame) == 41
    assert feed.quarantine["line"].tolist() == [42, 43]
    assert feed.quarantine["reason"].tolist() == [CONFLICT, DUPLICATE["fills"]]
    kept = (tmp_path / "quarantine" / f"{FILES['fills']}.quarantine.jsonl").read_text().splitlines()
    assert json.loads(kept[0])["text"] == other_price
    tick = good["ticks"][0]
    (tmp_path / FILES["ticks"]).write_text("\n".join([*good["ticks"], tick, change(tick, errors=999), ""]))
    feed = read_feeds(tmp_path, "ticks")
    assert len(feed.frame) == 41
    assert feed.quarantine["line"].tolist() == [41]


SECONDS = 1_736_899_200
UNITS = [
    *(SECONDS * 10**power for power in (0, 3, 6, 9)),
    str(SECONDS),
    "2025-01-15T00:00:00Z",
    "2025-01-15T00:00:00.000Z",
    "2025-01-15t02:30:00.000000000+02:30",
    "2025-01-14 19:00:00-05:00",
]


def test_units_and_zones_of_time_may_be_mixed_in_one_file(good: dict[str, list[str]], tmp_path: Path) -> None:
    lines = [change(good["fills"][0], ts=ts, fill_id=k) for k, ts in enumerate(UNITS)]
    (tmp_path / FILES["fills"]).write_text("\n".join([*lines, ""]))
    feed = read_feeds(tmp_path, "fills")
    assert len(feed.quarantine) == 0
    assert feed.frame["ts"].astype("int64").tolist() == [START_NS] * len(UNITS)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "2025-02-30T00:00:00Z",
            "2025-01-15",
            "2025-01-15T00:00:00",
            "2025-01-15T25:00:00Z",
            "yesterday",
            "",
            "1e9",
        ),
        *(
            "2025-01-15T00:00:00+24:00",
            "1999-12-31T23:59:59Z",
            "2262-01-01T00:00:00Z",
            "2025-01-15T00:00:00.Z",
        ),
        *(True, None, 1.5e9, -1, 0, 10**19, [], "٢٠٢٥-01-15T00:00:00Z", "2025-01-15T00:00:60Z"),
    ],
)
def test_times_that_are_none_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        to_ns(text)


@given(st.integers(946_684_800 * 10**9, 9_214_646_400 * 10**9 - 1))
def test_text_of_a_time_reads_back_to_the_nanosecond(ns: int) -> None:
    (text,) = to_text(np.array([ns]))
    assert to_ns(text) == ns


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 1, 2, 3, 10**9, 2**32, 2**63]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(
        ["", "A", "B", "C", "buy", "sell", "maker", "taker", "1", "1.5", "true", "NaN", "x" * 65, *UNITS]
    ),
    st.sampled_from(
        ["2025-01-15", "2025-02-30T00:00:00Z", "2025-01-15T24:00:00Z", "12:00:00", "a,}b", "}{", "\\"]
    ),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from("ab"), st.integers(), max_size=2),
    st.just(...),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(KINDS),
    changes=st.lists(st.tuples(st.integers(0, 24), SCALARS), min_size=1, max_size=2),
)
def test_a_line_meets_the_same_fate_alone_and_among_others(
    kind: Kind, changes: list[tuple[int, Any]], tmp_path: Path
) -> None:
    base, before, after = good_lines()[kind][:3]
    names = [*json.loads(base), "extra"]
    line = change(base, **{names[place % len(names)]: value for place, value in changes})
    expected = naive_feeds.accepts(kind, line)
    path = tmp_path / FILES[kind]
    path.write_text(line + "\n")
    alone = read_feeds(tmp_path, kind)
    careful = judge(kind, line.encode(), 1)
    assert isinstance(careful, dict) == expected
    assert len(alone.frame) == expected
    assert len(alone.quarantine) == (not expected)
    if isinstance(careful, dict):
        assert alone.frame["ts"].astype("int64").tolist() == [careful["ts"]]
        for name, value in careful.items():
            if isinstance(value, float | int) and not name.endswith("ts"):
                assert alone.frame[name].tolist() == [value]
    path.write_text("\n".join([before, line, after, ""]))
    among = read_feeds(tmp_path, kind)
    assert len(among.frame) + len(among.quarantine) == 3
    assert len(among.quarantine[~among.quarantine["reason"].str.startswith("duplicate")]) == (not expected)
