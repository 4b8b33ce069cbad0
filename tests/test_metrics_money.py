"""Money: the identity of ΔEquity, the parts that add up to net, buckets that add up to the whole, markouts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.dtypes import FILL, TICK
from mmlib.metrics.ledger import ledgers
from mmlib.metrics.money import bucket_money, decompose, equity_curve, markouts
from tests import naive_metrics as naive
from tests.make_feeds import SECOND_NS, START_NS, fill_frame, fills, tick_frame, ticks

PRICES = st.integers(9_900, 10_100).map(lambda k: k / 100)
MIDS = st.one_of(PRICES, PRICES, PRICES, st.just(float("nan")))
TIMES = st.integers(0, 40)  # seconds; small, so that ticks and fills meet


@st.composite
def worlds(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ticks and fills of one arm, with missing mids, equal times, and feeds that are empty."""
    times = sorted(draw(st.lists(TIMES, max_size=15, unique=True)))
    rows = np.zeros(len(times), TICK)
    rows["ts_ns"] = rows["scheduled_ns"] = START_NS + np.array(times, dtype=np.int64) * SECOND_NS
    rows["mid"] = [draw(MIDS) for _ in times]
    rows["inventory"] = np.nan
    deals = sorted(draw(st.lists(TIMES, max_size=10)))
    got = np.zeros(len(deals), FILL)
    got["ts_ns"] = START_NS + np.array(deals, dtype=np.int64) * SECOND_NS
    got["fill_id"] = np.arange(len(deals))
    for name, values in (("price", PRICES), ("mid_at_fill", MIDS), ("mid_at_quote", MIDS)):
        got[name] = [draw(values) for _ in deals]
    got["qty"] = [draw(st.integers(1, 500)) / 1000 for _ in deals]
    got["fee"] = [draw(st.integers(-100, 100)) / 1000 for _ in deals]
    got["side"] = [draw(st.sampled_from([1, -1])) for _ in deals]
    got["liquidity"] = [draw(st.sampled_from([0, 1])) for _ in deals]
    return tick_frame(rows), fill_frame(got)


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_the_money_identity_holds_exactly(world: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    ticks_, fills_ = world
    table = decompose(ticks_, fills_)
    if not len(ticks_) and not len(fills_):
        assert len(table) == 0
        return
    t, f = naive.rows_of(ticks_, "BTCUSDT", "A"), naive.rows_of(fills_, "BTCUSDT", "A")
    row = table.iloc[0]
    expected = naive.change_of_equity(t, f, 0.0)
    assert naive.identity(t, f, 0.0) == pytest.approx(expected, abs=1e-8, nan_ok=True)
    assert row["pnl"] == pytest.approx(expected, abs=1e-8, nan_ok=True)
    parts = row["gross_pnl"] - row["travel_cost"] - row["fees"] + row["inventory_pnl"]
    assert parts == pytest.approx(row["pnl"], abs=1e-8, nan_ok=True)
    buckets = bucket_money(ticks_, fills_, bucket_s=7)
    for name in (
        "pnl",
        "fees",
        "notional",
        "inventory_pnl",
        "gross_pnl",
        "travel_cost",
        "slippage_cost",
        "slippage_notional",
        "n_fills",
    ):
        assert buckets[name].sum(skipna=False) == pytest.approx(row[name], abs=1e-8, nan_ok=True)
    curve = equity_curve(ticks_, fills_, every_s=7)
    if len(curve):
        assert curve["equity"].iloc[-1] == pytest.approx(expected, abs=1e-8, nan_ok=True)


def one_trade() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Buy 2 at 99.9 quoted at mid 100.1, filled at mid 100; the mid ends at 101; fee -0.05."""
    rows = np.zeros(3, TICK)
    rows["ts_ns"] = START_NS + np.array([0, 10, 20]) * SECOND_NS
    rows["mid"] = [100.0, 100.0, 101.0]
    deal = np.zeros(1, FILL)
    deal["ts_ns"] = START_NS + 5 * SECOND_NS
    deal["price"], deal["qty"], deal["fee"], deal["side"] = 99.9, 2.0, -0.05, 1
    deal["mid_at_quote"], deal["mid_at_fill"] = 100.1, 100.0
    rows["inventory"] = [0.0, 2.0, 2.0]
    return tick_frame(rows), fill_frame(deal)


def test_one_trade_by_hand() -> None:
    row = decompose(*one_trade()).iloc[0]
    notional = 199.8
    assert row["notional"] == pytest.approx(notional)
    assert row["gross_bps"] == pytest.approx(0.4 / notional * 1e4)
    assert row["quote_travel_bps"] == pytest.approx(0.2 / notional * 1e4)
    assert row["fees_bps"] == pytest.approx(-0.05 / notional * 1e4)
    assert row["inventory_bps"] == pytest.approx(2.0 / notional * 1e4)
    assert row["net_bps"] == pytest.approx((0.2 + 2.0 + 0.05) / notional * 1e4)
    assert row["taker_share_pct"] == 0.0


def test_gross_and_quote_travel_are_the_notional_weighted_bps_of_the_fills() -> None:
    frame = fill_frame(fills(400, seed=31))
    row = decompose(tick_frame(ticks(500, seed=30)), frame, by=()).iloc[0]
    sign = np.where(frame["side"] == "buy", 1, -1)
    weight = frame["price"] * frame["qty"]
    for name, to in (("gross_bps", "price"), ("quote_travel_bps", "mid_at_fill")):
        each = sign * (frame["mid_at_quote"] - frame[to]) / frame["mid_at_quote"] * 1e4
        assert row[name] == pytest.approx((weight * each).sum() / weight.sum(), rel=1e-3)


def test_position_is_carried_across_buckets_and_marked_at_their_edges() -> None:
    ticks_, fills_ = one_trade()
    buckets = bucket_money(ticks_, fills_, bucket_s=10)
    assert buckets["pnl"].tolist() == pytest.approx([0.2 + 0.05, 0.0, 2.0])
    assert buckets["n_fills"].tolist() == [1, 0, 0]
    assert np.isnan(buckets["net_bps"].iloc[1:]).all()
    assert buckets["bucket"].astype("int64").tolist() == [START_NS + k * 10 * SECOND_NS for k in range(3)]


def test_a_position_from_before_the_window_is_known_from_the_ticks() -> None:
    rows = np.zeros(4, TICK)
    rows["ts_ns"] = START_NS + np.arange(4) * SECOND_NS
    rows["mid"] = [100.0, 101.0, 102.0, 104.0]
    rows["inventory"] = [-3.0, -3.0, -3.0, -2.0]
    deal = np.zeros(1, FILL)
    deal["ts_ns"] = START_NS + 2 * SECOND_NS + 5
    deal["price"], deal["qty"], deal["side"], deal["mid_at_quote"], deal["mid_at_fill"] = (
        102,
        1.0,
        1,
        102,
        102,
    )
    ledger = ledgers(tick_frame(rows), fill_frame(deal))[0]
    assert ledger.opening == -3.0
    assert decompose(tick_frame(rows), fill_frame(deal))["pnl"].iloc[0] == pytest.approx(-3 * 2 - 2 * 2)


def test_an_order_still_on_its_way_does_not_shift_the_opening_position() -> None:
    rows = ticks(100, seed=32)
    rows["arm"] = 0
    deals = fills(200, seed=33, span_ns=100 * SECOND_NS)
    deals["arm"] = 0
    signed = np.cumsum(deals["side"] * deals["qty"])
    late_by = 10_000_000
    seen = np.searchsorted(deals["ts_ns"], rows["ts_ns"] - late_by, side="right")
    rows["inventory"] = 0.7 + np.where(seen > 0, signed[np.maximum(seen - 1, 0)], 0.0)
    assert ledgers(tick_frame(rows), fill_frame(deals))[0].opening == pytest.approx(0.7)


def test_mids_that_are_missing_leave_gross_and_quote_travel_unstated_but_net_exact() -> None:
    deals = fills(50, seed=34)
    deals["mid_at_quote"] = np.nan
    table = decompose(tick_frame(ticks(500, seed=35)), fill_frame(deals))
    assert table[["gross_bps", "quote_travel_bps"]].isna().all(axis=None)
    assert table[["net_bps", "fees_bps", "inventory_bps"]].notna().all(axis=None)
    assert (table["priced_pct"] == 0).all()


def test_symbols_and_arms_are_kept_apart_and_add_up() -> None:
    t = pd.concat([tick_frame(ticks(600, seed=36)), tick_frame(ticks(600, seed=37), "ETHUSDT")])
    f = pd.concat([fill_frame(fills(300, seed=38)), fill_frame(fills(200, seed=39), "ETHUSDT")])
    t, f = (x.sort_values(["ts", "symbol", "arm"], ignore_index=True) for x in (t, f))
    table = decompose(t, f)
    assert list(zip(table["symbol"], table["arm"], strict=True)) == [
        ("BTCUSDT", "A"), ("BTCUSDT", "B"), ("ETHUSDT", "A"), ("ETHUSDT", "B"),
    ]  # fmt: skip
    for symbol, arm in zip(table["symbol"], table["arm"], strict=True):
        rows = [naive.rows_of(frame, symbol, arm) for frame in (t, f)]
        opening = next(x.opening for x in ledgers(t, f) if (x.symbol, x.arm) == (symbol, arm))
        got = table[(table["symbol"] == symbol) & (table["arm"] == arm)]["pnl"].iloc[0]
        assert got == pytest.approx(naive.change_of_equity(*rows, opening), rel=1e-9)
    by_arm, whole = decompose(t, f, by=("arm",)), decompose(t, f, by=())
    assert by_arm["pnl"].sum() == pytest.approx(table["pnl"].sum())
    assert whole["net_bps"].iloc[0] == pytest.approx(table["pnl"].sum() / table["notional"].sum() * 1e4)


def test_coverage_of_buckets_counts_ticks_that_are_missing() -> None:
    rows = ticks(7200, seed=40)
    rows["arm"] = 0
    rows = np.concatenate([rows[:3600], rows[5400:]])
    buckets = bucket_money(tick_frame(rows), fill_frame(fills(0, seed=0)))
    assert buckets["coverage"].tolist() == pytest.approx([1.0, 0.5])
    assert buckets["net_bps"].isna().all()


@settings(max_examples=60, deadline=None)
@given(worlds(), st.sampled_from([0.5, 1, 5, 30]))
def test_markouts_against_plain_loops(world: tuple[pd.DataFrame, pd.DataFrame], horizon_s: float) -> None:
    ticks_, fills_ = world
    table = markouts(ticks_, fills_, [horizon_s])
    if not len(table):
        assert len(ticks_) == len(fills_) == 0
        return
    rows = [naive.rows_of(frame, "BTCUSDT", "A") for frame in world]
    n, value = naive.markout(*rows, horizon_s)
    assert table["n"].iloc[0] == n
    assert table["n_dropped"].iloc[0] == len(fills_) - n
    assert table["markout_bps"].iloc[0] == pytest.approx(value, nan_ok=True)


def test_fills_near_the_end_have_no_long_markout() -> None:
    table = markouts(*one_trade(), horizons_s=(5, 15, 15.1)).set_index("horizon_s")
    assert table["n"].tolist() == [1, 1, 0]
    assert table["markout_bps"].tolist()[:2] == pytest.approx([0.1 / 99.9 * 1e4, 1.1 / 99.9 * 1e4])
    assert np.isnan(table["markout_bps"].iloc[2])


def test_empty_feeds_give_empty_tables_with_the_same_columns() -> None:
    t, f = tick_frame(ticks(10, seed=41)), fill_frame(fills(10, seed=42))
    for call in (decompose, bucket_money, equity_curve, markouts):
        full, empty = call(t, f), call(t.iloc[:0], f.iloc[:0])
        assert len(empty) == 0
        assert list(empty.columns) == list(full.columns)


def test_slippage_is_minus_the_one_second_markout_of_makers_and_takers_alike() -> None:
    t, f = tick_frame(ticks(3000, seed=51)), fill_frame(fills(400, seed=52))
    table, marked = decompose(t, f), markouts(t, f, horizons_s=(1,))
    for row in table.itertuples():
        want = marked[(marked["symbol"] == row.symbol) & (marked["arm"] == row.arm)].iloc[0]
        assert row.slippage_bps == pytest.approx(-want["markout_bps"], rel=1e-9)
    assert f["liquidity"].nunique() == 2


def test_slippage_does_not_know_how_far_behind_the_touch_a_quote_lay() -> None:
    """Half a basis point more at the quote moves the quote travel and leaves the slippage alone; the price moves it."""
    t, f = tick_frame(ticks(3000, seed=51)), fill_frame(fills(400, seed=52))
    sign = np.where(f["side"] == "buy", 1.0, -1.0)
    base = decompose(t, f, by=()).iloc[0]
    behind = decompose(t, f.assign(mid_at_quote=f["mid_at_quote"] * (1 + sign * 0.5e-4)), by=()).iloc[0]
    assert behind["quote_travel_bps"] - base["quote_travel_bps"] == pytest.approx(0.5, abs=0.01)
    assert behind["slippage_bps"] == base["slippage_bps"]
    dearer = decompose(t, f.assign(price=f["price"] * (1 + sign * 0.5e-4)), by=()).iloc[0]
    assert dearer["slippage_bps"] - base["slippage_bps"] == pytest.approx(0.5, abs=0.01)
