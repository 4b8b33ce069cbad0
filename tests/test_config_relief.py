"""Relief that loosens a limit says so, and no relief is offered for a criterion that it does not relieve."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mmlib._io import UserError, write_json
from mmlib.config.flags import GRADUAL
from mmlib.config.relief import RELIEF
from mmlib.gates.spec import load_gates
from mmlib.reports.render import Provenance
from mmlib.reports.soak import soak_start
from mmlib.workflow.verbs import roll_back

ROOT = Path(__file__).resolve().parents[1]
GATES = {gate.id: gate for gate in load_gates(ROOT)}
WATCHED = [gate for gate in GATES.values() if gate.kind == "sustained"]


@pytest.fixture
def ws(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "params", tmp_path / "params")
    return tmp_path


def test_every_way_says_what_it_relieves() -> None:
    assert set(RELIEF) == set(GRADUAL)


@pytest.mark.parametrize("way", GRADUAL)
@pytest.mark.parametrize("gate", WATCHED, ids=lambda gate: gate.id)
def test_a_reason_that_names_a_criterion_gets_relief_for_it_or_none(way: str, gate: object, ws: Path) -> None:
    before = (ws / "params/config.yaml").read_text()
    helps = gate.metric in RELIEF[way].metrics  # type: ignore[attr-defined]
    if helps:
        assert roll_back(ws, [], way, f"{gate.id} fired")[1]["mode"] == f"gradual {way}"  # type: ignore[attr-defined]
        return
    with pytest.raises(UserError, match=r"loosens the limit of|does not relieve"):
        roll_back(ws, [], way, f"{gate.id} fired")  # type: ignore[attr-defined]
    assert (ws / "params/config.yaml").read_text() == before


@pytest.mark.parametrize("gate", [g.id for g in WATCHED if g.metric == "taker_share_pct"])
def test_after_a_day_of_taking_the_cap_is_not_raised(gate: str, ws: Path) -> None:
    figures = {
        "schema": 1,
        "name": "2025-01-15",
        "health": "CRITICAL",
        "sums": {},
        "histograms": {},
        "actions": [],
    }
    write_json(ws / "artifacts/reports/daily/2025-01-15.json", figures | {"fired": [{"gate": gate}]})
    with pytest.raises(UserError, match=f"loosens the limit of {gate}, which fired"):
        roll_back(ws, [], "taker-cap", "inventory stuck")
    assert roll_back(ws, [], "adaptive", "inventory stuck")[1]["mode"] == "gradual adaptive"


def test_loosening_is_said_with_what_follows(ws: Path) -> None:
    text, payload = roll_back(ws, [], "taker-cap", "the cap keeps inventory from being reduced")
    assert payload["changed"]
    assert "loosens a limit; the next Prep fails until taker_cap.max_taker_share_pct <= 9.0 again" in text
    for way in ("adaptive", "sampling"):
        assert "loosens" not in roll_back(ws, [], way, "x")[0]


def test_the_soak_offers_relief_beside_the_criteria(ws: Path) -> None:
    text = soak_start(load_gates(ws), Provenance("test"), command="c", hours=1.0)
    lines = {way: line for line in text.splitlines() for way in GRADUAL if f"--gradual {way} " in line}
    assert "LOOSENS A LIMIT" in lines["taker-cap"]
    assert "soak.stop.taker" not in lines["taker-cap"]
    assert "deadline_miss" in lines["sampling"]
    assert "LOOSENS" not in lines["sampling"] + lines["adaptive"]
