"""The reports from the dataset on: each says its verdict first, shows what it was given, and survives hostile text."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmlib.baseline.budgets import stage_budgets, write_budgets
from mmlib.baseline.lock import LockState, lock, lock_state
from mmlib.dtypes import Grade, Status
from mmlib.gates.evaluate import GateResult
from mmlib.gates.spec import GateBook, load_gates
from mmlib.inference.sensitivity import Sensitivity
from mmlib.ops import alerts
from mmlib.ops import daily as ops_daily
from mmlib.ops.day import Day
from mmlib.reports import ab, alert_rules, baseline, daily, dataset, finish_line
from mmlib.reports.render import Provenance
from mmlib.rollout.aa import table_of_counts
from mmlib.rollout.experiment import Experiment, paired_experiment
from mmlib.rollout.stage import StageVerdict
from tests import make_days
from tests.test_reports_workflow import HOSTILE, outside_code

STAMP = Provenance(
    "finishline run", Grade.RECORDING, "recording:x", created=datetime(2025, 1, 17, tzinfo=UTC)
)


@pytest.fixture(scope="module")
def book() -> GateBook:
    return load_gates(Path(__file__).resolve().parents[1])


def gate(name: str, status: Status, **rest: str) -> GateResult:
    return GateResult(name, name.split(".")[0], status, value=1.0, op="<=", limit=2.0, unit="ms", n=3, **rest)


def intervals() -> pd.DataFrame:
    cells = {
        "reason": ["", "coverage below 0.5", "", None],
        "net_bps": [1.0, 99.0, 3.0, 2.0],
        "hit_ratio": 0.9,
    }
    return pd.DataFrame({"symbol": "BTCUSDT", "arm": "A", **cells})


def experiment(n: int = 3) -> Experiment:
    hours = pd.date_range("2025-01-15", periods=n, freq="h", tz="UTC")
    rows = [
        {"symbol": "BTCUSDT", "arm": arm, "bucket": hour, "net_bps": net + i * 0.01, "slippage_bps": 1.0}
        for i, hour in enumerate(hours)
        for arm, net in (("A", 1.0), ("B", 1.5))
    ]
    columns = ["symbol", "arm", "bucket", "net_bps", "slippage_bps"]
    money = pd.DataFrame(rows, columns=columns).assign(notional=1000.0, coverage=1.0)
    return paired_experiment(money, planned_buckets=24)


def verdict(action: str, status: Status) -> StageVerdict:
    results = (gate("ab.accept.net", status),)
    return StageVerdict(
        action, f"{action}: because.", results, (gate("ab.safety.slippage", Status.FAIL),), None
    )


def test_calib_summary_counts_reasons_and_summarises_only_what_was_kept() -> None:
    text = dataset.calib_summary(
        [gate("dataset.duration", Status.PASS)],
        intervals(),
        {"valid_hours": 24.25, "by_reason": {"nested": 1}},
        STAMP,
        files={"artifacts/edge/datasets/calib.json": "ab" * 32},
        quarantined=12,
    )
    assert text.startswith("# Calibration dataset\n\n**PASS.**")
    assert "3 of 4 intervals were kept. 12 lines" in text
    assert "| coverage below 0.5 | 1 |" in text
    assert "| `net_bps` | 3 | 1 | 2 | 3 |" in text
    assert "| `valid_hours` | 24.25 |" in text
    assert "nested" not in text


def test_calib_summary_of_nothing_is_no_data() -> None:
    text = dataset.calib_summary([], pd.DataFrame(), {}, STAMP)
    assert "**NO_DATA.**" in text
    assert "0 of 0 intervals" in text


@pytest.mark.parametrize("action", list(ab.MEANING))
def test_ab_report_leads_with_the_action_and_keeps_the_literal_rules_apart(action: str) -> None:
    text = ab.ab_run_online(verdict(action, Status.PASS), experiment(), pd.DataFrame(), STAMP, rollout_pct=10)
    assert text.startswith(f"# A/B at 10 %\n\n**{action}.** {ab.MEANING[action]} Evidence: recording.")
    main, _, literal = text.partition("## The literal rules")
    assert "ab.safety.slippage" not in main
    assert "ab.safety.slippage" in literal
    assert "Not measured in this run." in literal
    assert "| net, B − A [bps] | 0.5 |" in text
    assert "3 buckets. Delivered: A 3, B 3" in text


def errors(data: str = "drawn") -> pd.DataFrame:
    return table_of_counts(data, {("rollback", "literal"): 24}, 200)


def test_ab_report_without_pairs_and_with_a_rollback() -> None:
    text = ab.ab_run_online(
        verdict("NO DATA", Status.NO_DATA),
        experiment(0),
        pd.DataFrame(),
        STAMP,
        rollout_pct=50,
        errors=errors(),
        rollback={"metric": "taker_share_pct", "value": 9.5},
    )
    assert "No bucket holds both arms." in text
    assert "| `taker_share_pct`" not in text
    assert "| `metric` | taker_share_pct |" in text
    assert "| drawn | rollback | 12 % (7.84 to 17.3; 24 of 200) | – |" in text


def locked(tmp_path: Path, *, source: str = "simulated", unproven: bool = False) -> LockState:
    budgets = stage_budgets(
        make_days.ticks(500),
        fingerprint={"cpu": source, "cores": "2"},
        status=Status.FAIL if unproven else Status.PASS,
        grade=Grade.SIMULATED,
        source=source,
        created="2025-01-15T01:00:00Z",
        tick_interval_s=10.0,
    )
    write_budgets(tmp_path, budgets)
    lock(tmp_path, unproven=unproven)
    return lock_state(tmp_path)


def test_baseline_lock_report_states_hash_machine_and_stages(tmp_path: Path) -> None:
    state = locked(tmp_path)
    assert state.lock is not None
    text = baseline.lock_report([gate("baseline_lock.locked", Status.PASS)], state, STAMP)
    assert "**PASS.**" in text
    assert f"`{state.lock.sha256}`" in text
    assert "| cores | 2 |" in text
    assert "| fetch_md | 500 | 2 | 2 | 2 |" in text
    assert "| cache hit ratio | 1 |" in text
    assert "without passing shadow gates" not in text


def test_baseline_lock_report_says_when_the_lock_is_missing_or_unproven(tmp_path: Path) -> None:
    text = baseline.lock_report([gate("b.l", Status.FAIL)], lock_state(tmp_path), STAMP)
    assert "**No baseline is locked.**" in text
    assert "## The baseline" not in text
    unproven = baseline.lock_report([gate("b.l", Status.PASS)], locked(tmp_path, unproven=True), STAMP)
    assert "**Locked without passing shadow gates.**" in unproven


def test_ci_gates_status_lists_every_rule_and_whether_it_guards(book: GateBook) -> None:
    ratios = pd.DataFrame(
        {"stage": ["spread"], "ratio": [1.01], "low": [0.99], "high": [1.02], "limit": [1.03]}
    )
    results = [gate("ci.hit_ratio", Status.PASS), gate("ci.tick_p95", Status.INCONCLUSIVE)]
    text = baseline.ci_gates_status(results, book, STAMP, active=True, ratios=ratios)
    assert "The CI gates are active." in text
    for found in book.step("ci"):
        assert f"`{found.rule}`" in text
    assert "| spread | 1.01 | 0.99 | 1.02 | 1.03 |" in text
    assert "not active" in baseline.ci_gates_status([], book, STAMP, active=False)


def summary(book: GateBook, *, symbol: str = "BTCUSDT", n: int = 8640) -> ops_daily.DailySummary:
    ticks = make_days.ticks(8640, symbol=symbol)
    fills = make_days.fills(ticks["ts"][::6], symbol=symbol, taker=True)
    return ops_daily.daily_summary(Day(date(2025, 1, 15), ticks.head(n), fills.head(n)), book)


def test_daily_report_leads_with_health_and_first_action(book: GateBook) -> None:
    text = daily.daily(summary(book), STAMP)
    assert text.startswith(
        "# Daily report, 2025-01-15 UTC\n\n**CRITICAL.** 8,640 ticks, up 100 % of the day, 1,440 fills,"
    )
    assert "net 10 bps" in text
    first = text.split("1. ", 1)[1].splitlines()[0]
    assert "taker_share fired on BTCUSDT" in first
    assert "| BTCUSDT | A | 2025-01-15 00:00:00 UTC | 2025-01-15 23:59:50 UTC | 8,640 |" in text
    for heading in ("Uptime", "Latency of each stage", "Market data cache", "Guards", "Errors", "Memory"):
        assert f"## {heading}" in text


def test_daily_report_of_a_healthy_day_says_so(book: GateBook) -> None:
    ticks = make_days.ticks(8640)
    found = ops_daily.daily_summary(Day(date(2025, 1, 15), ticks, make_days.fills(ticks["ts"][::6])), book)
    assert "\n\nEvery gate passed, and no alert would have fired.\n\n" in daily.daily(found, STAMP)


def test_daily_report_of_many_symbols_says_first_what_they_have_in_common(book: GateBook) -> None:
    symbols = ("AUSDT", "BUSDT", "CUSDT")
    ticks = pd.concat([make_days.ticks(8640, symbol=symbol) for symbol in symbols])
    ticks.loc[ticks["symbol"] == "BUSDT", "emit_ms"] = 3.0
    ticks = ticks.assign(errors=(np.arange(len(ticks)) % 1000 == 0).astype(int))
    fills = pd.concat(
        [make_days.fills(ticks["ts"][:8640:n], symbol=s, taker=True) for n, s in enumerate(symbols, start=6)]
    )
    gaps = fills["ts"].dt.hour.isin([3, 4, 5])  # so that the taker share fires twice
    found = ops_daily.daily_summary(Day(date(2025, 1, 15), ticks, fills[~gaps]), book)
    text = daily.daily(found, STAMP)
    assert (
        "\n\nFailed: Taker share of the day, Taker share in operation (2 of 4 gates); would have fired: "
        in text
    )
    short, each = text.split("Each of them:")[0], text.split("Each of them:")[1]
    assert "| critical | `daily.stop.taker_share` | AUSDT | 2 | " in short
    assert each.count("| critical | `daily.stop.taker_share` | AUSDT |") == 2
    (emit,) = [line for line in text.splitlines() if line.startswith("| emit | 25,920 |")]
    assert emit.split(" | ")[-1].startswith("BUSDT, ")
    assert "_No error has a code._" in text
    assert "_It never opened._" in text


def test_daily_report_says_what_made_the_result_and_who_was_weakest() -> None:
    edge = pd.DataFrame(
        {
            "symbol": ["X", "Y", "Z"],
            "arm": "A",
            "notional": [300.0, 100.0, 0.0],
            "gross_bps": [2.0, 2.0, np.nan],
            "quote_travel_bps": [1.0, 1.0, np.nan],
            "fees_bps": [-0.5, -0.5, np.nan],
            "inventory_bps": [0.0, -8.0, np.nan],
            "net_bps": [1.5, -6.5, np.nan],
        }
    )
    assert daily._drivers(edge) == (
        "In bps of traded notional: gross +2.00, quote travel -1.00, fees +0.50, inventory -2.00. "
        "The largest cost was inventory. The weakest was Y with -6.50 bps net."
    )
    assert daily._drivers(edge.iloc[:0]) == ""
    assert daily._drivers(pd.DataFrame()) == ""


def test_daily_report_of_an_empty_day_shows_no_table_of_zeros(book: GateBook) -> None:
    text = daily.daily(summary(book, n=0), STAMP)
    assert "**NO DATA.** No tick was written on this day." in text
    assert "## Uptime" not in text


def test_alert_rules_cover_every_stop_criterion_of_the_gate_file(book: GateBook) -> None:
    text = alert_rules.alert_rules(alerts.alert_rules(book), STAMP)
    assert {f"`{gate.id}`" for gate in book if alerts.alerts(gate)} <= set(text.split())
    for found in book.step("soak"):
        if found.kind == "sustained":
            assert found.runbook in text


def rows(statuses: list[str]) -> pd.DataFrame:
    keys = ["prep", "shadow", "soak"][: len(statuses)]
    cells = {
        "gate": [f"Step {i}" for i in range(len(keys))],
        "requirement": "r",
        "why": "w",
        "grade": "simulated",
    }
    return pd.DataFrame(
        {"step": keys, "status": statuses, **cells, "run_id": "x", "finished": "2025-01-15T00:00:00Z"}
    )


def info(verdict: str, reasons: list[str], *, rehearsal: bool = False) -> dict[str, object]:
    given = {
        "verdict": verdict,
        "reasons": reasons,
        "rehearsal": rehearsal,
        "passed": 1,
        "grade": "simulated",
    }
    return {**given, "evidence_required": "live", "created": "2025-01-17T00:00:00+00:00"}


def test_finish_line_names_the_first_row_that_did_not_pass() -> None:
    text = finish_line.finish_line(
        rows(["PASS", "NO_DATA", "FAIL"]), info("NOT READY", ["Step 1: NO_DATA - w", "evidence is weak"])
    )
    assert text.startswith("# Finish line\n\n**NOT READY.** 1 of 3 acceptance gates passed.")
    assert "finishline run --step shadow" in text
    assert "finishline run --step soak" not in text
    assert text.count("NO_DATA") == 2  # the thing to do first, the row of the table; not a third time
    assert "- evidence is weak" in text
    assert "2025-01-15 00:00 UTC" in text


def test_finish_line_of_a_rehearsal_never_says_ready() -> None:
    text = finish_line.finish_line(rows(["PASS"]), info("REHEARSAL PASSED", [], rehearsal=True))
    assert "This was a rehearsal" in text
    assert "READY" not in text
    assert "Nothing to do." in text


def test_finish_line_that_lacks_only_the_grade_says_so() -> None:
    text = finish_line.finish_line(
        rows(["PASS"]), info("NOT READY", ["evidence is 'simulated'"]) | {"grade": None}
    )
    assert "what is missing is named below" in text
    assert "- evidence is 'simulated'" in text


def test_hostile_text_never_becomes_html(book: GateBook, tmp_path: Path) -> None:
    bad = gate("x.y", Status.FAIL, reason=HOSTILE, title=HOSTILE)
    held = StageVerdict(HOSTILE, HOSTILE, (bad,), (bad,), np.nan)
    table = rows(["FAIL"]).assign(
        gate=HOSTILE, requirement=HOSTILE, why=HOSTILE, step=HOSTILE, finished=HOSTILE
    )
    arms = pd.DataFrame({"symbol": [HOSTILE], "arm": HOSTILE})
    texts = [
        dataset.calib_summary(
            [bad], intervals().assign(symbol=HOSTILE, reason=HOSTILE), {HOSTILE: HOSTILE}, STAMP
        ),
        ab.ab_run_online(
            held,
            replace(experiment(), estimator=HOSTILE),
            arms,
            STAMP,
            rollout_pct=10,
            errors=errors(HOSTILE),
            beside=pd.DataFrame([Sensitivity(HOSTILE, 0.1, 0.0, 0.2, HOSTILE)]),
            rollback={HOSTILE: HOSTILE},
        ),
        ab.ab_aa(errors(HOSTILE), pd.DataFrame({"run": [0], "design": HOSTILE, "fired": HOSTILE}), STAMP),
        baseline.lock_report([bad], locked(tmp_path, source=HOSTILE), STAMP),
        baseline.lock_report([bad], LockState(False, HOSTILE), STAMP),
        baseline.ci_gates_status([bad], book, STAMP, active=True),
        daily.daily(summary(book, symbol=HOSTILE), STAMP),
        finish_line.finish_line(table, info(HOSTILE, [HOSTILE]) | {"evidence_required": HOSTILE}),
    ]
    for text in texts:
        assert "<img" not in outside_code(text)


def test_every_template_ships_in_the_package() -> None:
    from mmlib.reports.render import environment

    names = environment().list_templates()
    assert len(names) >= 15
    for name in names:
        environment().get_template(name)
