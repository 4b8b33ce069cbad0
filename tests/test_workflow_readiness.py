"""The verdict: only nine fresh passes on good enough evidence are READY."""

from __future__ import annotations

import json
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


def test_changed_limits_make_a_pass_inconclusive(tmp_path: Path) -> None:
    record_all(tmp_path)
    gates = tmp_path / "params" / "gates.yaml"
    gates.write_text(gates.read_text() + "\n# limits were edited\n")
    found = collect(tmp_path)
    assert set(found.rows["status"]) == {"INCONCLUSIVE"}
    assert "params/gates.yaml changed since" in found.rows["why"][0]


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
