"""Whole books as frames: whatever books come, the stream that reads the frames holds the last one."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.market.live.books import BookFrames, CrossedBook
from mmlib.market.live.router import Router
from mmlib.market.live.sync import SymbolStream
from mmlib.market.live.venues import recorded_venue
from mmlib.market.source import Instrument

COIN = Instrument("COIN", 0.5, 0.25)
NOW_NS = 1_736_899_200_000_000_000
SIDE = st.dictionaries(st.integers(1, 12), st.integers(1, 8), min_size=1, max_size=6)


def book_of(bids: dict[int, int], asks: dict[int, int], **more: Any) -> dict[str, Any]:
    """Bids from 100 downwards and asks from 100.5 upwards, in ticks of 0.5 and lots of 0.25."""
    return {
        "bids": [[100.5 - 0.5 * at, 0.25 * n] for at, n in sorted(bids.items())],
        "asks": [[100.0 + 0.5 * at, 0.25 * n] for at, n in sorted(asks.items())],
        **more,
    }


def held(stream: SymbolStream) -> tuple[dict[int, float], dict[int, float]]:
    return dict(stream._bids), dict(stream._asks)


def wanted(book: dict[str, Any]) -> tuple[dict[int, float], dict[int, float]]:
    bids, asks = ({round(price / 0.5): qty for price, qty in book[side]} for side in ("bids", "asks"))
    return bids, asks


@settings(max_examples=60, deadline=None)
@given(books=st.lists(st.tuples(SIDE, SIDE, st.booleans()), min_size=1, max_size=8))
def test_the_stream_holds_the_last_book_after_any_books_and_breaks(books) -> None:
    errors: list[str] = []
    stream = SymbolStream(recorded_venue("kraken"), COIN, 0)
    frames, router = BookFrames("COIN"), Router({"COIN": stream}, lambda *args: errors.append(args[1]))
    for at, (bids, asks, breaks) in enumerate(books):
        if breaks:
            stream.restart()
            frames.restart()
        book = book_of(bids, asks)
        frame = frames.streamed(book, NOW_NS + at)
        if frame is not None:
            router.take(NOW_NS + at, frame)
        assert held(stream) == wanted(book)
        assert frames.streamed(book, NOW_NS + at) is None  # nothing changed
    assert not errors and stream.synced


def test_a_fetched_book_that_is_shallower_keeps_what_lies_beyond_it() -> None:
    stream = SymbolStream(recorded_venue("kraken"), COIN, 0)
    frames, router = BookFrames("COIN"), Router({"COIN": stream}, lambda *_: None)
    router.take(
        NOW_NS, frames.streamed(book_of({1: 1, 2: 2, 5: 5}, {1: 1, 2: 2, 5: 5}, nonce=10), NOW_NS) or b""
    )
    assert frames.fetched(book_of({1: 7}, {1: 7}, nonce=9), NOW_NS) is None  # older than the stream
    frame = frames.fetched(book_of({1: 3, 3: 1}, {2: 4}, nonce=11), NOW_NS + 1)
    assert frame is not None
    router.take(NOW_NS + 1, frame)
    assert held(stream) == wanted(book_of({1: 3, 3: 1, 5: 5}, {2: 4, 5: 5}))


def test_a_book_that_cannot_be_is_refused_and_a_trade_needs_a_side() -> None:
    frames = BookFrames("COIN", unit=10.0)
    for bids, asks in (
        ([[2.0, 1.0]], [[2.0, 1.0]]),
        ([], [[2.0, 1.0]]),
        ([[1.0, float("inf")]], [[2.0, 1.0]]),
        ([[-1.0, 1.0]], [[2.0, 1.0]]),
    ):
        with pytest.raises(CrossedBook):
            frames.streamed({"bids": bids, "asks": asks}, NOW_NS)
    trade = {"price": 2.0, "amount": 0.5, "timestamp": None}
    assert frames.trade({**trade, "side": None}, NOW_NS) is None
    data = orjson.loads(frames.trade({**trade, "side": "sell"}, NOW_NS) or b"")["data"]
    assert (data["q"], data["m"], data["T"]) == ("5.0", True, NOW_NS // 1_000_000)
