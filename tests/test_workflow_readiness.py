"""The verdict: only nine fresh passes on good enough evidence are READY."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mmlib._io import UserError
from mmlib.dtypes import Grade, Status
from mmlib.gates.spec import load_gates
from mmlib.workflow.readiness import JSON_PATH, REPORT_PATH, collect, write_readiness
from mmlib.workflow.record import open_step
from mmlib.workflow.status import next_step, overview
from mmlib.workflow.steps import ACCEPTANCE, BY_KEY, select_steps
from tests.workflow_fixtures import record_all, result


def test_nothing_ran(tmp_path: Path) -> None:
    found = collect(tmp_path)
    assert found.verdict == "NOT READY"
    assert len(found.rows) == 9
    assert set(found.rows["status"]) == {"NO_DATA"}
    assert set(found.rows["why"]) == {"not run"}
    assert found.grade is None
    assert "no step has read any data" in found.reasons


def test_ready_needs_nine_passes_on_live_data(tmp_path: Path) -> None:
    record_all(tmp_path)
    assert collect(tmp_path).verdict == "READY"
    assert collect(tmp_path).grade is Grade.LIVE
    assert [r.status for r in collect(tmp_path).results(load_gates(tmp_path))] == [Status.PASS, Status.PASS]


def test_weaker_evidence_is_never_ready(tmp_path: Path) -> None:
    record_all(tmp_path)
    open_step("daily_ops", workspace=tmp_path).finish([result("daily_ops")], grade=Grade.RECORDING)
    found = collect(tmp_path)
    assert found.passed == 9
    assert found.verdict == "NOT READY"
    assert found.reasons == ("evidence is 'recording'; the profile demands 'live'",)
    assert {r.id: r.status for r in found.results(load_gates(tmp_path))}["readiness.grade"] is Status.FAIL


def test_rehearsal_never_says_ready(tmp_path: Path) -> None:
    record_all(tmp_path, grade=Grade.SIMULATED)
    assert collect(tmp_path, "simulated", rehearsal=True).verdict == "REHEARSAL PASSED"
    open_step("soak", workspace=tmp_path).finish([result("soak", "FAIL")], grade=Grade.SIMULATED)
    assert collect(tmp_path, Grade.SIMULATED, rehearsal=True).verdict == "REHEARSAL NOT PASSED"


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.PASS])
def test_only_pass_promotes(tmp_path: Path, status: Status) -> None:
    record_all(tmp_path, without=("ab_50",))
    open_step("ab", workspace=tmp_path, rollout_pct=50).finish([result("ab_50", status)], grade=Grade.LIVE)
    found = collect(tmp_path)
    assert found.verdict == "NOT READY"
    assert found.rows.set_index("step").loc["ab_50", "status"] == status
    assert found.passed == 8


def test_a_changed_limit_touches_the_steps_that_read_it(tmp_path: Path) -> None:
    record_all(tmp_path)
    gates = tmp_path / "params" / "gates.yaml"
    gates.write_text(gates.read_text() + "\n# a comment decides nothing\n")
    assert set(collect(tmp_path).rows["status"]) == {"PASS"}
    before = gates.read_text()
    gates.write_text(before.replace("source: fetch_md p95 <= 35ms", "source: another word"))
    rows = collect(tmp_path).rows.set_index("step")
    assert set(rows.index[rows["status"] == "INCONCLUSIVE"]) == {"prep", "shadow", "daily_ops"}
    assert "params/gates.yaml changed since; run the step again" in rows.loc["shadow", "why"]


def test_a_changed_setting_touches_the_steps_that_run_under_it(tmp_path: Path) -> None:
    record_all(tmp_path)
    config, overrides = (tmp_path / "params" / n for n in ("config.yaml", "config.soak_overrides.yaml"))
    config.write_text(config.read_text() + "\n# a comment decides nothing\n")
    assert set(collect(tmp_path).rows["status"]) == {"PASS"}
    overrides.write_text(overrides.read_text() + "\nquoting:\n  order_notional: 1001.0\n")
    rows = collect(tmp_path).rows.set_index("step")
    assert set(rows.index[rows["status"] == "INCONCLUSIVE"]) == {"prep", "soak", "ab_10", "ab_50", "ab_100"}
    assert "params/config.soak_overrides.yaml changed since" in rows.loc["soak", "why"]
    config.write_text(config.read_text().replace("base_spread_bps: 4.0", "base_spread_bps: 4.5"))
    rows = collect(tmp_path).rows
    assert set(rows["status"]) == {"INCONCLUSIVE"}
    assert rows["why"].str.contains("params/config.yaml").all()


def test_files_that_were_read_or_written_are_looked_at_again(tmp_path: Path) -> None:
    recording, report = tmp_path / "tape.gz", tmp_path / "artifacts" / "reports" / "x.md"
    report.parent.mkdir(parents=True)
    recording.write_bytes(b"one")
    report.write_text("one")
    ctx = open_step("shadow", workspace=tmp_path, source=f"recording:{recording}")
    ctx.finish([result("shadow")], grade=Grade.RECORDING, outputs=[report])

    def shadow() -> tuple[str, ...]:
        return next(s.stale for s in overview(tmp_path) if s.key == "shadow")

    assert shadow() == ()
    os.utime(recording)  # touched, and the same
    assert shadow() == ()
    recording.write_bytes(b"two")
    assert shadow() == ("tape.gz changed since",)
    report.unlink()
    assert shadow() == ("tape.gz changed since", "artifacts/reports/x.md is gone")
    assert collect(tmp_path).rows.set_index("step").loc["shadow", "status"] == "INCONCLUSIVE"


def test_what_builds_on_a_stale_step_is_out_of_date(tmp_path: Path) -> None:
    record_all(tmp_path)
    gates = tmp_path / "params" / "gates.yaml"
    gates.write_text(gates.read_text().replace("source: fetch_md p95 <= 35ms", "source: another word"))
    stale = {s.key: s.stale for s in overview(tmp_path)}
    assert stale["shadow"] == ("params/gates.yaml changed since", "Prep and overrides is out of date")
    assert stale["soak"] == ("Shadow is out of date",)
    assert stale["dataset"] == ("Soak is out of date",)


def test_unknown_grade_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="evidence_required"):
        collect(tmp_path, "hearsay")


def test_written_files_agree(tmp_path: Path) -> None:
    record_all(tmp_path, without=("dataset",))
    found = collect(tmp_path)
    write_readiness(tmp_path, found)
    payload = json.loads((tmp_path / JSON_PATH).read_text())
    assert payload == found.to_dict()
    text = (tmp_path / REPORT_PATH).read_text()
    assert "NOT READY" in text
    assert "Step 4: Dataset" in text


def test_status_knows_what_is_stale_and_next(tmp_path: Path) -> None:
    record_all(tmp_path)
    states = {s.key: s for s in overview(tmp_path)}
    assert states["readiness"].record is None
    assert states["soak"].stale == ()
    assert next_step(list(states.values())) == "readiness"
    open_step("shadow", workspace=tmp_path).finish([result("shadow")], grade=Grade.LIVE)
    states = {s.key: s for s in overview(tmp_path)}
    assert states["soak"].stale == ("Shadow ran again since",)
    assert next_step(list(states.values())) == "soak"


def test_the_table_of_steps_is_the_workflow() -> None:
    assert [s.gate for s in ACCEPTANCE] == [
        "Step 1: Prep",
        "Step 2: Shadow 60m",
        "Step 3: Soak 24-72h",
        "Step 4: Dataset",
        "Step 5: A/B 10%",
        "Step 5: A/B 50%",
        "Step 5: A/B 100%",
        "Step 6: CI Lock",
        "Step 7: Daily Ops",
    ]
    assert all(dep in BY_KEY for step in BY_KEY.values() for dep in step.depends)
    assert [s.key for s in select_steps(["5", "02_shadow"])] == ["shadow", "ab_10", "ab_50", "ab_100"]
    with pytest.raises(UserError, match="did you mean 'readiness'"):
        select_steps(["redines"])
