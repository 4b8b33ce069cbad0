"""Rows of market events against one-row-at-a-time references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.dtypes import (
    EVENT,
    FLAG_BUY,
    FLAG_EXCH,
    FLAG_LOCAL,
    FLAG_SELL,
    KIND_CLEAR,
    KIND_DEPTH,
    KIND_SNAPSHOT,
    KIND_TRADE,
)
from mmlib.market import events
from tests import naive_market as naive

BOTH = FLAG_EXCH | FLAG_LOCAL


def make(rows: list[tuple[int, int, int, int, float]]) -> np.ndarray:
    """Rows from (exch, local, flags, ticks, qty)."""
    out = np.zeros(len(rows), EVENT)
    for name, column in zip(
        ("exch_ts_ns", "local_ts_ns", "flags", "price_ticks", "qty"), zip(*rows, strict=True), strict=False
    ):
        out[name] = column
    return out


def levels_of(rows: np.ndarray, side: int) -> list[tuple[int, float]]:
    chosen = rows[(rows["flags"] & side != 0) & (rows["flags"] & 15 == KIND_SNAPSHOT)]
    return [(int(r["price_ticks"]), float(r["qty"])) for r in chosen]


arrivals = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=25)


@settings(max_examples=200, deadline=None)
@given(arrivals, st.booleans())
def test_merge_order_is_the_two_headed_merge(times: list[tuple[int, int]], in_order: bool) -> None:
    if in_order:
        times = sorted(times, key=lambda t: t[1])
    rows = make([(e, k, KIND_DEPTH | FLAG_BUY, i, 1.0) for i, (e, k) in enumerate(times)])
    assert events.merge_order(rows).tobytes() == naive.merge_order(rows).tobytes()


@settings(max_examples=100, deadline=None)
@given(arrivals)
def test_merge_order_gives_each_clock_every_row_in_its_order(times: list[tuple[int, int]]) -> None:
    rows = make([(e, k, KIND_TRADE | FLAG_SELL, i, 1.0) for i, (e, k) in enumerate(times)])
    merged = events.merge_order(rows)
    for flag, clock in ((FLAG_EXCH, "exch_ts_ns"), (FLAG_LOCAL, "local_ts_ns")):
        mine = merged[merged["flags"] & flag != 0]
        assert sorted(mine["price_ticks"]) == list(range(len(rows)))
        assert (np.diff(mine[clock]) >= 0).all()


def test_merge_order_leaves_its_input_alone() -> None:
    rows = make([(5, 6, KIND_DEPTH | FLAG_BUY, 1, 1.0), (1, 7, KIND_DEPTH | FLAG_BUY, 2, 1.0)])
    before = rows.copy()
    merged = events.merge_order(rows)
    assert rows.tobytes() == before.tobytes()
    assert merged["price_ticks"].tolist() == [2, 1, 2]
    assert [int(f) & BOTH for f in merged["flags"]] == [FLAG_EXCH, BOTH, FLAG_LOCAL]


@pytest.mark.parametrize("base", [0, 250])
@pytest.mark.parametrize("lag", [-1_270, 0, 40])
def test_clock_correction(lag: int, base: int) -> None:
    exch = [1_000, 2_000, 3_000]
    local = [e + lag + extra for e, extra in zip(exch, (7, 0, 300), strict=True)]
    rows = make([(e, k, KIND_DEPTH, 1, 1.0) for e, k in zip(exch, local, strict=True)])
    shift = events.correct_clock(rows, base)
    assert rows["local_ts_ns"].tolist() == naive.correct_clock(exch, local, base)
    assert shift == (1_270 + base if lag < 0 else 0)
    assert rows["exch_ts_ns"].tolist() == exch


def test_clock_correction_of_nothing() -> None:
    assert events.correct_clock(np.zeros(0, EVENT), 5) == 0


quotes = st.lists(
    st.tuples(
        st.sampled_from([FLAG_BUY, FLAG_SELL]),
        st.integers(1, 12),
        st.sampled_from([0.0, 0.0, 1.0, 2.5]),
        st.sampled_from([KIND_DEPTH] * 12 + [KIND_SNAPSHOT, KIND_TRADE, KIND_CLEAR]),
    ),
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(quotes, st.integers(0, 60), st.integers(-1, 59))
def test_book_before_is_the_book_of_dictionaries(
    stream: list[tuple[int, int, float, int]], until: int, wiped: int
) -> None:
    rows = make([(i, i, kind | side | BOTH, price, qty) for i, (side, price, qty, kind) in enumerate(stream)])
    # A clear of one side while the other hides levels is defined only for what can be seen: keep the oracle to that.
    rows = rows[(rows["flags"] & 15) != KIND_CLEAR]
    if 0 <= wiped < len(rows):
        rows["flags"][wiped] = KIND_CLEAR | BOTH
    got = events.book_before(rows, until)
    bids, asks = naive.book_before(rows, until)
    assert (levels_of(got, FLAG_BUY), levels_of(got, FLAG_SELL)) == (bids, asks)
    assert got["flags"][0] & 15 == KIND_CLEAR
    assert (got["local_ts_ns"] == until).all()


def test_a_side_clear_reaches_as_far_as_its_price() -> None:
    depth = [
        (0, 0, KIND_DEPTH | side | BOTH, p, 1.0) for side, p in ((FLAG_BUY, 5), (FLAG_BUY, 7), (FLAG_SELL, 9))
    ]
    rows = make([*depth, (1, 1, KIND_CLEAR | FLAG_BUY | BOTH, 6, 0.0)])
    got = events.book_before(rows, 2)
    assert levels_of(got, FLAG_BUY) == [(5, 1.0)] == naive.book_before(rows, 2)[0]
    assert levels_of(got, FLAG_SELL) == [(9, 1.0)]


def test_overtaken_rows_count_once_and_in_exchange_order() -> None:
    rows = make([(5, 6, KIND_DEPTH | FLAG_BUY, 1, 9.0), (1, 7, KIND_DEPTH | FLAG_BUY, 1, 2.0)])
    got = events.book_before(events.merge_order(rows), 8)
    assert levels_of(got, FLAG_BUY) == [(1, 9.0)]


@pytest.mark.parametrize(
    ("prices", "sizes", "expected"),
    [
        ([61_800.2, 61_800.3, 58_710.0], [0.014, 0.01, 0.003], (0.1, 0.001)),
        ([2_271.58, 2_279.63], [1.6477, 28.479526], (0.01, 1e-6)),
        ([100.25, 100.5], [3.0, 7.0], (0.25, 1.0)),
        ([70.0, 140.0], [0.0, 0.0], (10.0, 1e-8)),
        ([7.5, 12.5], [0.04, 0.06], (2.5, 0.01)),
        ([], [], (1e-8, 1e-8)),
    ],
)
def test_infer_instrument(prices: list[float], sizes: list[float], expected: tuple[float, float]) -> None:
    got = events.infer_instrument(np.array(prices), np.array(sizes))
    assert got == expected


@given(st.lists(st.integers(0, 9), min_size=1, max_size=9))
def test_longest_in_order_is_the_longest(times: list[int]) -> None:
    keep = events.longest_in_order(np.array(times))
    kept = np.array(times)[keep]
    assert (np.diff(kept) >= 0).all()
    longest = 0
    for mask in range(1 << len(times)):
        chosen = [t for i, t in enumerate(times) if mask >> i & 1]
        if chosen == sorted(chosen):
            longest = max(longest, len(chosen))
    assert len(kept) == longest


def test_rounding_goes_away_from_zero() -> None:
    assert events.round_half_away(np.array([0.5, 1.5, 2.4, -0.5, -2.5])).tolist() == [
        1.0,
        2.0,
        2.0,
        -1.0,
        -3.0,
    ]
