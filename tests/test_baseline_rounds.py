"""Builds measured in turns: the interval against scipy, false alarms on noise as bad as ours, and real runs."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wilcoxon
from statsmodels.stats.proportion import proportion_confint

from mmlib._io import UserError, write_json
from mmlib.baseline import candidate, repeat, trend
from mmlib.baseline.budgets import NAMES, write_budgets
from mmlib.baseline.build import BUILDS, Build, keep_build, kept_build, source_sha256, this_build
from mmlib.baseline.lock import HISTORY, Circumstances, flags_since, lock, lock_history, obstacle
from mmlib.baseline.repeat import compute_ms
from mmlib.baseline.rounds import NAMES as MEASURED
from mmlib.baseline.rounds import Side, measure_rounds
from mmlib.baseline.validate import _whole, compare
from mmlib.config.models import Config
from mmlib.core.histogram import Histogram
from mmlib.dtypes import TICK, Status
from mmlib.feeds.sidecar import write_sidecar
from mmlib.gates.regression import evaluate_regression, ratio_limit
from mmlib.gates.share import evaluate_share, share
from mmlib.gates.spec import load_gates
from mmlib.inference.rounds import apart_ratio, paired_ratio, signed_rank_cut, walsh_averages
from tests.test_baseline_lock import budgets, ticks

ROOT = Path(__file__).parents[1]
SESSION = {
    "spec": {
        "uri": "simulated", "symbols": ["BTCUSDT"], "arms": ["A"], "duration_s": 20.0, "offset_s": 0.0,
        "start_ns": 1_736_899_200_000_000_000, "seed": 7,
    },
    "config": Config.model_validate(
        {"pipeline": {"tick_interval_ms": 200}, "trace": {"sample_rate": 1.0}}
    ).model_dump(mode="json"),
}  # fmt: skip


@pytest.fixture
def ws(tmp_path: Path) -> Path:
    (tmp_path / "params").mkdir()
    shutil.copy(ROOT / "params" / "gates.yaml", tmp_path / "params")
    return tmp_path


# --- the interval ---


@pytest.mark.parametrize("n", [7, 12, 25])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_bound_is_where_scipys_exact_test_turns(n: int, alpha: float) -> None:
    values = np.random.default_rng(n).normal(size=n)
    cut = signed_rank_cut(n, alpha)
    if cut == 0:
        assert 2.0**-n > alpha
        return
    bound = walsh_averages(values)[cut - 1]
    p = [
        wilcoxon(values - bound - shift, alternative="greater", method="exact").pvalue
        for shift in (-1e-9, 1e-9)
    ]
    assert p[0] <= alpha < p[1]


def noisy(rng: np.random.Generator, rounds: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Runs that drift together by ten percent, jump between two levels, and are disturbed by up to half."""
    drift = 1.0 + 0.1 * np.cumsum(rng.normal(0, 0.3, rounds))
    sides = [
        100.0
        * np.abs(drift)
        * rng.choice([1.0, 1.35], rounds, p=[0.8, 0.2])
        * (1.0 + rng.exponential(0.05, rounds))
        for _ in range(2)
    ]
    return sides[0], sides[1] * scale


def test_an_unchanged_build_does_not_fail_under_drift_jumps_and_disturbance() -> None:
    rng = np.random.default_rng(3)
    fails = sum(
        paired_ratio(*noisy(rng, 12), limit=1.03, alpha=0.01).status is Status.FAIL for _ in range(600)
    )
    assert fails <= 6  # one percent of them; the true ratio is 1, the limit lies three percent above


def test_quiet_runs_decide_both_ways_and_say_how_many_more_where_they_do_not() -> None:
    rng = np.random.default_rng(4)
    base = 200.0 * np.exp(rng.normal(0, 0.004, 20))
    cand = 200.0 * np.exp(rng.normal(0, 0.004, 20))
    settings_ = {"limit": 1.03, "alpha": 0.01 / 7, "ticks": (2000, 2000)}
    assert paired_ratio(base, cand, **settings_).status is Status.PASS
    slow = paired_ratio(base, 1.06 * cand, **settings_)
    assert (slow.status, slow.point_status, slow.runs) == (Status.FAIL, Status.FAIL, 20)
    near = paired_ratio(base, 1.031 * cand, **settings_)
    assert near.status is Status.INCONCLUSIVE
    few = paired_ratio(base[:6], cand[:6], **settings_)
    assert (few.status, few.needed_runs, few.needed_n) == (Status.INCONCLUSIVE, 10, math.ceil(2000 / 6 * 10))
    wide = paired_ratio(base * np.exp(rng.normal(0, 0.06, 20)), cand, **settings_)
    assert wide.status is Status.INCONCLUSIVE
    assert wide.needed_runs is not None and wide.needed_runs > 20


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 50.0), st.floats(0.0, 50.0)), min_size=10, max_size=30))
def test_below_the_floor_nothing_grows(pairs: list[tuple[float, float]]) -> None:
    base, cand = zip(*pairs, strict=True)
    got = paired_ratio(base, cand, limit=1.03, alpha=0.01, floor_ms=50.0)
    assert (got.status, got.ratio) == (Status.PASS, 1.0)


def test_what_cannot_be_compared_says_so() -> None:
    ten = [1.0] * 10
    assert paired_ratio([], [], limit=1.03, alpha=0.01).status is Status.NO_DATA
    assert paired_ratio(ten, [*ten[:9], math.nan], limit=1.03, alpha=0.01).status is Status.NO_DATA
    zero = paired_ratio([0.0] * 10, ten, limit=1.03, alpha=0.01)
    assert (zero.status, zero.point_status) == (Status.INCONCLUSIVE, Status.NO_DATA)
    with pytest.raises(ValueError, match="one of each"):
        paired_ratio(ten, ten[:9], limit=1.03, alpha=0.01)
    assert apart_ratio(ten[:4], ten, limit=1.03, alpha=0.01).status is Status.INCONCLUSIVE
    assert apart_ratio(ten, ten, limit=1.03, alpha=0.01).status is Status.PASS


def test_runs_that_drift_count_for_fewer() -> None:
    rng = np.random.default_rng(5)
    steps = rng.normal(0, 0.01, (2, 30))
    loose = apart_ratio(*np.exp(steps), limit=1.03, alpha=0.01)
    drifting = np.exp(np.cumsum(steps, axis=1) / 2)
    tight = apart_ratio(*drifting, limit=1.03, alpha=0.01)
    spread = np.log(drifting).std(axis=1).mean() / steps.std(axis=1).mean()
    assert (tight.upper - tight.lower) > 1.5 * spread * (loose.upper - loose.lower)


# --- shares ---


@pytest.mark.parametrize(("k", "n"), [(0, 100), (7, 900), (600, 1000), (1000, 1000)])
def test_a_share_of_independent_ticks_has_wilsons_interval(k: int, n: int) -> None:
    got = share(k, n)
    assert (got.lower, got.upper) == pytest.approx(proportion_confint(k, n, alpha=0.01, method="wilson"))


def test_bursts_widen_and_a_near_miss_is_not_a_failure(ws: Path) -> None:
    gate = load_gates(ws).get("ci.hit_ratio")
    calm, bursts = [(59, 100)] * 10, [(100, 100)] * 5 + [(18, 100)] * 5
    assert share(590, 1000, bursts).upper > share(590, 1000, calm).upper + 0.1
    near = evaluate_share(gate, share(590, 1000, calm))
    assert (near.status, "point rule: FAIL" in near.reason) == (Status.INCONCLUSIVE, True)
    assert evaluate_share(gate, share(300, 1000)).status is Status.FAIL
    assert evaluate_share(gate, share(900, 1000)).passed
    assert evaluate_share(gate, share(0, 0)).status is Status.NO_DATA


# --- real runs ---


def test_two_real_rounds_are_measured_and_too_few_to_decide(ws: Path) -> None:
    build = this_build()
    base, cand = measure_rounds(build, build, sessions=(SESSION, SESSION), rounds=2, passes=2)
    assert (base.n_runs, cand.n_runs, base.n_ticks) == (2, 2, 2 * 2 * 100)
    assert (base.n_hits, base.n_misses) == (cand.n_hits, cand.n_misses)  # the market is the same in every run
    assert base.histograms["emit"].n == 400
    assert all(0 < value < 1 for value in cand.runs["emit"])
    write_budgets(ws, budgets(ticks(600)))
    found = compare(load_gates(ws), lock(ws), budgets(ticks(600)), sides=(base, cand))
    by_id = {result.id: result for result in found.results}
    assert by_id["ci.stage_p95"].status is Status.INCONCLUSIVE
    assert "2 rounds; at least 10 are needed" in by_id["ci.stage_p95"].reason
    assert not found.same_run


def test_a_build_that_cannot_run_is_named(ws: Path) -> None:
    (ws / "mmlib").mkdir()
    (ws / "mmlib" / "__init__.py").write_text("raise RuntimeError('broken on purpose')\n")
    broken = Build(ws, source_sha256(ws / "mmlib"))
    with pytest.raises(UserError, match="broken on purpose"):
        measure_rounds(broken, broken, sessions=(SESSION, SESSION), rounds=1, passes=1)


def test_runs_of_a_build_share_no_lucky_place() -> None:
    def places(prepare: str) -> int:
        """How many places the same memory has in eight forks of one process."""
        script = f"""
import os
import numpy as np
from mmlib.baseline.repeat import _scatter
for _ in range(8):
    if os.fork() == 0:
        gaps = {prepare}
        print(np.empty(1 << 28, np.uint8).ctypes.data, flush=True)
        os._exit(0)
    os.wait()
"""
        command = [sys.executable, "-c", script]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout.split()
        assert len(said) == 8
        return len(set(said))

    assert places("None") == 1
    assert places("_scatter(np.random.default_rng())") >= 6


def test_a_run_deeper_in_the_stack_gives_what_it_gives() -> None:
    assert repeat._deeper(63, lambda: "found") == "found"
    with pytest.raises(ZeroDivisionError):
        repeat._deeper(5, lambda: 1 / 0)


def test_killed_rounds_leave_no_process_behind(tmp_path: Path) -> None:
    write_json(tmp_path / "session.json", SESSION)
    code = (
        "import json, sys\nfrom mmlib.baseline.build import this_build\n"
        "from mmlib.baseline.rounds import measure_rounds\nsession = json.load(open(sys.argv[1]))\n"
        "measure_rounds(this_build(), this_build(), sessions=(session, session), rounds=10_000, "
        "progress=lambda done, of: print(done, flush=True))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "session.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "1\n"
        benches = psutil.Process(driver.pid).children(recursive=True)
        driver.kill()
    assert len(benches) >= 2
    assert psutil.wait_procs(benches, timeout=200)[1] == []


def test_a_kept_build_that_was_edited_is_refused_by_name(ws: Path) -> None:
    build = this_build()
    kept = keep_build(ws, build)
    assert kept.sha256 == build.sha256 == source_sha256(kept.root / "mmlib")
    assert keep_build(ws, build) == kept
    with (kept.root / "mmlib" / "_io.py").open("a") as handle:
        handle.write("# faster\n")
    with pytest.raises(UserError, match=rf"{BUILDS.as_posix()}/{build.sha256[:16]}: was edited"):
        kept_build(ws, build.sha256)
    with pytest.raises(UserError, match="no such build"):
        kept_build(ws, "0" * 64)


def side(build: str, scale: float = 1.0, rounds: int = 20, seed: int = 1) -> Side:
    rng = np.random.default_rng(seed)
    runs = {name: tuple(scale * np.exp(rng.normal(0, 0.003, rounds))) for name in NAMES}
    whole = Histogram(np.full(1000, scale))
    return Side(build, runs, dict.fromkeys(NAMES, whole), 1000, 900, 0)


def test_the_lock_decides_what_is_measured_against_what(ws: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def fake(base: Build, cand: Build, **_: Any) -> tuple[Side, Side]:
        asked.append((base.sha256, cand.sha256))
        return side(base.sha256), side(cand.sha256, seed=2)

    monkeypatch.setattr(candidate, "measure_rounds", fake)
    facts = {"grade": "simulated", "source": "simulated", "symbols": ["BTCUSDT"], "arms": ["A"], "seed": 7}
    stated = {"started": "", "finished": "", "complete": True, "tick_interval_ms": 200}
    write_sidecar(ws / candidate.SHADOW_FEEDS, {**facts, **stated, **SESSION})
    write_budgets(ws, budgets(ticks(600)))
    here = this_build().sha256
    first = candidate.measure_candidate(ws, locking=True)
    locked = lock(ws, made=first.made(ws, {"trace.enabled": True}))
    assert locked.made.build_sha256 == here
    assert len(locked.made.runs["emit"]) == 20
    monkeypatch.setattr(candidate, "this_build", lambda: Build(ROOT, "f" * 64))
    changed = candidate.measure_candidate(ws, locking=False)
    assert asked == [(here, here), (here, "f" * 64)]
    assert compare(load_gates(ws), locked, changed.budgets, sides=changed.sides).results[0].passed
    write_budgets(ws, budgets(ticks(600, seed=2)))
    assert candidate.measure_candidate(ws, locking=True).said.count("both sides") == 1
    other = {**SESSION, "spec": {**SESSION["spec"], "seed": 8}}
    write_sidecar(ws / candidate.SHADOW_FEEDS, {**facts, **stated, **other})
    assert "another session" in candidate.measure_candidate(ws, locking=False).said


# --- history ---


def test_locks_are_kept_and_tell_since_when_a_flag_is_so(ws: Path) -> None:
    from datetime import UTC, datetime

    assert flags_since(ws, {"a": 1}) == {"a": "never locked"}
    for day, flags in ((1, {"a": 1, "b": 5}), (2, {"a": 2, "b": 5}), (3, {"a": 2, "b": 5})):
        write_budgets(ws, budgets(ticks(600, seed=day)))
        lock(ws, now=datetime(2025, 1, day, tzinfo=UTC), made=Circumstances(flags=flags))
    locks, wrong = lock_history(ws)
    assert ([one.locked_at[:10] for one in locks], wrong) == (["2025-01-01", "2025-01-02", "2025-01-03"], [])
    want = {"a": "2025-01-02T00:00:00Z", "b": "2025-01-01T00:00:00Z"}
    assert flags_since(ws, {"a": 2, "b": 5}) == want
    assert flags_since(ws, {"a": 3})["a"] == "after 2025-01-03T00:00:00Z"
    path = sorted((ws / HISTORY).glob("*.json"))[1]
    path.write_text(path.read_text().replace('"a": 2', '"a": 9'))
    locks, wrong = lock_history(ws)
    assert len(locks) == 2
    assert path.name in wrong[0]


def test_an_edited_lock_is_an_obstacle_with_its_name(ws: Path) -> None:
    write_budgets(ws, budgets(ticks(600)))
    locked = lock(ws)
    assert obstacle(ws) == obstacle(ws, locking=False) == ""
    payload = json.loads(locked.path.read_text())
    write_json(locked.path, payload | {"locked_at": "2020-01-01T00:00:00Z"})
    for locking in (True, False):
        assert "stage_budgets.locked.json: its hash does not match" in obstacle(ws, locking=locking)


def test_a_level_that_changed_is_found_and_noise_is_not() -> None:
    rng = np.random.default_rng(6)
    quiet = rng.normal(0, 0.01, 40)
    assert trend.change_points(quiet) == []
    assert trend.change_points(np.concatenate([quiet, quiet + 0.08])) == [40]
    assert trend.change_points(quiet[:5]) == []
    assert trend.change_points(np.zeros(30)) == []


def test_measurements_are_remembered_by_host(ws: Path) -> None:
    write_budgets(ws, budgets(ticks(600)))
    locked = lock(ws)
    book = load_gates(ws)
    for day in range(1, 13):
        scale = 1.0 if day < 7 else 1.1
        found = compare(book, locked, locked.budgets, sides=(side("a"), side("b", scale, seed=day)))
        assert trend.remember(ws, found, at=f"2025-01-{day:02d}T00:00:00Z") is not None
    assert trend.remember(ws, compare(book, locked, locked.budgets), at="2025-02-01T00:00:00Z") is None
    with (ws / trend.MEASUREMENTS).open("a") as handle:
        handle.write("not json\n")
    frame = trend.trend(ws, locked.budgets.fingerprint)
    assert len(frame) == 12 * len(NAMES)
    emit = frame[frame["stage"] == "emit"]
    assert emit["segment"].tolist() == [0] * 6 + [1] * 6
    assert emit["change_pct"].iloc[-1] == pytest.approx(10.0, abs=0.3)
    assert trend.trend(ws, {"cpu": "another"}).empty


def test_the_measured_part_of_a_tick_is_its_stages_without_the_modelled_refresh() -> None:
    rows = np.zeros(3, TICK)
    rows["tick_total_ms"], rows["fetch_md_ms"] = 40.0, 39.0
    rows["spread_ms"], rows["guards_ms"], rows["inventory_ms"] = 0.5, [0.25, 0.25, np.nan], 0.125
    rows["queue_aware_ms"] = rows["emit_ms"] = np.nan
    rows["spread_ms"][2] = rows["inventory_ms"][2] = np.nan
    np.testing.assert_array_equal(compute_ms(rows), [0.875, 0.875, np.nan])


def test_more_compute_fails_the_tick_gate_though_the_modelled_total_hides_it() -> None:
    """The whole tick is a modelled refresh that never varies; half as much compute again must still fail."""
    rng = np.random.default_rng(0)

    def side(factor: float) -> Side:
        runs = {name: tuple(np.full(20, 35.0)) for name in MEASURED}
        runs["compute"] = tuple(2e-3 * factor * np.exp(rng.normal(0, 0.01, 20)))
        return Side("b", runs, {name: Histogram() for name in MEASURED}, 1000, 900, 0, 1.0)

    gate = load_gates(ROOT).get("ci.tick_p95")
    for factor, status in ((1.0, Status.PASS), (1.5, Status.FAIL), (1.15, Status.FAIL)):
        sides = side(1.0), side(factor)
        names = _whole(sides)
        assert names == ("tick_total", "compute")
        found = {
            name: paired_ratio(sides[0].runs[name], sides[1].runs[name], limit=ratio_limit(gate), alpha=0.001)
            for name in names
        }
        assert evaluate_regression(gate, found).status is status
    old = replace(side(1.0), runs={**side(1.0).runs, "compute": (float("nan"),) * 20})
    assert _whole((old, side(1.0))) == ("tick_total",), "a build locked before compute was stated"


def test_runs_that_would_take_more_than_ten_minutes_are_not_asked_for() -> None:
    rng = np.random.default_rng(3)
    base, cand = (np.exp(rng.normal(0.0, 0.05, 12)) for _ in range(2))
    free = paired_ratio(base, 1.028 * cand, limit=1.03, alpha=0.01)
    assert free.needed_runs is not None
    bounded = paired_ratio(base, 1.028 * cand, limit=1.03, alpha=0.01, most_runs=free.needed_runs - 1)
    assert bounded.status is Status.INCONCLUSIVE
    assert bounded.needed_runs is None
    assert "this machine cannot decide it" in bounded.reason
