"""A switchback of a desk's own feeds: one arm at a time, washed out, weighed by its share; what spoils it is named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mmlib.config.load import shipped_dir
from mmlib.dtypes import Status
from mmlib.gates.spec import GateBook, load_gates
from mmlib.metrics.latency import minute_series
from mmlib.rollout import stage
from mmlib.rollout.assign import assign_units, schedule, unit_hash
from mmlib.rollout.budget import GAIN
from mmlib.rollout.estimate import beside, experiment_of
from mmlib.rollout.experiment import Experiment, bounded
from mmlib.rollout.safety import timeline
from mmlib.rollout.switchback import Design, is_paired, switchback_experiment, unit_money

START = pd.Timestamp("2025-01-15", tz="UTC")
HOUR = pd.Timedelta(hours=1)


@pytest.fixture(scope="module")
def book() -> GateBook:
    return load_gates(shipped_dir("params").parent)


def desk(
    hours: int = 48,
    design: Design | None = None,
    *,
    effect_bps: float = 0.0,
    carry_bps: float = 0.0,
    seed: int = 0,
    slower_b: float = 1.0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Feeds of one account on two symbols: a round trip a minute that earns the hour's level, plus the effect under B.

    In the first five minutes of an hour every fill also earns ``carry_bps``, whichever arm runs.
    """
    rng = np.random.default_rng(seed)
    plan = schedule(
        ["X", "Y"], START, hours, (design or Design(50, 1)).rollout_pct, (design or Design(50, 1)).seed
    )
    arm_of = {(row.symbol, row.bucket): row.arm for row in plan.itertuples()}
    ticks, fills = [], []
    for symbol in ("X", "Y"):
        level = rng.normal(0.5, 1.0, hours)
        ts = START + pd.to_timedelta(np.arange(hours * 60), unit="min")
        hour = np.arange(hours * 60) // 60
        arm = np.array([arm_of[symbol, START + k * HOUR] for k in range(hours)])[hour]
        edge = level[hour] + effect_bps * (arm == "B") + rng.normal(0, 1, len(ts))
        edge = edge + carry_bps * (np.arange(hours * 60) % 60 < 5)
        total = rng.lognormal(1.0, 0.3, len(ts)) * np.where(arm == "B", slower_b, 1.0)
        labels = {"symbol": symbol, "arm": arm}
        ticks.append(tick_frame(ts, total).assign(**labels))
        for side, sign in (("buy", 1.0), ("sell", -1.0)):
            fills.append(fill_frame(ts, side, 100.0 * (1 - sign * edge / 1e4)).assign(**labels))
    frames = [
        pd.concat(parts).sort_values("ts", kind="stable", ignore_index=True) for parts in (ticks, fills)
    ]
    frames[1]["fill_id"] = np.arange(len(frames[1]))
    return frames[0], frames[1]


def tick_frame(ts: pd.DatetimeIndex, total: np.ndarray) -> pd.DataFrame:
    stages = dict.fromkeys(
        ("fetch_md_ms", "spread_ms", "guards_ms", "inventory_ms", "queue_aware_ms", "emit_ms"), 1.0
    )
    flags = dict.fromkeys(("cache_hit", "used_stale", "deadline_miss", "breaker_open"), False)
    numbers = {
        "mid": 100.0,
        "spread_bps": 1.0,
        "inventory": 0.0,
        "errors": 0,
        "rss_mb": 100.0,
        "guard_level": 0,
    }
    return pd.DataFrame({"ts": ts, "scheduled_ts": ts, "tick_total_ms": total, **stages, **flags, **numbers})


def fill_frame(ts: pd.DatetimeIndex, side: str, price: np.ndarray) -> pd.DataFrame:
    mids = {"mid_at_quote": 100.0, "mid_at_fill": 100.0, "quote_price": price, "fee": 0.0}
    at = ts + pd.Timedelta(seconds=59.2 if side == "buy" else 59.6)  # a tick follows within the second
    return pd.DataFrame({"ts": at, "side": side, "price": price, "qty": 1.0, "liquidity": "maker", **mids})


def judged(book: GateBook, ticks: pd.DataFrame, fills: pd.DataFrame, hours: int, design: Design):
    experiment = experiment_of(ticks, fills, planned_s=hours * 3600, design=design)
    safety = timeline(minute_series(ticks, fills), ticks, floor_ms=1e-3, paired=experiment.paired)
    verdict = stage.judge(
        book, experiment, safety, rollout_pct=10, previous=None, evidence="", planned_s=hours * 3600,
        span_s=hours * 3600,
    )  # fmt: skip
    return experiment, verdict


def test_units_are_hours_after_their_washout_with_one_inventory() -> None:
    ticks, fills = desk(6, carry_bps=500.0)
    money = unit_money(ticks, fills)
    assert len(money) == 12
    assert money["net_bps"].abs().max() < 10, "the first five minutes are not in it"
    assert (money["coverage"] > 0.99).all()
    assert money["n_fills"].eq(110).all()
    due = schedule(["X", "Y"], START, 6, 50, 1)
    assert money.merge(due, on=["symbol", "bucket", "arm"]).shape[0] == 12


def test_the_estimate_is_each_arms_result_over_what_it_traded_in_its_own_hours() -> None:
    design = Design(50, 1)
    ticks, fills = desk(8, design)
    found = switchback_experiment(ticks, fills, design, planned_buckets=8)
    units = unit_money(ticks, fills)
    pooled = {arm: part["pnl"].sum() / part["notional"].sum() * 1e4 for arm, part in units.groupby("arm")}
    assert found.net["mean"].iloc[-1] == pytest.approx(pooled["B"] - pooled["A"])
    assert found.buckets == 8
    assert not found.paired
    assert "switchback" in found.estimator
    assert "5 min" in found.estimator


@pytest.mark.parametrize("pct", [10, 50])
def test_it_is_right_on_average_over_schedules_and_keeps_its_level(pct: int) -> None:
    """Over a thousand schedules of the same hours: the mean estimate is the effect, bounds are rarely ever wrong."""
    rng = np.random.default_rng(5)
    level, traded, hours, share = rng.normal(0, 1, 72), rng.lognormal(0, 0.5, 72), 72, pct / 100
    arms = np.array([[unit_hash(s, "X", k) < share for k in range(hours)] for s in range(1000)])
    y = (level + rng.normal(0, 0.5, (1000, hours)) + 0.4 * arms) * traded
    sums = np.stack(
        [np.where(arms == b, one, 0.0) for b in (False, True) for one in (y / 1e4, traded + 0 * y)]
    )
    found = bounded(sums, GAIN, hours)
    some = arms.sum(axis=1) >= 3
    assert found.mean[some, -1].mean() == pytest.approx(0.4, abs=0.03)
    assert (found.lower > 0.4).any(axis=1).mean() < 0.05


def test_a_large_effect_is_found_and_harm_rolls_back(book: GateBook) -> None:
    design = Design(50, 3, floor_ms=1e-3)
    found, verdict = judged(book, *desk(40, design, effect_bps=3.0), 40, design)
    assert found.net["lower"].iloc[-1] > 0
    statuses = {r.id: r.status for r in verdict.results}
    assert statuses["ab.accept.net"] is Status.PASS
    assert statuses["ab.accept.srm"] is Status.PASS
    assert verdict.action == "PROCEED", verdict.sentence
    slow, verdict = judged(book, *desk(40, design, slower_b=2.0), 40, design)
    assert verdict.action == "ROLL BACK"
    assert verdict.violation is not None
    assert verdict.violation.gate == "ab.safety.tick_p95"
    assert slow.latency is not None
    assert np.exp(slow.latency["mean"].iloc[-1]) == pytest.approx(2.0, rel=0.2)


def test_other_methods_stand_beside() -> None:
    design = Design(50, 1)
    found = experiment_of(*desk(48, design), planned_s=48 * 3600, design=design)
    methods = beside(found)["method"].tolist()
    assert methods[0] == "pooled, decides"
    assert methods[-1] == "mean of hourly ratios, t"
    empty = experiment_of(*(f.iloc[:0] for f in desk(2, design)), planned_s=3600, design=design)
    assert not len(beside(empty))


def test_arms_swapped_against_our_schedule_are_found_and_a_desks_own_schedule_is_not_accused() -> None:
    design = Design(50, 1)
    ticks, fills = desk(24, design)
    since = START + 10 * HOUR
    for frame in (ticks, fills):
        late = frame["ts"] >= since
        frame.loc[late, "arm"] = frame.loc[late, "arm"].map({"A": "B", "B": "A"})
    kinds = {p.kind: p for p in experiment_of(ticks, fills, planned_s=86400, design=design).problems}
    assert kinds["arms swapped"].status is Status.ERROR
    assert "up to 2025-01-15T10:00Z" in kinds["arms swapped"].text
    other = experiment_of(*desk(24, Design(50, 99)), planned_s=86400, design=design)
    assert "arms swapped" not in {p.kind for p in other.problems}


def test_at_100_pct_there_is_no_control_and_both_arms_in_an_hour_do_not_count(book: GateBook) -> None:
    design = Design(50, 1)
    ticks, fills = desk(12, design)
    found = experiment_of(ticks, fills, planned_s=12 * 3600, design=Design(100, 1))
    assert [p.kind for p in found.problems] == ["no control"]
    assert found.buckets == 0
    mixed = ticks["ts"].dt.minute.between(30, 40) & (ticks["ts"] < START + HOUR)
    ticks.loc[mixed, "arm"] = ticks.loc[mixed, "arm"].map({"A": "B", "B": "A"})
    found = experiment_of(ticks, fills, planned_s=12 * 3600, design=design)
    assert (found.left_out["reason"] == "both arms in one hour").sum() == 2


def test_the_design_is_read_from_the_feeds() -> None:
    ticks, fills = desk(6)
    assert not is_paired(ticks)
    both = pd.concat([ticks.assign(arm="A"), ticks.assign(arm="B")], ignore_index=True)
    assert is_paired(both)
    assert is_paired(ticks.iloc[:0])
    found = experiment_of(
        both, pd.concat([fills.assign(arm="A"), fills.assign(arm="B")]), planned_s=21600, design=Design(50, 1)
    )
    assert isinstance(found, Experiment)
    assert found.paired
    assert found.buckets == 6


def test_a_schedule_is_the_assignment_written_out() -> None:
    plan = schedule(["X", "Y"], START + pd.Timedelta(minutes=20), 100, 10, seed=7)
    units = plan[["symbol", "bucket"]].itertuples(index=False, name=None)
    treated = assign_units(units, 10, 7)["treated"]
    assert ((plan["arm"] == "B") == treated).all()
    assert plan["bucket"].iloc[0] == START
    assert len(plan) == 200
    assert unit_hash(7, "X", START.value) == unit_hash(7, "X", START.value) != unit_hash(8, "X", START.value)
