"""A live stream against a naive client: whatever is lost, doubled, swapped or late, the book comes to the server's."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib._io import UserError
from mmlib.dtypes import (
    EVENT_KIND_MASK,
    FLAG_BUY,
    FLAG_EXCH,
    FLAG_LOCAL,
    KIND_CLEAR,
    KIND_TRADE,
)
from mmlib.market.live import codes
from mmlib.market.live.lookup import venue_of
from mmlib.market.live.router import Clock, Router, with_symbol
from mmlib.market.live.sync import BadFrame, SymbolStream
from mmlib.market.live.venues import VENUES
from mmlib.market.loopback.flows import Step
from mmlib.market.loopback.served import Served
from mmlib.market.source import Instrument

NOW_MS = 1_736_899_200_000
MS = 1_000_000
RESPONSE_NS = 10 * MS
COIN = Instrument("BTCUSDT", 0.1, 0.001)


def fold(rows: np.ndarray, flag: int) -> tuple[dict[int, float], dict[int, float]]:
    """The book that one processor's rows leave, in dictionaries."""
    bids: dict[int, float] = {}
    asks: dict[int, float] = {}
    for row in rows[rows["flags"] & flag != 0]:
        kind = int(row["flags"]) & EVENT_KIND_MASK
        if kind == KIND_CLEAR:
            bids.clear()
            asks.clear()
        elif kind != KIND_TRADE:
            side = bids if row["flags"] & FLAG_BUY else asks
            side[int(row["price_ticks"])] = float(row["qty"])
            if row["qty"] == 0.0:
                del side[int(row["price_ticks"])]
    return bids, asks


def stream_of(name: str = "binanceusdm") -> SymbolStream:
    return SymbolStream(VENUES[name], COIN, RESPONSE_NS)


def random_step(rng: random.Random) -> Step:
    step = Step(0.0)
    for side, base, away in ((step.bids, 600_000, -1), (step.asks, 600_010, 1)):
        for _ in range(rng.randint(0, 3)):
            side.append((base + away * rng.randint(0, 30), rng.choice([0.0, 0.5, 1.25])))
    if rng.random() < 0.3:
        step.trades.append((600_000, 0.25, rng.random() < 0.5))
    return step


@pytest.mark.parametrize("name", sorted(VENUES))
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), trouble=st.floats(0, 0.3), slow=st.integers(0, 12))
def test_the_book_comes_to_the_servers_whatever_happens_to_the_messages(name, seed, trouble, slow) -> None:
    rng = random.Random(seed)
    server, stream = Served(VENUES[name], COIN), stream_of(name)
    rows: list[np.ndarray] = []
    held: list[bytes] = []
    asked: tuple[int, bytes] | None = None  # a snapshot under way: when it arrives, and what it says
    for i in range(160):
        calm = i > 120  # the last messages come as they should
        now_ms = NOW_MS + 10 * i
        frames = [frame for _, frame in server.play(random_step(rng), now_ms)]
        if not calm and rng.random() < trouble:
            match rng.randint(0, 3):
                case 0:
                    frames = []  # lost
                case 1:
                    frames = frames * 2
                case 2:
                    held, frames = frames, []  # overtaken by the next ones
                case 3:
                    stream.restart()
        frames += [] if frames == held else held
        held = [] if frames else held
        for frame in frames:
            stream.take(orjson.loads(frame)["data"], now_ms * MS + rng.randint(0, 30 * MS))
            rows.append(stream.take_rows())
        if asked is not None and i >= asked[0]:
            stream.take(orjson.loads(with_symbol("BTCUSDT", asked[1])), (now_ms + 9) * MS + 40 * MS)
            rows.append(stream.take_rows())
            asked = None
        if stream.needs_snapshot and asked is None:
            asked = (i + (0 if calm else slow), server.snapshot(1000, now_ms))
    assert stream.synced
    every = np.concatenate(rows)
    assert fold(every, FLAG_LOCAL) == fold(every, FLAG_EXCH) == (server.bids, server.asks)


@settings(max_examples=60, deadline=None)
@given(
    delays_ms=st.lists(st.integers(-4000, 4000), min_size=1, max_size=40),
    gaps_ms=st.lists(st.integers(0, 300), min_size=40, max_size=40),
)
def test_rows_are_causal_whatever_the_clocks_do(delays_ms, gaps_ms) -> None:
    server, stream = Served(VENUES["binanceusdm"], COIN), stream_of()
    rng = random.Random(1)
    local_ns = NOW_MS * MS
    stream.take(orjson.loads(server.snapshot(10, NOW_MS)), local_ns)
    for delay_ms, gap_ms in zip(delays_ms, gaps_ms, strict=False):
        local_ns += gap_ms * MS
        for _, frame in server.play(random_step(rng), local_ns // MS - delay_ms):
            stream.take(orjson.loads(frame)["data"], local_ns)
    rows = stream.take_rows()
    at_exchange = rows[rows["flags"] & FLAG_EXCH != 0]
    local = rows[rows["flags"] & FLAG_LOCAL != 0]
    assert (np.diff(at_exchange["exch_ts_ns"]) >= 0).all()
    assert (np.diff(local["local_ts_ns"]) >= 0).all()
    waited = at_exchange["local_ts_ns"] - at_exchange["exch_ts_ns"]
    assert (waited >= 0).all() and (waited <= RESPONSE_NS).all()
    assert (local["exch_ts_ns"] <= local["local_ts_ns"]).all()


def test_futures_join_and_chain_by_the_documented_rule() -> None:
    venue = VENUES["binanceusdm"]
    assert venue.follows(5, 9, 5) and venue.follows(5, 9, 9) and not venue.follows(6, 9, 5)
    assert venue.is_older(4, 5) and not venue.is_older(5, 5)
    spot = VENUES["binance"]
    assert spot.follows(6, 9, 5) and not spot.follows(7, 9, 5) and spot.is_older(5, 5)


def diff(first: int, last: int, before: int, **more: object) -> dict:
    data = {"e": "depthUpdate", "E": NOW_MS, "T": NOW_MS, "s": "BTCUSDT", "U": first, "u": last, "pu": before}
    return data | {"b": [["60000.0", "1.0"]], "a": [["60001.0", "2.0"]]} | more


def test_a_snapshot_older_than_what_waits_is_asked_for_again() -> None:
    stream = stream_of()
    stream.take(diff(20, 25, 18), NOW_MS * MS)
    stream.take({"lastUpdateId": 10, "bids": [], "asks": []}, NOW_MS * MS + 1)
    assert not stream.synced and stream.needs_snapshot and not stream.has_rows
    stream.take({"lastUpdateId": 22, "bids": [["59999.0", "3"]], "asks": []}, NOW_MS * MS + 2)
    assert stream.synced and not stream.needs_snapshot
    assert fold(stream.take_rows(), FLAG_LOCAL)[0] == {599_990: 3.0, 600_000: 1.0}


@pytest.mark.parametrize(
    "bad",
    [
        {"U": "1"},
        {"u": 3},
        {"pu": None},
        {"T": "now"},
        {"T": NOW_MS + 400_000},
        {"b": [["-1", "1"]]},
        {"b": [["nan", "1"]]},
        {"a": [["60000.0"]]},
        {"a": [["60000.0", "1e99"]]},
        {"b": [["9e9", "1"]]},
        {"b": 7},
    ],
)
def test_a_message_that_cannot_be_changes_nothing_and_is_counted(bad) -> None:
    stream = stream_of()
    stream.take({"lastUpdateId": 19, "bids": [["59999.0", "3"]], "asks": []}, NOW_MS * MS)
    stream.take_rows()
    with pytest.raises(BadFrame):
        stream.take(diff(20, 25, 19, **bad), NOW_MS * MS + 1)
    assert not stream.has_rows and stream.counts[codes.BAD_FRAME] == 1
    stream.take(diff(20, 25, 19), NOW_MS * MS + 2)
    assert stream.synced and stream.has_rows


def test_frames_that_are_none_are_counted_and_strangers_passed_over() -> None:
    errors: list[tuple[str, str]] = []
    router = Router({"BTCUSDT": stream_of()}, lambda symbol, code, _: errors.append((symbol, code)))
    for frame in (b"", b"{", b"[1]", b"\xff\xfe", b'"text"'):
        assert router.take(1, frame) == ""
    assert errors == [("", codes.BAD_FRAME)] * 5
    for frame in (
        b'{"result":null,"id":1}',
        b'{"data":{"e":"trade","s":"ETHUSDT"}}',
        b'{"data":{"s":["x"]}}',
    ):
        assert router.take(1, frame) == ""
    assert len(errors) == 5
    assert router.take(1, b'{"data":{"e":"depthUpdate","s":"BTCUSDT"}}') == "BTCUSDT"
    assert errors[-1] == ("BTCUSDT", codes.BAD_FRAME)


def test_stamps_never_repeat_or_fall() -> None:
    clock = Clock()
    stamps = [clock() for _ in range(10_000)]
    assert all(later > earlier for earlier, later in pairwise(stamps))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:80", ("http://127.0.0.1:80", "ws://127.0.0.1:80")),
        ("wss://proxy.example/binance/", ("https://proxy.example/binance", "wss://proxy.example/binance")),
        ("https://a.example,ws://b.example:9", ("https://a.example", "ws://b.example:9")),
    ],
)
def test_addresses_can_be_replaced(url, expected) -> None:
    venue = venue_of("binanceusdm", url)
    assert (venue.rest, venue.ws) == expected


@pytest.mark.parametrize(
    ("name", "url", "says"),
    [
        ("binanceusd", "", "did you mean binanceusdm"),
        ("binance", "ftp://x", "no address"),
        ("binance", "http://key@host", "carries a name, a key or a query"),
        ("binance", "http://host/?apiKey=1", "carries a name, a key or a query"),
        ("binance", "http://host:port", "no address"),
    ],
)
def test_what_is_no_exchange_or_carries_a_key_is_refused(name, url, says) -> None:
    with pytest.raises(UserError, match=says):
        venue_of(name, url)
