"""Percentiles, the run's summary and the minute series, against plain loops and NumPy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from mmlib.metrics.grid import Bins, Grid
from mmlib.metrics.latency import (
    STAGE_COLUMNS,
    minute_series,
    open_seconds,
    stage_percentiles,
    tick_summary,
    trailing_slope,
)
from tests import naive_metrics as naive
from tests.make_feeds import SECOND_NS, START_NS, fill_frame, fills, tick_frame, ticks

MINUTE_NS = 60 * SECOND_NS


def test_minute_series_against_plain_loops() -> None:
    rows = ticks(3 * 3600, seed=51, holes=True)
    rows["breaker_open"] = np.repeat(np.random.default_rng(52).random(len(rows) // 90) < 0.3, 90)
    rows = np.delete(rows, np.arange(4000, 4700))
    t = tick_frame(rows)
    f = fill_frame(fills(80, seed=53, span_ns=3 * 3600 * SECOND_NS))
    series = minute_series(t, f)
    for arm in ("A", "B"):
        got = series[series["arm"] == arm].set_index(series[series["arm"] == arm]["ts"].astype("int64"))
        expected = pd.DataFrame.from_dict(naive.minutes(t, f, "BTCUSDT", arm), orient="index")
        assert set(got.index) >= set(expected.index)
        for name in expected.columns:
            np.testing.assert_allclose(
                got.loc[expected.index, name],
                expected[name].astype(float),
                rtol=1e-9,
                atol=1e-7,
                err_msg=name,
            )
        absent = got.drop(expected.index)
        assert len(absent) >= 10
        assert (absent["n_ticks"] == 0).all()
        metrics = absent.columns.difference(["ts", "symbol", "arm", "n_ticks", "n_fills"])
        assert absent[metrics].isna().all(axis=None)


def test_the_grid_is_complete_and_common_to_all_symbols_and_arms() -> None:
    early = tick_frame(ticks(600, seed=54))
    late_rows = ticks(60, seed=55)
    late_rows["ts_ns"] += 30 * MINUTE_NS
    series = minute_series(pd.concat([early, tick_frame(late_rows, "ETHUSDT")]), fill_frame(fills(0, seed=0)))
    for _, part in series.groupby(["symbol", "arm"]):
        assert part["ts"].astype("int64").tolist() == [START_NS + k * MINUTE_NS for k in range(31)]


def test_ratios_of_nothing_traded_are_missing() -> None:
    series = minute_series(tick_frame(ticks(600, seed=56)), fill_frame(fills(0, seed=0)))
    assert series[["taker_share_pct", "slippage_bps", "net_bps"]].isna().all(axis=None)


def test_trailing_net_looks_back_one_hour_and_no_further() -> None:
    rows = ticks(2 * 3600, seed=57)
    rows["arm"], rows["inventory"] = 0, 0
    deals = fills(2, seed=58)
    deals["arm"], deals["side"], deals["fee"], deals["qty"] = 0, [1, -1], 0.0, 1.0
    deals["ts_ns"] = START_NS + np.array([10, 20]) * SECOND_NS
    deals["price"], deals["mid_at_fill"], deals["mid_at_quote"] = [100.0, 101.0], 100.5, 100.5
    series = minute_series(tick_frame(rows), fill_frame(deals))
    assert series["net_bps"].iloc[0] == pytest.approx(1.0 / 201 * 1e4)
    assert series["net_bps"].iloc[:60].notna().all()
    assert series["net_bps"].iloc[60:].isna().all()


def test_memory_slope_needs_a_full_hour() -> None:
    rows = ticks(2 * 3600, seed=59)
    rows["arm"] = 0
    rows["rss_mb"] = 200 + 120 * np.arange(len(rows)) / 3600
    series = minute_series(tick_frame(rows), fill_frame(fills(0, seed=0)))
    assert series["rss_slope_mb_per_h"].iloc[:59].isna().all()
    assert series["rss_slope_mb_per_h"].iloc[59:].tolist() == pytest.approx([120.0] * 61)


@settings(max_examples=40, deadline=None)
@given(
    npst.arrays(
        np.float64, st.integers(0, 25), elements=st.one_of(st.floats(-1e3, 1e3), st.just(float("nan")))
    ),
    st.integers(2, 8),
)
def test_trailing_slope_against_polyfit(values: np.ndarray, width: int) -> None:
    np.testing.assert_allclose(
        trailing_slope(values, width), naive.slope(values, width), rtol=1e-6, atol=1e-6
    )


def test_open_time_counts_from_the_first_open_tick_without_a_break() -> None:
    ts = np.array([0, 1, 2, 3, 4, 10]) * SECOND_NS
    flags = np.array([True, True, False, True, True, True])
    assert open_seconds(ts, flags).tolist() == [0, 1, 0, 0, 1, 7]
    assert open_seconds(ts[:0], flags[:0]).tolist() == []


def test_a_breaker_open_across_minutes_keeps_counting() -> None:
    rows = ticks(600, seed=60)
    rows["arm"], rows["breaker_open"] = 0, 0
    rows["ts_ns"] = rows["scheduled_ns"]
    rows["breaker_open"][30:400] = 1
    series = minute_series(tick_frame(rows), fill_frame(fills(0, seed=0)))
    assert series["breaker_open_s"].tolist() == [29, 89, 149, 209, 269, 329, 369, 0, 0, 0]


def test_percentiles_lie_within_the_histogram_error_of_the_exact_ones() -> None:
    frame = pd.concat(
        [tick_frame(ticks(4000, seed=61, holes=True)), tick_frame(ticks(3000, seed=62), "ETHUSDT")]
    )
    table = stage_percentiles(frame, by=("symbol", "arm"))
    assert len(table) == 4 * len(STAGE_COLUMNS)
    for row in table.itertuples():
        part = frame[(frame["symbol"] == row.symbol) & (frame["arm"] == row.arm)]
        values = part[STAGE_COLUMNS[str(row.stage)]].dropna()
        assert row.n == len(values)
        for q, got in ((0.5, row.p50_ms), (0.95, row.p95_ms), (0.99, row.p99_ms)):
            assert got == pytest.approx(np.quantile(values, q, method="inverted_cdf"), rel=1e-3)
    merged = stage_percentiles(frame)
    assert merged["stage"].tolist() == list(STAGE_COLUMNS)
    assert merged["n"].iloc[-1] == 7000


def test_summary_of_a_run() -> None:
    frame = tick_frame(ticks(2000, seed=63))
    frame["ts"] = frame["scheduled_ts"]
    row = tick_summary(frame).iloc[0]
    assert row["n_ticks"] == 2000
    assert row["span_s"] == pytest.approx(2000.0)
    assert row["hit_ratio"] == frame["cache_hit"].mean()
    assert row["deadline_miss_pct"] == 100 * frame["deadline_miss"].mean()
    exact = np.quantile(frame["tick_total_ms"], 0.95, method="inverted_cdf")
    assert row["tick_total_p95_ms"] == pytest.approx(exact, rel=1e-3)
    assert row["errors"] == frame["errors"].sum()
    assert tick_summary(frame, by=("symbol", "arm"))["n_ticks"].tolist() == [1000, 1000]


def test_no_ticks_have_no_numbers() -> None:
    t, f = tick_frame(ticks(5, seed=64)), fill_frame(fills(5, seed=65))
    row = tick_summary(t.iloc[:0]).iloc[0]
    assert row["n_ticks"] == 0
    assert row[["hit_ratio", "deadline_miss_pct", "tick_total_p95_ms", "fetch_md_p95_ms"]].isna().all()
    assert stage_percentiles(t.iloc[:0])["p95_ms"].isna().all()
    empty, full = minute_series(t.iloc[:0], f.iloc[:0]), minute_series(t, f)
    assert len(empty) == 0
    assert empty.dtypes.equals(full.dtypes)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.one_of(st.floats(-50, 50), st.just(float("nan")))), max_size=40),
    st.sampled_from([0.0, 0.5, 0.95, 1.0]),
)
def test_binned_reductions_against_plain_loops(rows: list[tuple[int, float]], q: float) -> None:
    index = np.array([k for k, _ in rows], dtype=np.int64)
    values = np.array([v for _, v in rows], dtype=np.float64)
    bins = Bins(index, 5)
    groups = [[v for k, v in rows if k == b and not np.isnan(v)] for b in range(5)]
    nan = float("nan")
    np.testing.assert_array_equal(bins.quantile(values, q), [naive.nearest_rank(g, q) for g in groups])
    np.testing.assert_array_equal(bins.maximum(values), [max(g, default=nan) for g in groups])
    np.testing.assert_array_equal(bins.last(values), [g[-1] if g else nan for g in groups])
    np.testing.assert_allclose(bins.mean(values), [sum(g) / len(g) if g else nan for g in groups], atol=1e-9)
    np.testing.assert_allclose(bins.total(values), [sum(g) for g in groups], atol=1e-9)


def test_a_grid_holds_its_start_and_not_its_end() -> None:
    grid = Grid.over(START_NS, START_NS + MINUTE_NS, MINUTE_NS)
    assert grid.size == 2
    assert Grid.over(START_NS, START_NS + MINUTE_NS - 1, MINUTE_NS).size == 1
    assert grid.bins(np.array([START_NS, START_NS + MINUTE_NS - 1, START_NS + MINUTE_NS])).index.tolist() == [
        0,
        0,
        1,
    ]
