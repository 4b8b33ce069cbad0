"""The quoting stages one by one: what each may and may not do to a quote."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.config.models import Config
from mmlib.core import book, stages, state
from mmlib.dtypes import GuardLevel
from mmlib.engine.params import arm_params
from mmlib.market.source import Instrument

# uncompiled, NumPy warns of the wrap-around that the hash is made of
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in scalar multiply:RuntimeWarning")

S = 1_000_000_000
NOW = 1_700_000_000 * S
INSTRUMENT = Instrument("TEST", 0.1, 0.001)


def world(
    arm: str = "A", bid: int = 9999, ask: int = 10001, **sections: dict
) -> tuple[state.Market, state.Arms]:
    """A market with one level a side, seen a moment ago, and one arm."""
    rows = arm_params(Config.model_validate(sections), INSTRUMENT, ("A", "B"))
    market = state.new_market(40_000, np.array([10.0]), 1)
    for side in (market.exchange, market.local):
        book.set_bid(side, bid, 5.0)
        book.set_ask(side, ask, 5.0)
    control, stats = market.control[0], market.stats[0]
    control["start_ns"] = control["decide_ns"] = NOW
    stats["last_depth_ns"] = NOW
    stats["mid"] = 0.5 * (bid + ask) * INSTRUMENT.tick_size
    return market, state.new_arms(rows[:1] if arm == "A" else rows[1:])


def quote_of(market: state.Market, arms: state.Arms, whole: bool = True) -> np.void:
    """Run stages two to five."""
    quote, arm, params = arms.quote[0], arms.state[0], arms.params[0]
    stages.spread(market.stats[0], arm, params, quote)
    stages.guards(market.control[0], market.stats[0], arm, params, whole, quote)
    stages.inventory(market.control[0], arm, params, quote)
    stages.queue_aware(market, arm, params, quote)
    return quote


def test_hash_is_splitmix64() -> None:
    """First outputs of SplitMix64 seeded with 0 (published test vector 0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4)."""
    for index, word in enumerate((0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4)):
        assert stages.hash_unit(np.uint64(0), index) == (word >> 11) / 2.0**53


@pytest.mark.parametrize(
    ("age_ms", "sections", "hit", "stale"),
    [
        (0, {}, True, False),
        (60, {}, True, False),
        (61, {}, True, True),
        (100, {}, True, True),
        (100.001, {}, False, False),
        (61, {"md_cache": {"stale_ok": False}}, False, False),
        (0, {"md_cache": {"enabled": False}}, False, False),
    ],
)
def test_a_hit_is_a_book_no_older_than_ttl(age_ms: float, sections: dict, hit: bool, stale: bool) -> None:
    market, arms = world(**sections)
    market.stats["last_depth_ns"] = NOW - int(age_ms * 1e6)
    stages.fetch_md(market, arms.params[0])
    control = market.control[0]
    assert (bool(control["cache_hit"]), bool(control["used_stale"])) == (hit, stale)
    assert control["refresh_ns"] == (0 if hit else 10_000_000)


def test_the_control_quotes_its_fixed_spread_rounded_outwards() -> None:
    market, arms = world()
    quote = quote_of(market, arms)
    assert quote["half_bps"] == 2.0
    assert (quote["bid_ticks"], quote["ask_ticks"]) == (9998, 10002)
    assert quote["bid_qty"] == quote["ask_qty"] == 1.0


def test_the_treatment_widens_with_volatility_and_stays_within_its_bounds() -> None:
    market, arms = world("B")
    stats = market.stats[0]
    stats["var_slow"] = stats["var_fast"] = 1e-10
    assert quote_of(market, arms)["half_bps"] == pytest.approx(2.0)
    stats["var_fast"] = 4e-10  # twice the usual volatility
    weight = arms.params[0]["vol_weight"]
    assert quote_of(market, arms)["half_bps"] == pytest.approx(2.0 * (1 + weight))
    stats["var_fast"] = 1e-6
    arms.params["hard_vol_bps"] = 1e9
    arms.params["soft_vol_bps"] = 1e9
    assert quote_of(market, arms)["half_bps"] == pytest.approx(0.5 * arms.params[0]["max_spread_bps"])
    stats["var_fast"] = 0.0
    assert quote_of(market, arms)["half_bps"] >= 0.5 * arms.params[0]["min_spread_bps"]


def test_averages_start_as_plain_means() -> None:
    """A steady market has no excess volatility, in its first minutes as little as later."""
    market, arms = world("B")
    params, stats, control = arms.params[0], market.stats[0], market.control[0]
    stats["mid"] = np.nan
    mids = [1000.0 * (1.0 + 1e-4 * (i % 2)) for i in range(200)]
    for i, mid in enumerate(mids):
        control["decide_ns"] = NOW + i * S
        tick = round(mid / INSTRUMENT.tick_size)
        book.clear_all(market.local)
        book.set_bid(market.local, tick - 1, 5.0)
        book.set_ask(market.local, tick + 1, 5.0)
        assert stages.observe(market, params)
        if i > 1:
            assert stats["var_slow"] == pytest.approx(math.log1p(1e-4) ** 2, rel=1e-3)
            assert stats["var_fast"] == pytest.approx(stats["var_slow"], rel=1e-3)


def test_guards_soften_then_stop() -> None:
    market, arms = world()
    for vol_bps, level in ((1.0, GuardLevel.NONE), (4.0, GuardLevel.SOFT), (9.0, GuardLevel.HARD)):
        market.stats["var_fast"] = (vol_bps * 1e-4) ** 2
        quote = quote_of(market, arms)
        assert quote["guard_level"] == level
        if level == GuardLevel.SOFT:
            assert (quote["half_bps"], quote["bid_qty"]) == (3.0, 0.5)
        assert (quote["bid_ticks"] == stages.NO_QUOTE) == (level == GuardLevel.HARD)
    market.stats["var_fast"] = 0.0
    assert quote_of(market, arms, whole=False)["guard_level"] == GuardLevel.HARD


def test_the_breaker_opens_after_its_errors_and_closes_after_the_cool_off() -> None:
    market, arms = world(circuit_breaker={"errors_to_open": 3, "cool_off_s": 5.0})
    control, opened = market.control[0], []
    for second in range(12):
        control["decide_ns"] = NOW + second * S
        control["errors"] = 1 if second < 3 else 0
        quote = arms.quote[0]
        stages.spread(market.stats[0], arms.state[0], arms.params[0], quote)
        opened.append(
            bool(stages.guards(control, market.stats[0], arms.state[0], arms.params[0], True, quote))
        )
    assert opened == [False, False, True, True, True, True, True, False, False, False, False, False]


def test_inventory_shifts_quotes_and_stops_the_side_that_would_add() -> None:
    market, arms = world()
    arms.state["position"] = 2.5  # half of the 5000 limit at a mid of 1000
    quote = quote_of(market, arms)
    assert quote["fair"] == pytest.approx(1000.0 * (1 - 1e-4))
    assert quote["bid_qty"] > 0
    arms.state["position"] = 5.0
    quote = quote_of(market, arms)
    assert (quote["bid_qty"], quote["taker_qty"]) == (0.0, 0.0)
    assert quote["ask_qty"] > 0
    arms.state["position"] = -6.0
    arms.params["taker_cap_enabled"] = 0
    quote = quote_of(market, arms)
    assert quote["ask_qty"] == 0.0
    assert quote["taker_qty"] == pytest.approx(1.0)


def test_the_taker_cap_looks_at_its_trailing_window_only() -> None:
    market, arms = world()
    arm, params = arms.state[0], arms.params[0]
    arm["position"] = 6.0
    newest = stages.roll_traded(arm, NOW, params["taker_window_s"])
    arm["total_notional"][newest] = 100_000.0
    assert quote_of(market, arms)["taker_qty"] == pytest.approx(-1.0)
    arm["taker_notional"][newest] = 8_500.0  # 8.5 % taken; one more thousand would make 9.4 %
    assert quote_of(market, arms)["taker_qty"] == 0.0
    market.control["decide_ns"] = NOW + 3601 * S  # the window has passed: nothing was traded in it
    assert quote_of(market, arms)["taker_qty"] == 0.0
    assert arm["total_notional"].sum() == 0.0


def test_a_long_queue_is_stepped_ahead_of_within_reach_and_the_step_is_kept() -> None:
    market, arms = world("B", bid=9950, ask=10050)
    market.stats["sell_rate"] = market.stats["buy_rate"] = 1e-6
    for tick in range(9900, 9999):
        book.set_bid(market.local, tick, 5.0)
    first = quote_of(market, arms).copy()
    reach = int(arms.params[0]["max_reprice_bps"] * 1e-4 * first["mid"] / INSTRUMENT.tick_size)
    plain_bid = math.floor((first["fair"] - first["half_bps"] * 1e-4 * first["mid"]) / 0.1 + 1e-9)
    assert 0 < first["bid_ticks"] - plain_bid <= max(reach, 1) or reach == 0
    market.control["decide_ns"] = NOW + S // 2
    market.stats["sell_rate"] = (
        1e6  # the queue would now fill at once, but the step was decided half a second ago
    )
    assert quote_of(market, arms)["bid_ticks"] == first["bid_ticks"]
    market.control["decide_ns"] = NOW + S
    assert quote_of(market, arms)["bid_ticks"] == plain_bid


def naive_steps(levels: dict[int, float], tick: int, towards: int, target: float, most: int) -> int:
    """The fewest ticks towards the market after which at most ``target`` is ahead; ``most`` where none does."""
    for taken in range(most + 1):
        place = tick + towards * taken
        if sum(qty for level, qty in levels.items() if towards * (level - place) >= 0) <= target:
            return taken
    return most


@settings(max_examples=200, deadline=None)
@given(
    levels=st.dictionaries(st.integers(9970, 9999), st.integers(1, 9).map(float), min_size=1),
    tick=st.integers(9960, 10005),
    target=st.integers(0, 60),
    most=st.integers(0, 40),
)
def test_a_step_is_the_least_that_meets_the_target(
    levels: dict[int, float], tick: int, target: int, most: int
) -> None:
    qty = np.zeros(20_000)
    for level, amount in levels.items():
        qty[level] = amount
    got = stages._steps_ahead(qty, max(levels), tick, -1, float(target), most)
    assert got == naive_steps(levels, tick, 1, float(target), most)
    mirrored = qty[::-1].copy()
    asks = {19_999 - level: amount for level, amount in levels.items()}
    got = stages._steps_ahead(mirrored, min(asks), 19_999 - tick, 1, float(target), most)
    assert got == naive_steps(asks, 19_999 - tick, -1, float(target), most)


@settings(max_examples=100, deadline=None)
@given(
    headroom_ms=st.integers(0, 5000),
    reprice=st.floats(0.0, 20.0),
    eta_s=st.floats(0.1, 300.0),
    steps=st.lists(
        st.tuples(
            st.integers(100, 4000),
            st.integers(9_900, 10_100),
            st.integers(1, 60),
            st.floats(0, 5),
            st.floats(-6, 6),
        ),
        min_size=2,
        max_size=30,
    ),
)
def test_nudges_stay_within_reach_and_fair_value_and_change_once_per_headroom(
    headroom_ms: int, reprice: float, eta_s: float, steps: list[tuple[int, int, int, float, float]]
) -> None:
    market, arms = world("B", queue_aware={"headroom_ms": headroom_ms, "max_reprice_bps": reprice})
    arms.params["eta_target_s"] = eta_s
    now, changed = NOW, {0: [], 1: []}
    held = [0, 0]
    for wait_ms, bid, width, rate, position in steps:
        now += wait_ms * 1_000_000
        market.control["decide_ns"] = market.control["start_ns"] = now
        book.clear_all(market.local)
        book.set_bid(market.local, bid, 5.0)
        book.set_ask(market.local, bid + width, 5.0)
        market.stats["mid"] = (bid + width / 2) * INSTRUMENT.tick_size
        market.stats["buy_rate"] = market.stats["sell_rate"] = rate
        arms.state["position"] = position
        arms.params["queue_aware_enabled"] = 0
        plain = quote_of(market, arms).copy()
        arms.params["queue_aware_enabled"] = 1
        quote = quote_of(market, arms)
        reach = int(reprice * 1e-4 * quote["mid"] / INSTRUMENT.tick_size)
        fair = quote["fair"] / INSTRUMENT.tick_size
        up, down = quote["bid_ticks"] - plain["bid_ticks"], plain["ask_ticks"] - quote["ask_ticks"]
        assert 0 <= up <= reach and 0 <= down <= reach
        assert quote["bid_ticks"] <= max(plain["bid_ticks"], fair)
        assert quote["ask_ticks"] >= min(plain["ask_ticks"], fair)
        for side in (0, 1):
            if arms.state[0]["nudge_ticks"][side] != held[side]:
                held[side] = int(arms.state[0]["nudge_ticks"][side])
                changed[side].append(now)
    for times in changed.values():
        assert all(late - early >= headroom_ms * 1_000_000 for early, late in itertools.pairwise(times))


@settings(max_examples=300, deadline=None)
@given(
    bid=st.integers(5000, 15000),
    width=st.integers(1, 400),
    position=st.floats(-20.0, 20.0),
    vol_bps=st.floats(0.0, 2.9),
    slow_bps=st.floats(0.01, 2.9),
    rate=st.floats(0.0, 50.0),
    reprice=st.floats(0.0, 100.0),
    skew=st.floats(0.0, 500.0),
)
def test_quotes_never_cross_the_market_nor_fair_value(
    bid, width, position, vol_bps, slow_bps, rate, reprice, skew
) -> None:
    market, arms = world("B", bid=bid, ask=bid + width)
    arms.params["max_reprice_bps"] = reprice
    arms.params["skew_bps"] = arms.params["skew_clamp_bps"] = skew
    stats = market.stats[0]
    stats["var_fast"], stats["var_slow"] = (vol_bps * 1e-4) ** 2, (slow_bps * 1e-4) ** 2
    stats["buy_rate"] = stats["sell_rate"] = rate
    arms.state["position"] = position
    arms.params["queue_aware_enabled"] = 0
    plain = quote_of(market, arms).copy()
    arms.params["queue_aware_enabled"] = 1
    quote = quote_of(market, arms)
    for found in (plain, quote):
        assert found["bid_ticks"] < bid + width
        assert found["ask_ticks"] > bid
    fair_ticks = quote["fair"] / INSTRUMENT.tick_size
    reach = int(reprice * 1e-4 * quote["mid"] / INSTRUMENT.tick_size)
    ahead_bid, ahead_ask = plain["bid_ticks"] + reach, plain["ask_ticks"] - reach
    assert (
        plain["bid_ticks"]
        <= quote["bid_ticks"]
        <= max(plain["bid_ticks"], min(ahead_bid, math.floor(fair_ticks)))
    )
    assert (
        plain["ask_ticks"]
        >= quote["ask_ticks"]
        >= min(plain["ask_ticks"], max(ahead_ask, math.ceil(fair_ticks)))
    )
