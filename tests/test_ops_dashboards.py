"""The dashboard: valid JSON for Grafana, limits drawn from the gates, every query one that Prometheus can read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mmlib.gates.spec import GateBook, load_gates
from mmlib.metrics.exported import EXPORTED
from mmlib.ops import rules
from mmlib.ops.dashboards import CRITICAL, FINE, WARNING, dashboard_json, threshold_steps
from mmlib.ops.panels import panels
from mmlib.reports import soak
from mmlib.reports.render import Provenance


@pytest.fixture(scope="module")
def book() -> GateBook:
    return load_gates(Path(__file__).resolve().parents[1])


@pytest.fixture(scope="module")
def board(book: GateBook) -> dict[str, Any]:
    return json.loads(dashboard_json(book))


def queries(board: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]


def test_ids_are_unique_and_no_two_panels_overlap(board: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is absent (Debian package prometheus)")
def test_promtool_reads_every_query(board: dict[str, Any], tmp_path: Path) -> None:
    found = [{"record": f"q:{n}", "expr": expr} for n, expr in enumerate(queries(board))]
    (tmp_path / "q.yml").write_text(rules.to_yaml({"groups": [{"name": "q", "rules": found}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", "q.yml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(found)} rules found" in done.stdout


def test_every_family_is_shown_and_nothing_unknown_is_asked_for(
    book: GateBook, board: dict[str, Any]
) -> None:
    text = "\n".join(queries(board)) + "\n".join(
        rule["expr"]
        for group in rules.rule_file(book)["groups"]
        for rule in group["rules"]
        if "record" in rule
    )
    for family in EXPORTED:
        assert re.search(rf"\b{family.name}(_bucket)?\b", text), family.name
    recorded = {
        r["record"] for group in rules.rule_file(book)["groups"] for r in group["rules"] if "record" in r
    }
    names = {f.name for f in EXPORTED} | {f"{f.name}_bucket" for f in EXPORTED} | recorded
    bare = re.sub(r'"[^"]*"', "", "\n".join(queries(board)))
    assert set(re.findall(r"\b(?:mm_|mm:|finishline:|process_)[a-z0-9_:]+", bare)) <= names


def test_every_sustained_gate_draws_its_limit(book: GateBook, board: dict[str, Any]) -> None:
    drawn = {
        p["title"].split(" [")[0]: [s["value"] for s in p["fieldConfig"]["defaults"]["thresholds"]["steps"]]
        for p in board["panels"]
        if p["type"] == "timeseries"
    }
    for gate in book:
        if rules.sustained(gate):
            assert gate.limit in drawn[gate.metric], gate.id


def test_colours_of_limits_above_below_and_none(book: GateBook) -> None:
    assert threshold_steps([]) == [(None, FINE)]
    assert threshold_steps([book.get("soak.stop.hit_ratio")]) == [(None, CRITICAL), (0.5, FINE)]
    warn, stop = book.get("soak.warn.tick_p95"), book.get("soak.stop.deadline_miss")
    assert threshold_steps([warn]) == [(None, FINE), (180.0, WARNING)]
    both = [stop.model_copy(update={"limit": 3.0, "severity": "warning"}), stop]
    assert threshold_steps(both) == [(None, FINE), (3.0, WARNING), (5.0, CRITICAL)]
    low = book.get("soak.stop.hit_ratio")
    both = [low, low.model_copy(update={"limit": 0.7, "severity": "warning"})]
    assert threshold_steps(both) == [(None, CRITICAL), (0.5, WARNING), (0.7, FINE)]


def test_the_checklist_names_the_panels(book: GateBook) -> None:
    text = soak.dashboard_checklist(book, Provenance("test")).replace("\\", "")
    for panel in panels(book):
        assert panel.title in text, panel.title
