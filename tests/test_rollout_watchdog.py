"""The monitor on a running session says, minute by minute, what the evaluation of its feeds says afterwards."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mmlib.config.flags import snapshot
from mmlib.config.load import ensure_params, load_config
from mmlib.config.models import Config
from mmlib.config.rollback import active_rollback
from mmlib.dtypes import FILL, TICK, Liquidity
from mmlib.engine.params import arm_params
from mmlib.engine.realtime.ledger import Ledger
from mmlib.gates.spec import load_gates
from mmlib.market.source import Instrument
from mmlib.metrics.grid import utc
from mmlib.metrics.latency import minute_series
from mmlib.metrics.money import bucket_money
from mmlib.rollout.experiment import paired_experiment
from mmlib.rollout.monitor import SLIPPAGE, SafetyMonitor, closing_sums, watch
from mmlib.rollout.safety import timeline
from mmlib.rollout.watchdog import StageWatch, control_for_both, fill_frame, tick_frame

START_NS = 1_736_899_200_000_000_000
S = 1_000_000_000


class Running:
    """A session that only notes how it is told to quote."""

    def __init__(self) -> None:
        self.told: list[tuple[Config, str]] = []
        self.ledger = Ledger(("X",), ("A", "B"))

    def reconfigure(self, config: Config, reason: str) -> None:
        self.told.append((config, reason))


def stage(minutes: int, takes_from: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Ticks of both arms every ten seconds, a fill of each arm a minute; from a minute on B takes."""
    rng = np.random.default_rng(1)
    ticks, fills = [], []
    for k in range(minutes * 6):
        rows = np.zeros(2, TICK)
        rows["ts_ns"] = rows["scheduled_ns"] = START_NS + k * 10 * S
        rows["arm"], rows["mid"], rows["tick_total_ms"] = [0, 1], 100.0, rng.lognormal(1.0, 0.1, 2)
        rows["fetch_md_ms"], rows["rss_mb"], rows["spread_bps"], rows["cache_hit"] = 0.1, 100.0, 1.0, 1
        ticks.append(rows)
        if k % 6 == 3:
            made = np.zeros(2, FILL)
            made["ts_ns"], made["arm"], made["side"] = START_NS + k * 10 * S + 5, [0, 1], rng.choice([-1, 1])
            made["price"], made["qty"], made["mid_at_quote"] = 100.0, 1.0, 100.0
            made["mid_at_fill"] = 100.0 + rng.normal(0, 0.01, 2)
            made["fill_id"] = made["order_id"] = k
            made["liquidity"][1] = Liquidity.TAKER if k >= takes_from * 6 else Liquidity.MAKER
            fills.append(made)
    return ticks, fills


@pytest.fixture
def ws(tmp_path: Path) -> Path:
    ensure_params(tmp_path)
    snapshot(tmp_path, load_config(tmp_path, sets={}))
    return tmp_path


def test_it_stops_a_running_session_where_the_evaluation_of_its_feeds_does(ws: Path) -> None:
    config = load_config(ws, sets={}).config
    gates = load_gates(ws).step("ab_10")
    ticks, fills = stage(82, takes_from=60)
    dog = StageWatch(ws, gates, stage="ab_10", config=config, planned_s=86400, evidence="live: test")
    session, k = Running(), 0
    for rows in ticks:
        dog.on_tick("X", rows, {})
        while k < len(fills) and fills[k]["ts_ns"][0] <= rows["ts_ns"][0]:
            dog.on_fill("X", fills[k])
            k += 1
        now = int(rows["ts_ns"][0])
        if now < START_NS + 58 * 60 * S:
            continue  # nothing happens before, and every look takes its time
        dog.on_second(session, now + 3 * S)
        if dog._due is not None:
            dog._due.result()
        dog.on_second(session, now + 4 * S)
    t, f = tick_frame([("X", r) for r in ticks]), fill_frame([("X", r) for r in fills])
    floor_ms = load_gates(ws).get("ab.safety.tick_p95").floor_ms
    found = paired_experiment(bucket_money(t, f, 3600), planned_buckets=24)
    safety = timeline(minute_series(t, f), t, floor_ms=floor_ms)
    offline = watch(SafetyMonitor(gates, 24), safety, closing_sums(found))
    seen = dog.monitor.violation
    assert not session.ledger.recent
    last = safety[safety["ts"] == utc(np.array([START_NS + 80 * 60 * S]))[0]]
    assert session.ledger.gate_values == {
        ("tick_p95_regression_pct", "X", "B"): pytest.approx(last["tick_p95_regression_pct"].iloc[0])
    }
    assert offline is not None
    assert seen is not None
    assert (seen.gate, seen.group, seen.since_ns, seen.fired_ns) == (
        offline.gate, offline.group, offline.since_ns, offline.fired_ns,
    )  # fmt: skip
    assert seen.value == pytest.approx(offline.value)
    assert len(session.told) == 1, "once"
    assert "ab.safety.taker_share violated" in session.told[0][1]
    assert dog.taken_back is not None
    active = active_rollback(ws)
    assert active is not None
    assert active["details"]["window"] == offline.window


def test_hours_are_closed_with_the_slippage_that_the_experiment_has(ws: Path) -> None:
    config = load_config(ws, sets={}).config
    ticks, fills = stage(185, takes_from=1000)
    own, theirs = [("X", r) for r in ticks], [("X", r) for r in fills]
    dog = StageWatch(
        ws, load_gates(ws).step("ab_10"), stage="ab_10", config=config, planned_s=86400, evidence=""
    )
    closed: list[list[float]] = []
    dog.monitor.close_bucket = lambda effects: closed.append(*effects.values()) or {}  # type: ignore[assignment,func-returns-value]
    for hour in (1, 2, 3):
        dog.look(START_NS + hour * 3600 * S, own, theirs)
    found = paired_experiment(bucket_money(tick_frame(own), fill_frame(theirs), 3600), planned_buckets=3)
    np.testing.assert_allclose(closed, closing_sums(found)[SLIPPAGE].iloc[:3, 1:])


def test_the_control_for_both_quotes_alike() -> None:
    config = Config()
    rows = arm_params(control_for_both(config), Instrument("X", 0.1, 0.001), ["A", "B"])
    assert rows["min_spread_bps"][1] == rows["max_spread_bps"][1] == rows["base_spread_bps"][0]
    assert not any(
        rows[name][1] for name in ("vol_weight", "liquidity_weight", "latency_weight", "pnl_weight")
    )
    assert rows["max_reprice_bps"][1] == 0.0


def test_a_failure_of_the_watch_ends_no_session(ws: Path) -> None:
    config = load_config(ws, sets={}).config
    dog = StageWatch(
        ws, load_gates(ws).step("ab_10"), stage="ab_10", config=config, planned_s=86400, evidence=""
    )
    dog.on_tick("X", np.zeros(2, TICK), {})
    dog.look = lambda *_: 1 / 0  # type: ignore[assignment,method-assign,return-value]
    session = Running()
    for second in range(200):
        dog.on_second(session, START_NS + second * S)
    assert session.ledger.recent[0].startswith("ab_10: ZeroDivisionError")
    assert session.told == []


def test_frames_are_those_that_reading_the_feeds_gives() -> None:
    ticks, fills = stage(2, takes_from=1)
    t, f = tick_frame([("X", r) for r in ticks]), fill_frame([("X", r) for r in fills])
    assert t["ts"].dtype == pd.DatetimeTZDtype("ns", "UTC")
    assert f["liquidity"].tolist() == ["maker", "maker", "maker", "taker"]
    assert not len(tick_frame([]))
    assert not len(fill_frame([]))


def test_a_configuration_changed_under_way_resets_the_counters(ws: Path) -> None:
    config = load_config(ws, sets={}).config
    dog = StageWatch(
        ws, load_gates(ws).step("ab_10"), stage="ab_10", config=config, planned_s=86400, evidence=""
    )
    session = Running()
    session.plan = SimpleNamespace(config=config, header={"grade": "simulated"})  # type: ignore[attr-defined]
    before = dog.monitor.config_sha256
    dog.monitor.close_bucket({SLIPPAGE: (0.0, 1.0, 1e-4, 1.0)})
    dog.on_second(session, START_NS)
    assert dog.monitor.config_sha256 == before
    session.plan.config = control_for_both(config)  # type: ignore[attr-defined]
    dog.on_second(session, START_NS + S)
    assert dog.monitor.config_sha256 != before
    assert dog.config is session.plan.config  # type: ignore[attr-defined]
    assert dog.monitor._buckets == {}


def test_the_result_since_the_start_is_that_of_the_feeds_when_the_first_hour_is_forgotten(
    ws: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks, fills = stage(82, takes_from=100)
    watch_ = StageWatch(
        ws, load_gates(ws).step("ab_10"), stage="ab_10", config=load_config(ws, sets={}).config, planned_s=86_400,
        evidence="test",
    )  # fmt: skip
    seen: list[tuple[float, float]] = []

    def note(_ts_ns: int, values: dict[str, dict[str, float]]) -> None:
        seen.append((values["pnl"]["X"], values["delta_pnl"]["X"]))

    monkeypatch.setattr(watch_.monitor, "update", note)
    every = np.concatenate(ticks), np.concatenate(fills)
    for minute in range(82):
        at = START_NS + minute * 60 * S
        parts = [rows[(rows["ts_ns"] >= at - 60 * 60 * S) & (rows["ts_ns"] < at + 60 * S)] for rows in every]
        watch_.look(at, [("X", parts[0])], [("X", parts[1])])
    cash, position, expected = [0.0, 0.0], [0.0, 0.0], []
    for minute in range(82):
        for rows in (f for f in fills if (f["ts_ns"][0] - START_NS) // (60 * S) == minute):
            for row in rows:
                cash[row["arm"]] -= row["side"] * row["price"] * row["qty"]
                position[row["arm"]] += row["side"] * row["qty"]
        a, b = (cash[k] + position[k] * 100.0 for k in (0, 1))  # every tick's mid is 100
        expected.append((b, b - a))
    np.testing.assert_allclose(seen, expected, atol=1e-9)
