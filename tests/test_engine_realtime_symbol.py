"""The two halves of a real-time tick against the replay: the same rows give the same fills, however they come in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.config.models import Config
from mmlib.dtypes import (
    EVENT,
    FILL,
    FLAG_BUY,
    FLAG_EXCH,
    FLAG_LOCAL,
    FLAG_SELL,
    KIND_CLEAR,
    KIND_DEPTH,
    KIND_SNAPSHOT,
)
from mmlib.engine.params import arm_params
from mmlib.engine.realtime.symbol import SymbolBot
from mmlib.engine.replay import replay_symbol
from mmlib.market.opening import open_source

S = 1_000_000_000
START = 1_736_899_200 * S
RESPONSE_NS = 10_000_000
CONFIG = Config.model_validate(
    {
        "pipeline": {"tick_interval_ms": 250},
        "md_cache": {"ttl_ms": 600_000, "invalidate_on_ws_gap_ms": 3_600_000},
        "risk_guards": {"enabled": False},
        "quoting": {"base_spread_bps": 1.0, "max_inventory_notional": 3000.0},
        "trace": {"enabled": False},
    }
)


def causal(rows: np.ndarray) -> np.ndarray:
    """Rows in order of arrival of which none happened more than the response latency before it arrived."""
    rows = rows[rows["flags"] & FLAG_LOCAL != 0].copy()
    rows = rows[np.argsort(rows["local_ts_ns"], kind="stable")]
    rows["flags"] |= FLAG_EXCH
    known = np.maximum(rows["exch_ts_ns"], rows["local_ts_ns"] - RESPONSE_NS)
    rows["exch_ts_ns"] = np.minimum(np.maximum.accumulate(known), rows["local_ts_ns"])
    return rows


@pytest.fixture(scope="module")
def market() -> tuple[np.ndarray, np.ndarray]:
    """EVENT rows of a busy simulated minute and the fills of their replay."""
    source = open_source(
        "simulated", "BTCUSDT", seed=4, start_ns=START, market={"rate_per_s": 150.0, "regime": "stressed"}
    )
    rows = causal(np.concatenate(list(source.chunks(START, START + 90 * S))))
    params = arm_params(CONFIG, source.instrument, ("A", "B"))
    fills: list[np.ndarray] = []
    replay_symbol(
        [rows],
        params,
        np.array([10.0]),
        start_ns=int(rows["local_ts_ns"][0]),
        end_ns=int(rows["local_ts_ns"][0]) + 80 * S,
        seed=3,
        sink=lambda ticks, new, now: fills.append(new.copy()),
    )
    return rows, np.concatenate(fills)


def drive(rows: np.ndarray, lateness_ns: int = 0) -> np.ndarray:
    """Run a bot tick by tick on what has arrived."""
    fills: list[np.ndarray] = []
    instrument = open_source("simulated", "BTCUSDT", seed=4, start_ns=START).instrument
    bot = SymbolBot(CONFIG, instrument, ("A", "B"), seed=3, on_fills=lambda new: fills.append(new.copy()))
    t0 = int(rows["local_ts_ns"][0])
    bot.schedule(t0)
    at = 0
    while (now := bot.scheduled_ns(bot.next_index) + lateness_ns) < t0 + 80 * S:
        to = int(np.searchsorted(rows["local_ts_ns"], now, side="right"))
        bot.feed(rows[at:to])
        at = to
        begun = bot.begin(now)
        if begun.quoting:
            assert not begun.miss
            bot.end(now)
    return np.concatenate(fills) if fills else np.empty(0, FILL)


def test_a_session_tick_by_tick_fills_as_the_replay_of_its_rows(market) -> None:
    rows, expected = market
    got = drive(rows)
    assert len(got) > 20
    last = got["ts_ns"][-1]  # a replay goes on to its end, a session to its last tick
    same = expected[expected["ts_ns"] <= last]
    order = ["ts_ns", "arm", "order_id"]
    assert np.array_equal(np.sort(got, order=order), np.sort(same[: len(got)], order=order))
    assert len(expected) - len(got) <= 2


def test_late_ticks_decide_on_what_had_arrived_by_then(market) -> None:
    rows, _ = market
    prompt, late = drive(rows), drive(rows, lateness_ns=120_000_000)
    assert len(late) and not np.array_equal(prompt["ts_ns"], late["ts_ns"])


def test_after_a_break_of_the_stream_one_fetch_makes_the_cache_good_again() -> None:
    config = CONFIG.model_copy(
        update={
            "md_cache": CONFIG.md_cache.model_copy(update={"ttl_ms": 100, "invalidate_on_ws_gap_ms": 300})
        }
    )
    instrument = open_source("simulated", "BTCUSDT", seed=4, start_ns=START).instrument
    bot = SymbolBot(config, instrument, ("A",), seed=1, on_fills=lambda _: None)
    bot.schedule(START)

    def arrive(at_ns: int, *kinds: int) -> None:
        for kind in kinds:
            rows = np.zeros(2, EVENT)
            rows["local_ts_ns"] = rows["exch_ts_ns"] = at_ns
            rows["price_ticks"], rows["qty"] = (600_000, 600_001), 1.0
            rows["flags"] = kind | FLAG_LOCAL
            rows["flags"] |= np.array([FLAG_BUY, FLAG_SELL], np.uint8)
            bot.feed(rows[:1] if kind == KIND_CLEAR else rows)

    plan = (  # what arrives with a tick, whether it has to fetch, and whether that fails
        ((KIND_DEPTH,), False, False),
        ((), True, True),  # silence
        (
            (KIND_CLEAR, KIND_SNAPSHOT),
            True,
            True,
        ),  # resynchronised after half a second: not to be relied on yet
        ((KIND_DEPTH,), True, False),
        ((KIND_DEPTH,), False, False),
        ((KIND_DEPTH,), False, False),
    )
    for k, (kinds, miss, failed) in enumerate(plan):
        due = bot.scheduled_ns(k)
        arrive(due, *kinds)
        assert bot.begin(due).miss == miss, k
        bot.end(due + (10_000_000 if miss else 0), failed=failed)


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(0, 4000), max_size=4), seed=st.integers(0, 3))
def test_a_restart_keeps_position_and_books_nothing_twice(cuts, seed) -> None:
    rng = np.random.default_rng(seed)
    n = 4000
    rows = np.zeros(n, EVENT)
    rows["local_ts_ns"] = START + np.sort(rng.integers(0, 20 * S, n))
    rows["exch_ts_ns"] = np.maximum.accumulate(rows["local_ts_ns"] - rng.integers(0, RESPONSE_NS, n))
    bid = rng.random(n) < 0.5
    trade = rng.random(n) < 0.4
    rows["flags"] = np.where(trade, 2, 1) | np.where(bid, 0x20, 0x10) | FLAG_EXCH | FLAG_LOCAL
    rows["price_ticks"] = np.where(
        bid ^ trade, 600_000 - rng.integers(0, 60, n), 600_001 + rng.integers(0, 60, n)
    )
    rows["qty"] = np.where(trade, 0.5, rng.integers(0, 5, n) * 1.0)
    instrument = open_source("simulated", "BTCUSDT", seed=4, start_ns=START).instrument
    fills: list[np.ndarray] = []

    def bot() -> SymbolBot:
        return SymbolBot(CONFIG, instrument, ("A",), seed=1, on_fills=lambda new: fills.append(new.copy()))

    running = bot()
    running.schedule(START)
    edges = [*sorted(set(cuts)), n]
    at = 0
    for edge in edges:
        for row in range(at, edge, 50):
            running.feed(rows[row : min(row + 50, edge)])
            now = int(rows["local_ts_ns"][min(row + 49, edge - 1)])
            if running.begin(now).quoting:
                running.end(now)
        at = edge
        saved = running.save()
        before = running.inventory()
        running = bot()
        running.load(saved)
        done = np.concatenate(fills) if fills else np.empty(0, FILL)
        booked = float((done["side"] * done["qty"]).sum())
        assert running.inventory()[0] == pytest.approx(booked), (before, booked)
    done = np.concatenate(fills) if fills else np.empty(0, FILL)
    assert len(np.unique(done["fill_id"])) == len(done)
