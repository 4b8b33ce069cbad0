"""What a plan refuses before a kernel starts, so that no earlier record is replaced by an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmlib._io import UserError
from mmlib.config.load import ensure_params
from mmlib.workflow.params import check_parameters
from mmlib.workflow.plan import Options, absolute_source, plan
from mmlib.workflow.steps import STEPS, get_step


@pytest.fixture
def ws(tmp_path: Path) -> Path:
    """A workspace with the shipped parameters."""
    ensure_params(tmp_path)
    return tmp_path


def desk_profile(ws: Path, source: str) -> str:
    """A profile file of a desk with this source."""
    text = (ws / "params/profiles/demo.yaml").read_text()
    path = ws / "desk.yaml"
    path.write_text(text.replace("source: simulated", f"source: '{source}'"))
    return str(path)


def test_a_live_source_is_planned_with_its_address_and_a_recording_for_each_session(ws: Path) -> None:
    options = Options(source="live:binanceusdm", live_url="http://127.0.0.1:9", record=str(ws / "raw.gz"))
    planned = {
        item.step.key: item.params["source"]
        for item in plan(ws, [get_step(k) for k in ("prep", "shadow", "soak")], options=options)
    }
    for key in ("shadow", "soak"):
        assert planned[key] == f"live:binanceusdm?url=http://127.0.0.1:9&record={ws}/raw.{key}.gz"
    (alone,) = plan(ws, [get_step("soak")], options=options)
    assert alone.params["source"].endswith(f"record={ws}/raw.gz")
    assert plan(ws, [get_step("soak")], profile="production")[0].params["source"] == "live:binanceusdm"
    with pytest.raises(UserError, match="unknown exchange"):
        plan(ws, STEPS, profile="production", options=Options(source="live:binanc"))
    assert not (ws / "artifacts").exists()


@pytest.mark.parametrize("step", ["dataset", "daily_ops", "baseline_lock", "readiness"])
def test_steps_that_need_no_source_run_under_a_live_profile(ws: Path, step: str) -> None:
    plan(ws, [get_step(step)], profile="production")


def test_a_desks_profile_gives_its_feeds_to_every_step(ws: Path) -> None:
    (ws / "bot").mkdir()
    profile = desk_profile(ws, f"feeds:{ws / 'bot'}")
    planned = {item.step.key: item.params for item in plan(ws, STEPS, profile=profile)}
    assert planned["soak"]["source"] == f"feeds:{ws / 'bot'}"
    assert planned["dataset"]["feeds"] == planned["daily_ops"]["feeds"] == str(ws / "bot")
    over = plan(ws, [get_step("dataset")], profile=profile, options=Options(source="simulated"))
    assert over[0].params["feeds"] == ""


def test_a_relative_source_in_a_steps_file_is_below_the_workspace(
    ws: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    (ws / "rec.gz").touch()
    file = ws / "params/steps/02_shadow.yaml"
    file.write_text(file.read_text().replace('source: "simulated"', 'source: "recording:rec.gz"'))
    assert plan(ws, [get_step("shadow")])[0].params["source"] == f"recording:{ws / 'rec.gz'}"
    with pytest.raises(UserError, match=r"elsewhere.*no such file"):
        plan(ws, [get_step("shadow")], options=Options(source="recording:rec.gz"))


def test_feeds_have_to_be_a_directory(ws: Path) -> None:
    (ws / "file").touch()
    for name in ("file", "nothing"):
        with pytest.raises(UserError, match=f"{name}: no such directory; expected one with fills_"):
            absolute_source(f"feeds:{name}", ws)


@pytest.mark.parametrize("step", ["prep", "soak", "ab_50"])
@pytest.mark.parametrize(
    ("damage", "says"), [("md_cache:\n  tll_ms: 5\n", "did you mean 'md_cache.ttl_ms'"), ("", "mapping")]
)
def test_damaged_overrides_are_refused_by_every_step_that_merges_them(
    ws: Path, step: str, damage: str, says: str
) -> None:
    (ws / "params/config.soak_overrides.yaml").write_text(damage)
    with pytest.raises(UserError, match=r"soak_overrides\.yaml") as error:
        plan(ws, [get_step(step)])
    assert says in str(error.value)
    plan(ws, [get_step("shadow")])


@pytest.mark.parametrize("minutes", [7, 0.001, 11.0, 1439, 0.7])
def test_an_interval_has_to_divide_a_day(minutes: float) -> None:
    with pytest.raises(UserError, match="divide a day"):
        check_parameters({"interval_min": minutes})


@pytest.mark.parametrize("minutes", [1, 5, 60.0, 1440, 0.5, 0.1])
def test_intervals_that_divide_a_day_are_taken(minutes: float) -> None:
    check_parameters({"interval_min": minutes})
