"""Profiles and step parameters: the shipped ones are right, wrong ones are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mmlib._io import UserError
from mmlib.config.load import ensure_params, load_config, shipped_dir
from mmlib.config.profiles import AB_STEPS, STEP_NAMES, Profile, load_profile
from mmlib.dtypes import Grade


@pytest.fixture
def ws(tmp_path: Path) -> Path:
    """A workspace with the shipped parameter files."""
    ensure_params(tmp_path)
    return tmp_path


def refusal(ws: Path, old: str, new: str) -> str:
    """The message for the demo profile with one change."""
    text = (ws / "params/profiles/demo.yaml").read_text()
    assert old in text
    (ws / "mine.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        load_profile(ws, ws / "mine.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_demo_is_a_simulated_rehearsal(ws: Path) -> None:
    demo = load_profile(ws, "demo")
    assert (demo.evidence_required, demo.rehearsal, demo.source) == (Grade.SIMULATED, True, "simulated")
    assert demo.start_ns == 1_736_899_200_000_000_000
    assert demo.steps["soak"]["duration_hours"] >= 24
    assert [demo.steps[step]["duration_hours"] >= 24 for step in AB_STEPS] == [True] * 3
    load_config(ws, sets=demo.sets)


def test_production_asks_for_live_evidence_and_full_durations(ws: Path) -> None:
    production = load_profile(ws, "production")
    assert (production.evidence_required, production.rehearsal) == (Grade.LIVE, False)
    assert production.source.startswith("live:")
    assert production.steps["shadow"]["duration_min"] == 60
    assert production.steps["soak"]["duration_hours"] == 72


def test_a_stage_of_its_own_wins_over_ab(ws: Path) -> None:
    (ws / "mine.yaml").write_text(
        (ws / "params/profiles/demo.yaml").read_text() + "  ab_50:\n    duration_hours: 30.0\n    seed: 8\n"
    )
    steps = load_profile(ws, str(ws / "mine.yaml")).steps
    assert "ab" not in steps
    assert steps["ab_10"] == steps["ab_100"]
    assert steps["ab_10"]["duration_hours"] == 24.0
    assert steps["ab_50"] == {**steps["ab_10"], "duration_hours": 30.0, "seed": 8}


@pytest.mark.parametrize(
    "start", ["2025-01-15T02:30:00+02:30", '"2025-01-15 00:00:00Z"', "2025-01-15T00:00:00Z"]
)
def test_start_is_normalised_to_utc(ws: Path, start: str) -> None:
    text = (ws / "params/profiles/demo.yaml").read_text().replace('"2025-01-15T00:00:00Z"', start)
    (ws / "mine.yaml").write_text(text)
    assert load_profile(ws, ws / "mine.yaml").start == "2025-01-15T00:00:00Z"


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        (
            "seed: 7",
            "sede: 7",
            "mine.yaml:8: sede: unknown key; expected a key of a profile; did you mean 'seed'?",
        ),
        ("seed: 7", "", "seed: expected this key, got nothing"),
        ("seed: 7", "seed: -1", "seed: expected greater than or equal to 0, got -1"),
        ("seed: 7", "seed: true", "seed: expected a valid integer, got True"),
        (
            "01-15T",
            "02-30T",
            "start: expected an ISO 8601 time such as 2025-01-15T00:00:00Z, got '2025-02-30T00:00:00Z'",
        ),
        ("00:00:00Z", "00:00:00", "start: expected a time zone"),
        ("source: simulated", "source: simulatd", "source: expected simulated, recording:PATH"),
        ("source: simulated", "source: 'recording:'", "source: expected simulated, recording:PATH"),
        (
            "evidence_required: simulated",
            "evidence_required: gold",
            "evidence_required: expected 'simulated', ",
        ),
        ("  shadow:", "  shadwo:", "steps: shadwo: unknown step; expected one of prep, shadow"),
        ("sets: {}", "sets: {md_cach.ttl_ms: 3}", "sets.md_cach.ttl_ms: no such key"),
        ("[BTCUSDT, ETHUSDT]", "[]", "symbols: "),
        ("[BTCUSDT, ETHUSDT]", "[BTCUSDT, BTCUSDT]", "symbols: expected each symbol once"),
        ("[BTCUSDT, ETHUSDT]", "['../etc']", "symbols.0: "),
        ("[BTCUSDT, ETHUSDT]", "BTCUSDT", "symbols: expected a valid list, got 'BTCUSDT'"),
    ],
)
def test_wrong_profiles_are_named(ws: Path, old: str, new: str, part: str) -> None:
    assert part in refusal(ws, old, new)


def test_a_simulated_source_cannot_be_declared_enough_for_live_evidence(ws: Path) -> None:
    text = (ws / "params/profiles/production.yaml").read_text()
    for source, reached in (("simulated", "simulated"), ("recording:x.gz", "recording")):
        (ws / "mine.yaml").write_text(text.replace("live:binanceusdm", source))
        with pytest.raises(
            UserError, match=f"reaches grade '{reached}' at most; expected one that reaches 'live'"
        ):
            load_profile(ws, ws / "mine.yaml")


def test_an_unknown_profile_lists_what_is_there(ws: Path) -> None:
    with pytest.raises(UserError, match=r"\(demo, production\); did you mean 'demo'"):
        load_profile(ws, "dmeo")
    with pytest.raises(UserError, match="no such file"):
        load_profile(ws, "folder/none.yaml")


def step_files() -> dict[str, dict[str, Any]]:
    """Shipped parameters by notebook."""
    return {
        path.stem: yaml.safe_load(path.read_text())
        for path in (shipped_dir("params") / "steps").glob("*.yaml")
    }


def test_each_notebook_has_parameters_that_papermill_takes() -> None:
    files = step_files()
    assert {stem.partition("_")[2] for stem in files} == {*STEP_NAMES, "ab"} - {*AB_STEPS}
    for params in files.values():
        assert params["workspace"] == "."
        assert params["profile"] == ""
        assert all(isinstance(value, (str, int, float, bool, list, dict)) for value in params.values())


@pytest.mark.parametrize("name", ["demo", "production"])
def test_profiles_set_only_parameters_that_the_notebooks_have(ws: Path, name: str) -> None:
    files = {stem.partition("_")[2]: params for stem, params in step_files().items()}
    for step, params in load_profile(ws, name).steps.items():
        known = files["ab" if step in AB_STEPS else step]
        assert set(params) <= set(known), step
        assert {type(params[key]) for key in params} == {type(known[key]) for key in params}


def test_step_names_are_the_workflow_in_order() -> None:
    assert len(STEP_NAMES) == len(set(STEP_NAMES)) == 10
    assert set(Profile.model_fields) >= {
        "name",
        "evidence_required",
        "rehearsal",
        "source",
        "symbols",
        "seed",
        "start",
    }
