"""Rollback: edits in place, once, proven by reading back; the log and the signal to a running session."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mmlib._io import UserError, sha256_file
from mmlib.config import flags
from mmlib.config.edit import set_scalar
from mmlib.config.load import CONFIG_FILE, SOAK_OVERRIDES_FILE, deep_merge, ensure_params, load_config
from mmlib.config.rollback import ROLLBACK_FILE, ROLLBACK_LOG, RollbackReport, active_rollback, rollback

NOW = datetime(2025, 1, 15, 9, tzinfo=UTC)


@pytest.fixture
def ws(tmp_path: Path) -> Path:
    """A workspace after Prep: the shipped parameter files and a snapshot of the flags."""
    ensure_params(tmp_path)
    flags.snapshot(tmp_path, load_config(tmp_path, [Path(SOAK_OVERRIDES_FILE)]), now=NOW)
    return tmp_path


def press(ws: Path, **request: Any) -> RollbackReport:
    """A rollback with a reason and a fixed time."""
    return rollback(ws, **{"reason": "tick p95 jumped", "now": NOW, **request})


def effective(ws: Path) -> dict[str, Any]:
    """Flags of a soak session that starts now."""
    return flags.flag_values(load_config(ws, [Path(SOAK_OVERRIDES_FILE)]).config)


def state(ws: Path) -> dict[str, tuple[bytes, int]]:
    """Content and modification time of every file below the workspace, but for the lock."""
    files = [path for path in ws.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_the_red_button_turns_three_flags_off_for_every_kind_of_session(ws: Path) -> None:
    before = effective(ws)
    report = press(ws)
    assert sorted(report.changed) == [(key, True, False) for key in sorted(flags.RED_BUTTON)]
    assert effective(ws) == {**before, **flags.RED_BUTTON}
    assert flags.flag_values(load_config(ws).config) == {**before, **flags.RED_BUTTON}
    assert report.snapshot_sha256 == sha256_file(ws / flags.SNAPSHOT_FILE)


def test_only_the_values_change_in_the_files(ws: Path) -> None:
    before = (ws / CONFIG_FILE).read_text().splitlines()
    press(ws)
    after = (ws / CONFIG_FILE).read_text().splitlines()
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert len(changed) == 3
    assert all(a.replace("true", "false", 1) == b for a, b in changed)


def test_the_red_button_restores_what_drifted_from_the_snapshot(ws: Path) -> None:
    text = (ws / CONFIG_FILE).read_text()
    text = set_scalar(text, "adaptive_spread", "enabled", True, "x")
    text = set_scalar(text, "risk_guards", "enabled", False, "x")
    (ws / CONFIG_FILE).write_text(text)
    report = press(ws)
    assert ("adaptive_spread.enabled", True, False) in report.changed
    assert ("risk_guards.enabled", False, True) in report.changed
    sets = (active_rollback(ws) or {})["sets"]
    assert sets == {**flags.RED_BUTTON, "adaptive_spread.enabled": False, "risk_guards.enabled": True}


def test_an_override_file_is_edited_only_where_it_spells_the_flag(ws: Path) -> None:
    before = (ws / SOAK_OVERRIDES_FILE).read_bytes()
    (ws / CONFIG_FILE).write_text("adaptive_spread: {enabled: true}\n")
    press(ws, gradual="adaptive")
    (ws / SOAK_OVERRIDES_FILE).write_bytes(before.replace(b"risk_guards", b"queue_aware"))
    assert effective(ws)["queue_aware.enabled"] is True
    report = press(ws, gradual="adaptive")
    assert [(edit.file, edit.key) for edit in report.edits] == [(SOAK_OVERRIDES_FILE, "queue_aware.enabled")]
    assert effective(ws)["queue_aware.enabled"] is False
    text = (ws / SOAK_OVERRIDES_FILE).read_text()
    assert "adaptive_spread" not in text


def test_the_red_button_does_not_undo_an_earlier_rollback(ws: Path) -> None:
    press(ws, gradual="taker-cap")
    press(ws, gradual="sampling")
    press(ws)
    assert effective(ws)["taker_cap.max_taker_share_pct"] == 10.0
    assert effective(ws)["trace.sample_rate"] == 0.05
    assert set((active_rollback(ws) or {})["sets"]) == {
        *flags.RED_BUTTON,
        "taker_cap.max_taker_share_pct",
        "trace.sample_rate",
    }


def test_a_flag_turned_on_again_by_hand_is_no_longer_in_force(ws: Path) -> None:
    press(ws)
    for file in (CONFIG_FILE, SOAK_OVERRIDES_FILE):
        text = (ws / file).read_text()
        for key in flags.RED_BUTTON:
            text = set_scalar(text, key.partition(".")[0], "enabled", True, file)
        (ws / file).write_text(text)
    press(ws, gradual="adaptive")
    assert (active_rollback(ws) or {})["sets"] == {
        "adaptive_spread.enabled": False,
        "queue_aware.enabled": False,
    }


@pytest.mark.parametrize(
    "request_",
    [{}, {"flags": ["trace", "risk_guards.enabled"]}, *({"gradual": way} for way in flags.GRADUAL)],
    ids=str,
)
def test_a_second_press_writes_nothing(ws: Path, request_: dict[str, Any]) -> None:
    first = press(ws, **request_)
    before = state(ws)
    second = press(ws, **request_, now=datetime(2026, 1, 1, tzinfo=UTC), reason="again")
    assert state(ws) == before
    assert second.changed == []
    assert set(second.already) >= {key for key, _, _ in first.changed}
    assert len((ws / ROLLBACK_LOG).read_text().splitlines()) == 1


def test_named_flags_go_off_and_nothing_else(ws: Path) -> None:
    before = effective(ws)
    press(ws, flags=["md_cache", "trace.enabled"])
    assert effective(ws) == {**before, "md_cache.enabled": False, "trace.enabled": False}


@pytest.mark.parametrize(
    ("way", "cap", "rate", "expected_cap", "expected_rate"),
    [
        ("taker-cap", 9.0, 0.2, 10.0, 0.2),
        ("taker-cap", 12.0, 0.2, 12.0, 0.2),
        ("sampling", 9.0, 0.2, 9.0, 0.05),
        ("sampling", 9.0, 0.01, 9.0, 0.01),
    ],
)
def test_relief_never_tightens(
    ws: Path, way: str, cap: float, rate: float, expected_cap: float, expected_rate: float
) -> None:
    (ws / SOAK_OVERRIDES_FILE).unlink()
    (ws / CONFIG_FILE).write_text(
        f"taker_cap: {{max_taker_share_pct: {cap}}}\ntrace: {{sample_rate: {rate}}}\n"
    )
    press(ws, gradual=way)
    config = load_config(ws).config
    assert (config.taker_cap.max_taker_share_pct, config.trace.sample_rate) == (expected_cap, expected_rate)


def test_nothing_to_change_still_tells_a_running_session(ws: Path) -> None:
    assert active_rollback(ws) is None
    report = press(ws, gradual="adaptive")
    assert report.changed == []
    active = active_rollback(ws)
    assert active is not None
    assert active["sets"] == {"adaptive_spread.enabled": False, "queue_aware.enabled": False}


def test_the_record_says_what_why_and_on_which_evidence(ws: Path) -> None:
    press(
        ws, gradual="taker-cap", details={"metric": "slippage_bps", "value": float("nan"), "window": "10 min"}
    )
    (line,) = (ws / ROLLBACK_LOG).read_text().splitlines()
    record = json.loads(line)
    assert record == json.loads((ws / ROLLBACK_FILE).read_text())
    assert record["changed"] == [["taker_cap.max_taker_share_pct", 9.0, 10.0]]
    assert (record["reason"], record["at"], record["mode"]) == (
        "tick p95 jumped",
        NOW.isoformat(),
        "gradual taker-cap",
    )
    assert record["details"] == {"metric": "slippage_bps", "value": "nan", "window": "10 min"}
    assert {edit["file"] for edit in record["edits"]} == {CONFIG_FILE, SOAK_OVERRIDES_FILE}
    first = record["id"]
    press(ws)
    assert (active_rollback(ws) or {})["id"] != first
    assert len((ws / ROLLBACK_LOG).read_text().splitlines()) == 2


def test_the_red_button_works_without_a_snapshot_and_says_so(ws: Path) -> None:
    (ws / flags.SNAPSHOT_FILE).unlink()
    report = press(ws)
    assert report.snapshot_sha256 is None
    assert len(report.changed) == 3
    assert "nothing to restore from" in report.notes[0]
    with pytest.raises(UserError, match=r"gone\.json: no such file"):
        press(ws, snapshot_path=ws / "gone.json")


def test_a_tampered_snapshot_cannot_bring_in_a_wrong_value(ws: Path) -> None:
    taken = json.loads((ws / flags.SNAPSHOT_FILE).read_text())
    taken["restore"][CONFIG_FILE].update({"trace.sample_rate": 7, "trace.enabled": "no", "evil.key": 1})
    taken["restore"]["/etc/passwd"] = {"trace.enabled": False}
    taken["restore"][SOAK_OVERRIDES_FILE] = ["?"]
    (ws / flags.SNAPSHOT_FILE).write_text(json.dumps(taken))
    report = press(ws)
    assert effective(ws)["trace.sample_rate"] == 0.2
    assert {key for key, _, _ in report.changed} == set(flags.RED_BUTTON)
    assert len(report.notes) == 2


@pytest.mark.parametrize(
    ("request_", "part"),
    [
        ({"reason": "  "}, "--reason: expected why"),
        ({"flags": ["md_cach"]}, "--flag md_cach: not a switch; expected one of pipeline, "),
        ({"flags": ["md_cach"]}, "did you mean 'md_cache'?"),
        ({"flags": ["taker_cap.max_taker_share_pct"]}, "not a switch"),
        ({"gradual": "taker"}, "expected one of taker-cap, adaptive, sampling; did you mean 'taker-cap'?"),
        ({"gradual": "adaptive", "flags": ["trace"]}, "expected one of them, got both"),
    ],
)
def test_wrong_requests_change_nothing(ws: Path, request_: dict[str, Any], part: str) -> None:
    before = state(ws)
    with pytest.raises(UserError) as caught:
        press(ws, **request_)
    assert part in str(caught.value)
    assert state(ws) == before


@pytest.mark.parametrize(
    "text",
    [
        "pipeline: 5\n",
        "pipeline: [a, b]\n",
        "pipeline: {enabled: {deep: 1}}\nmd_cache: 7\n",
        "md_cache: |\n  enabled: true\n",
        "pipeline: {enabled: true\n",
        "a: &x {enabled: true}\npipeline: *x\n",
    ],
)
def test_a_file_that_cannot_be_edited_is_left_alone(ws: Path, text: str) -> None:
    (ws / CONFIG_FILE).write_text(text)
    before = state(ws)
    with pytest.raises(UserError, match=r"config\.yaml"):
        press(ws)
    assert state(ws) == before


@pytest.mark.parametrize(
    "text",
    [
        "{}\n",
        "{fees: {taker_bps: 1}}  # one line\n",
        "# only a comment above\nfees: {taker_bps: 1}\n",
        "fees: {taker_bps: 1}",
        "pipeline: {deadline_ms: 100}  # flow\nmd_cache: {}\nasync_batch:\n",
        "pipeline:\n    # indented by four\n    deadline_ms: 100 # late\n\nmd_cache:\n  ttl_ms: 5\n",
        "pipeline:\r\n  enabled: true # dos\r\n  deadline_ms: 9\r\nmd_cache:\r\n  ttl_ms: 5\r\n",
        '"pipeline": {"enabled": true, "deadline_ms": 9}\n',
        "pipeline:\n  enabled: yes # an old spelling\nmd_cache: {enabled: On}\n",
        "pipeline:\n  enabled:   true\n# enabled: true\nmd_cache:\n  stale_ok: true # enabled: true\n",
        "fees:\n  maker_bps: 0.1 # µ, 价格, \U0001f600 before\npipeline: {enabled: true} # tail",
        "\ufeffpipeline: {enabled: true}\n",
    ],
)
def test_any_layout_is_edited_without_touching_the_rest(ws: Path, text: str) -> None:
    (ws / SOAK_OVERRIDES_FILE).unlink()
    (ws / flags.SNAPSHOT_FILE).unlink()
    (ws / CONFIG_FILE).write_bytes(text.encode())
    before = yaml.safe_load(text)
    press(ws)
    after = (ws / CONFIG_FILE).read_bytes().decode()
    assert yaml.safe_load(after) == deep_merge(
        before, {key.partition(".")[0]: {"enabled": False} for key in flags.RED_BUTTON}
    )
    assert [part for part in text.split() if part.startswith(("#", "µ", "价"))] == [
        part for part in after.split() if part.startswith(("#", "µ", "价"))
    ]
    assert ("\r\n" in text) == ("\r\n" in after)


def test_presses_at_once_are_serialised(ws: Path) -> None:
    ways = [{"flags": [name]} for name in ("trace", "md_cache", "risk_guards", "inventory_skew")]
    threads = [threading.Thread(target=press, args=(ws,), kwargs=way) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    off = {f"{way['flags'][0]}.enabled" for way in ways}
    assert {name for name, value in effective(ws).items() if value is False} >= off
    assert set((active_rollback(ws) or {})["sets"]) == off
    assert len((ws / ROLLBACK_LOG).read_text().splitlines()) == len(ways)


def test_a_broken_record_is_named(ws: Path) -> None:
    (ws / ROLLBACK_FILE).write_text("[]")
    with pytest.raises(UserError, match=r"ROLLBACK\.json: expected a rollback record"):
        active_rollback(ws)


sections = st.dictionaries(
    st.sampled_from(["pipeline", "md_cache", "fees"]),
    st.dictionaries(
        st.sampled_from(["enabled", "x", "y z", "1"]), st.one_of(st.booleans(), st.integers()), max_size=3
    ),
    max_size=3,
)


@given(
    sections,
    st.sampled_from(["pipeline", "trace"]),
    st.one_of(st.booleans(), st.floats(0, 100)),
    st.booleans(),
)
def test_setting_a_value_changes_that_value_only_and_twice_is_once(
    tree: dict[str, Any], section: str, value: bool | float, flow: bool
) -> None:
    text = yaml.safe_dump(tree, default_flow_style=flow or None)
    changed = set_scalar(text, section, "enabled", value, "f")
    assert yaml.safe_load(changed) == deep_merge(tree, {section: {"enabled": value}})
    assert set_scalar(changed, section, "enabled", value, "f") == changed
