"""Calibration finds again what a market was made with, refuses what cannot be, and says when data is too little."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mmlib._io import UserError
from mmlib.cli import main
from mmlib.dtypes import EVENT, FLAG_BUY, FLAG_EXCH, FLAG_LOCAL, FLAG_SELL, KIND_DEPTH, KIND_TRADE
from mmlib.market import moments, pilot
from mmlib.market.calibrate import check_enough, fit
from mmlib.market.flowmodel import BUILT_IN, checked, load_preset
from mmlib.market.observe import conflate_rows, market_orders, observe
from mmlib.market.opening import open_source
from mmlib.market.source import Instrument
from mmlib.metrics.stylised import FACTS, Fact, compare, distance, facts

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
ETH = DATA / "binance_spot_ethusdt_20240809.gz"
KNOWN = BUILT_IN.model_copy(
    update={
        "rate_per_s": 4.0,
        "slow_sd": 0.0,
        "fast_sd": 0.0,
        "season_amp": 0.0,
        "wide_bps": 0.0,
        "zone_bps": 2.0,
    }
)  # a label of 4 makes all intensities five times as fast when run at 20
INSTRUMENT = Instrument("TEST", BUILT_IN.tick_size, BUILT_IN.lot_size)


@pytest.fixture(scope="module")
def made() -> np.ndarray:
    return pilot.run(KNOWN, 2400.0, 5)


def test_it_finds_again_what_the_market_was_made_with(made: np.ndarray) -> None:
    seen = observe(made, INSTRUMENT)
    found = fit(seen, "made", rounds=8)
    assert found.model.vol_bps == pytest.approx(KNOWN.vol_bps, rel=0.2)
    assert found.model.zone_bps == pytest.approx(KNOWN.zone_bps, rel=0.4)
    governed = ("moves_per_s", "orders_per_s", "touches_per_s", "move_size_bps", "queue_p25_notional")
    for name in (*governed, "queue_p75_notional", "order_gap_median_ms"):
        recorded, simulated = found.matched[name]
        assert simulated == pytest.approx(recorded, rel=0.35), name
    assert found.model.burst_branching == pytest.approx(KNOWN.burst_branching, abs=0.25)
    assert set(found.assumed) >= {"slow_sd", "season_amp"}


def test_the_same_recording_and_seed_give_the_same_market(made: np.ndarray) -> None:
    seen = observe(made[: len(made) // 2], INSTRUMENT)
    assert fit(seen, "made", rounds=3).model == fit(seen, "made", rounds=3).model


def test_too_little_data_says_how_much_is_needed(made: np.ndarray) -> None:
    with pytest.raises(
        UserError, match=r"short: \d+ changes of the touch in .* at least 3000 are needed, about \d"
    ):
        check_enough(observe(made[:1500], INSTRUMENT), "short")
    with pytest.raises(UserError, match="0 changes of the touch"):
        check_enough(observe(made[:0], INSTRUMENT), "none")
    trades = made[made["flags"] & 15 == KIND_TRADE]
    with pytest.raises(UserError, match="changes of the touch"):
        check_enough(observe(trades, INSTRUMENT), "trades only")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"tick_size": 0.0}, "market.tick_size: .*greater than 0"),
        ({"lot_size": -1.0}, "market.lot_size"),
        ({"limit_per_s": [-1.0] + [1.0] * 8}, r"market.limit_per_s.0: .*greater than or equal to 0"),
        ({"market_per_s": [1.0]}, "market_per_s: expected 9 intensities"),
        ({"market_per_s": [0.0] * 9}, "above 0 somewhere"),
        ({"burst_branching": 1.0}, "market.burst_branching"),
        ({"informed_share": 1.5}, "market.informed_share"),
        ({"vol_bps": float("nan")}, "market.vol_bps"),
        ({"move_bps": [2.0, 1.0]}, "move_bps: expected ascending"),
        ({"latency_ms": [1.0]}, "latency_ms: expected at least two"),
        ({"tick_size": 1000.0}, "tick_size: expected at most a thousandth"),
        ({"zone": 1.0}, "market.zone: Extra inputs"),
    ],
)
def test_impossible_parameters_are_refused_by_name(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        checked(BUILT_IN.model_dump() | changed, "file.yaml")


def test_presets_are_files_of_plain_values(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    values = {name: list(v) if isinstance(v, tuple) else v for name, v in BUILT_IN.model_dump().items()}
    path.write_text(yaml.safe_dump({"market": values}))
    assert load_preset(str(path)) == BUILT_IN
    source = open_source("simulated", "XYZ", market={"preset": str(path)})
    assert source.sha256 == BUILT_IN.sha256 and "preset mine" in source.description
    for text, named in (
        ("market: !!python/object/apply:os.system [id]", "tag .* is refused"),
        ("a: 1", "key market"),
        ("market: {}\nb: 1", "b: unknown key"),
        ("market: {price: 1}", "market.tick_size: Field required"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=named):
            load_preset(str(path))
    with pytest.raises(UserError, match="expected one of btcusdt_perp, ethusdt_spot"):
        open_source("simulated", "BTCUSDT", market={"preset": "btc"})
    with pytest.raises(UserError, match="cannot be read"):
        load_preset(str(tmp_path / "absent.yaml"))


@pytest.mark.parametrize("preset", ["btcusdt_perp", "ethusdt_spot"])
def test_shipped_presets_run_at_their_own_pace_and_scaled(preset: str) -> None:
    for rate in (None, 50.0):
        source = open_source("simulated", "BTCUSDT", seed=3, market={"preset": preset, "rate_per_s": rate})
        rows = np.concatenate(list(source.chunks(end_ns=source.start_ns + 60_000_000_000)))
        seen = observe(rows, source.instrument)
        assert (seen.touch["bid_ticks"] < seen.touch["ask_ticks"]).all()
        assert len(seen.orders) > 10
        wanted = rate or load_preset(preset).rate_per_s
        assert 0.1 * wanted < len(np.unique(rows["exch_ts_ns"])) / 60.0 < 5.0 * wanted


def test_market_orders_are_the_trades_of_one_moment_and_side() -> None:
    rows = np.zeros(6, EVENT)
    rows["exch_ts_ns"] = [1, 1, 1, 2, 2, 3]
    rows["price_ticks"] = [10, 10, 11, 11, 10, 12]
    rows["qty"] = [1, 2, 4, 8, 16, 32]
    rows["flags"] = KIND_TRADE | np.array([FLAG_BUY] * 4 + [FLAG_SELL] + [FLAG_BUY])
    found = market_orders(rows)
    assert found["qty"].tolist() == [7, 8, 16, 32]
    assert found["levels"].tolist() == [2, 1, 1, 1]
    assert found["sign"].tolist() == [1, 1, -1, 1]


def test_conflated_depth_is_the_last_of_each_interval_and_price(made: np.ndarray) -> None:
    rows = made[:3000]
    every = 50_000_000
    sent = conflate_rows(rows, 50.0)
    expected: dict[tuple[int, int, int], float] = {}
    for row in rows:
        if int(row["flags"]) & 15 == KIND_DEPTH:
            key = (int(row["exch_ts_ns"]) // every, int(row["flags"]), int(row["price_ticks"]))
            expected[key] = float(row["qty"])
    depth = sent[sent["flags"] & 15 == KIND_DEPTH]
    got = {
        (int(r["exch_ts_ns"]) // every - 1, int(r["flags"]), int(r["price_ticks"])): float(r["qty"])
        for r in depth
    }
    assert got == expected and len(depth) == len(expected)
    assert (np.diff(sent["exch_ts_ns"]) >= 0).all() and (np.diff(sent["local_ts_ns"]) >= 0).all()
    assert (sent["local_ts_ns"] >= sent["exch_ts_ns"]).all()
    assert (sent["flags"] & 15 == KIND_TRADE).sum() == (rows["flags"] & 15 == KIND_TRADE).sum()
    assert conflate_rows(rows, 0.0) is rows


def test_moments_agree_with_their_definitions(made: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    values, weights = rng.normal(size=50), rng.integers(1, 5, 50)
    repeated = np.sort(np.repeat(values, weights))
    got = moments.weighted_quantiles(values, weights.astype(float), np.array([0.1, 0.5, 0.9]))
    assert got.tolist() == [repeated[int(np.ceil(q * len(repeated))) - 1] for q in (0.1, 0.5, 0.9)]
    assert moments.kurtosis(np.array([1.0, -1.0] * 10)) == pytest.approx(1.0)
    assert np.isnan(moments.kurtosis(np.zeros(10)))
    seen = observe(made, INSTRUMENT)
    two = made[-2:].copy()
    two["flags"] = FLAG_EXCH | FLAG_LOCAL | KIND_DEPTH
    two["flags"] |= np.array([FLAG_BUY, FLAG_SELL], np.uint8)
    two["price_ticks"], two["qty"] = [100, 103], [1.0, 2.0]
    lone = observe(two, Instrument("", 1.0, 1.0))
    assert moments.spread_ticks(lone).tolist()[-1] == 3
    assert facts(seen).keys() | {f.key for f in FACTS if f.key.startswith("maker_")} == {f.key for f in FACTS}


def test_tolerances_are_exact_at_their_edges_and_the_unknown_is_not_met() -> None:
    ratio = Fact("a", "", "", "", "ratio", 2.0)
    gap = Fact("a", "", "", "", "difference", 0.5)
    assert distance(ratio, 1.0, 2.0) == distance(ratio, 2.0, 1.0) == 1.0
    assert distance(ratio, 1.0, -1.0) == float("inf")
    assert distance(gap, -0.25, 0.25) == 1.0
    key = FACTS[0].key
    table = compare({key: 1.0}, {key: 1.0 * FACTS[0].tolerance}, ({key: 0.9}, {key: 1.1}))
    assert table["met"].tolist() == [True] + [False] * (len(FACTS) - 1)
    assert table.loc[0, ["lowest", "highest"]].tolist() == [0.9, 1.1]


@pytest.mark.skipif(not ETH.is_file(), reason="no recordings beside the checkout")
def test_the_verb_compares_a_preset_with_its_recording(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "calibrate-market",
        str(ETH),
        "--symbol",
        "ethusdt",
        "--preset",
        "ethusdt_spot",
        "--hours",
        "0.2",
    ]
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [fact["key"] for fact in told["facts"]] == [fact.key for fact in FACTS]
    by_key = {fact["key"]: fact for fact in told["facts"]}
    assert by_key["open_share"]["met"] and by_key["maker_markout_5s_bps"]["recorded"] < 0.0


def test_the_verb_refuses_what_it_cannot_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = ["calibrate-market", str(tmp_path / "absent.gz"), "--symbol", "BTCUSDT"]
    assert main([*missing, "-o", str(tmp_path / "m.yaml")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main([*missing, "-o", str(tmp_path / "m.txt")]) == 2
    assert "ends in .yaml" in capsys.readouterr().err
    assert main([*missing, "--preset", "btcusdt_perp", "-o", str(tmp_path / "m.yaml")]) == 2
    assert "expected one of them" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*missing, "--tick-size", "0"])
    assert "not a number above 0" in capsys.readouterr().err
    assert main([*missing, "--tick-size", "0.1"]) == 2
    assert "expected both or neither" in capsys.readouterr().err
