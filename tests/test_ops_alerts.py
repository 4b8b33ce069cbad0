"""The Prometheus rules: valid, complete, and of one mind with the offline evaluator, by promtool itself."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from mmlib._io import UserError
from mmlib.gates.spec import Gate, GateBook, load_gates, read_gates
from mmlib.metrics.exported import EXPORTED, duration_buckets, le_text
from mmlib.metrics.latency import minute_series
from mmlib.ops import alerts, promql, rule_tests, rules
from mmlib.ops.firings import Series, series
from mmlib.reports import alert_rules as reports
from mmlib.reports.render import Provenance
from mmlib.rollout import safety
from tests import make_days, naive_exporter, naive_gates

MINUTE_NS = 60_000_000_000
promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is absent (Debian package prometheus)"
)


@pytest.fixture(scope="module")
def book() -> GateBook:
    return load_gates(Path(__file__).resolve().parents[1])


def run_promtool(*words: str, cwd: Path) -> str:
    done = subprocess.run(["promtool", *words], cwd=cwd, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, (done.stdout + done.stderr)[:4000]
    return done.stdout


def document(book: GateBook) -> str:
    return reports.alert_rules(alerts.alert_rules(book), Provenance("test"))


def changed(tmp_path: Path, **fields: Any) -> GateBook:
    """The shipped gates, with fields of the deadline's stop criterion changed."""
    text = (Path(__file__).resolve().parents[1] / "params" / "gates.yaml").read_text()
    tree = yaml.safe_load(text)
    next(g for g in tree["gates"] if g["id"] == "soak.stop.deadline_miss").update(fields)
    path = tmp_path / "gates.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True))
    return read_gates(path)


def test_the_rule_file_holds_every_sustained_gate_and_the_days_thresholds(
    book: GateBook, tmp_path: Path
) -> None:
    made = alerts.write_alert_files(tmp_path, book)
    in_file = {
        r["labels"]["gate"]: r for r in rules.rules_in(made[0]) if "alert" in r and "gate" in r["labels"]
    }
    wanted = {g.id for g in book if g.kind == "sustained"}
    assert {g.id for g in book if g.id.startswith("soak.stop.")} <= wanted
    assert set(in_file) == wanted | {"daily.net_bps", "daily.slippage", "daily.taker_share"}
    for gate_id, rule in in_file.items():
        gate = book.get(gate_id)
        assert rule["labels"]["severity"] == gate.severity
        assert " ".join(gate.runbook.split()) == rule["annotations"]["runbook"]
    names = [rule["alert"] for rule in rules.rules_in(made[0]) if "alert" in rule]
    assert len(names) == len(set(names))
    absent = {rule["expr"] for rule in rules.absences()}
    assert {"absent(mm_tick_total)", "absent(process_resident_memory_bytes)"} <= absent


def test_a_rule_that_was_taken_out_or_edited_is_noticed(book: GateBook, tmp_path: Path) -> None:
    path, text = alerts.write_alert_files(tmp_path, book)[0], document(book)
    assert alerts.uncovered(book, path, text) == []
    path.write_text(
        path.read_text().replace("finishline:hit_ratio < bool 0.5", "finishline:hit_ratio < bool 0.4")
    )
    assert alerts.uncovered(book, path, text) == ["soak.stop.hit_ratio"]
    assert "soak.warn.errors" in alerts.uncovered(book, tmp_path / "absent.yml", text)
    assert "soak.stop.taker_share" in alerts.uncovered(book, path, "")
    path.write_text("groups: 3")
    with pytest.raises(UserError, match="expected a Prometheus rule file"):
        alerts.uncovered(book, path, text)


def test_a_changed_limit_and_duration_reach_the_rules(tmp_path: Path) -> None:
    book = changed(tmp_path, limit=7.25, for_s=90, severity="warning")
    mark, _, fired, alert = rules.rules_of(book.get("soak.stop.deadline_miss"))
    assert mark["expr"] == "finishline:deadline_miss_pct > bool 7.25"
    assert "[150s]) == 3" in fired["expr"]  # minutes 0, 1 and 2 cover 90 s
    assert alert["labels"]["severity"] == "warning"


@promtool
@pytest.mark.parametrize(
    "text", ["{{ .Labels.x }} {{", "a\nb", 'quote " and \\ and %', "<script>", "${x} }}"]
)
def test_text_of_the_gate_file_stays_text(text: str, tmp_path: Path) -> None:
    book = changed(tmp_path, title=text, runbook=text)
    rules.write_rules(tmp_path / rules.RULES_FILE.name, book)
    gate = book.get("soak.stop.deadline_miss")
    states = "b" * 11
    test = rule_tests._test("text", rule_tests.drive(gate, states, "one") or {}, [])
    plain = " ".join(text.split())
    expected = {
        "exp_labels": {
            "gate": gate.id,
            "severity": "critical",
            "step": "soak",
            "symbol": "BTCUSDT",
            "arm": "A",
            "instance": "one",
        },
        "exp_annotations": {
            "summary": plain,
            "runbook": plain,
            "source": gate.source,
            "description": f"{gate.rule}; now 100.",
        },
    }
    test["alert_rule_test"] = [
        {"eval_time": "10m", "alertname": "SoakStopDeadlineMiss", "exp_alerts": []},
        {"eval_time": "11m", "alertname": "SoakStopDeadlineMiss", "exp_alerts": [expected]},
    ]
    payload = {"rule_files": [rules.RULES_FILE.name], "evaluation_interval": "60s", "tests": [test]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(payload))
    run_promtool("check", "rules", rules.RULES_FILE.name, cwd=tmp_path)
    run_promtool("test", "rules", "test.yml", cwd=tmp_path)


@promtool
def test_promtool_accepts_the_rules_and_some_of_their_tests(book: GateBook, tmp_path: Path) -> None:
    """All of them run in ci/test, in half a minute."""
    rules.write_rules(tmp_path / rules.RULES_FILE.name, book)
    run_promtool("check", "rules", rules.RULES_FILE.name, cwd=tmp_path)
    payload = rule_tests.test_file(book)
    series = {test["name"]: [given["series"] for given in test["input_series"]] for test in payload["tests"]}
    for gate in book:
        if rules.sustained(gate):
            processes = {name.rpartition('instance="')[2] for name in series[gate.id]}
            assert len(processes) == len(rule_tests.scenarios(gate)) >= 2, gate.id
    some = (
        "soak.stop.deadline_miss",
        "soak.warn.tick_p95",
        "ab.safety.slippage",
        "mm_tick_total",
        "a symbol",
        "the session",
    )
    payload["tests"] = [test for test in payload["tests"] if test["name"].startswith(some)]
    assert len(payload["tests"]) == 6
    (tmp_path / "test.yml").write_text(rules.to_yaml(payload))
    run_promtool("test", "rules", "test.yml", cwd=tmp_path)


@promtool
@pytest.mark.parametrize(
    "matching",
    ["on (job)", "on (instance)", "on ()", "on (job, instance)"],
    ids=["job", "instance", "none", "as it is"],
)
def test_memory_is_matched_with_the_ticks_of_its_own_process(
    matching: str, book: GateBook, tmp_path: Path
) -> None:
    """The generated test of memory fails for rules that take the ticks of another process for its own."""
    path = rules.write_rules(tmp_path / rules.RULES_FILE.name, book)
    text = path.read_text()
    assert text.count("on (job, instance)") >= 2
    path.write_text(text.replace("on (job, instance)", matching))
    payload = rule_tests.test_file(book)
    payload["tests"] = [test for test in payload["tests"] if "stands still" in test["name"]]
    assert len(payload["tests"]) == 1
    (tmp_path / "test.yml").write_text(rules.to_yaml(payload))
    words = ["promtool", "test", "rules", "test.yml"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=1200)
    assert (done.returncode == 0) == (matching == "on (job, instance)"), done.stdout + done.stderr


def test_expected_firings_of_the_generated_tests_are_the_naive_ones(book: GateBook) -> None:
    for gate in book:
        if not rules.sustained(gate):
            continue
        for states in rule_tests.scenarios(gate).values():
            points = [(k * 60, {"b": True, "g": False}.get(s)) for k, s in enumerate(states)]
            runs, _ = naive_gates.sustained(points, round(gate.interval_s), round(gate.for_s))
            on = rule_tests.firing(gate, states)
            for k, state in enumerate(states):
                if state != "-":
                    assert on[k] == any(f is not None and f <= k * 60 <= end for _, end, f in runs)


def test_the_bucket_at_a_limit_is_exported(book: GateBook) -> None:
    limits = [g.limit for g in book if g.metric.endswith("_p95_ms") and g.kind == "sustained"]
    bounds = [le_text(b) for b in duration_buckets(limits)]
    for gate in book:
        if gate.metric in ("tick_total_p95_ms", "fetch_md_p95_ms") and gate.kind == "sustained":
            found = re.search(r'le="([^"+]+)"', promql.violation(gate))
            assert found
            assert found[1] in bounds


def test_every_series_in_a_rule_is_exported_or_recorded(book: GateBook) -> None:
    file = rules.rule_file(book)
    known = {rule["record"] for group in file["groups"] for rule in group["rules"] if "record" in rule}
    known |= {
        f.name + tail
        for f in EXPORTED
        for tail in (("_bucket", "_sum", "_count") if f.type == "histogram" else ("",))
    }
    used = set()
    for group in file["groups"]:
        for rule in group["rules"]:
            bare = re.sub(r'"[^"]*"', "", rule["expr"])
            used |= set(re.findall(r"\b(?:mm_|mm:|finishline:|process_)[a-z0-9_:]+", bare))
    assert used <= known


# --- one session through promtool and through the offline evaluator -----------------------------------------------------


def a_session() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Four hours of two arms with an incident of each kind, some of them across missing minutes."""
    rng = np.random.default_rng(5)
    parts, traded = [], []
    for arm in "AB":
        ticks = make_days.ticks(4 * 360, arm=arm)
        minute = np.arange(len(ticks)) // 6
        at = {name: (minute >= a) & (minute < b) for name, (a, b) in INCIDENTS[arm].items()}
        ticks["tick_total_ms"] = rng.lognormal(3.0, 0.5, len(ticks)) + 400 * at["slow"]
        ticks["fetch_md_ms"] = rng.lognormal(2.0, 0.5, len(ticks)) + 60 * at["fetch"]
        ticks["deadline_miss"] = at["misses"] & (rng.random(len(ticks)) < 0.6)
        ticks.loc[at["exact"], "deadline_miss"] = False
        ticks["cache_hit"] = rng.random(len(ticks)) < np.where(at["cache"], 0.05, 0.95)
        ticks["errors"] = np.where(at["errors"], rng.poisson(4, len(ticks)), rng.random(len(ticks)) < 0.02)
        ticks["breaker_open"] = at["breaker"]
        ticks["guard_level"] = np.where(at["guards"], rng.choice([1, 2, 2, 2], len(ticks)), 0)
        leak = np.maximum(np.arange(len(ticks)) / 360 - 1.5, 0) * 400
        ticks["rss_mb"] = 300.0 + leak
        fills = make_days.fills(ticks["ts"][::5], arm=arm)
        late = (fills["ts"] - make_days.DAY).dt.total_seconds() > 7500
        fills.loc[late & (rng.random(len(fills)) < 0.4), "liquidity"] = "taker"
        fills["mid_at_quote"] = 100.0 + rng.normal(0, 0.01, len(fills)) + (0.02 if arm == "B" else 0) * late
        gone = np.isin(minute, GONE[arm])
        parts.append(ticks[~gone])
        traded.append(fills[~np.isin((fills["ts"] - make_days.DAY).dt.total_seconds() // 60, GONE[arm])])
    return tuple(
        pd.concat(frames).sort_values(["ts", "symbol", "arm"], kind="stable", ignore_index=True)
        for frames in (parts, traded)
    )


INCIDENTS = {
    "A": {
        "slow": (20, 40),
        "fetch": (60, 75),
        "misses": (30, 55),
        "exact": (45, 46),
        "cache": (90, 130),
        "errors": (140, 150),
        "breaker": (160, 175),
        "guards": (70, 82),
    },
    "B": {
        "slow": (100, 112),
        "fetch": (61, 66),
        "misses": (100, 128),
        "exact": (0, 0),
        "cache": (10, 39),
        "errors": (200, 205),
        "breaker": (180, 184),
        "guards": (0, 0),
    },
}
GONE = {"A": [35, 50, 51, 66, 100, 145], "B": [104, 110, 111, 203]}
"""Minutes without a tick, single and in pairs, in and beside the incidents."""


def expected_alerts(
    gate: Gate, groups: dict[str, Series], who: dict[str, dict[str, str]]
) -> dict[int, list[dict[str, str]]]:
    """Minute (start, ns) -> labels of what fires in it, by the offline evaluator."""
    from mmlib.gates.evaluate import find_runs

    found: dict[int, list[dict[str, str]]] = {}
    for name, (ts, values) in groups.items():
        on = {}
        for run in find_runs(gate, ts, values)[0]:
            if run.fired_ns is not None:
                on |= dict.fromkeys(ts[(ts >= run.fired_ns) & (ts <= run.end_ns)].tolist(), True)
        for k, t in enumerate(ts.tolist()):
            held = np.isnan(values[k]) and k and not np.isnan(values[k - 1]) and on.get(int(ts[k - 1]))
            if (on.get(t) and not np.isnan(values[k])) or held:
                found.setdefault(t, []).append(who[name])
    return found


@promtool
def test_one_session_raises_the_same_alerts_at_the_same_times_online_and_offline(
    book: GateBook, tmp_path: Path
) -> None:
    ticks, fills = a_session()
    limits = {"pnl": 15.03, "delta_pnl": 0.55}  # its arms only gain: a budget that they begin below
    book = replace(
        book, gates=tuple(g.model_copy(update={"limit": limits.get(g.metric, g.limit)}) for g in book)
    )
    minutes = minute_series(ticks, fills)
    compared = safety.timeline(minutes, ticks, floor_ms=1.0)
    start_ns, last_ns = make_days.DAY.value, int(minutes["ts"].max().value)
    gates = [g for g in book if rules.sustained(g)]
    step_s, count = 10, int((last_ns - start_ns) / 1e9 / 10) + 13
    limits = [g.limit for g in gates if g.metric.endswith("_p95_ms")]
    inputs = naive_exporter.scrapes(
        ticks, fills, start_ns=start_ns, count=count, step_s=step_s, limits_ms=limits
    )
    regression = dict(
        zip(
            compared["ts"].astype("int64").tolist(), compared["tick_p95_regression_pct"].tolist(), strict=True
        )
    )
    assert compared["ts"].dt.unit == "ns"
    own = {"symbol": "BTCUSDT", "arm": "B"}
    inputs |= naive_exporter.own_metric("tick_p95_regression_pct", own, regression, start_ns, count, step_s)
    expected: dict[int, list[dict[str, str]]] = {}
    fired = set()
    for gate in gates:
        if gate.metric in ("delta_slippage_bps", "delta_pnl", "tick_p95_regression_pct"):
            groups = safety.series(compared, gate.metric)
            labels = {"BTCUSDT": own if gate.metric.startswith("tick") else {"symbol": "BTCUSDT"}}
            labels["all symbols"] = {}
        else:
            groups = series(minutes, gate)
            account = {f"all symbols, arm {arm}": {"arm": arm} for arm in "AB"}
            labels = (
                {"process": {}, "BTCUSDT": own}
                | account
                | {f"BTCUSDT arm {arm}": {"symbol": "BTCUSDT", "arm": arm} for arm in "AB"}
            )
        for minute, found in expected_alerts(gate, groups, labels).items():
            fired.add(gate.id)
            expected.setdefault(minute, []).extend(
                {
                    "alertname": rules.name(gate.id),
                    "gate": gate.id,
                    "severity": gate.severity,
                    "step": gate.step,
                }
                | each
                for each in found
            )
    assert fired == {g.id for g in gates}, "an incident of each kind"
    checks = []
    for minute in range(start_ns, last_ns + 1, MINUTE_NS):
        samples = [
            {
                "labels": "ALERTS{"
                + ", ".join(f'{k}="{v}"' for k, v in {**labels, "alertstate": "firing"}.items())
                + "}",
                "value": 1,
            }
            for labels in expected.get(minute, [])
        ]
        ids = "|".join(g.id for g in gates)
        checks.append(
            {
                "expr": f'ALERTS{{alertstate="firing", gate=~"{ids}"}}',
                "eval_time": f"{(minute - start_ns) // MINUTE_NS + 1}m",
                "exp_samples": samples,
            }
        )
    test = {
        "interval": f"{step_s}s",
        "input_series": [{"series": name, "values": values} for name, values in inputs.items()],
        "promql_expr_test": checks,
    }
    payload = {"rule_files": [rules.RULES_FILE.name], "evaluation_interval": "60s", "tests": [test]}
    rules.write_rules(tmp_path / rules.RULES_FILE.name, book)
    (tmp_path / "test.yml").write_text(yaml.safe_dump(payload, width=10**9))
    run_promtool("test", "rules", "test.yml", cwd=tmp_path)


def test_a_rule_stands_behind_the_recorded_series_that_it_reads_in_the_same_group() -> None:
    """Prometheus evaluates groups independently: a series of another group may be a minute old, or new."""
    for group in rules.rule_file(load_gates(Path(__file__).resolve().parents[1]))["groups"]:
        recorded: set[str] = set()
        for rule in group["rules"]:
            read = {name for name in promql.INCREASES if name in rule["expr"]}
            assert read <= recorded, rule
            recorded.add(rule.get("record", ""))
