"""The market as clients see it beside the market that fills orders: the same book after the same rows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from mmlib.dtypes import FLAG_BUY, FLAG_EXCH, FLAG_SELL, KIND_TRADE
from mmlib.market.opening import open_source
from mmlib.paper.rules import Rules
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
