"""Every figure draws finished frames: titles, units, alternative text, gaps, hostile labels, empty frames."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from mmlib.figures import (
    ab,
    baseline,
    cache,
    calibration,
    daily,
    dataset,
    gates,
    latency,
    market,
    money,
    prep,
    readiness,
    theme,
)
from mmlib.metrics.spread import spread

HOSTILE = "<img src=x onerror=alert(1)>"


def minutes(n: int = 90, symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")) -> pd.DataFrame:
    ts = pd.date_range("2025-01-15", periods=n, freq="min", tz="UTC")
    parts = []
    for i, symbol in enumerate(symbols):
        for arm in "AB":
            wave = np.sin(np.arange(n) / 7 + i)
            part = pd.DataFrame({"ts": ts, "symbol": symbol, "arm": arm})
            part["hit_ratio"] = 0.9 + 0.05 * wave
            for name in ("tick_total_p95_ms", "deadline_miss_pct", "taker_share_pct", "net_bps", "rss_mb"):
                part[name] = 40 + 10 * wave
            part.loc[10:12, "hit_ratio"] = np.nan
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def percentiles() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "stage": ["fetch_md", "spread", "tick_total"],
            "n": 100,
            "p50_ms": [5.0, 0.01, 6.0],
            "p95_ms": [30.0, 0.02, 31.0],
            "p99_ms": [50.0, 0.05, 60.0],
        }
    )


def decomposition() -> pd.DataFrame:
    row = {
        "gross_bps": 2.0,
        "quote_travel_bps": 1.5,
        "fees_bps": -0.5,
        "inventory_bps": -0.25,
        "net_bps": 0.75,
    }
    return pd.DataFrame([{"symbol": "BTCUSDT", "arm": arm, **row} for arm in "AB"])


def intervals() -> pd.DataFrame:
    ts = pd.date_range("2025-01-15", periods=4, freq="5min", tz="UTC")
    reason = ["", "", "coverage below 0.5", None]
    cells = {"coverage": [1, 0.9, 0.2, 1], "net_bps": [0.1, np.nan, 2, 3], "reason": reason}
    return pd.DataFrame({"start": ts, "symbol": "BTCUSDT", **cells})


def results() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "id": "shadow.hit_ratio",
                "status": "PASS",
                "value": 0.9,
                "op": ">=",
                "limit": 0.7,
                "unit": "ratio",
            },
            {"id": "shadow.fetch", "status": "FAIL", "value": 50.0, "op": "<=", "limit": 35.0, "unit": "ms"},
            {"id": "ab.safety", "status": "PASS", "value": -0.2, "op": "<=", "limit": 0.0, "unit": "bps"},
            {"id": "soak.stop", "status": "NO_DATA", "value": None, "op": ">", "limit": 5.0, "unit": "%"},
        ]
    )


def buckets() -> pd.DataFrame:
    ts = pd.date_range("2025-01-15", periods=3, freq="h", tz="UTC")
    cells = {
        "delta": [0.1, 0.5, 0.4],
        "mean": [0.1, 0.3, 0.33],
        "lower": [-np.inf, -1, 0],
        "upper": [np.inf, 1, 0.7],
    }
    return pd.DataFrame({"bucket": ts, **cells})


def symbols() -> pd.DataFrame:
    bounds = {"mean": [0.3, -0.1], "lower": [0.1, -np.inf], "upper": [0.5, np.inf]}
    return pd.DataFrame({"symbol": ["BTCUSDT", "all symbols"], "n": 24, **bounds})


def error_rates() -> pd.DataFrame:
    cells = {"rule": ["literal", "statistical"], "n": [100, 0], "rate_pct": [99.0, np.nan]}
    bounds = {"lower_pct": [95.0, np.nan], "upper_pct": [100.0, np.nan]}
    return pd.DataFrame({"data": "drawn, φ = 0.6", "decision": "rollback", **cells, **bounds})


def timeline() -> pd.DataFrame:
    ts = pd.date_range("2025-01-15", periods=3, freq="min", tz="UTC")
    one = pd.DataFrame({"ts": ts, "gate": "ab.safety.slippage", "value": [0.1, 0.2, -0.1], "limit": 0.0})
    two = pd.DataFrame({"ts": ts, "gate": "ab.safety.taker", "value": [1.0, np.nan, 3.0], "limit": 9.0})
    return pd.concat([one, two], ignore_index=True).assign(unit="bps", fired=[False, True] + [False] * 4)


def ratios() -> pd.DataFrame:
    cells = {"ratio": [1.01, np.nan], "low": [0.99, np.nan], "high": [1.02, np.nan], "limit": [1.03, 1.1]}
    return pd.DataFrame({"stage": ["fetch_md", "tick_total"], **cells})


def trend() -> pd.DataFrame:
    at = pd.date_range("2025-01-01", periods=4, freq="D", tz="UTC")
    cells = {"p95_ms": [1.0, 1.1, 1.2, 1.2], "level_ms": [1.05, 1.05, 1.2, 1.2], "segment": [0, 0, 1, 1]}
    return pd.DataFrame({"at": at, "stage": "emit", **cells})


def trials() -> pd.DataFrame:
    cells = {"net_bps": [0.1, np.nan], "slippage_bps": [-0.1, 0.2]}
    return pd.DataFrame({"fold": [0, 0], **cells, "keeps_gates": [True, False], "shipped": [False, True]})


def choices() -> pd.DataFrame:
    cells = {
        "net_bps": [0.1, 0.05],
        "net_se": [0.02, np.nan],
        "slippage_bps": [-0.1, 0.0],
        "slippage_se": 0.03,
    }
    return pd.DataFrame({"fold": [0, 0], "stretch": ["train", "unseen"], **cells})


def rows() -> pd.DataFrame:
    cells = {"requirement": "All 4 metrics PASS gates", "status": ["PASS", "NO_DATA"], "why": ["", "not run"]}
    return pd.DataFrame({"gate": ["Step 1: Prep", "Step 2: Shadow"], **cells, "grade": ["simulated", None]})


def flags() -> pd.DataFrame:
    return pd.DataFrame({"name": ["trace.enabled"], "value": [False], "expected": ["true"], "ok": [False]})


def market_facts() -> pd.DataFrame:
    cells = {"distance": [0.5, np.nan, np.inf], "met": [True, False, False], "fitted": [True, False, False]}
    return pd.DataFrame({"group": ["Returns", "Spread", "Impact"], "fact": ["vol", "mean", "1 s"], **cells})


def market_curves() -> pd.DataFrame:
    one = pd.DataFrame({"panel": "Spread [ticks]", "x": [1.0, 2.0, 100.0], "y": [0.1, 0.5, 0.9]})
    two = one.assign(panel="Lag of trade signs [orders]", y=[0.3, np.nan, 0.1])
    return pd.concat([part.assign(market=m) for part in (one, two) for m in ("recorded", "simulated")])


def many(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows under the names of more symbols than lines can be told apart."""
    if "symbol" not in frame.columns:
        frame = frame.assign(symbol="BTCUSDT")
    return pd.concat([frame.assign(symbol=frame["symbol"] + f"{n}") for n in range(8)], ignore_index=True)


FIGURES: dict[str, tuple[Callable[..., go.Figure], Callable[[], pd.DataFrame]]] = {
    "stage_bars": (lambda f: latency.stage_bars(f, {"fetch_md": 35.0}), percentiles),
    "minute_lines": (lambda f: latency.minute_lines(f, "deadline_miss_pct", 5.0), minutes),
    "hit_ratio": (lambda f: cache.hit_ratio(f, 0.7), minutes),
    "equity": (lambda f: money.equity(f.rename(columns={"net_bps": "equity"})), minutes),
    "waterfall": (money.waterfall, decomposition),
    "markouts": (
        money.markouts,
        lambda: pd.DataFrame({"horizon_s": [5, 1], "markout_bps": [0.1, -0.2], "n": [9, 10]}),
    ),
    "coverage": (dataset.coverage, intervals),
    "heatmap": (lambda f: dataset.heatmap(f, "net_bps"), intervals),
    "effect": (lambda f: ab.effect(f, 0.2), buckets),
    "safety": (ab.safety, timeline),
    "forest": (lambda f: ab.forest(f, 0.2), symbols),
    "error_rates": (ab.error_rates, error_rates),
    "market_facts": (market.facts, market_facts),
    "market_distributions": (market.distributions, market_curves),
    "margins": (gates.margins, results),
    "ratios": (baseline.ratios, ratios),
    "trend": (baseline.trend, trend),
    "search": (lambda f: calibration.search(f, choices()), trials),
    "day": (lambda f: daily.day(f, {"hit_ratio": 0.7}), minutes),
    "day of many symbols": (
        lambda f: daily.day(f, {"hit_ratio": 0.7}, spread(f, daily.METRICS)),
        lambda: many(minutes()),
    ),
    "waterfall of many symbols": (money.waterfall, lambda: many(decomposition())),
    "readiness": (readiness.table, rows),
    "flags": (prep.flags, flags),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_titled_described_and_valid_json(name: str) -> None:
    draw, frame = FIGURES[name]
    before = frame()
    given = frame()
    fig = draw(given)
    pd.testing.assert_frame_equal(given, before)  # a figure does not change what it is given
    assert len(fig.data) > 0
    assert fig.layout.title.text
    alt = fig.layout.meta["alt"]
    assert alt.endswith(".")
    assert "nan" not in alt.lower().split()
    assert (
        fig.layout.paper_bgcolor == "rgba(0,0,0,0)"
        or fig.layout.template.layout.paper_bgcolor == "rgba(0,0,0,0)"
    )
    json.loads(fig.to_json())


@pytest.mark.parametrize("name", FIGURES)
def test_empty_frame_says_no_data(name: str) -> None:
    draw, frame = FIGURES[name]
    for empty in (frame().iloc[:0], pd.DataFrame()):
        fig = draw(empty)
        assert "No data" in fig.layout.annotations[0].text
        assert "no data" in fig.layout.meta["alt"]


@pytest.mark.parametrize("name", FIGURES)
def test_text_from_data_is_escaped(name: str) -> None:
    draw, frame = FIGURES[name]
    hostile = frame()
    text = [c for c in hostile if isinstance(hostile[c].dtype, pd.StringDtype) or hostile[c].dtype == object]
    for column in text:
        if column != "arm" and not hostile[column].map(lambda v: isinstance(v, bool)).any():
            hostile[column] = hostile[column].map(lambda v: f"{v}{HOSTILE}")
    assert HOSTILE not in json.dumps(
        draw(hostile).to_plotly_json(), default=lambda o: np.asarray(o).astype(str).tolist()
    )


def test_all_nan_metric_is_no_data() -> None:
    fig = latency.minute_lines(minutes().assign(hit_ratio=np.nan), "hit_ratio")
    assert "No data" in fig.layout.annotations[0].text


def test_missing_column_names_it() -> None:
    with pytest.raises(KeyError, match="p95_ms"):
        latency.stage_bars(percentiles().drop(columns="p95_ms"))


def test_lines_keep_gaps_units_and_limits() -> None:
    fig = cache.hit_ratio(minutes(), 0.7)
    assert {t.name for t in fig.data} == {f"{s}, arm {a}" for s in ("BTCUSDT", "ETHUSDT") for a in "AB"}
    assert np.isnan(np.asarray(fig.data[0].y)[10:13]).all()
    assert fig.data[0].connectgaps is False
    assert (fig.layout.title.text, fig.layout.yaxis.title.text) == (
        "Cache hit ratio by minute",
        "share of ticks",
    )
    assert fig.layout.shapes[0].y0 == 0.7
    assert fig.data[0].line.dash != fig.data[1].line.dash  # arms told apart without colour


def test_many_symbols_are_a_band_a_middle_and_the_one_that_went_furthest() -> None:
    frame = many(minutes())
    n, shown = 4 * 8, [m for m in daily.METRICS if frame.get(m) is not None and frame[m].notna().any()]
    fig = daily.day(frame, {}, spread(frame, daily.METRICS))
    assert len(fig.data) == 4 * len(shown)
    assert [t.name for t in fig.data if t.showlegend] == [
        f"lowest to highest of {n}",
        f"middle of {n}",
        "the one that went furthest",
    ]
    assert all("furthest" in a.text for a in fig.layout.annotations)
    few = daily.day(minutes(), {}, spread(minutes(), daily.METRICS))
    assert len(few.data) == 4 * len(shown)  # a line each
    assert "BTCUSDT, arm A" in {t.name for t in few.data}


def test_bars_of_many_symbols_add_up_to_net_with_the_worst_on_top() -> None:
    fig = money.waterfall(many(decomposition()))
    *bars, net = fig.data
    np.testing.assert_allclose(sum(np.asarray(bar.x) for bar in bars), np.asarray(net.x))
    assert (np.diff(np.asarray(net.x)) <= 0).all()  # the axis goes upwards
    assert len(net.y) == len(set(net.y)) == 16


def test_waterfall_bars_add_up_to_net() -> None:
    bars = money.waterfall(decomposition()).data[0]
    values = np.asarray(bars.y).reshape(2, 5)
    np.testing.assert_allclose(values[:, :4].sum(axis=1), values[:, 4])
    assert list(bars.measure[:5]) == ["absolute", "relative", "relative", "relative", "total"]


def test_margins_point_right_for_pass_left_for_fail_and_nowhere_without_value() -> None:
    bar = gates.margins(results()).data[0]
    by_id = dict(zip(bar.y, np.asarray(bar.x), strict=True))
    assert by_id["shadow.hit_ratio"] == pytest.approx(100 * 0.2 / 0.9)
    assert by_id["shadow.fetch"] == pytest.approx(-30)
    assert by_id["soak.stop"] == 0
    assert any(text.startswith("NO_DATA: –") for text in bar.text)


def test_margin_of_a_stop_criterion_says_what_must_not_happen_and_shows_a_short_crossing() -> None:
    stops = pd.DataFrame(
        {
            "id": ["soak.stop.hit_ratio", "soak.stop.misses", "ab.x"],
            "title": ["Cache hit ratio", "Deadline misses", ""],
            "status": "PASS",
            "value": [0.4, 0.0, 1.0],
            "op": ["<", ">", ">="],
            "limit": [0.5, 5.0, 0.5],
            "unit": ["1", "%", "bps"],
            "sense": ["stop", "stop", "require"],
            "for_s": [1800.0, 0.0, 600.0],
        }
    )
    bar = gates.margins(stops).data[0]
    by_name = dict(zip(bar.y, zip(np.asarray(bar.x), bar.text, strict=True), strict=True))
    assert by_name["Cache hit ratio"] == (pytest.approx(-20), "PASS: 0.4 (not &lt; 0.5 for 30 min)")
    assert by_name["Deadline misses"] == (pytest.approx(100), "PASS: 0 % (not &gt; 5 %)")
    assert by_name["ab.x"][1] == "PASS: 1 bps (≥ 0.5 bps, missed under 10 min)"


def test_safety_lines_say_nothing_about_firing_when_it_was_not_evaluated() -> None:
    assert ab.safety(timeline()).layout.meta["alt"].endswith("; 1 of them fired.")
    assert "fired" not in ab.safety(timeline().drop(columns="fired")).layout.meta["alt"]


def test_one_wild_interval_does_not_make_the_rest_of_a_heat_map_alike() -> None:
    ts = pd.date_range("2025-01-15", periods=400, freq="5min", tz="UTC")
    wild = pd.DataFrame({"ts": ts, "symbol": "X", "net_bps": np.linspace(-1, 1, 400)})
    wild.loc[7, "net_bps"] = -85.0
    trace = dataset.heatmap(wild, "net_bps").data[0]
    assert -1.1 < trace.zmin < -0.9
    assert "-85" in dataset.heatmap(wild, "net_bps").layout.meta["alt"]


def test_a_hopeless_interval_does_not_squeeze_the_other_ratios() -> None:
    assert baseline.ratios(ratios()).layout.xaxis.range is None
    wild = baseline.ratios(ratios().assign(low=[0.99, 1e-6], ratio=1.0, high=[1.02, 263_220.9]))
    assert (wild.layout.xaxis.range[0], wild.layout.xaxis.range[1]) == pytest.approx((0.44, 2.06))
    assert "cut" in wild.layout.xaxis.title.text


def test_flags_checked_twice_with_one_answer_are_one_row() -> None:
    twice = pd.concat([flags(), flags(), flags().assign(value=True, ok=True)], ignore_index=True)
    cells = prep.flags(twice).data[0].cells.values
    assert list(cells[0]) == ["FAIL", "PASS"]
    assert list(cells[2]) == ["false", "true"]


def test_a_table_of_long_texts_is_high_enough_for_them() -> None:
    long = readiness.table(rows().assign(why="word " * 80))
    assert long.layout.height > readiness.table(rows()).layout.height + 100


def test_status_is_written_in_words() -> None:
    for fig in (readiness.table(rows()), prep.flags(flags())):
        words = set(fig.data[0].cells.values[0])
        assert words <= set(theme.STATUS_COLOURS)


def test_thin_keeps_extremes_order_and_gaps() -> None:
    rng = np.random.default_rng(3)
    y = rng.normal(size=50_000)
    y[777], y[40_001] = 99.0, -99.0
    y[20_000:21_000] = np.nan
    x, kept = theme.thin(np.arange(y.size), y, 1000)
    assert kept.size <= 1000
    assert np.nanmax(kept) == 99.0
    assert np.nanmin(kept) == -99.0
    assert (np.diff(x) > 0).all()
    assert np.isnan(kept).any()
    np.testing.assert_array_equal(kept, y[x])


def test_short_line_is_untouched() -> None:
    x, y = np.arange(5), np.array([1.0, np.nan, 2.0, 3.0, 4.0])
    assert theme.thin(x, y)[1] is y


def test_an_infinite_bound_is_a_gap() -> None:
    fig = ab.effect(buckets())
    for trace in fig.data[:2]:
        assert np.isnan(np.asarray(trace.y)[0])
