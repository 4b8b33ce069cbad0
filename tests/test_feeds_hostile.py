"""Files of little but bad lines: reading them takes a bounded memory, and their good lines are read as those of any file."""

from __future__ import annotations

import io
import random
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastjsonschema import JsonSchemaValueException
from hypothesis import given
from hypothesis import strategies as st

from mmlib.core.words import SLACK
from mmlib.feeds import careful, decode, reader, stream
from mmlib.feeds.blocks import read_blocks
from mmlib.feeds.careful import CUT_SHORT, BadLine
from mmlib.feeds.convert import Found, convert
from mmlib.feeds.lines import LineMaker
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.schema import Kind
from mmlib.feeds.stream import Block
from mmlib.feeds.writer import FeedWriter
from mmlib.metrics.dataset import build_dataset
from tests.make_feeds import fills, ticks

ODD = (
    b"oops",
    b"5",
    b"{",
    b"{}",
    b"\xff\xfe",
    b'{"schema": 1, "note": "' + b"x" * 3000,
    b'{"a": ' * 50,
    b"",
    b"  ",
    b"\r",
)


def good_lines(n: int) -> list[bytes]:
    """Lines of ticks; every fifth says a plain thing in a way that only the careful look understands."""
    lines = bytes(LineMaker("ticks", ["BTCUSDT"], ["A", "B"]).lines(ticks(n, seed=61))).splitlines()
    return [
        line.replace(b'"BTCUSDT"', b'"\\u0042TCUSDT"') if k % 5 == 0 else line for k, line in enumerate(lines)
    ]


def mixed(n: int, *, torn: bool) -> bytes:
    """A file of good lines in order, among which there are as many others."""
    rng = random.Random(7)
    lines = [line for one in good_lines(n) for line in (rng.choice(ODD), one)]
    return b"\n".join(lines) + (b"" if torn else b"\n")


def converted(data: bytes, home: Path, *, newest: bool) -> tuple[Found, pq.ParquetFile, bytes]:
    """What the conversion of a file found out, its rows, and its quarantine."""
    home.mkdir()
    path, rows, bad = (home / name for name in ("pipeline_ticks_20250115.jsonl", "rows.parquet", "bad.jsonl"))
    path.write_bytes(data)
    found = convert(path, "ticks", rows, bad, newest=newest, describe=lambda found: {})
    return found, pq.ParquetFile(rows), bad.read_bytes()


@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize("cut", [0, 1, 40], ids=["whole", "no line break", "torn"])
def test_a_block_that_is_judged_in_pieces_gives_the_same(
    newest: bool, cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = mixed(300, torn=False)
    data = data[: len(data) - cut]
    monkeypatch.setattr(stream.FeedStream.__init__, "__defaults__", (60_000,))
    once, rows, bad = converted(data, tmp_path / "once", newest=newest)
    monkeypatch.setattr(decode, "_ODD", 4)
    monkeypatch.setattr(decode, "_MOST_ODD", 10)
    again, same_rows, same_bad = converted(data, tmp_path / "again", newest=newest)
    assert (again, same_bad) == (once, bad)
    assert again.rows == 300 - (cut > 1) and again.unfinished == (newest and cut > 1)
    assert same_rows.read() == rows.read()
    assert same_rows.num_row_groups == rows.num_row_groups < 300 / 20


def test_a_block_that_is_judged_in_pieces_is_checked_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    data = mixed(200, torn=True)
    once = list(read_blocks(io.BytesIO(data), "ticks"))
    monkeypatch.setattr(decode, "_ODD", 4)
    monkeypatch.setattr(decode, "_MOST_ODD", 10)
    again = list(read_blocks(io.BytesIO(data), "ticks"))
    assert len(again) > 10 and max(len(block.bad) for block in again) <= 10
    pd.testing.assert_frame_equal(
        *(pd.concat([block.frame for block in blocks], ignore_index=True) for blocks in (once, again))
    )
    assert [one for block in once for one in block.bad] == [one for block in again for one in block.bad]


def test_lines_that_are_the_same_have_the_same_reason_except_where_the_file_ends() -> None:
    data = b'oops\n{"a": 1}\noops\n{"a": 1}\noops'
    *others, last = [one for block in read_blocks(io.BytesIO(data), "ticks") for one in block.bad]
    assert [one.line for one in others] == [1, 2, 3, 4] and last.line == 5
    assert [(one.reason, one.text) for one in others[:2]] == [(one.reason, one.text) for one in others[2:]]
    assert (last.reason, last.text) == (others[0].reason + CUT_SHORT, "oops")


@pytest.mark.parametrize("by", ["convert", "check"])
def test_the_memory_of_bad_lines_is_bounded(by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of 65,536 of them took 20 MB and more; a block of 12 MiB has 6.3 million."""
    data = b"x\n" * (1 << 16)
    monkeypatch.setattr(stream.FeedStream.__init__, "__defaults__", (len(data),))
    converted(data[:100], tmp_path / "first", newest=False)  # compiles, and makes what is made once
    tracemalloc.start()
    try:
        if by == "convert":
            lines = converted(data, tmp_path / "home", newest=False)[0].lines
        else:
            lines = sum(block.lines for block in read_blocks(io.BytesIO(data), "ticks", len(data)))
        most = tracemalloc.get_traced_memory()[1] + pa.total_allocated_bytes()
    finally:
        tracemalloc.stop()
    assert lines == 1 << 16
    assert most < 12e6


@given(
    lines=st.lists(st.sampled_from([b"", b"x", b"ab", b"y" * 9, b"z" * 40]), min_size=1),
    size=st.integers(1, 60),
    torn=st.booleans(),
)
def test_pieces_are_the_lines_of_the_block(lines: list[bytes], size: int, torn: bool) -> None:
    data = b"\n".join(lines) + b"\n"
    pieces = list(Block(np.frombuffer(data + bytes(SLACK), np.uint8), torn).pieces(size))
    assert b"".join(bytes(piece.buf[: piece.n]) for piece in pieces) == data
    assert [piece.torn for piece in pieces] == [False] * (len(pieces) - 1) + [torn]
    for piece in pieces:
        text, slack = bytes(piece.buf[: piece.n]), bytes(piece.buf[piece.n :])
        assert text.endswith(b"\n") and slack == bytes(SLACK)
        assert len(text) <= size or text.count(b"\n") == 1


def test_long_lines_are_read_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a line of 16 MiB says may take 500 MB, and files are read side by side."""
    inside, most = Counter[str](), Counter[str]()

    def validator(kind: Kind) -> Callable[[object], None]:
        def check(row: object) -> None:
            inside["now"] += 1
            most["now"] = max(most["now"], inside["now"])
            time.sleep(0.15)
            inside["now"] -= 1
            raise JsonSchemaValueException("data must be object")

        return check

    monkeypatch.setattr(careful, "validator", validator)
    line = b"[" + b"{}," * (1 << 19) + b"{}]"
    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(careful.judge, "ticks", line, number) for number in (1, 2)]
    assert [one.result() for one in found] == [
        BadLine(number, "line must be object", line.decode()) for number in (1, 2)
    ]
    assert most["now"] == 1


def test_of_many_bad_lines_the_first_are_held_and_all_are_counted_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "LISTED", 25)
    with FeedWriter(tmp_path, "BTCUSDT") as writer:
        writer.fills(fills(30, seed=62))
    first = tmp_path / "fills_20250115.jsonl"
    lines = first.read_text().splitlines(keepends=True)
    first.write_text("".join([*["oops\n"] * 10, *lines, lines[3]]))
    (tmp_path / "fills_20250116.jsonl").write_text("".join([*["what\n"] * 20, *lines[:12]]))
    feed = read_feeds(tmp_path, "fills", quarantine_dir=tmp_path / "quarantine")
    assert (len(feed.frame), len(feed.quarantine), feed.quarantined, feed.duplicates) == (30, 25, 43, 13)
    assert feed.quarantine["line"].tolist() == [*range(1, 11), 41, *range(1, 15)]
    kept = [path.read_bytes().splitlines() for path in sorted((tmp_path / "quarantine").iterdir())]
    assert [[orjson.loads(line)["line"] for line in one] for one in kept] == [
        [*range(1, 11), 41],
        [*range(1, 33)],
    ]
    summary = build_dataset(tmp_path).summary
    assert (summary["quarantined_lines"], summary["duplicate_lines"], summary["fills"]) == (43, 13, 30)
