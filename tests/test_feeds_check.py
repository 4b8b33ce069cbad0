"""``finishline feeds check``: what each file holds, in blocks of any size; gaps, order, duplicates; exit codes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from mmlib import cli
from mmlib._io import UserError
from mmlib.feeds import stream
from mmlib.feeds.blocks import read_blocks
from mmlib.feeds.check import FileCheck, check_feeds
from mmlib.feeds.order import CONFLICT, DUPLICATE
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.schema import schema
from mmlib.feeds.timestamps import DAY_NS
from mmlib.feeds.writer import FeedWriter
from tests.make_feeds import fills, ticks

TICKS, FILLS = "pipeline_ticks_20250115.jsonl", "fills_20250115.jsonl"


@pytest.fixture
def feeds(tmp_path: Path) -> Path:
    """Ten minutes of two arms, a tick a second."""
    with FeedWriter(tmp_path, "BTCUSDT") as writer:
        writer.ticks(ticks(600, seed=3))
        writer.fills(fills(80, seed=4))
    return tmp_path


def ticks_of(directory: Path) -> FileCheck:
    return next(one for one in check_feeds(directory).files if one.file == TICKS)


def lines_of(directory: Path, name: str = TICKS) -> list[bytes]:
    return (directory / name).read_bytes().splitlines(keepends=True)


def test_a_clean_directory(feeds: Path) -> None:
    found = check_feeds(feeds)
    assert found.clean
    assert [(one.file, one.lines, one.readable) for one in found.files] == [
        (TICKS, 600, 600),
        (FILLS, 80, 80),
    ]
    one = ticks_of(feeds)
    assert one.interval_s == pytest.approx(2.0, abs=1e-6)
    assert (one.gaps, one.out_of_order, one.other_day) == (0, 0, 0)
    assert (one.symbols, one.arms, one.schema_versions) == (["BTCUSDT"], ["A", "B"], {"2": 600})
    assert one.sources == {"none stated": 600}
    assert (one.first or "")[:19] == "2025-01-15T00:00:00"
    assert (one.last or "")[:19] == "2025-01-15T00:09:59"


def test_gaps_are_found_against_the_tick_interval_and_over_midnight(tmp_path: Path) -> None:
    rows = ticks(600, seed=3)
    first = np.concatenate([rows[:200], rows[260:]])  # arm A and B both lose a minute
    later = ticks(100, seed=5)
    later["ts_ns"] += DAY_NS
    later["scheduled_ns"] += DAY_NS
    with FeedWriter(tmp_path, "BTCUSDT") as writer:
        writer.ticks(first)
        writer.ticks(later)
    one, two = check_feeds(tmp_path).files
    assert (one.gaps, [round(gap["seconds"]) for gap in one.longest_gaps]) == (2, [62, 62])
    assert {gap["arm"] for gap in one.longest_gaps} == {"A", "B"}
    assert one.gap_s == pytest.approx(2 * 60, abs=0.1)
    assert one.longest_gaps[0]["from"][:19] == "2025-01-15T00:03:18"
    assert (two.gaps, round(two.longest_gaps[0]["seconds"])) == (2, 86_400 - 600 + 2)
    assert one.clean, "a gap is the bot's, not the file's"


def test_order_duplicates_and_other_days(feeds: Path) -> None:
    lines = lines_of(feeds)
    lines[10], lines[14] = lines[14], lines[10]
    (feeds / TICKS).write_bytes(b"".join([*lines, lines[5], lines[7]]))
    one = ticks_of(feeds)
    assert (one.readable, one.duplicates, one.lines) == (600, 2, 602)
    assert one.out_of_order == 2 + 2
    (feeds / FILLS).rename(feeds / "fills_20250116.jsonl")
    assert [one.other_day for one in check_feeds(feeds).files] == [0, 80]


def test_a_line_of_an_earlier_file_is_a_duplicate(feeds: Path) -> None:
    (feeds / "fills_20250116.jsonl").write_bytes(b"".join(lines_of(feeds, FILLS)[:7]))
    found = check_feeds(feeds)
    assert [(one.file, one.readable, one.duplicates) for one in found.files][1:] == [
        (FILLS, 80, 0),
        ("fills_20250116.jsonl", 0, 7),
    ]


def test_reasons_are_counted_together_whatever_differs_in_them(feeds: Path) -> None:
    lines = lines_of(feeds)
    for place, text in enumerate((b"oops\n", b'{"a" 1}\n', b"what\n", b'{"schema": 2}\n')):
        lines.insert(3 * place, text)
    (feeds / TICKS).write_bytes(b"".join(lines))
    one = ticks_of(feeds)
    assert sum(one.quarantined.values()) == 4
    assert one.bad + one.readable == one.lines == 604
    assert len(one.quarantined) < 4
    assert min(one.examples.values()) == 1
    assert not one.clean


@pytest.mark.parametrize("size", [100, 700, 5000, 1 << 20])
def test_the_size_of_the_blocks_changes_nothing(feeds: Path, size: int) -> None:
    lines = lines_of(feeds)[:60]
    data = b"\xef\xbb\xbf" + b"".join([*lines[:20], b"oops\n\n", *lines[20:], b"\r\n", lines[0][:30]])
    found = list(read_blocks(io.BytesIO(data), "ticks", size))
    numbers = [n for block in found for n in block.frame["_line"].tolist()]
    assert numbers == [*range(1, 21), *range(23, 63)]
    assert [(e.line, e.reason.endswith("ends in this line")) for b in found for e in b.bad] == [
        (21, False),
        (64, True),
    ]
    assert sum(block.lines for block in found) == 62


def test_a_line_without_end_costs_no_memory(feeds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LONGEST", 1 << 20)
    lines = lines_of(feeds)[:10]
    data = b"".join([*lines[:5], b"x" * (5 << 20) + b"\n", *lines[5:]])
    found = list(read_blocks(io.BytesIO(data), "ticks", 1 << 18))
    assert [n for block in found for n in block.frame["_line"].tolist()] == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    (bad,) = [entry for block in found for entry in block.bad]
    assert (bad.line, bad.reason[:18]) == (6, "longer than 1 MiB;")
    assert len(bad.text) <= 200


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = cli.main(["feeds", *argv])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_verb_tells_and_its_exit_code_says_so(feeds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "check", str(feeds))
    assert code == 0
    assert out.count("\n") == 7 and TICKS in out and "clean" in out
    assert f"{TICKS}: source none stated: 600 lines" in out
    with (feeds / FILLS).open("ab") as handle:
        handle.write(b"[b]oops[/b]\n")
    (feeds / "fills_[red]x.jsonl").write_bytes(b"".join(lines_of(feeds, FILLS)[:2]))
    code, out, _ = run(capsys, "check", str(feeds))
    assert code == 1
    assert "1 × not JSON" in out and "(first on line 81)" in out and "fills_[red]x.jsonl" in out
    code, out, _ = run(capsys, "check", str(feeds), "--json")
    told = json.loads(out)
    assert code == 1 and told["clean"] is False and len(told["files"]) == 3
    (feeds / "empty").mkdir()
    for place in (feeds / "empty", feeds / "absent"):
        code, out, err = run(capsys, "check", str(place))
        assert (code, out) == (2, "") and str(place) in err and err.count("\n") == 1


def test_a_range_counts_its_own_lines(feeds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    span = ("--from", "2025-01-15T00:01:00Z", "--to", "2025-01-15T00:02:00Z")
    code, out, _ = run(capsys, "check", str(feeds), "--json", *span)
    one = json.loads(out)["files"][0]
    assert (code, one["lines"], one["readable"], one["outside_range"]) == (0, 600, 60, 540)
    code, _, err = run(capsys, "check", str(feeds), "--from", "2031-01-15T00:01:00Z")
    assert code == 2 and "in this range" in err


def test_schemas_are_printed_as_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("ticks", "fills"):
        assert json.loads(run(capsys, "schema", kind)[1]) == schema(kind)  # type: ignore[arg-type]
    assert json.loads(run(capsys, "schema")[1]) == {kind: schema(kind) for kind in ("ticks", "fills")}


def test_files_that_cannot_be_read_are_named(feeds: Path) -> None:
    (feeds / "fills_20250120.jsonl").mkdir()
    with pytest.raises(UserError, match=r"fills_20250120.jsonl: cannot be read"):
        check_feeds(feeds)


def test_times_far_apart_are_no_gap_without_an_interval(tmp_path: Path) -> None:
    with FeedWriter(tmp_path, "BTCUSDT") as writer:
        writer.ticks(ticks(2, seed=1))
    one = ticks_of(tmp_path)
    assert (one.interval_s, one.gaps, one.readable) == (None, 0, 2)


@pytest.mark.parametrize("apart", [False, True], ids=["one file", "two files"])
def test_fills_of_one_key_that_differ_have_a_reason_of_their_own(tmp_path: Path, apart: bool) -> None:
    with FeedWriter(tmp_path, "BTCUSDT") as writer:
        writer.ticks(ticks(10, seed=3))
        writer.fills(fills(20, seed=4))
    path = tmp_path / FILLS
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    price, qty = rows[3]["price"], rows[5]["qty"]
    more = [
        rows[3] | {"price": price + 1.0},  # a conflict
        rows[5] | {"qty": qty * 2},  # a conflict
        rows[7],  # a duplicate
        rows[9] | {"fee": 0.5},  # a duplicate: it is the same trade, whatever is said of its fee
        rows[3],  # a duplicate of the first
        rows[11] | {"fill_id": "another"},  # another fill
    ]
    text = "".join(json.dumps(row) + "\n" for row in more)
    with (tmp_path / FILLS.replace("15.", "16.") if apart else path).open("a") as file:
        file.write(text)
    feed = read_feeds(tmp_path, "fills")
    assert (len(feed.frame), feed.quarantined, feed.duplicates) == (21, 5, 5)
    first = 1 if apart else 21
    assert list(zip(feed.quarantine["line"] - first, feed.quarantine["reason"], strict=True)) == [
        (0, CONFLICT),
        (1, CONFLICT),
        (2, DUPLICATE["fills"]),
        (3, DUPLICATE["fills"]),
        (4, CONFLICT if apart else DUPLICATE["fills"]),  # with the first line of its own file
    ]
    kept = feed.frame.set_index(feed.frame["fill_id"].astype(str))
    assert kept.loc[str(rows[3]["fill_id"]), "price"] == price
    assert kept.loc[str(rows[5]["fill_id"]), "qty"] == qty
    found = [one for one in check_feeds(tmp_path).files if one.kind == "fills"]
    assert (sum(one.duplicates for one in found), sum(one.conflicts for one in found)) == (5, 2)
