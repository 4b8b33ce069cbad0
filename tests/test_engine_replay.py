"""The engine over market events: streaming, determinism, arms, cache, guards, inventory and the taker cap."""

from __future__ import annotations

import numpy as np
import pytest

from mmlib.config.models import Config
from mmlib.dtypes import (
    EVENT,
    FILL,
    FLAG_BUY,
    FLAG_EXCH,
    FLAG_LOCAL,
    FLAG_SELL,
    KIND_DEPTH,
    KIND_TRADE,
    STAGES,
    TICK,
    GuardLevel,
    Liquidity,
)
from mmlib.engine.params import arm_params
from mmlib.engine.replay import replay_symbol
from mmlib.market.opening import open_source
from mmlib.market.source import Instrument

START = int(np.datetime64("2025-01-15", "ns").astype("i8"))
S = 1_000_000_000
MEASURED = ["tick_total_ms", "fetch_md_ms", *(f"{name}_ms" for name in STAGES[1:]), "rss_mb"]
INSTRUMENT = Instrument("TEST", 0.1, 0.001)


def config(**sections: dict) -> Config:
    return Config.model_validate(sections)


def replay(
    chunks,
    cfg: Config,
    arms=("A",),
    seconds: int = 600,
    instrument=INSTRUMENT,
    refresh=(10.0,),
    seed: int = 3,
):
    ticks, fills = [], []
    params = arm_params(cfg, instrument, arms)

    def sink(t, f, _now) -> None:
        ticks.append(t.copy())
        fills.append(f.copy())

    counts = replay_symbol(
        chunks, params, np.array(refresh), start_ns=START, end_ns=START + seconds * S, seed=seed, sink=sink
    )
    return np.concatenate(ticks), np.concatenate(fills), counts


@pytest.fixture(scope="module")
def market() -> tuple[np.ndarray, Instrument]:
    source = open_source("simulated", "BTCUSDT", seed=11, start_ns=START)
    return np.concatenate(list(source.chunks(START, START + 1800 * S))), source.instrument


def without_durations(ticks: np.ndarray) -> np.ndarray:
    """Ticks with everything a clock measured taken out."""
    kept = ticks.copy()
    for name in MEASURED:
        kept[name] = 0.0
    return kept


def rows(*entries: tuple) -> np.ndarray:
    """Events (time [ms], kind, side, price ticks, qty), 1 ms of feed latency."""
    events = np.zeros(len(entries), EVENT)
    for event, (at_ms, kind, side, tick, qty) in zip(events, entries, strict=True):
        event["exch_ts_ns"] = START + at_ms * 1_000_000
        event["local_ts_ns"] = event["exch_ts_ns"] + 1_000_000
        event["price_ticks"], event["qty"] = tick, qty
        event["flags"] = kind | side | FLAG_EXCH | FLAG_LOCAL
    return events


def quiet_market(until_ms: int, every_ms: int = 50) -> np.ndarray:
    """A book that stands still at 9999/10001 and is confirmed every ``every_ms``."""
    entries = []
    for at in range(0, until_ms, every_ms):
        entries += [(at, KIND_DEPTH, FLAG_BUY, 9999, 5.0), (at, KIND_DEPTH, FLAG_SELL, 10001, 5.0)]
    return rows(*entries)


def test_chunking_changes_nothing(market) -> None:
    events, instrument = market
    whole = replay([events], Config(), ("A", "B"), 1800, instrument)
    parts = replay(np.array_split(events, 97), Config(), ("A", "B"), 1800, instrument)
    assert len(whole[1]) > 20
    assert whole[1].tobytes() == parts[1].tobytes()
    assert without_durations(whole[0]).tobytes() == without_durations(parts[0]).tobytes()


def test_same_seed_same_run_and_an_arm_is_alone_in_its_world(market) -> None:
    events, instrument = market
    both = replay([events], Config(), ("A", "B"), 1800, instrument)
    alone = replay([events], Config(), ("A",), 1800, instrument)
    again = replay([events], Config(), ("A",), 1800, instrument)
    assert alone[1].tobytes() == again[1].tobytes()
    assert both[1][both[1]["arm"] == 0].tobytes() == alone[1].tobytes()


def test_an_a_a_run_has_no_difference(market) -> None:
    events, instrument = market
    _, fills, _ = replay([events], Config(), ("A", "A"), 1800, instrument)
    first, second = fills[fills["arm"] == 0].copy(), fills[fills["arm"] == 1].copy()
    second["arm"] = 0
    assert first.tobytes() == second.tobytes()


def test_the_treatment_changes_the_quotes(market) -> None:
    events, instrument = market
    _, fills, _ = replay([events], Config(), ("A", "B"), 1800, instrument)
    a, b = fills[fills["arm"] == 0], fills[fills["arm"] == 1]
    assert a["price"].tolist() != b["price"].tolist()


def test_ticks_keep_their_schedule_and_stages_are_measured(market) -> None:
    events, instrument = market
    ticks, _, _ = replay([events], config(trace={"sample_rate": 1.0}), ("A",), 1800, instrument)
    assert set(np.diff(ticks["scheduled_ns"])) == {S}
    for name in STAGES[1:]:
        assert (ticks[f"{name}_ms"] >= 0).all()
    assert ticks["emit_ms"].sum() > 0
    total = sum(ticks[f"{name}_ms"] for name in STAGES)
    np.testing.assert_allclose(ticks["tick_total_ms"], total, rtol=1e-9, atol=1e-9)
    assert (ticks["tick_total_ms"] >= ticks["modelled_ms"]).all()


def test_sample_rate_decides_the_share_of_traced_ticks(market) -> None:
    events, instrument = market
    ticks, _, _ = replay([events], config(trace={"sample_rate": 0.2}), ("A",), 1800, instrument)
    share = np.isfinite(ticks["spread_ms"]).mean()
    assert 0.14 < share < 0.26
    ticks, _, _ = replay([events], config(trace={"enabled": False}), ("A",), 1800, instrument)
    assert np.isnan(ticks["spread_ms"]).all()
    assert np.isfinite(ticks["tick_total_ms"]).all()


def test_cache_hits_follow_the_age_of_the_book() -> None:
    ticks, _, _ = replay([quiet_market(60_000)], Config(), seconds=50)
    assert ticks["cache_hit"][1:].all()
    assert (ticks["fetch_md_ms"][1:] < 10.0).all()
    slow = quiet_market(60_000, every_ms=5_000)
    ticks, _, _ = replay([slow], Config(), seconds=50)
    age_ms = ticks["cache_age_ms"]
    assert (ticks["cache_hit"] == (age_ms <= 100)).sum() >= len(
        ticks
    ) - 10  # all but the refresh after each silence
    missed = ticks[ticks["cache_hit"] == 0]
    assert (missed["modelled_ms"] == 10.0).all()
    assert (missed["fetch_md_ms"] >= 10.0).all()


def test_a_slow_refresh_makes_the_next_ticks_late() -> None:
    """1.5 s refreshes on a 1 s schedule: no tick is skipped, and the wait counts."""
    slow = quiet_market(60_000, every_ms=5_000)
    ticks, _, _ = replay([slow], Config(), seconds=20, refresh=(1500.0,))
    assert set(np.diff(ticks["scheduled_ns"])) == {S}
    late = ticks["ts_ns"] - ticks["scheduled_ns"]
    assert late.max() > 0
    assert ticks["deadline_miss"].mean() > 0.5
    np.testing.assert_array_less(late * 1e-6 - 1e-9, ticks["tick_total_ms"])


def test_a_silent_book_stops_quoting_and_opens_the_breaker() -> None:
    start = quiet_market(10_000)
    later = rows((200_000, KIND_DEPTH, FLAG_BUY, 9999, 5.0), (200_000, KIND_DEPTH, FLAG_SELL, 10001, 5.0))
    ticks, _, _ = replay([start, later], Config(), seconds=260)
    seconds = (ticks["scheduled_ns"] - START) // S
    # after 60 s of silence, however often it is refreshed: each refresh resets the age, so the guard needs max_age
    assert (ticks["guard_level"][seconds < 10] == GuardLevel.NONE).all()
    cfg = config(risk_guards={"max_age_ms": 500}, circuit_breaker={"errors_to_open": 3, "cool_off_s": 5.0})
    ticks, _, _ = replay([start, later], cfg, seconds=190)
    seconds = (ticks["scheduled_ns"] - START) // S
    silent = (seconds > 12) & (seconds < 190)
    assert (ticks["guard_level"][silent] == GuardLevel.HARD).all()
    assert (ticks["errors"][silent] > 0).all()
    assert ticks["breaker_open"][silent].any()


def test_maker_fills_are_post_only_and_pay_the_maker_fee(market) -> None:
    events, instrument = market
    _, fills, _ = replay([events], Config(), ("A",), 1800, instrument)
    maker = fills[fills["liquidity"] == Liquidity.MAKER]
    np.testing.assert_allclose(maker["fee"], -0.5e-4 * maker["price"] * maker["qty"])
    assert (maker["price"] == maker["quote_price"]).all()
    assert (maker["latency_ms"] == 10.0).all()
    edge = maker["side"] * (maker["mid_at_quote"] - maker["price"])
    assert (edge > -instrument.tick_size).all()


def one_sided(until_ms: int) -> np.ndarray:
    """Every second a large seller hits bids 3 bps down and the book comes back: our bids fill, our asks never."""
    entries = []
    for at in range(0, until_ms, 50):
        entries += [(at, KIND_DEPTH, FLAG_BUY, 9999, 5.0), (at, KIND_DEPTH, FLAG_SELL, 10001, 5.0)]
        if at % 1000 == 500:
            entries.append((at, KIND_TRADE, FLAG_SELL, 9990, 50.0))
    return rows(*entries)


def test_inventory_stops_at_its_limit_and_takers_respect_the_cap() -> None:
    quiet = {"risk_guards": {"enabled": False}, "quoting": {"order_notional": 1500.0}}
    capped = config(**quiet)
    ticks, fills, _ = replay([one_sided(120_000)], capped, seconds=110)
    exposure = ticks["inventory"] * ticks["mid"]
    assert exposure.max() > 5000  # the last fill goes over the limit,
    assert exposure.max() <= 7100  # and no order follows it
    taker = fills[fills["liquidity"] == Liquidity.TAKER]
    share = (taker["price"] * taker["qty"]).sum() / (fills["price"] * fills["qty"]).sum()
    assert share <= 0.09
    free = config(taker_cap={"enabled": False}, inventory_skew={"enabled": False}, **quiet)
    _, fills, _ = replay([one_sided(120_000)], free, seconds=110)
    taker = fills[fills["liquidity"] == Liquidity.TAKER]
    assert len(taker) > 0
    assert (taker["side"] == -1).all()
    np.testing.assert_allclose(taker["price"], 999.9)
    np.testing.assert_allclose(taker["fee"], 7e-4 * taker["price"] * taker["qty"])


def test_pipeline_off_means_no_orders(market) -> None:
    events, instrument = market
    ticks, fills, _ = replay([events], config(pipeline={"enabled": False}), ("A",), 600, instrument)
    assert len(ticks) == 600
    assert len(fills) == 0


def test_no_events_and_half_a_book_give_no_ticks() -> None:
    ticks, fills, counts = replay([], Config())
    assert (len(ticks), len(fills), counts.events) == (0, 0, 0)
    one_side = rows(*[(at, KIND_DEPTH, FLAG_BUY, 9999, 1.0) for at in range(0, 5000, 100)])
    ticks, _, _ = replay([one_side], Config())
    assert len(ticks) == 0


def test_prices_beyond_the_book_are_counted_not_kept() -> None:
    wild = rows((100, KIND_DEPTH, FLAG_SELL, 2_000_000_000, 1.0), (100, KIND_DEPTH, FLAG_BUY, -5, 1.0))
    _, _, counts = replay(
        [np.concatenate([quiet_market(5000)[:1], wild, quiet_market(5000)[1:]])], Config(), seconds=4
    )
    assert counts.out_of_range == 2


def test_dtypes_have_no_hidden_padding() -> None:
    assert (EVENT.itemsize, TICK.itemsize % 8, FILL.itemsize % 8) == (32, 0, 0)
