"""Opening a step, recording it, reading it back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmlib._io import UserError
from mmlib.dtypes import Grade, Status
from mmlib.workflow import runs
from mmlib.workflow.record import latest, open_step, plain, read_record, resolve_workspace
from mmlib.workflow.table import GateTable, explain
from tests.workflow_fixtures import result


def test_open_step_copies_params_and_checks_parameters(tmp_path: Path) -> None:
    ctx = open_step(
        "shadow", workspace=tmp_path, symbols="btcusdt, ETHUSDT,BTCUSDT", start="2025-01-15T00:00:00Z", seed=3
    )
    assert (tmp_path / "params" / "gates.yaml").is_file()
    assert ctx.symbols == ("BTCUSDT", "ETHUSDT")
    assert ctx.start_ns == 1_736_899_200_000_000_000
    assert ctx.seed == 3
    assert not ctx.managed


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"duration_min": 0}, "duration_min"),
        ({"duration_hours": float("nan")}, "duration_hours"),
        ({"duration_hours": True}, "duration_hours"),
        ({"rollout_pct": 20}, "10, 50 or 100"),
        ({"date": "2025-02-30"}, "2025-02-30"),
        ({"start": "yesterday"}, "ISO 8601"),
        ({"from_ts": "2025-01-17T00:00:00Z", "to_ts": "2025-01-15T00:00:00Z"}, "reversed"),
        ({"symbols": ["BTC/../x"]}, "symbol"),
        ({"symbols": 3}, "symbols"),
        ({"source": "recordings:x"}, "source"),
        ({"source": "recording:"}, "source"),
        ({"seed": -1}, "seed"),
        ({"sets": {"md_cache.tll_ms": 5}}, "md_cache.ttl_ms"),
    ],
)
def test_bad_parameters_are_one_line(tmp_path: Path, parameters: dict, word: str) -> None:
    with pytest.raises(UserError) as error:
        open_step("ab" if "rollout_pct" in parameters else "shadow", workspace=tmp_path, **parameters)
    assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_step_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'shadow'"):
        open_step("shadw", workspace=tmp_path)


def test_ab_stage_comes_from_the_rollout_percentage(tmp_path: Path) -> None:
    assert open_step("ab", workspace=tmp_path, rollout_pct=50).step == "ab_50"


def test_finish_records_and_latest_reads_back(tmp_path: Path) -> None:
    ctx = open_step("dataset", workspace=tmp_path)
    out = tmp_path / "artifacts" / "edge" / "x.json"
    out.parent.mkdir(parents=True)
    out.write_text("{}")
    table = ctx.finish(
        [result("dataset"), result("dataset", "FAIL", severity="warning", id="dataset.w", reason="late")],
        grade=Grade.RECORDING,
        outputs=[out, "artifacts/edge/absent.json"],
        facts={"hours": np.float64(24.5), "bad": float("inf"), "flags": np.array([True, False])},
    )
    record = latest(tmp_path)["dataset"]
    assert record.status is Status.PASS
    assert record.grade is Grade.RECORDING
    assert record.data["facts"] == {"hours": 24.5, "bad": None, "flags": [True, False]}
    assert record.data["outputs"]["artifacts/edge/absent.json"] == "missing"
    assert len(record.data["outputs"]["artifacts/edge/x.json"]) == 64
    assert "params/gates.yaml" in record.data["inputs"]
    assert len(record.gates) == 2
    assert table.status == "PASS"


def test_no_results_never_pass(tmp_path: Path) -> None:
    open_step("prep", workspace=tmp_path).finish([])
    assert latest(tmp_path)["prep"].status is Status.NO_DATA


def test_outputs_outside_the_workspace_are_refused(tmp_path: Path) -> None:
    ctx = open_step("prep", workspace=tmp_path / "ws")
    with pytest.raises(UserError, match="outside the workspace"):
        ctx.finish([result("prep")], outputs=["../elsewhere.md"])
    assert latest(tmp_path / "ws") == {}


def test_edited_record_is_an_error_not_a_pass(tmp_path: Path) -> None:
    open_step("prep", workspace=tmp_path).finish([result("prep", "FAIL")])
    path = next((tmp_path / "artifacts" / "runs").rglob("*.record.json"))
    path.write_text(path.read_text().replace("FAIL", "PASS"))
    record = latest(tmp_path)["prep"]
    assert record.status is Status.ERROR
    assert "changed after it was recorded" in record.reason


def test_lost_record_is_an_error(tmp_path: Path) -> None:
    open_step("prep", workspace=tmp_path).finish([result("prep")])
    next((tmp_path / "artifacts" / "runs").rglob("*.record.json")).unlink()
    assert latest(tmp_path)["prep"].status is Status.ERROR


@pytest.mark.parametrize("text", ["", "[]", '{"steps": 3}', '{"steps": {"prep": 1}}', "not json"])
def test_damaged_index_names_the_file(tmp_path: Path, text: str) -> None:
    path = runs.runs_dir(tmp_path) / "index.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(UserError, match=r"index\.json"):
        latest(tmp_path)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"step": {}, "gates": []},
        {"step": {"step": "prep", "status": "GREAT"}, "gates": []},
        {"step": {"step": "prep", "status": "PASS", "grade": "rumour"}, "gates": []},
        {"step": {"step": "prep", "status": "PASS"}},
        {"step": {"step": "prep", "status": "PASS"}, "gates": []},
        {"step": {"step": "prep", "status": "PASS"}, "gates": [{"status": "PASS"}]},
        {"step": {"step": "prep", "status": "PASS"}, "gates": [result("prep", "FAIL").to_dict()]},
        [],
    ],
)
def test_unreadable_records_are_errors(tmp_path: Path, payload: object) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(payload))
    assert read_record(path, "prep").status is Status.ERROR


def test_workspace_is_found_upwards_only_for_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "gates.yaml").write_text("")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert resolve_workspace(".") == tmp_path
    assert resolve_workspace("other") == tmp_path / "notebooks" / "other"


def test_workspace_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        resolve_workspace(tmp_path / "file")


def test_run_ids_are_distinct_within_a_second(tmp_path: Path) -> None:
    made = [runs.new_run(tmp_path) for _ in range(5)]
    assert len(set(made)) == 5
    with pytest.raises(UserError, match="run id"):
        runs.check_run_id("../x")


def test_plain_handles_what_notebooks_hold() -> None:
    given = {
        "a": np.int64(3),
        1: (np.nan, Status.PASS),
        "p": Path("x/y"),
        "b": np.bool_(True),
        "s": {"z", "y"},
    }
    assert plain(given) == {"a": 3, "1": [None, "PASS"], "p": "x/y", "b": True, "s": ["y", "z"]}
    json.dumps(plain(given), allow_nan=False)


def test_gate_table_escapes_every_cell() -> None:
    evil = "<script>alert(1)</script>"
    gates = [result("prep", title=evil, reason=evil, window=evil, unit=evil).to_dict()]
    html = GateTable(evil, "PASS", gates, evil)._repr_html_()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 5
    assert "✓ PASS" in html


def test_units_and_reasons_are_words() -> None:
    gates = [
        result("prep", unit="bool", title="Config valid").to_dict(),
        result(
            "prep", "FAIL", value=0.2, op=">=", limit=0.7, unit="1", title="Hit ratio", reason="too low"
        ).to_dict(),
        result(
            "prep", "NO_DATA", value=None, limit=5.0, unit="ms", title="Fetch", reason="no samples"
        ).to_dict(),
        result("prep", "FAIL", severity="warning", title="Loud").to_dict(),
    ]
    assert explain(gates[:1]) == "Config valid"
    assert explain(gates) == "Hit ratio FAIL (0.2, asked for ≥ 0.7): too low; Fetch NO_DATA: no samples"
    assert explain(gates, most=1) == "Hit ratio FAIL (0.2, asked for ≥ 0.7): too low; and 1 more"
    assert explain([]) == ""
