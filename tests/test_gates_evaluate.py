"""What each gate says: exact comparisons, sustained windows, and everything that must never pass."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.dtypes import Status
from mmlib.gates.evaluate import (
    GateResult,
    Measurement,
    Monitor,
    aggregate,
    evaluate,
    evaluate_all,
    evaluate_comparison,
    evaluate_grouped,
    evaluate_series,
    find_runs,
    not_evaluated,
    satisfied,
)
from mmlib.gates.spec import Gate, GateBook, read_gates
from mmlib.gates.sustained import fires

MIN = 60_000_000_000
T0 = 1_736_899_200_000_000_000  # 2025-01-15T00:00:00Z
nan = math.nan


@pytest.fixture(scope="module")
def book() -> GateBook:
    return read_gates(Path(__file__).parents[1] / "params" / "gates.yaml")


def gate(**changes: Any) -> Gate:
    base: dict[str, Any] = {
        "id": "x.test", "step": "soak", "title": "t", "kind": "threshold", "metric": "deadline_miss_pct",
        "sense": "require", "op": "<", "limit": 2.0, "unit": "%", "severity": "critical", "source": "s",
        "runbook": "r",
    }  # fmt: skip
    return Gate(**(base | changes))


def stop(**changes: Any) -> Gate:
    base = {"kind": "sustained", "sense": "stop", "op": ">", "limit": 5.0, "for_s": 600.0, "interval_s": 60.0}
    return gate(**(base | changes))


def minutes(values: list[float]) -> tuple[np.ndarray, np.ndarray]:
    return T0 + np.arange(len(values)) * MIN, np.array(values, dtype=float)


# --- thresholds ---


@pytest.mark.parametrize(
    ("gate_id", "on_limit", "passes"),
    [
        ("shadow.hit_ratio", 0.7, True),
        ("shadow.fetch_md_p95", 35.0, True),
        ("shadow.tick_total_p95", 150.0, True),
        ("shadow.deadline_miss", 2.0, False),
        ("dataset.duration", 24.0, True),
        ("dataset.filtered", 10.0, False),
        ("dataset.finite", 0.0, True),
        ("ci.hit_ratio", 0.6, True),
        ("ci.deadline_miss", 2.0, True),
        ("daily.net_bps", 0.0, False),
        ("daily.slippage", 3.0, False),
        ("ab.accept.srm", 0.001, True),
        ("ab.accept.buckets", 24.0, True),
    ],
)
def test_a_value_on_the_limit_is_compared_as_written(
    book: GateBook, gate_id: str, on_limit: float, passes: bool
) -> None:
    result = evaluate(book.get(gate_id), Measurement(on_limit, n=10_000, span_s=3600))
    assert result.passed is passes


def test_past_the_limit_fails_with_both_numbers_in_the_reason() -> None:
    result = evaluate(gate(), Measurement(2.5, n=10))
    assert (result.status, result.value, result.limit) == (Status.FAIL, 2.5, 2.0)
    assert result.reason == "deadline_miss_pct is 2.5 %, expected < 2 %"


@pytest.mark.parametrize(
    "m",
    [
        Measurement(None, n=10),
        Measurement(nan, n=10),
        Measurement(0.0, n=0),
        Measurement(0.0, n=-1),
        Measurement(None, n=0, reason="no feeds"),
    ],
)
def test_nothing_measured_is_no_data(m: Measurement) -> None:
    result = evaluate(gate(), m)
    assert result.status is Status.NO_DATA
    assert result.reason


@pytest.mark.parametrize("bad", [False, True])
def test_too_few_samples_or_seconds_decide_nothing(bad: bool) -> None:
    g = gate(min_n=100, min_span_s=240.0, short="INCONCLUSIVE")
    value = 50.0 if bad else 0.0
    assert evaluate(g, Measurement(value, n=99, span_s=1e6)).status is Status.INCONCLUSIVE
    assert evaluate(g, Measurement(value, n=100, span_s=239.0)).status is Status.INCONCLUSIVE
    assert evaluate(g, Measurement(value, n=100, span_s=240.0)).passed is not bad


def test_a_run_cut_short_never_passes_but_may_fail() -> None:
    short = Measurement(1.0, n=10, span_s=1800, planned_span_s=3600)
    result = evaluate(gate(), short)
    assert result.status is Status.INCONCLUSIVE
    assert "30 min of 1 h planned" in result.reason
    assert evaluate(gate(), Measurement(9.0, n=10, span_s=1800, planned_span_s=3600)).status is Status.FAIL
    assert evaluate(gate(), Measurement(1.0, n=10, span_s=3599, planned_span_s=3600)).passed


def test_an_infinite_value_fails_and_is_recorded_as_none() -> None:
    result = evaluate(gate(), Measurement(math.inf, n=10))
    assert result.status is Status.FAIL
    assert result.value is None
    assert "value is inf" in result.reason
    json.dumps(result.to_dict(), allow_nan=False)


def test_an_unmet_requirement_may_be_declared_undecided(book: GateBook) -> None:
    half = Measurement(13.0, n=156)
    short = Measurement(0.1, n=1)
    assert evaluate(book.get("dataset.duration"), half).status is Status.INCONCLUSIVE
    assert evaluate(book.get("dataset.duration.minimum"), half).passed
    both = evaluate_all(
        [g for g in book.step("dataset") if g.metric == "valid_hours"], {"valid_hours": short}
    )
    assert aggregate(both, "dataset").status is Status.NO_DATA


def test_the_literal_rule_alone() -> None:
    assert satisfied(gate(), 1.999)
    assert not satisfied(gate(), 2.0)
    assert not satisfied(gate(), nan)
    assert satisfied(gate(sense="stop", op=">", limit=5.0), 5.0)


# --- sustained ---


def test_nine_fifty_nine_does_not_fire_and_ten_minutes_do() -> None:
    ts = T0 + np.array([0, 300, 599]) * 1_000_000_000
    g = stop(interval_s=300.0)
    assert evaluate_series(g, ts, np.full(3, 6.0)).passed
    ts[2] += 1_000_000_000
    result = evaluate_series(g, ts, np.full(3, 6.0))
    assert result.status is Status.FAIL
    assert result.window == "2025-01-15T00:00:00Z/2025-01-15T00:10:00Z"
    assert "fired at 2025-01-15T00:10:00Z" in result.reason


def test_ten_violating_minutes_fire_at_the_eleventh_point() -> None:
    assert evaluate_series(stop(), *minutes([6.0] * 10 + [0.0] * 20)).passed
    assert evaluate_series(stop(), *minutes([6.0] * 11 + [0.0] * 20)).status is Status.FAIL


def test_exactly_on_the_limit_is_no_violation() -> None:
    result = evaluate_series(stop(), *minutes([5.0] * 60))
    assert result.passed
    assert (result.value, result.n) == (5.0, 60)


def test_a_requirement_is_violated_when_it_does_not_hold() -> None:
    g = stop(sense="require", op="<=", limit=9.0)
    assert evaluate_series(g, *minutes([9.0] * 60)).passed
    assert evaluate_series(g, *minutes([9.1] * 60)).status is Status.FAIL


def test_a_missing_point_neither_extends_nor_clears() -> None:
    fires = [6.0] * 5 + [nan] + [6.0] * 5
    assert evaluate_series(stop(), *minutes([*fires, 0.0])).status is Status.FAIL
    last_missing = [6.0] * 10 + [nan, 0.0, 0.0]
    assert evaluate_series(stop(), *minutes(last_missing)).passed


def test_a_gap_resets_and_is_no_data_unless_it_fired_elsewhere() -> None:
    gap = [6.0] * 8 + [nan, nan] + [6.0] * 8
    result = evaluate_series(stop(), *minutes([*gap, 0.0]))
    assert result.status is Status.NO_DATA
    assert "1 place" in result.reason
    assert evaluate_series(stop(), *minutes([*gap, 0.0, *[7.0] * 11])).status is Status.FAIL


def test_missing_points_at_either_end_are_gaps_but_for_the_warm_up() -> None:
    assert evaluate_series(stop(), *minutes([0.0] * 30 + [nan] * 3)).status is Status.NO_DATA
    assert evaluate_series(stop(), *minutes([nan] * 3 + [0.0] * 30)).status is Status.NO_DATA
    assert evaluate_series(stop(warmup_s=180.0), *minutes([nan] * 3 + [0.0] * 30)).passed


def test_a_series_shorter_than_the_duration_cannot_pass() -> None:
    result = evaluate_series(stop(), *minutes([0.0] * 5))
    assert result.status is Status.NO_DATA
    assert "covers 5 min, at least 10 min needed" in result.reason
    assert evaluate_series(stop(), *minutes([0.0] * 15), planned_span_s=3600).status is Status.INCONCLUSIVE


@pytest.mark.parametrize("values", [[], [nan], [nan] * 100])
def test_no_points_and_all_nan_are_no_data(values: list[float]) -> None:
    assert evaluate_series(stop(), *minutes(values)).status is Status.NO_DATA


def test_times_out_of_order_are_an_error_not_a_pass() -> None:
    ts, values = minutes([0.0] * 30)
    assert evaluate_series(stop(), ts[::-1], values).status is Status.ERROR
    assert evaluate_series(stop(), ts[:-1], values).status is Status.ERROR


def test_first_window_and_longest_are_both_reported() -> None:
    series = minutes([9.0] + [6.0] * 11 + [0.0] + [8.0] * 21)
    result = evaluate_series(stop(), *series)
    assert result.value == 9.0
    assert "2 such windows, the longest 20 min" in result.reason
    runs, gaps = find_runs(stop(), *series)
    assert [r.worst for r in runs] == [9.0, 8.0]
    assert gaps == 0


def test_infinite_points_violate() -> None:
    result = evaluate_series(stop(), *minutes([math.inf] * 11))
    assert result.status is Status.FAIL
    assert result.value is None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([nan, 4.0, 5.0, 5.1, 6.0]), min_size=1, max_size=60), st.integers(0, 6))
def test_the_monitor_fires_if_and_only_if_the_series_does(values: list[float], minutes_for: int) -> None:
    g = stop(for_s=60.0 * minutes_for)
    ts, array = minutes(values)
    monitor = Monitor(g)
    fired = [monitor.update(int(t), v) for t, v in zip(ts, array, strict=True)]
    assert any(fired) == (evaluate_series(g, ts, array).status is Status.FAIL)
    quiet = np.zeros_like(array)
    assert fires(g, ts, np.array([quiet, array])).tolist() == [False, any(fired)]
    assert not fires(stop(for_s=60.0 * minutes_for, unmet="INCONCLUSIVE"), ts, array[None]).any()


def test_the_monitor_shows_since_when() -> None:
    monitor = Monitor(stop())
    assert monitor.active_since_ns is None
    monitor.update(T0, 6.0)
    assert monitor.active_since_ns == T0
    with pytest.raises(ValueError, match="expected a sustained gate"):
        Monitor(gate())


def test_the_worst_symbol_wins_and_is_named() -> None:
    calm, bad, absent = minutes([1.0] * 30), minutes([6.0] * 30), minutes([nan] * 30)
    worst = evaluate_grouped(stop(), {"AAA": calm, "BBB": bad, "CCC": absent})
    assert worst.status is Status.FAIL
    assert worst.reason.startswith("BBB: ")
    assert evaluate_grouped(stop(), {"AAA": calm, "CCC": absent}).status is Status.NO_DATA
    assert evaluate_grouped(stop(), {"AAA": calm, "BBB": minutes([4.0] * 30)}).value == 4.0
    assert evaluate_grouped(stop(), {}).status is Status.NO_DATA


# --- comparisons ---


@pytest.mark.parametrize(
    ("value", "lower", "upper", "status"),
    [
        (0.5, 0.1, 0.9, Status.PASS),
        (0.2, 0.01, 0.39, Status.PASS),
        (0.5, 0.0, 1.0, Status.INCONCLUSIVE),
        (0.5, -0.1, 1.1, Status.INCONCLUSIVE),
        (0.1, 0.05, 0.3, Status.INCONCLUSIVE),
        (0.1, 0.05, 0.15, Status.FAIL),
        (-0.5, -0.9, -0.1, Status.FAIL),
        (0.5, nan, nan, Status.NO_DATA),
        (nan, 0.1, 0.2, Status.NO_DATA),
    ],
)
def test_b_minus_a_needs_the_limit_and_the_lower_bound(
    book: GateBook, value: float, lower: float, upper: float, status: Status
) -> None:
    assert (
        evaluate_comparison(book.get("ab.accept.net"), Measurement(value, n=24), lower, upper).status
        is status
    )


def test_too_few_buckets_hold_even_with_a_fine_interval(book: GateBook) -> None:
    result = evaluate_comparison(book.get("ab.accept.net"), Measurement(9.0, n=23), 8.0, 10.0)
    assert result.status is Status.INCONCLUSIVE
    assert "23 samples, at least 24 needed" in result.reason


# --- steps ---


def test_a_metric_that_was_not_measured_is_no_data(book: GateBook) -> None:
    results = evaluate_all(book.step("shadow"), {"hit_ratio": Measurement(0.9, n=300, span_s=300)})
    assert [r.status for r in results if r.id == "shadow.hit_ratio"] == [Status.PASS]
    assert {r.status for r in results if r.id != "shadow.hit_ratio"} == {Status.NO_DATA}
    assert aggregate(results, "shadow").status is Status.NO_DATA


def test_a_short_soak_passes_none_of_its_blocking_gates(book: GateBook) -> None:
    ts, values = minutes([0.0] * 6)
    gates = book.step("soak")
    measured = {g.metric: Measurement(0.0, n=342, span_s=342.0) for g in gates if g.kind == "threshold"}
    series = {g.metric: {"BTCUSDT": (ts, values)} for g in gates if g.kind == "sustained"}
    results = evaluate_all(gates, measured, series, span_s=342.0)
    assert len(results) == len(gates)
    assert {r.status for r in results} == {Status.NO_DATA}


def _result(status: Status, severity: str = "critical", name: str = "x.a") -> GateResult:
    return GateResult(id=name, step="soak", status=status, severity=severity)


def test_a_step_is_as_good_as_its_worst_blocking_gate() -> None:
    results = [
        _result(Status.PASS),
        _result(Status.INCONCLUSIVE, name="x.b"),
        _result(Status.FAIL, name="x.c"),
    ]
    whole = aggregate(results, "soak")
    assert (whole.status, whole.n) == (Status.FAIL, 3)
    assert whole.reason == "FAIL: x.c; INCONCLUSIVE: x.b"


def test_warnings_are_counted_and_block_nothing() -> None:
    whole = aggregate([_result(Status.PASS), _result(Status.FAIL, "warning", "x.w")], "soak")
    assert whole.passed
    assert whole.reason == "1 warning: x.w"


def test_no_blocking_gate_is_never_a_pass() -> None:
    assert aggregate([], "soak").status is Status.NO_DATA
    assert aggregate([_result(Status.PASS, "warning")], "soak").status is Status.NO_DATA


def test_results_are_builtin_and_read_back(book: GateBook) -> None:
    result = evaluate(book.get("shadow.hit_ratio"), Measurement(np.float64(0.9), n=np.int64(300), span_s=300))  # type: ignore[arg-type]
    payload = result.to_dict()
    assert {type(v) for v in payload.values()} <= {str, int, float}
    assert GateResult.from_dict(json.loads(json.dumps(payload, allow_nan=False))) == result
    empty = not_evaluated(book.get("prep.flags"), "why")
    assert GateResult.from_dict(empty.to_dict()) == empty


@pytest.mark.parametrize(
    "change",
    [
        {"status": "GREEN"},
        {"n": "3"},
        {"n": 1.5},
        {"value": True},
        {"schema": 2},
        {"extra": 1},
        {"reason": None},
    ],
)
def test_a_foreign_record_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"gate result|GREEN"):
        GateResult.from_dict(_result(Status.PASS).to_dict() | change)
