"""The bytes-level decoder against the full parser: the same rows, counters and quarantine, whatever the lines hold."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmlib.core import words
from mmlib.market import messages
from mmlib.market.binance import read_binance
from mmlib.market.lines import Lines, Quarantine
from mmlib.market.recorded import ReaderOptions
from mmlib.market.source import FeedLatency, Instrument

T0_MS = 1_700_000_000_000
USDM, SPOT = "binance_usdm_btcusdt_20240808.gz", "binance_spot_ethusdt_20240809.gz"
SLACK = bytes(words.SLACK)

number = st.builds(lambda a, d: f"{a / 10**d:.{d}f}", st.integers(0, 10**9), st.integers(0, 8))
odd_number = st.sampled_from(
    ["", ".", "-1", "1e3", "NaN", "inf", "0", "00.5", "1.", ".5", "9" * 20, "123456789.123456789"]
)
pairs = st.lists(st.lists(st.one_of(number, odd_number), min_size=2, max_size=2), max_size=4)
clean_pairs = st.lists(st.tuples(number, number), max_size=6)
time_ms = st.integers(T0_MS, T0_MS + 100_000)
symbol = st.sampled_from(["ABCUSDT", "ABCUSDT", "ABCUSDT", "XYZUSDT", "DEFUSD_PERP"])


@st.composite
def message(draw: st.DrawFn) -> dict[str, Any]:
    """A message as the exchange sends it, or nearly so."""
    at = draw(time_ms)
    kind = draw(st.sampled_from(["depth", "depth", "trade", "trade", "ticker", "snapshot", "none"]))
    some_pairs = draw(st.sampled_from([clean_pairs, clean_pairs, pairs]))
    if kind == "depth":
        out: dict[str, Any] = {"e": "depthUpdate", "E": at + 1, "s": draw(symbol)}
        out |= draw(st.sampled_from([{}, {"T": at}, {"pu": 5}, {"T": at, "pu": 7}]))
        out |= {"U": draw(st.integers(0, 9)), "u": draw(st.integers(0, 9))}
        out |= {"b": draw(some_pairs), "a": draw(some_pairs)}
    elif kind == "trade":
        out = {
            "e": "trade",
            "E": at,
            "T": at,
            "s": draw(symbol),
            "t": 7,
            "p": draw(st.one_of(number, odd_number)),
        }
        out |= {"q": draw(number), "m": draw(st.booleans())}
        out |= draw(st.sampled_from([{}, {"X": "MARKET"}, {"X": "INSURANCE_FUND"}]))
    elif kind == "ticker":
        out = {"e": "bookTicker", "u": 4, "s": draw(symbol), "b": "1", "B": "2", "a": "3", "A": "4"}
    elif kind == "snapshot":
        out = {"lastUpdateId": 4, "bids": draw(clean_pairs), "asks": draw(clean_pairs)}
        out |= draw(st.sampled_from([{}, {"T": at}]))
    else:
        out = {"result": None, "id": 1}
    if draw(st.integers(0, 9)) == 0:
        out[draw(st.sampled_from(sorted(out)))] = draw(
            st.sampled_from([None, 1.5, -3, 2**63, "x", "é", 'a"b', True, [], {}, [["1"]], 0])
        )
    if draw(st.integers(0, 9)) == 0:
        out = dict(draw(st.permutations(sorted(out.items(), key=str))))
    return out


@st.composite
def line(draw: st.DrawFn) -> bytes:
    """A line, whole or damaged."""
    data: Any = draw(message())
    if draw(st.booleans()):
        data = {"stream": "abc", "data": data}
    spaces = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    raw = b"%d %s" % (draw(time_ms) * 10**6, json.dumps(data, separators=spaces, ensure_ascii=False).encode())
    damage = draw(st.sampled_from(["none"] * 6 + ["cut", "flip", "drop", "twice", "return", "blank"]))
    at = draw(st.integers(0, len(raw) - 1))
    if damage == "cut":
        return raw[:at]
    if damage == "flip":
        return raw[:at] + bytes([draw(st.integers(0, 255))]) + raw[at + 1 :]
    if damage == "drop":
        return raw[:at] + raw[at + 1 :]
    if damage == "twice":
        return raw[:at] + raw[at : at + 1] * 2 + raw[at + 1 :]
    return raw + b"\r" if damage == "return" else b"  " if damage == "blank" else raw


def never_fast(buffer: np.ndarray, state: np.void, columns: Any) -> bool:
    """In the kernel's place: leave every line to the full parser."""
    return bool(state["at"] >= len(buffer) - words.SLACK)


def decoded(path: Path) -> tuple[Any, ...]:
    found, quarantine = messages.Messages("ABCUSDT"), Quarantine(path)
    found.read(Lines(path), quarantine)
    names = [name for name in found.segments.dtype.names or () if name not in ("suspect", "_pad")]
    columns = [found.segments[name].tolist() for name in names]
    return (
        columns,
        found.price.tobytes(),
        found.qty.tobytes(),
        found.quality,
        found.found,
        quarantine.count,
        quarantine.text(),
    )


BOOK_OF_NONE = b'1700000000000000000 {"lastUpdateId":4,"bids":[],"asks":[]}'
AN_OLD_UPDATE_AHEAD_IN_TIME = [
    BOOK_OF_NONE,
    b'1700000000000000000 {"E":1700000000001,"U":0,"a":[],"b":[],"e":"depthUpdate","s":"ABCUSDT","u":0}',
    BOOK_OF_NONE,
]


@settings(max_examples=300, deadline=None)
@given(st.lists(line(), max_size=12))
@example(AN_OLD_UPDATE_AHEAD_IN_TIME)
def test_every_line_is_judged_as_by_the_full_parser(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    compare(tmp_path_factory.mktemp("decode") / "x.txt", lines)


TICKERS = [
    b'{"stream":"a@1","data":{"e":"bookTicker","u":4093,"s":"ABCUSDT","b":"10.5","B":"2","T":1700000000000}}',
    b'{"u": 4093, "s": "ABCUSDT", "b": "10.5", "B": "2"}',
    b'{"e":"depthUpdate","s":"XYZ_240927","T":1700000000000,"u":7,"U":70,"b":[["1.5","2"]],"a":[]}',
    b'{"e":"depthUpdate","s":"ABCUSDT","T":1700000000000,"u":7,"U":70,"b":[["1.5","2"]],"a":[]}',
    b'{"e":"24hrTicker","E":1700000000000,"c":"1"}',
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(TICKERS) - 1), st.integers(-1, 120), st.sampled_from(b'0123456789"x:.,- \xe9')
        ),
        min_size=1,
        max_size=40,
    )
)
def test_lines_of_a_known_shape_are_judged_as_by_the_full_parser(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int, int]]
) -> None:
    """One line over and over, each time with another byte changed: what a shape lets pass must be what the parser lets pass."""
    lines = []
    for which, at, byte in changes:
        raw = bytearray(b"%d %s" % (T0_MS * 10**6 + 1, TICKERS[which]))
        if 0 <= at < len(raw):
            raw[at] = byte
        lines.append(bytes(raw))
    compare(tmp_path_factory.mktemp("shapes") / "x.txt", [line for line in lines for _ in range(2)])


def compare(path: Path, lines: list[bytes]) -> None:
    """Decode with the kernel and without."""
    path.write_bytes(b"\n".join(lines))
    fast = decoded(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages, "decode_block", never_fast)
        plain = decoded(path)
    assert fast == plain


def options(symbol: str, instrument: Instrument | None = None) -> ReaderOptions:
    return ReaderOptions(symbol, 0, instrument, FeedLatency(5.0, 0.5, 0.0), None)


@pytest.mark.recording
@pytest.mark.parametrize(("name", "symbol"), [(USDM, "BTCUSDT"), (SPOT, "ETHUSDT")])
def test_real_recordings_equal_the_full_parser(
    shared_data: Path, name: str, symbol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shared_data / name
    fast = read_binance(path, options(symbol))
    monkeypatch.setattr(messages, "decode_block", never_fast)
    plain = read_binance(path, options(symbol))
    assert fast.events.tobytes() == plain.events.tobytes()
    assert fast.quality == plain.quality and fast.instrument == plain.instrument
    assert fast.refresh_ms.tobytes() == plain.refresh_ms.tobytes()
    assert (fast.description, fast.refresh_label) == (plain.description, plain.refresh_label)


@pytest.mark.recording
def test_the_kernel_takes_nearly_every_line_of_a_real_recording(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bytes] = []
    slow = messages.Messages._parse
    monkeypatch.setattr(
        messages.Messages, "_parse", lambda self, raw: (taken.append(raw), slow(self, raw))[1]
    )
    read_binance(shared_data / USDM, options("BTCUSDT"))
    assert [json.loads(raw[20:]).get("lastUpdateId") is not None for raw in taken] == [True]


def test_other_symbols_leave_the_full_parser_after_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = b'%d {"e":"trade","T":%d,"s":"XYZUSDT","p":"1","q":"1","m":true}' % (T0_MS * 10**6, T0_MS)
    path = tmp_path / "x.txt"
    path.write_bytes(b"\n".join([other] * 9))
    seen: list[bytes] = []
    slow = messages.Messages._parse
    monkeypatch.setattr(messages.Messages, "_parse", lambda self, raw: (seen.append(raw), slow(self, raw))[1])
    found = messages.Messages("ABCUSDT")
    found.read(Lines(path), Quarantine(path))
    assert (len(seen), found.quality["other_symbols"]) == (1, 9)


def test_lines_longer_than_a_block_and_columns_that_grow(tmp_path: Path) -> None:
    levels = json.dumps(
        [[f"{100 + i / 100:.2f}", "1.5"] for i in range(20_000)], separators=(",", ":")
    ).encode()
    raw = b"".join(
        b'%d {"e":"depthUpdate","E":%d,"T":%d,"s":"ABCUSDT","U":%d,"u":%d,"pu":%d,"b":[],"a":%s}\n'
        % (T0_MS * 10**6, T0_MS, T0_MS, n, n, n - 1, levels)
        for n in range(4)
    )
    path = tmp_path / "long.gz"
    path.write_bytes(gzip.compress(raw))
    read = read_binance(path, options("ABCUSDT", Instrument("ABCUSDT", 0.01, 0.1)))
    assert len(read.events) == 80_000
    assert read.events["price_ticks"].tolist() == [*range(10_000, 30_000)] * 4


text = st.binary(max_size=40)


@settings(max_examples=300, deadline=None)
@given(text, st.integers(0, 40))
def test_words_agree_with_bytes(raw: bytes, at: int) -> None:
    buffer = np.frombuffer(raw + b"\n" + SLACK, np.uint8)
    at = min(at, len(raw))
    assert words.text_end(buffer, at) == words.plain_text_end(buffer, at)
    assert words.digits(buffer, at) == words.plain_digits(buffer, at)


@given(st.from_regex(rb'"?[0-9]{0,12}\.?[0-9]{0,10}"?', fullmatch=True))
def test_decimals_are_what_python_reads(raw: bytes) -> None:
    buffer = np.frombuffer(raw + b"\n" + SLACK, np.uint8)
    value, end = words.decimal(buffer, 0)
    assert (value, end) == words.plain_decimal(buffer, 0) or end == words.FAIL
    if end != words.FAIL:
        assert end == len(raw) and value == float(raw.strip(b'"'))
    elif raw[:1] == raw[-1:] == b'"' and raw[1:2].isdigit() and raw[-2:-1].isdigit():
        assert len(raw) > 17  # only length keeps a plain decimal out


@given(st.integers(0, 10**20))
def test_integers_are_what_python_reads(value: int) -> None:
    raw = b"%d," % value
    got, end = words.integer(np.frombuffer(raw + b"\n" + SLACK, np.uint8), 0)
    assert (got, end) == (value, len(raw) - 1) if value < 10**18 else end == words.FAIL
