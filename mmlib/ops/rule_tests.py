"""promtool unit tests of the rule file: each alert one step before it fires, firing, resolved, and with missing samples.

promtool evaluates every rule in every minute of every test, so what can stand side by side does: each scenario of a gate is a
process of its own, and one that fires must leave the others silent.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mmlib._io import write_atomic
from mmlib.gates.spec import Gate, GateBook
from mmlib.gates.sustained import find_runs
from mmlib.metrics.exported import LABEL_VALUES, Exported, le_text
from mmlib.ops import promql, rules
from mmlib.ops.firings import PROCESS_WIDE
from mmlib.ops.rule_series import BAD, GOOD, MISSING, drive, drive_day, labels, worth

TESTS_FILE = rules.RULES_FILE.with_name("finishline.rules.test.yml")

_WARM = {"rss_slope_mb_per_h": 60}
"""Minutes before a trailing metric exists at all."""


def test_file(book: GateBook, rule_name: str = rules.RULES_FILE.name) -> dict[str, Any]:
    """A test file for ``promtool test rules``: every gate's alert and every alert on absence.

    Args:
        book: the gate file that the rules were made from.
        rule_name: the rule file, beside the test file.
    """
    tests = [test for gate in book if rules.sustained(gate) for test in _of_gate(gate)]
    days = [gate for gate in book if rules.of_a_day(gate)]
    tests += [_of_day(days)] if days else []
    tests += [_of_silent(gate) for gate in book if rules.sustained(gate) and gate.metric in PROCESS_WIDE]
    tests += [_of_absence(family) for family in _absent_families()]
    tests += [_stall(), _vanished()]
    return {"rule_files": [rule_name], "evaluation_interval": f"{promql.STEP_S}s", "tests": tests}


def write_tests(path: Path, book: GateBook) -> Path:
    """Write the test file beside the rule file."""
    return write_atomic(path, rules.to_yaml(test_file(book)))


def firing(gate: Gate, states: str) -> list[bool]:
    """Whether the alert fires at the end of each minute, by the offline evaluator.

    Through a missing minute an alert stays as it was in the last present one, as long as that is near enough.
    """
    ts = np.arange(len(states), dtype=np.int64) * promql.STEP_S * 10**9
    values = np.array([worth(gate, state) for state in states])
    on = [False] * len(states)
    for run in find_runs(gate, ts, values)[0]:
        if run.fired_ns is not None:
            for fired in np.flatnonzero((ts >= run.fired_ns) & (ts <= run.end_ns)):
                on[int(fired)] = True
    reach = int(max(2 * gate.interval_s, promql.STEP_S) // promql.STEP_S) - 1
    for k, state in enumerate(states):
        if state == MISSING:
            last = next((j for j in range(k - 1, max(k - 1 - reach, -1), -1) if states[j] != MISSING), None)
            on[k] = last is not None and on[last]
    return on


def scenarios(gate: Gate) -> dict[str, str]:
    """Name -> a letter a minute, see ``rule_series``."""
    warm, most = GOOD * _WARM.get(gate.metric, 2), rules.points(gate)
    short, long = BAD * (most - 1), BAD * most
    found = {"one step before, fires, resolves": warm + short + GOOD * 2 + long + GOOD * 2}
    if most > 1:
        found |= {
            "a missing minute neither extends": warm + short + MISSING + GOOD * 2,
            "nor clears": warm + short + MISSING + BAD * 2 + GOOD,
            "two missing minutes end a violation": warm + short + MISSING * 2 + short + GOOD * 2,
        }
    found["missing while firing"] = warm + long + MISSING + BAD + MISSING * 2 + GOOD * 2
    return found


def _of_gate(gate: Gate) -> Iterable[dict[str, Any]]:
    """All scenarios of a gate in one test; none for a gate that no series drives."""
    inputs: dict[str, str] = {}
    checks: list[dict[str, Any]] = []
    for title, states in scenarios(gate).items():
        series = drive(gate, states, title)
        if series is not None:
            inputs |= series
            checks += _checks(gate, firing(gate, states), title)
    if inputs:
        yield _test(gate.id, inputs, checks)


def _of_day(gates: list[Gate]) -> dict[str, Any]:
    """A process whose day violates is told of at midnight and not before, one beside it whose day does not is not."""
    inputs: dict[str, str] = {}
    checks: list[dict[str, Any]] = []
    for process, state in (("bad", BAD), ("good", GOOD)):
        inputs |= drive_day(gates, state * 1501, process)
        checks += [
            _check(gate, minute, state == BAD and (minute // 60) % 24 == 0, process)
            for gate in gates
            for minute in (1439, 1440, 1499, 1500)
        ]
    return _test("the day's gates", inputs, checks)


def _of_silent(gate: Gate) -> dict[str, Any]:
    """The memory of a process that stands still is judged by nobody, whatever ticks beside it.

    Beside it are another process of its job, and one of another job at the same address. Of two that tick, only the one whose
    memory is bad is told of.
    """
    bad = GOOD * _WARM.get(gate.metric, 2) + BAD * rules.points(gate)
    good = GOOD * len(bad)
    inputs: dict[str, str] = {}
    for job, instance, states in (
        ("desk", "still", bad),
        ("desk", "one", good),
        ("other", "still", good),
        ("other", "two", bad),
    ):
        for series, values in (drive(gate, states, instance) or {}).items():
            stands = (job, instance) == ("desk", "still") and series.startswith("mm_tick_total")
            name = series.replace("instance=", f'job="{job}", instance=')
            inputs[name] = f"0x{len(bad)}" if stands else values
    told = {"gate": gate.id, "severity": gate.severity, "step": gate.step, "job": "other", "instance": "two"}
    alert = rules.name(gate.id)
    wanted = [_looked(alert, len(bad) - 1, None), _looked(alert, len(bad), told)]
    return _test(f"{gate.id}: of a process that stands still", inputs, wanted)


def _checks(gate: Gate, on: list[bool], process: str) -> list[dict[str, Any]]:
    """A look at each minute before and after a change, and at the last."""
    at = {len(on) - 1} | {k for k in range(1, len(on)) if on[k] != on[k - 1]}
    at |= {k - 1 for k in at if k}
    return [_check(gate, k + 1, on[k], process) for k in sorted(at)]


def _check(gate: Gate, minute: int, fires: bool, process: str) -> dict[str, Any]:
    given = {
        "gate": gate.id,
        "severity": gate.severity,
        "step": gate.step,
        **labels(gate),
        "instance": process,
    }
    return _looked(rules.name(gate.id), minute, given if fires else None, process)


def _looked(name: str, minute: int, given: dict[str, str] | None, process: str = "") -> dict[str, Any]:
    """Whether one alert fires at a minute, in one process or at all."""
    found = []
    where = f', instance="{process}"' if process else ""
    if given is not None:
        every = {"alertname": name, "alertstate": "firing", **given}
        found = [{"labels": "ALERTS{" + ", ".join(f'{k}="{v}"' for k, v in every.items()) + "}", "value": 1}]
    return {
        "expr": f'ALERTS{{alertname="{name}", alertstate="firing"{where}}}',
        "eval_time": f"{minute}m",
        "exp_samples": found,
    }


def _test(title: str, inputs: dict[str, str], checks: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": title,
        "interval": f"{promql.STEP_S}s",
        "input_series": [{"series": name, "values": values} for name, values in inputs.items()],
        "promql_expr_test": checks,
    }


def _absent_families() -> list[Exported]:
    named = {rule["alert"] for rule in rules.absences()}
    return [f for f in rules.EXPORTED if rules.absent_name(f) in named]


def _of_absence(family: Exported) -> dict[str, Any]:
    """Ten minutes there, gone, there again."""
    given = {"symbol": "BTCUSDT", "arm": "A"} | {
        label: LABEL_VALUES[label][0] for label in family.labels if label in LABEL_VALUES
    }
    given = {k: v for k, v in given.items() if k in family.labels}
    if family.type == "histogram":
        given["le"] = le_text(0.1)
    series = rules.series_of(family)
    if given:
        series += "{" + ", ".join(f'{k}="{v}"' for k, v in given.items()) + "}"
    name = rules.absent_name(family)
    # gone from minute 11 on, for two minutes by 13; there again at 15
    wanted = [
        _looked(name, minute, {"severity": "critical"} if on else None)
        for minute, on in ((10, 0), (12, 0), (13, 1), (14, 1), (15, 0))
    ]
    return _test(f"{family.name}: absent", {series: "1x10 stale _x3 1x3"}, wanted)


def _stall() -> dict[str, Any]:
    """Ticks stand still from minute 6 on, and go on at minute 10."""
    given = {"severity": "critical", "symbol": "BTCUSDT", "arm": "A"}
    wanted = [
        _looked("FinishlineNoTicks", minute, given if on else None)
        for minute, on in ((6, 0), (7, 0), (8, 1), (9, 1), (10, 0))
    ]
    series = 'mm_tick_total{symbol="BTCUSDT", arm="A"}'
    return _test("the session does not tick", {series: "0+60x5 300x3 360+60x3"}, wanted)


def _vanished() -> dict[str, Any]:
    """One of two symbols is gone from minute 21 on."""
    series = {f'mm_tick_total{{symbol="{s}", arm="A"}}': v for s, v in (("A", "0+60x40"), ("B", "0+60x20"))}
    given = {"severity": "critical", "symbol": "B", "arm": "A"}
    wanted = [
        _looked("FinishlineSymbolVanished", minute, given if on else None)
        for minute, on in ((20, 0), (23, 0), (25, 1), (30, 1), (39, 0))
    ]
    return _test("a symbol vanished", series, wanted)
