"""Calibration: stretches that never overlap, ranges that make no search, the same answer again, and no trial made twice."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib._io import UserError
from mmlib.config.load import load_config
from mmlib.config.models import Config
from mmlib.config.treatment import treatment_sets
from mmlib.dtypes import Status
from mmlib.engine.params import arm_params
from mmlib.engine.window import cut_window, market_source, replay_window
from mmlib.gates.spec import load_gates
from mmlib.metrics import farm
from mmlib.rollout import calibrate as module
from mmlib.rollout.calibrate import Choice, Limits, Score, Search, as_overrides, walk_forward
from mmlib.rollout.searchspace import (
    Range,
    check_ranges,
    default_ranges,
    near_points,
    parse_ranges,
    spread_points,
    with_point,
)
from mmlib.rollout.trials import Market, Store, Trial
from mmlib.rollout.unseen import judge_unseen, limits_of
from mmlib.workflow.calibrate import Request, calibrate
from mmlib.workflow.plan import Options, plan
from mmlib.workflow.steps import get_step

ROOT = Path(__file__).parents[1]
START = 1_736_899_200_000_000_000
# Slippage is measured a second after a fill, so a tick is needed by then.
QUICK = Config.model_validate({"pipeline": {"tick_interval_ms": 900}})
RANGES = default_ranges(4.0)


# --- stretches ---


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 200), st.integers(1, 100), st.integers(1, 60))
def test_no_fold_is_judged_on_hours_it_was_chosen_on(hours: int, train_h: int, unseen_h: int) -> None:
    if train_h + unseen_h > hours:
        with pytest.raises(UserError, match="--hours"):
            walk_forward(hours, train_h, unseen_h)
        return
    segment_h, folds = walk_forward(hours, train_h, unseen_h)
    assert folds
    judged: list[int] = []
    for fold in folds:
        assert not set(fold.train) & set(fold.unseen)
        assert max(fold.train) + 1 == min(fold.unseen)  # right after, and nothing of the future to choose on
        assert (len(fold.train) * segment_h, len(fold.unseen) * segment_h) == (train_h, unseen_h)
        judged += fold.unseen
    assert len(judged) == len(set(judged))
    assert (max(judged) + 1) * segment_h <= hours < (max(judged) + 1) * segment_h + unseen_h


@pytest.mark.parametrize("lengths", [(0, 1, 1), (24, 0, 1), (24, 1, -1), (24, 1.5, 1), (True, 1, 1)])
def test_lengths_that_are_no_hours_are_refused(lengths: Any) -> None:
    with pytest.raises(UserError, match="expected a whole number of hours"):
        walk_forward(*lengths)


# --- ranges ---


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vol_weight=0:1", "expected KEY=LOW:HIGH"),
        ("adaptive_spread.vol_weigt=0:1", "did you mean 'adaptive_spread.vol_weight'"),
        ("adaptive_spread.vol_weight", "expected KEY=LOW:HIGH"),
        ("adaptive_spread.vol_weight=a:b", "expected finite numbers"),
        ("adaptive_spread.vol_weight=2:1", "the lower first"),
        ("adaptive_spread.vol_weight=0:nan", "expected finite numbers, such as"),
        ("adaptive_spread.vol_weight=0:inf", "expected finite numbers, such as"),
        ("adaptive_spread.vol_weight=-1:1", "starts at -1"),
        ("adaptive_spread.vol_weight=0:6", "ends at 6"),
        ("adaptive_spread.min_spread_bps=0:1", "starts at 0"),
        ("adaptive_spread.min_spread_bps=1:9", "expected them apart"),
        ("queue_aware.headroom_ms=0.5:10", "whole numbers"),
    ],
)
def test_impossible_ranges_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_ranges([text], RANGES)


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, math.nan), (math.nan, 1.0), (0.0, math.inf), (-math.inf, 1.0)]
)
def test_ranges_that_are_not_finite_are_refused_however_they_come(low: float, high: float) -> None:
    with pytest.raises(UserError, match="the lower first"):
        check_ranges([Range("adaptive_spread.vol_weight", low, high)])


@pytest.mark.parametrize(
    "key", ["adaptive_spread.enabled", "adaptive_spread.fast_halflife_s", "pipeline.deadline_ms", "x"]
)
def test_only_numbers_of_the_treatment_are_searched(key: str) -> None:
    with pytest.raises(UserError, match="is no number of the treatment"):
        check_ranges([Range(key, 0.0, 1.0)])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0.01, 1.0))
def test_every_point_is_a_configuration_and_the_seed_decides_it(seed: int, n: int, width: float) -> None:
    points = spread_points(RANGES, n, seed)
    near = near_points(RANGES, points[0], n, width, seed)
    assert (len(points), len(near)) == (n, n)
    assert points == spread_points(RANGES, n, seed)
    for point in (*points, *near):
        with_point(QUICK, point)
        assert all(one.low <= point[one.key] <= one.high for one in RANGES)
    for point in near:
        for one in RANGES:
            step = one.unit(point[one.key]) - one.unit(points[0][one.key])
            assert abs(step) <= 0.5 * width + 2e-3


# --- trials ---


def test_an_arm_alone_trades_as_beside_the_other() -> None:
    config = Config.model_validate({"pipeline": {"tick_interval_ms": 1000}})
    source = market_source("simulated", "BTCUSDT", config, seed=3, start_ns=START)
    window = cut_window(source, START, 1800.0)
    both = replay_window(window, config, ("A", "B"), seed=3)[1]
    rows = arm_params(config, window.instrument, ("A", "B"))
    for arm in (0, 1):
        alone = replay_window(window, config, ("A", "B"), seed=3, params=rows[arm : arm + 1])[1]
        beside = both[both["arm"] == arm].copy()
        beside["arm"] = 0
        assert len(alone) > 20
        assert np.array_equal(alone, beside)


def search(home: Path, **changes: Any) -> Search:
    given = {
        "market": Market("simulated", 5, START), "config": QUICK, "symbols": ("BTCUSDT",), "first_ns": START,
        "hours": 3, "train_h": 1, "unseen_h": 1, "ranges": RANGES, "trials": 4, "seed": 5, "store": Store(home),
        "limits": Limits(slippage_bps=1e9, taker_share_pct=100.0, deadline_miss_pct=101.0),
    }  # fmt: skip
    return Search(**given | changes)


@pytest.fixture
def six(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_BUCKETS", 1)  # an hour decides, so that the tests need few of them


class Killed(Exception):
    """Stands for a process that ends in the middle."""


@pytest.mark.usefixtures("six")
def test_what_was_killed_goes_on_and_comes_to_the_same(tmp_path: Path) -> None:
    whole = search(tmp_path / "a").run()
    assert whole.reused == 0

    def stop(done: int, _of: int) -> None:
        if done >= 5:
            raise Killed

    with pytest.raises(Killed):
        search(tmp_path / "b", progress=stop).run()
    there = len(list((tmp_path / "b").rglob("*.json")))
    assert 0 < there < whole.evaluated
    torn = next((tmp_path / "b").rglob("*.json"))
    torn.write_text(torn.read_text()[:20])  # as a full disk might leave it
    resumed = search(tmp_path / "b").run()
    assert (resumed.reused, resumed.evaluated) == (there - 1, whole.evaluated - there + 1)
    assert repr(resumed.choices) == repr(whole.choices)  # one hour has no standard error: NaN
    pd.testing.assert_frame_equal(resumed.table, whole.table)
    again = search(tmp_path / "b").run()
    assert (again.evaluated, repr(again.choices)) == (0, repr(whole.choices))


@pytest.mark.usefixtures("six")
def test_every_choice_is_the_best_that_keeps_the_gates_and_says_what_it_keeps_unseen(tmp_path: Path) -> None:
    done = search(tmp_path, trials=6).run()
    assert [choice.fold for choice in done.choices] == [0, 1]
    for choice in done.choices:
        rows = done.table[done.table["fold"] == choice.fold]
        assert len(rows) == choice.candidates
        assert rows["shipped"].sum() == 1
        assert choice.train is not None and choice.unseen is not None
        assert choice.train.buckets == choice.unseen.buckets == 1
    assert set(done.money["arm"]) == {"A", "B"}
    refused = search(tmp_path, limits=Limits(slippage_bps=-1e9)).run()
    assert all(choice.point is None for choice in refused.choices)
    assert refused.money.empty


def test_other_parameters_windows_or_markets_are_other_trials() -> None:
    base = search(Path())
    base.segment_h = 1
    trial = base._trial("BTCUSDT", 0, {"adaptive_spread.vol_weight": 1.0})
    keys = {base._key(trial)}
    for other in (
        Trial("ETHUSDT", *list(vars(trial).values())[1:]),
        base._trial("BTCUSDT", 1, trial.point),
        base._trial("BTCUSDT", 0, {"adaptive_spread.vol_weight": 1.1}),
        base._trial("BTCUSDT", 0, None),
    ):
        keys.add(base._key(other))
    keys.add(search(Path(), market=Market("simulated", 6, START))._key(trial))
    changed = Config.model_validate({"pipeline": {"tick_interval_ms": 900}, "fees": {"maker_bps": 0.0}})
    keys.add(search(Path(), config=changed)._key(trial))
    assert len(keys) == 7
    telemetry = Config.model_validate({"pipeline": {"tick_interval_ms": 900}, "trace": {"sample_rate": 0.9}})
    assert search(Path(), config=telemetry)._key(trial) in keys


# --- judging and using the result ---


def money(net: float, slip: float, hours: int = 30, sd: float = 0.2) -> pd.DataFrame:
    rng = np.random.default_rng(8)
    parts = []
    for arm, shift in (("A", 0.0), ("B", 1.0)):
        frame = pd.DataFrame({"bucket": pd.date_range("2025-01-01", periods=hours, freq="h", tz="UTC")})
        frame["net_bps"] = rng.normal(0, sd, hours) + shift * net
        frame["slippage_bps"] = rng.normal(0, sd, hours) + shift * slip
        parts.append(frame.assign(symbol="X", arm=arm, notional=1000.0, taker_notional=0.0, coverage=1.0))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(
    ("net", "slip", "hours", "statuses"),
    [
        (1.0, -0.5, 30, ["PASS", "PASS", "PASS", "PASS", "PASS"]),
        (1.0, 2.0, 30, ["PASS", "PASS", "FAIL", "PASS", "PASS"]),
        (-1.0, -0.5, 30, ["FAIL", "PASS", "PASS", "PASS", "PASS"]),
        (1.0, -0.5, 12, ["NO_DATA", "FAIL", "PASS", "PASS", "PASS"]),
    ],
)
def test_unseen_hours_are_judged_by_the_stage_gates(
    net: float, slip: float, hours: int, statuses: list[str]
) -> None:
    book = load_gates(ROOT)
    score = Score(net, 0.1, slip, 0.1, 0.0, 0.0, hours)
    choice = Choice(0, {"adaptive_spread.vol_weight": 1.0}, score, score, 9)
    results, _ = judge_unseen(book, choice, money(net, slip, hours))
    got = [str(result.status) for result in results]
    assert got[0] == "PASS" if statuses[0] == "PASS" else got[0] != "PASS"
    assert got[1] == "PASS" if statuses[1] == "PASS" else got[1] != "PASS"
    assert got[2:] == statuses[2:]
    assert limits_of(book) == Limits(0.0, 9.0, 2.0)


def test_no_choice_is_no_data() -> None:
    results, experiment = judge_unseen(load_gates(ROOT), Choice(0, None, None, None, 9), module._no_money())
    assert {result.status for result in results} == {Status.NO_DATA}
    assert experiment.buckets == 0


@pytest.fixture
def ws(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "params", tmp_path / "params")
    return tmp_path


def test_a_treatment_file_holds_the_treatment_and_nothing_else(ws: Path) -> None:
    folder = ws / "params" / "calibrated"
    folder.mkdir(exist_ok=True)
    good = folder / "good.yaml"
    good.write_text("adaptive_spread: {vol_weight: 1.5}\nqueue_aware: {headroom_ms: 2000}\n")
    want = {"adaptive_spread.vol_weight": 1.5, "queue_aware.headroom_ms": 2000}
    assert treatment_sets(ws, "good") == treatment_sets(ws, "params/calibrated/good.yaml") == want
    for text, message in (
        ("fees: {maker_bps: -9.0}\n", "fees: expected keys of adaptive_spread"),
        ("adaptive_spread: {enabled: true}\n", "without their switches"),
        ("adaptive_spread: {vol_weight: 99.0}\n", "vol_weight"),
        ("adaptive_spread: {vol_wieght: 1.0}\n", "vol_wieght"),
        ("queue_aware: 3\n", "queue_aware"),
    ):
        (folder / "bad.yaml").write_text(text)
        with pytest.raises(UserError, match=message):
            treatment_sets(ws, "bad")
    with pytest.raises(UserError, match="no such file"):
        treatment_sets(ws, "absent")


@pytest.mark.usefixtures("six")
def test_the_verb_writes_parameters_that_load_and_say_what_they_are_worth(ws: Path) -> None:
    asked = Request(
        name="quick", source="simulated", symbols=("BTCUSDT",), sets={"pipeline.tick_interval_ms": 900},
        hours=2, train_hours=1, unseen_hours=1, trials=3, workers=1,
    )  # fmt: skip
    done = calibrate(ws, asked)
    assert not done.passed  # an hour is no stage
    assert json.dumps(done.to_dict())
    report = (ws / "artifacts/edge/reports/calibration_quick.md").read_text()
    assert "Does not pass" in report
    home = ws / "artifacts/edge/calibration/quick"
    rows = json.loads((home / "search.json").read_text())["trials"]
    assert [row["net_bps"] for row in rows] == pytest.approx(
        pd.read_parquet(home / "search.parquet")["net_bps"].tolist()
    )
    assert "plotly" in (home / "search.html").read_text()
    path = ws / "params/calibrated/quick.yaml"
    if done.point is None:
        assert not path.exists()
        return
    assert path.read_text().startswith("# Treatment quick: did NOT pass")
    config = load_config(ws, [path]).config
    assert as_overrides(done.point)["adaptive_spread"]["vol_weight"] == config.adaptive_spread.vol_weight
    again = calibrate(ws, asked)
    assert (again.trials["evaluated"], again.point) == (0, done.point)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../x"}, "--name"),
        ({"source": "feeds:."}, "no market to replay"),
        ({"trials": 1}, "--trials 1"),
        ({"hours": 1}, "--hours 1"),
        ({"scheduler": "tcp://127.0.0.1:9"}, "no answer"),
    ],
)
def test_what_makes_no_search_is_refused(
    ws: Path, change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farm, "_REACH_S", 0.5)
    given = {
        "source": "simulated",
        "symbols": ("BTCUSDT",),
        "hours": 2,
        "train_hours": 1,
        "unseen_hours": 1,
        "workers": 1,
    }
    with pytest.raises(UserError, match=message):
        calibrate(ws, Request(**given | change))


def test_a_profile_or_the_command_line_names_the_treatment_of_the_stages(ws: Path) -> None:
    (ws / "params" / "calibrated").mkdir(exist_ok=True)
    (ws / "params" / "calibrated" / "mine.yaml").write_text(
        "adaptive_spread: {vol_weight: 1.5, pnl_weight: 0.7}\n"
    )
    named = Options(steps={"ab": {"treatment": "mine"}}, sets={"adaptive_spread.pnl_weight": 0.2})
    (planned,) = plan(ws, [get_step("ab_50")], profile="demo", options=named)
    assert "treatment" not in planned.params
    sets = planned.params["sets"]
    assert (sets["adaptive_spread.vol_weight"], sets["adaptive_spread.pnl_weight"]) == (1.5, 0.2)
    assert sets["pipeline.tick_interval_ms"] == 2000  # of the profile's stage
    text = (ws / "params/profiles/demo.yaml").read_text()
    (ws / "params/profiles/mine.yaml").write_text(
        text.replace("  ab: ", "  ab:\n    treatment: mine\n    # ", 1)
    )
    (planned,) = plan(ws, [get_step("ab_10")], profile="mine")
    assert planned.params["sets"]["adaptive_spread.pnl_weight"] == 0.7
    with pytest.raises(UserError, match=r"absent\.yaml"):
        plan(ws, [get_step("ab_10")], options=Options(steps={"ab": {"treatment": "absent"}}))
    with pytest.raises(UserError, match="only the A/B stages"):
        plan(ws, [get_step("shadow")], options=Options(steps={"shadow": {"treatment": "mine"}}))


def test_two_farms_at_once_share_no_port() -> None:
    with farm.open_farm(1) as one, farm.open_farm(1) as other:
        for each in (one, other):
            assert list(farm.collect(each, math.sqrt, [4.0, 9.0], "roots")) == [2.0, 3.0]


@pytest.mark.parametrize("way", ["processes", "cluster"])
def test_jobs_done_elsewhere_come_to_the_same(way: str) -> None:
    jobs = [4.0, 9.0, 16.0]
    if way == "processes":
        assert list(farm.collect(farm.processes(2), math.sqrt, jobs, "roots")) == [2.0, 3.0, 4.0]
        return
    from distributed import LocalCluster

    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            dashboard_address=None,
            protocol="tcp",
            scheduler_kwargs=farm.ANY_PORT,
        ) as there,
        farm.open_farm(scheduler=there.scheduler_address) as cluster,
    ):
        got = list(farm.collect(cluster, math.sqrt, jobs, "roots"))
    assert got == [2.0, 3.0, 4.0]
