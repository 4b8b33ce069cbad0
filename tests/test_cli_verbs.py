"""The command line: exit codes, one-line errors, JSON, light start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmlib import cli
from mmlib._io import UserError
from mmlib.workflow import plan as planning
from mmlib.workflow import verbs
from mmlib.workflow.plan import Options, absolute_source, plan
from mmlib.workflow.steps import STEPS, get_step
from tests.workflow_fixtures import passing_cells, record_all, write_all, write_notebook


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one call."""
    try:
        code = cli.main(list(argv))
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_help_loads_nothing_heavy() -> None:
    heavy = "{'numba', 'pandas', 'numpy', 'duckdb', 'papermill', 'scrapbook', 'plotly', 'pydantic', 'yaml', 'rich'}"
    text = f"import sys\nfrom mmlib.cli import parser\nparser().format_help()\nprint(sorted(set(sys.modules) & {heavy}))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_module_and_script_are_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mmlib", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("finishline ")


@pytest.mark.parametrize(
    "verb", ["", "run", "soak", "dataset", "ab", "daily", "readiness", "baseline", "rollback"]
)
def test_every_help_has_an_example(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    code, out, _ = run(capsys, *filter(None, (verb, "--help")))
    assert code == 0
    assert "examples:\n  finishline" in out


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["run"], "--all --step is required"),
        (["run", "--all", "--step", "1"], "not allowed"),
        (["run", "--step", "9"], "step '9'"),
        (["run", "--step", "shadw"], "did you mean 'shadow'"),
        (["run", "--step", "2", "--shadow-duration", "0"], "duration_min"),
        (["run", "--step", "2", "--shadow-duration", "nan"], "duration_min"),
        (["run", "--step", "2", "--source", "recording:/no/such/file.gz"], "/no/such/file.gz"),
        (["run", "--step", "2", "--source", "recordng:x"], "source"),
        (["run", "--step", "2", "--symbols", "BTC USDT"], "symbols"),
        (["run", "--step", "2", "--set", "md_cache.ttl_m=5"], "md_cache.ttl_ms"),
        (["run", "--step", "2", "--set", "md_cache.ttl_ms"], "key=value"),
        (["run", "--step", "2", "--profile", "dmo"], "did you mean"),
        (["ab", "--rollout-pct", "25"], "10, 50 or 100"),
        (["ab", "--rollout-pct", "ten"], "invalid int"),
        (["ab"], "--rollout-pct --aa --plan is required"),
        (["ab", "--aa", "--rollout-pct", "10"], "not allowed"),
        (["ab", "--aa", "--runs", "1"], "at least 2 runs"),
        (["dataset", "--from", "2025-01-17T00:00:00Z", "--to", "2025-01-15T00:00:00Z"], "reversed"),
        (["dataset", "--from", "2025-13-01"], "--from"),
        (["dataset", "--interval-min", "0"], "interval_min"),
        (["dataset", "--feeds", "/no/such/feeds"], "/no/such/feeds"),
        (["daily", "--date", "2025-02-30"], "2025-02-30"),
        (["soak", "--hours", "-1"], "duration_hours"),
        (["soak", "--clock", "realtime"], "expected --source live:EXCHANGE"),
        (["soak", "--clock", "replay", "--source", "live:binance"], "another clock"),
        (["soak", "--record", "x.gz"], "is not live"),
        (["soak", "--source", "live:binanse"], "did you mean binance"),
        (["soak", "--source", "live:binance?apiKey=x"], "data are public"),
        (["soak", "--source", "live:binance", "--live-url", "http://me:key@host"], "carries a name"),
        (
            ["record", "live:binance", "--symbols", "A", "-o", "x", "--live-url", "http://127.0.0.1:9"],
            "public interface",
        ),
        (["record", "simulated", "--symbols", "A", "-o", "x"], "expected live:EXCHANGE"),
        (["loopback", "--symbols", "BTCUSDT", "--faults", "flood@3"], "expected NAME@SECONDS"),
        (["loopback", "--symbols", "BTCUSDT", "--minutes", "0"], "--minutes"),
        (["watch"], "no session is running"),
        (["baseline"], "--lock --validate is required"),
        (["baseline", "--validate"], "lock"),
        (["rollback"], "--reason"),
        (["rollback", "--reason", "  "], "reason"),
        (["rollback", "--flag", "a", "--gradual", "adaptive", "--reason", "x"], "both given"),
        (["repeat"], "invalid choice"),
        (["replay"], "required: RECORDING"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    word: str,
) -> None:
    notebooks = write_all(tmp_path / "nb")
    monkeypatch.setattr(planning, "notebooks_dir", lambda: notebooks)
    code, _, err = run(capsys, *argv, "--workspace", str(tmp_path / "ws"))
    assert code == 2
    lines = [line for line in err.splitlines() if "the shipped parameters were copied" not in line]
    assert len(lines) == 1
    assert word in lines[0]
    assert "Traceback" not in err
    assert not list((tmp_path / "ws").rglob("*.ipynb"))


def test_unexpected_errors_name_a_log_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_ws: Path) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("mmlib.workflow.status.overview", broken)
    code, _, err = run(capsys, "status", "--workspace", str(tmp_path))
    assert code == 3
    assert len(err.strip().splitlines()) == 1
    log = Path(err.strip().split("the traceback is in ")[1])
    assert tmp_path in log.parents
    assert "RuntimeError: two" in log.read_text()


def test_interrupt_is_130(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_ws: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mmlib.workflow.status.overview", stopped)
    code, _, err = run(capsys, "status", "--workspace", str(tmp_path))
    assert code == 130
    assert "interrupted" in err


def test_status_json_before_and_after(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "status", "--json", "--workspace", str(tmp_path))
    assert code == 0
    assert json.loads(out)["next"] == "prep"
    record_all(tmp_path)
    capsys.readouterr()
    _, out, _ = run(capsys, "status", "--json", "--workspace", str(tmp_path))
    assert json.loads(out)["next"] == "readiness"
    assert [s["step"] for s in json.loads(out)["steps"]] == [s.key for s in STEPS]


def test_rollback_twice_changes_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    record_all(tmp_path, without=[s.key for s in STEPS if s.key != "prep"])
    capsys.readouterr()
    argv = [
        "rollback",
        "--gradual",
        "sampling",
        "--reason",
        "overhead",
        "--json",
        "--workspace",
        str(tmp_path),
    ]
    code, out, _ = run(capsys, *argv)
    first = json.loads(out)
    assert code == 0
    assert [c["key"] for c in first["changed"]] == ["trace.sample_rate"]
    _, out, _ = run(capsys, *argv)
    assert json.loads(out)["changed"] == []


def test_doctor_on_a_fresh_directory(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "doctor", "--json", "--workspace", str(tmp_path))
    checks = {c["name"]: c for c in json.loads(out)}
    assert checks["python"]["ok"]
    assert checks["workspace"]["ok"]
    assert code == (2 if any(c["ok"] is False for c in checks.values()) else 0)


PROFILE = """
name: small
evidence_required: simulated
rehearsal: true
source: simulated
symbols: [ETHUSDT]
seed: 5
start: "2025-01-15T00:00:00Z"
sets: {trace.sample_rate: 0.5, md_cache.ttl_ms: 50}
steps:
  shadow: {duration_min: 7.0, sets: {md_cache.ttl_ms: 60, pipeline.tick_interval_ms: 500}}
  ab: {duration_hours: 30.0}
"""


def test_plan_lets_the_later_source_win(tmp_path: Path) -> None:
    """Command line over the profile's step, over the profile, over the parameter file."""
    notebooks = write_all(tmp_path / "nb")
    recording, profile = tmp_path / "x.gz", tmp_path / "small.yaml"
    recording.write_bytes(b"")
    profile.write_text(PROFILE)
    steps = [get_step("shadow"), get_step("ab", rollout_pct=50), get_step("readiness")]
    shadow, ab, ready = plan(tmp_path / "ws", steps, profile=str(profile), notebooks=notebooks)
    assert shadow.params["sets"] == {
        "trace.sample_rate": 0.5,
        "md_cache.ttl_ms": 60,
        "pipeline.tick_interval_ms": 500,
    }
    assert (shadow.params["duration_min"], shadow.params["seed"], shadow.params["symbols"]) == (
        7.0,
        5,
        ["ETHUSDT"],
    )
    assert (ab.params["rollout_pct"], ab.params["duration_hours"]) == (50, 30.0)
    assert (ready.params["rehearsal"], ready.params["evidence_required"]) == (True, "simulated")
    assert all(item.params["workspace"] == "." for item in (shadow, ab, ready))

    options = Options(
        source=f"recording:{recording}",
        symbols=("BTCUSDT",),
        sets={"md_cache.ttl_ms": 1500},
        steps={"shadow": {"duration_min": 1.5}},
    )
    (shadow,) = plan(tmp_path / "ws", steps[:1], profile=str(profile), options=options, notebooks=notebooks)
    assert shadow.params["duration_min"] == 1.5
    assert shadow.params["source"] == f"recording:{recording}"
    assert shadow.params["symbols"] == ["BTCUSDT"]
    assert shadow.params["sets"]["md_cache.ttl_ms"] == 1500

    profile.write_text(PROFILE.replace("pipeline.tick_interval_ms: 500", "pipeline.tick_intervl_ms: 500"))
    with pytest.raises(UserError, match=r"pipeline\.tick_interval_ms"):
        plan(tmp_path / "ws", steps[:1], profile=str(profile), notebooks=notebooks)


def test_a_desk_s_feeds_reach_the_steps_that_read_them(tmp_path: Path) -> None:
    notebooks = write_all(tmp_path / "nb")
    (tmp_path / "feeds").mkdir()
    options = Options(source=f"feeds:{tmp_path / 'feeds'}")
    (dataset,) = plan(tmp_path / "ws", [get_step("dataset")], options=options, notebooks=notebooks)
    assert dataset.params["feeds"] == str(tmp_path / "feeds")


def test_source_paths_become_absolute(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(b"")
    assert absolute_source("recording:a.gz", tmp_path) == f"recording:{tmp_path / 'a.gz'}"
    assert absolute_source("simulated", tmp_path) == "simulated"
    with pytest.raises(UserError, match="no such file"):
        absolute_source("recording:b.gz", tmp_path)


@pytest.mark.slow
def test_run_prints_steps_verdict_and_page(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prep and readiness in real kernels, through the command line."""
    notebooks = write_all(tmp_path / "nb")
    cells = passing_cells("readiness")
    cells[-1:] = [
        "from mmlib.workflow.readiness import collect, write_readiness\n"
        "found = collect(ctx.ws, evidence_required, rehearsal)\nwrite_readiness(ctx.ws, found)",
        "ctx.finish(found.results(ctx.gates), grade=found.grade)",
    ]
    params = {"workspace": ".", "profile": "", "evidence_required": "live", "rehearsal": False}
    write_notebook(notebooks / "08_readiness.ipynb", cells, params)
    monkeypatch.setattr(planning, "notebooks_dir", lambda: notebooks)
    ws = tmp_path / "ws"
    argv = ["run", "--step", "prep", "--step", "readiness", "--profile", "demo", "--workspace", str(ws)]
    code, out, err = run(capsys, *argv)
    assert code == 1
    assert "REHEARSAL NOT PASSED" in out
    assert "[1/2] Prep and overrides: PASS" in err
    assert str(ws / "artifacts" / "html" / "index.html") in out
    code, out, _ = run(capsys, *argv, "--resume", "--json")
    assert [s["resumed"] for s in json.loads(out)["steps"]] == [True, True]
    assert code == 1


def test_a_run_without_outcomes_is_no_success() -> None:
    assert verbs.Done("x", (), None, None).returncode == 3
