"""A/A: rates over stages without an effect, kept and read back; and what a violation leads to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmlib._io import UserError, read_json
from mmlib.config.flags import SNAPSHOT_FILE, snapshot
from mmlib.config.load import ensure_params, load_config, shipped_dir
from mmlib.config.rollback import active_rollback
from mmlib.dtypes import Grade
from mmlib.gates.spec import GateBook, load_gates
from mmlib.metrics.latency import minute_series
from mmlib.metrics.money import bucket_money
from mmlib.rollout import aa
from mmlib.rollout.experiment import paired_experiment
from mmlib.rollout.monitor import Violation
from mmlib.rollout.respond import respond
from mmlib.rollout.safety import series, timeline
from mmlib.workflow import ab_aa
from mmlib.workflow.plan import Options
from tests.test_rollout_switchback import START, fill_frame, tick_frame


@pytest.fixture(scope="module")
def book() -> GateBook:
    return load_gates(shipped_dir("params").parent)


def pair(hours: int, effect_bps: float, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Feeds of two arms on one market: both earn the same noise a minute but for their own, B the effect in slippage."""
    rng = np.random.default_rng(seed)
    ts = START + pd.to_timedelta(np.arange(hours * 60), unit="min")
    ticks, fills = [], []
    for arm in ("A", "B"):
        own = rng.normal(0.0, 8.0, len(ts)) - effect_bps * (arm == "B")
        ticks.append(tick_frame(ts, np.ones(len(ts))).assign(symbol="X", arm=arm))
        for side, sign in (("buy", 1.0), ("sell", -1.0)):
            price = 100.0 * (1 - sign * own / 1e4)
            fills.append(fill_frame(ts, side, price).assign(symbol="X", arm=arm))
    return pd.concat(ticks, ignore_index=True), pd.concat(fills, ignore_index=True)


def test_tossed_hours_hold_no_effect_whatever_the_stage_had(book: GateBook) -> None:
    gates = {gate.id: gate for gate in book.step("ab_10")}
    ticks, fills = pair(30, effect_bps=4.0)
    found = paired_experiment(bucket_money(ticks, fills, 3600), planned_buckets=30)
    assert found.slippage["lower"].iloc[-1] > 0, "this stage was harmed"
    tossed = aa.relabelled(gates, ticks, fills, found, draws=400)
    assert tossed is not None
    assert tossed.n == 400
    assert tossed.rollback.mean() < 0.06
    again = aa.relabelled(gates, ticks, fills, found, draws=400)
    assert again is not None
    np.testing.assert_array_equal(tossed.literal_rollback, again.literal_rollback)


def test_a_toss_that_swaps_nothing_is_the_stage_itself(
    book: GateBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Literal slippage of a draw without swaps is minute by minute that of the stage's timeline."""
    ticks, fills = pair(4, effect_bps=1.0)
    minutes = bucket_money(ticks, fills, 60.0)
    none = np.zeros((1, 240), bool)
    got = aa._slippage(minutes, START, 240, none)[0]
    _, want = series(timeline(minute_series(ticks, fills), ticks), "delta_slippage_bps")["X"]
    np.testing.assert_allclose(got, want, atol=1e-9)
    np.testing.assert_allclose(aa._slippage(minutes, START, 240, ~none)[0], -want, atol=1e-9)


def test_without_pairs_nothing_is_tossed(book: GateBook) -> None:
    gates = {gate.id: gate for gate in book.step("ab_10")}
    ticks, fills = pair(2, 0.0)
    found = paired_experiment(bucket_money(ticks, fills, 3600).iloc[:0], planned_buckets=2)
    assert aa.relabelled(gates, ticks, fills, found) is None


def test_rates_are_kept_and_made_anew_when_gates_change_or_the_file_is_damaged(
    tmp_path: Path, book: GateBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = aa.drawn
    monkeypatch.setattr(aa, "drawn", lambda *a, **k: calls.append(1) or real(*a, **k))
    first = aa.cached(tmp_path, book, stages=20, hours=24)
    assert len(first) == 18
    pd.testing.assert_frame_equal(aa.cached(tmp_path, book, stages=20), first)
    assert len(calls) == 1
    path = tmp_path / aa.AA_FILE
    payload = read_json(path)
    path.write_text(json.dumps(payload | {"gates_sha256": "other"}))
    aa.cached(tmp_path, book, stages=20)
    path.write_text("{")
    aa.cached(tmp_path, book, stages=20)
    assert len(calls) == 3
    assert set(first["rule"]) == {"literal", "statistical"}


VIOLATION = Violation(
    "ab.safety.taker_share", "Taker share of B", "taker_share_pct", "X", 12.5, "<= 9 %", 0, 600 * 10**9
)


def workspace(tmp_path: Path) -> Path:
    ensure_params(tmp_path)
    snapshot(tmp_path, load_config(tmp_path, sets={}))
    return tmp_path


def test_live_evidence_takes_the_treatment_back_once_and_says_everything(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    config = ws / "params/config.yaml"
    config.write_text(
        config.read_text().replace("adaptive_spread:\n  enabled: false", "adaptive_spread:\n  enabled: true")
    )
    done = respond(ws, VIOLATION, stage="ab_10", grade=Grade.LIVE, evidence="live: x")
    assert done is not None
    assert done["window"] == "1970-01-01T00:00:00Z/1970-01-01T00:10:00Z"
    assert (done["metric"], done["value"], done["threshold"]) == ("taker_share_pct", 12.5, "<= 9 %")
    assert len(done["snapshot_sha256"]) == 64
    active = active_rollback(ws)
    assert active is not None
    assert active["sets"] == {"adaptive_spread.enabled": False, "queue_aware.enabled": False}
    assert active["details"]["gate"] == "ab.safety.taker_share"
    log = (ws / "artifacts/release/rollbacks.jsonl").read_text()
    before = config.read_bytes()
    again = respond(ws, VIOLATION, stage="ab_10", grade=Grade.LIVE, evidence="live: x")
    assert again is not None
    assert again["flags"] == "were off already"
    assert config.read_bytes() == before
    assert (ws / "artifacts/release/rollbacks.jsonl").read_text() == log


def test_a_replay_changes_no_flag_and_no_violation_is_nothing(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    before = (ws / "params/config.yaml").read_bytes()
    done = respond(ws, VIOLATION, stage="ab_10", grade=Grade.SIMULATED, evidence="simulated")
    assert done is not None
    assert done["flags"].startswith("left alone: simulated evidence")
    assert (ws / "params/config.yaml").read_bytes() == before
    assert active_rollback(ws) is None
    assert respond(ws, None, stage="ab_10", grade=Grade.LIVE, evidence="") is None
    (ws / SNAPSHOT_FILE).unlink()
    none = respond(ws, VIOLATION, stage="ab_10", grade=Grade.RECORDING, evidence="")
    assert none is not None
    assert none["snapshot_sha256"] == "no snapshot was taken"


def test_replays_of_the_control_go_through_the_whole_stack(tmp_path: Path) -> None:
    ensure_params(tmp_path)
    options = Options(
        symbols=("BTCUSDT",),
        sets={"pipeline.tick_interval_ms": 5000, "async_batch.enabled": False},
        steps={"ab": {"duration_hours": 2.0}},
    )
    done = ab_aa.measure_errors(tmp_path, profile="demo", options=options, runs=2, stages=20, schedules=2)
    assert done.pairs["design"].tolist().count("twins") == 2
    assert "ROLL BACK" not in done.pairs[done.pairs["design"] == "twins"]["action"].tolist()
    known = done.rates[done.rates["data"].str.startswith("replays")]
    assert known["n"].tolist() == [2] * 4 + [4] * 4
    assert done.report.read_text().startswith("# A/A")
    assert "replays, twins on one market" in done.text()
    kept = aa.cached(tmp_path, load_gates(tmp_path))
    assert len(kept) == len(done.rates)
    with pytest.raises(UserError, match="second control"):
        (tmp_path / "feeds").mkdir()
        desk = Options(source=f"feeds:{tmp_path / 'feeds'}")
        ab_aa.measure_errors(tmp_path, profile="demo", options=desk, runs=2, stages=1)
