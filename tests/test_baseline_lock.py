"""Stage budgets, their lock and the CI gates, on frames like those of the feed reader."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmlib._io import UserError, sha256_json
from mmlib.baseline import fingerprint as prints
from mmlib.baseline.budgets import NAMES, Budgets, read_budgets, stage_budgets, write_budgets
from mmlib.baseline.lock import LOCKED_FILE, lock, lock_state, obstacle, read_lock
from mmlib.baseline.validate import compare, gates_active, validate
from mmlib.dtypes import Grade, Status
from mmlib.gates.spec import load_gates

ROOT = Path(__file__).parents[1]
HOST = prints.fingerprint("simulated BTCUSDT")
NOON = datetime(2025, 1, 15, 12, tzinfo=UTC)


def ticks(n: int, seed: int = 1, scale: float = 1.0, hit: float = 0.9, miss: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"{name}_ms": scale * rng.lognormal(0.0, 0.2, n) for name in NAMES})
    frame["ts"] = pd.date_range("2025-01-15", periods=n, freq="s", tz="UTC")
    frame["symbol"] = "BTCUSDT"
    frame["cache_hit"] = rng.random(n) < hit
    frame["deadline_miss"] = rng.random(n) < miss
    return frame


def budgets(frame: pd.DataFrame, **changes: Any) -> Budgets:
    facts: dict[str, Any] = {
        "fingerprint": HOST, "status": Status.PASS, "grade": Grade.SIMULATED, "source": "simulated",
        "created": "2025-01-15T11:00:00Z", "tick_interval_s": 1.0,
    }  # fmt: skip
    return stage_budgets(frame, **(facts | changes))


@pytest.fixture
def ws(tmp_path: Path) -> Path:
    (tmp_path / "params").mkdir()
    shutil.copy(ROOT / "params" / "gates.yaml", tmp_path / "params")
    return tmp_path


# --- budgets ---


def test_budgets_hold_what_the_frame_holds(ws: Path) -> None:
    frame = ticks(600, miss=0.01)
    frame.loc[3, "emit_ms"] = np.nan
    path = write_budgets(ws, budgets(frame))
    got = read_budgets(path)
    assert (got.n_ticks, got.span_s, got.symbols) == (600, 600.0, ("BTCUSDT",))
    assert got.hit_ratio == frame["cache_hit"].mean()
    assert got.deadline_miss_pct == pytest.approx(100 * frame["deadline_miss"].mean())
    assert (got.histograms["emit"].n, got.histograms["emit"].rejected) == (599, 1)
    shown = json.loads(path.read_text())["stages"]["tick_total"]
    assert shown["p95_ms"] == pytest.approx(
        np.quantile(frame["tick_total_ms"], 0.95, method="inverted_cdf"), rel=1e-3
    )
    assert got.to_dict() == budgets(frame).to_dict()


def test_no_ticks_are_budgets_of_nothing(ws: Path) -> None:
    path = write_budgets(ws, budgets(ticks(0)))
    assert json.loads(path.read_text())["stages"]["emit"]["p95_ms"] is None
    assert np.isnan(read_budgets(path).hit_ratio)
    assert "holds no ticks" in obstacle(ws)
    with pytest.raises(UserError, match="nothing was locked"):
        lock(ws, unproven=True)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("schema", 2, "schema"),
        ("n_hits", 601, "at most n_ticks"),
        ("n_ticks", -1, "n_ticks"),
        ("n_ticks", True, "n_ticks"),
        ("status", "GREEN", "expected one of PASS"),
        ("grade", None, "expected one of simulated"),
        ("source", 3, "source: expected text"),
        ("symbols", "BTCUSDT", "symbols"),
        ("span_s", "x", "span_s"),
        ("span_s", float("inf"), "span_s"),
        ("fingerprint", [], "fingerprint"),
        ("stages", {}, "stages: expected exactly"),
        ("stages", dict.fromkeys(NAMES), "stages.fetch_md: a histogram is a mapping"),
    ],
)
def test_damaged_budgets_are_refused_by_key(ws: Path, key: str, value: object, message: str) -> None:
    path = write_budgets(ws, budgets(ticks(600)))
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(UserError, match=message) as caught:
        read_budgets(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("text", ["[]", "{", "", "null"])
def test_what_is_no_budgets_file_is_refused(ws: Path, text: str) -> None:
    path = write_budgets(ws, budgets(ticks(600)))
    path.write_text(text)
    with pytest.raises(UserError, match="stage_budgets"):
        read_budgets(path)


# --- lock ---


def test_locking_keeps_content_and_chains_hashes(ws: Path) -> None:
    write_budgets(ws, budgets(ticks(600)))
    first = lock(ws, now=NOON)
    assert (first.locked_at, first.previous_sha256, first.unproven) == ("2025-01-15T12:00:00Z", "", False)
    assert lock(ws) == first
    write_budgets(ws, budgets(ticks(600, seed=2)))
    second = lock(ws, now=NOON)
    assert second.previous_sha256 == first.sha256
    assert second.budgets.to_dict() == budgets(ticks(600, seed=2)).to_dict()
    assert lock_state(ws).locked


def test_nothing_and_failed_gates_are_not_locked(ws: Path) -> None:
    with pytest.raises(UserError, match="run step 2"):
        lock(ws, unproven=True)
    write_budgets(ws, budgets(ticks(600), status=Status.FAIL))
    with pytest.raises(UserError, match="say FAIL, expected PASS; nothing was locked"):
        lock(ws)
    assert not (ws / LOCKED_FILE).exists()
    assert lock(ws, unproven=True).unproven
    assert "without passing shadow gates" in lock_state(ws).reason


def test_one_edited_digit_is_noticed(ws: Path) -> None:
    write_budgets(ws, budgets(ticks(600)))
    lock(ws)
    path = ws / LOCKED_FILE
    payload = json.loads(path.read_text())
    payload["budgets"]["n_hits"] += 1
    path.write_text(json.dumps(payload))
    for read in (read_lock, validate, lock):
        with pytest.raises(UserError, match="hash does not match"):
            read(ws)
    state = lock_state(ws)
    assert not state.locked
    assert "hash does not match" in state.reason


@pytest.mark.parametrize(
    "body", [{"schema": 1}, {"schema": 1, "locked_at": 3, "previous_sha256": "", "budgets": {}}]
)
def test_a_lock_with_a_matching_hash_but_no_content_is_refused(ws: Path, body: dict[str, Any]) -> None:
    path = ws / LOCKED_FILE
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(body | {"sha256": sha256_json(body)}))
    with pytest.raises(UserError, match="expected"):
        read_lock(ws)


def test_validating_without_a_lock_says_how_to_lock(ws: Path) -> None:
    with pytest.raises(UserError, match="finishline baseline --lock"):
        validate(ws)
    assert not lock_state(ws).locked


# --- validation ---


def statuses(ws: Path, candidate: Budgets) -> dict[str, Status]:
    write_budgets(ws, candidate)
    return {r.id: r.status for r in validate(ws)}


def test_the_same_host_a_little_faster_passes(ws: Path) -> None:
    write_budgets(ws, budgets(ticks(20_000)))
    lock(ws)
    assert set(statuses(ws, budgets(ticks(20_000, seed=2, scale=0.9))).values()) == {Status.PASS}


def test_a_slower_candidate_fails_its_stage_and_a_lesser_one_only_the_stage(ws: Path) -> None:
    write_budgets(ws, budgets(ticks(20_000)))
    lock(ws)
    got = statuses(ws, budgets(ticks(20_000, seed=2, scale=1.06)))
    assert (got["ci.stage_p95"], got["ci.tick_p95"]) == (Status.FAIL, Status.PASS)
    assert statuses(ws, budgets(ticks(20_000, seed=2, scale=1.3)))["ci.tick_p95"] is Status.FAIL


def test_hit_ratio_and_misses_have_absolute_limits(ws: Path) -> None:
    write_budgets(ws, budgets(ticks(20_000)))
    lock(ws)
    got = statuses(ws, budgets(ticks(20_000, seed=2, hit=0.5, miss=0.1)))
    assert (got["ci.hit_ratio"], got["ci.deadline_miss"]) == (Status.FAIL, Status.FAIL)


def test_too_few_ticks_decide_nothing(ws: Path) -> None:
    write_budgets(ws, budgets(ticks(20_000)))
    lock(ws)
    got = statuses(ws, budgets(ticks(99, seed=2, scale=9.0)))
    assert set(got.values()) == {Status.INCONCLUSIVE}
    assert set(statuses(ws, budgets(ticks(0))).values()) == {Status.NO_DATA}


def test_another_host_is_inconclusive_but_broken_limits_stay_broken(ws: Path) -> None:
    write_budgets(ws, budgets(ticks(20_000)))
    lock(ws)
    other = HOST | {"cpu": "another"}
    for scale in (0.5, 2.0):
        candidate = budgets(ticks(20_000, seed=2, scale=scale, miss=0.1), fingerprint=other)
        write_budgets(ws, candidate)
        results = {r.id: r for r in validate(ws)}
        assert results["ci.deadline_miss"].status is Status.FAIL
        held = {i: r for i, r in results.items() if i != "ci.deadline_miss"}
        assert {r.status for r in held.values()} == {Status.INCONCLUSIVE}
        assert all("-> another" in r.reason for r in held.values())


def test_the_locked_run_against_itself_says_nothing(ws: Path) -> None:
    write_budgets(ws, budgets(ticks(20_000)))
    lock(ws)
    results = {r.id: r for r in validate(ws)}
    assert results["ci.stage_p95"].status is Status.INCONCLUSIVE
    assert "locked run itself" in results["ci.stage_p95"].reason
    assert results["ci.hit_ratio"].passed


def test_a_candidate_elsewhere_and_its_table(ws: Path, tmp_path: Path) -> None:
    write_budgets(ws, budgets(ticks(20_000)))
    locked = lock(ws)
    path = tmp_path / "candidate.json"
    path.write_text(json.dumps(budgets(ticks(20_000, seed=2, scale=2.0)).to_dict()))
    assert {r.status for r in validate(ws, path) if "p95" in r.id} == {Status.FAIL}
    found = compare(load_gates(ws), locked, read_budgets(path))
    frame = found.frame()
    assert list(frame["stage"]) == list(NAMES)
    assert (frame["low"] > frame["limit"]).all()
    assert frame["limit"].tolist() == pytest.approx([1.03] * 6 + [1.10])


def test_gates_are_active_when_each_was_evaluated(ws: Path) -> None:
    write_budgets(ws, budgets(ticks(600)))
    lock(ws)
    book = load_gates(ws)
    results = validate(ws)
    assert gates_active(results, book).value == 1.0
    missing = gates_active(results[1:], book)
    assert missing.value == 0.0
    assert missing.reason == "not evaluated: ci.stage_p95"


# --- fingerprint ---


def test_a_fingerprint_knows_this_host_and_names_what_differs() -> None:
    assert set(HOST) == set(prints.KEYS)
    assert all(HOST.values())
    assert prints.differences(HOST, dict(HOST)) == []
    changed = {k: v for k, v in HOST.items() if k != "numba"} | {"cores": "128", "gpu": "none"}
    assert prints.differences(HOST, changed) == [
        f"cores: {HOST['cores']} -> 128",
        f"numba: {HOST['numba']} -> unknown",
        "gpu: unknown -> none",
    ]
