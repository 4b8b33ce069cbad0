"""The market as clients see it beside the market that fills orders: the same book after the same rows."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from mmlib.dtypes import FLAG_BUY, FLAG_EXCH, FLAG_SELL, KIND_TRADE
from mmlib.market.opening import open_source
from mmlib.paper.frames import Frames
from mmlib.paper.rules import Rules
from mmlib.paper.streams import Streams
from mmlib.paper.tape import Tape
from tests.naive_market import Book


@pytest.mark.parametrize("seed", [1, 7])
def test_the_tape_has_the_naive_book_its_ids_and_every_trade(seed: int) -> None:
    source = open_source("simulated", "BTCUSDT", seed=seed, market={"rate_per_s": 100.0})
    rows = next(iter(source.chunks()))
    rows = rows[rows["flags"] & FLAG_EXCH != 0][:20_000]
    tape, naive = Tape(Rules.of(source.instrument), source.instrument.lot_size), Book()
    edges = [0, *(np.flatnonzero(np.diff(rows["exch_ts_ns"])) + 1).tolist(), len(rows)]
    trades, last = 0, tape.last_id
    for first, end in pairwise(edges):
        change = tape.apply(rows[first:end], 0)
        for row in rows[first:end]:
            naive.apply(row)
        trades += len(change.trades)
        assert change.before == last
        if change.bids or change.asks:
            assert (change.first, change.last) == (last + 1, last + len(change.bids) + len(change.asks))
            last = change.last
    assert trades == int((rows["flags"] & 0x0F == KIND_TRADE).sum())
    for side, mine, best in ((FLAG_BUY, tape.bids, tape.best_bid), (FLAG_SELL, tape.asks, tape.best_ask)):
        assert best == naive.best[side]
        visible = {
            ticks: round(qty / source.instrument.lot_size)
            for ticks, qty in naive.levels[side].items()
            if not naive._through(side, ticks, best)
        }
        assert mine == visible
    assert tape.last_id == last


class Ear:
    """A connection that keeps what it is sent."""

    combined = False

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []

    def write(self, frame: bytes) -> None:
        self.got.append(json.loads(frame[frame.index(b"{") :]))


@pytest.mark.parametrize("speed", ["0ms", "100ms", "500ms"])
def test_book_updates_rebuild_the_book_for_whoever_comes_when(speed: str) -> None:
    """A snapshot and the diffs after it are the book, also for one who subscribes after another has left."""
    source = open_source("simulated", "BTCUSDT", seed=3, market={"rate_per_s": 100.0})
    rows = next(iter(source.chunks()))
    rows = rows[rows["flags"] & FLAG_EXCH != 0][:6000]
    tape = Tape(Rules.of(source.instrument), source.instrument.lot_size)
    streams = Streams(Frames(futures=True), {"BTCUSDT": tape}, usual_ms=250)
    moments = np.split(rows, np.flatnonzero(np.diff(rows["exch_ts_ns"])) + 1)
    first_ns = int(rows["exch_ts_ns"][0])
    ear, begun = Ear(), {}
    for k, moment in enumerate(moments):
        if k in (100, 900):
            ear = Ear()
            begun = {side: dict(getattr(tape, side)) for side in ("bids", "asks")}
            streams.subscribe(ear, [f"btcusdt@depth@{speed}"])  # type: ignore[list-item, arg-type]
        if k == 600:
            streams.leave(ear)  # type: ignore[arg-type]
        now_ms = (int(moment["exch_ts_ns"][0]) - first_ns) // 1_000_000
        streams.publish("BTCUSDT", tape.apply(moment, now_ms))
        streams.beat(now_ms)
    streams.beat(10**9)
    for event in ear.got:
        for name, side in (("b", begun["bids"]), ("a", begun["asks"])):
            for price, qty in event[name]:
                ticks, lots = tape.rules.price.whole(Decimal(price)), tape.rules.qty.whole(Decimal(qty))
                assert ticks is not None and lots is not None
                side.pop(ticks, None) if lots == 0 else side.update({ticks: lots})
    assert (begun["bids"], begun["asks"]) == (tape.bids, tape.asks)
    assert all(one["U"] == before["u"] + 1 and one["pu"] == before["u"] for before, one in pairwise(ear.got))
    assert len(ear.got) > 20
