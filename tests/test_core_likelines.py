"""Lines are read many at once as long as they are alike: what breaks a run costs no good line, and no value its bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.core._jit import JIT_DISABLED
from mmlib.core.likelines import LINES
from mmlib.core.words import SLACK
from mmlib.feeds import decode as decoder
from mmlib.feeds.careful import BadLine, judge
from mmlib.feeds.decode import arrow_schema, decode
from mmlib.feeds.schema import KINDS, Kind
from mmlib.feeds.stream import Block
from mmlib.feeds.writer import FeedWriter
from tests.make_feeds import fills, ticks

# hashes of texts overflow, which only Python's own arithmetic warns of
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in scalar multiply")

FILES = {"ticks": "pipeline_ticks_20250115.jsonl", "fills": "fills_20250115.jsonl"}
N = 2 * LINES + 5
EXAMPLES = 30 if JIT_DISABLED else 500


@cache
def good_lines() -> dict[str, list[bytes]]:
    """Good lines of both feeds, more than are taken at once."""
    with TemporaryDirectory() as name:
        with FeedWriter(Path(name), "BTCUSDT") as writer:
            writer.ticks(ticks(N, seed=21))
            writer.fills(fills(N, seed=22))
        return {kind: (Path(name) / FILES[kind]).read_bytes().splitlines()[:N] for kind in KINDS}


def altered(line: bytes, **changes: Any) -> bytes:
    """The line with fields changed; ``...`` takes one out."""
    row = {**json.loads(line), **changes}
    return json.dumps({k: v for k, v in row.items() if v is not ...}, separators=(",", ":")).encode()


def backwards(line: bytes) -> bytes:
    """The keys in the opposite order."""
    return json.dumps(dict(reversed(json.loads(line).items())), separators=(",", ":")).encode()


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "blanks": lambda line: json.dumps(json.loads(line)).encode(),
    "one blank": lambda line: line.replace(b'":', b'": ', 1),
    "one blank before a large number": lambda line: line.replace(b'"mid":', b'"mid": ').replace(
        b'"price":', b'"price": '
    ),
    "blank before a key": lambda line: line.replace(b',"', b', "', 3),
    "something before a key": lambda line: line.replace(b',"arm', b',1"arm'),
    "something behind a key": lambda line: line.replace(b'"arm":', b'"arm":1').replace(b'_ms":', b'_ms":1'),
    "carriage return": lambda line: line + b"\r",
    "blank at the end": lambda line: line + b" ",
    "blank before": lambda line: b" " + line,
    "backwards": backwards,
    "exponent": lambda line: altered(line, mid=1.5e-7, price=2.5e-9),
    "many digits": lambda line: altered(line, mid=1.2345678901234567, price=123456.12345678901),
    "negative zero": lambda line: altered(line, inventory=-0.0, fee=-0.0),
    "unknown": lambda line: altered(line, mid=None, cache_age_ms=None, latency_ms=None),
    "absent": lambda line: altered(line, mid=..., queue_ahead_qty=...),
    "more keys": lambda line: altered(line, extra="a,b", more=[1, 2]),
    "comma in a text": lambda line: altered(line, symbol="BTC,USDT"),
    "another symbol": lambda line: altered(line, symbol="ETHUSDT"),
    "key twice": lambda line: line[:-1] + b',"arm":"A"}',
    "too large": lambda line: altered(line, tick_total_ms=1e400, qty=-1),
    "leading zero": lambda line: line.replace(b'"errors":', b'"errors":0').replace(b'"qty":', b'"qty":0'),
    "two points": lambda line: line.replace(b".", b"..", 3),
    "broken in two": lambda line: line.replace(b',"arm"', b'\n"arm"'),
    "broken before a number": lambda line: line.replace(b',"mid', b'\n"mid'),
    "cut": lambda line: line[: len(line) // 2],
    "two on a line": lambda line: line + line,
    "empty": lambda line: b"",
    "commas": lambda line: b"," * 23,
    "another bracket": lambda line: b"[" + line[1:],
    "one key for another": lambda line: line.replace(
        b'"schema":1', line[line.index(b'"ts"') : line.index(b',"symbol"')]
    ),
    "no brace": lambda line: line[1:],
    "not closed": lambda line: line[:-1],
    "no text": lambda line: line[:40] + b"\xff" + line[41:],
}


def block_of(lines: list[bytes]) -> Block:
    """The lines as they are read from a file."""
    raw = b"".join(line + b"\n" for line in lines)
    return Block(np.frombuffer(raw + bytes(SLACK), np.uint8).copy())


def one_by_one(kind: Kind, lines: list[bytes]) -> tuple[pa.Table, list[BadLine]]:
    """What the careful look alone makes of them."""
    rows, bad = [], []
    for number, line in enumerate(lines, 1):
        found = judge(kind, line, number)
        if isinstance(found, BadLine):
            bad.append(found)
        elif found is not None:
            rows.append({**found, "line": number})
    return decoder._rows_table(kind, rows), bad


def same(kind: Kind, lines: list[bytes]) -> None:
    lines = b"\n".join(lines).split(b"\n")
    found = decode(kind, block_of(lines))
    rows, bad = one_by_one(kind, lines)
    assert found is not None
    assert (found.bad, found.lines) == (bad, len(lines))
    for field in arrow_schema(kind):
        held, wanted = (table.column(field.name).to_pylist() for table in (found.table, rows))
        assert list(map(repr, held)) == list(map(repr, wanted)), field.name


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", KINDS)
def test_lines_that_all_have_the_same_oddity(kind: Kind, change: str) -> None:
    same(kind, [CHANGES[change](line) for line in good_lines()[kind]])


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", KINDS)
def test_an_oddity_where_a_run_of_lines_begins(kind: Kind, change: str) -> None:
    for first, n in ((0, 1), (1, 2), (4, 1)):  # the second line is taken alone, then two, then four
        lines = list(good_lines()[kind][: LINES + 5])
        for place in range(first, first + n):
            lines[place] = CHANGES[change](lines[place])
        same(kind, lines)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    places=st.dictionaries(st.integers(0, N - 1), st.sampled_from(list(CHANGES)), max_size=12),
    n=st.integers(1, N),
)
def test_odd_lines_among_many_that_are_alike(kind: Kind, places: dict[int, str], n: int) -> None:
    lines = list(good_lines()[kind][:n])
    for place, change in places.items():
        if place < n:
            lines[place] = CHANGES[change](lines[place])
    same(kind, lines)


@settings(max_examples=EXAMPLES, deadline=None)
@given(kind=st.sampled_from(KINDS), data=st.data())
def test_bytes_changed_anywhere(kind: Kind, data: st.DataObject) -> None:
    raw = bytearray(b"\n".join(good_lines()[kind][: LINES + 3]))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place] = data.draw(st.sampled_from(list(b',\n"{}:0.-\\e \x00\xff')))
    same(kind, bytes(raw).split(b"\n"))
