"""Feature flags: the registry, the five validations, the snapshot, and what it masks."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmlib._io import UserError, sha256_file
from mmlib.config import flags
from mmlib.config.load import CONFIG_FILE, SOAK_OVERRIDES_FILE, ensure_params, load_config
from mmlib.config.masking import MASK, looks_secret, mask
from mmlib.config.models import Config, walk

NOW = datetime(2025, 1, 15, tzinfo=UTC)


@pytest.fixture
def ws(tmp_path: Path) -> Path:
    """A workspace with the shipped parameter files."""
    ensure_params(tmp_path)
    return tmp_path


def test_every_switch_is_a_flag_and_every_flag_a_key() -> None:
    names = [name for name, _ in walk()]
    assert {name for name in names if name.endswith(".enabled")} < set(flags.FLAGS)
    assert set(flags.FLAGS) <= set(names)
    assert set(flags.RED_BUTTON) | {key for way in flags.GRADUAL.values() for key in way} <= set(flags.FLAGS)


def test_registry_rows_tell_current_from_default(ws: Path) -> None:
    rows = {
        row["name"]: row
        for row in flags.registry_rows(load_config(ws, sets={"trace.sample_rate": 0.5}).config)
    }
    assert (rows["trace.sample_rate"]["default"], rows["trace.sample_rate"]["current"]) == (0.2, 0.5)
    assert rows["trace.sample_rate"]["rollback"] == "--gradual sampling: 0.05"
    assert rows["pipeline.enabled"]["rollback"] == "red button: false; --flag pipeline: false"
    assert rows["taker_cap.max_taker_share_pct"]["required"] == "<= 9.0"


@pytest.mark.parametrize(
    ("key", "value", "ok"),
    [
        ("pipeline.enabled", False, False),
        ("md_cache.enabled", False, False),
        ("trace.enabled", False, False),
        ("async_batch.enabled", False, False),
        ("taker_cap.max_taker_share_pct", 9.01, False),
        ("taker_cap.max_taker_share_pct", 9.0, True),
        ("taker_cap.max_taker_share_pct", 3.0, True),
    ],
)
def test_each_required_flag_is_checked_on_its_own(ws: Path, key: str, value: Any, ok: bool) -> None:
    checks = flags.required_flags(load_config(ws, sets={key: value}).config)
    assert len(checks) == 5
    assert {check.name: check.ok for check in checks} == {
        check.name: ok or check.name != key for check in checks
    }
    assert next(check for check in checks if check.name == key).value == value


def test_the_defaults_pass_the_required_flags() -> None:
    assert all(check.ok for check in flags.required_flags(Config()))


def test_the_snapshot_holds_files_flags_and_what_to_restore(ws: Path) -> None:
    (ws / CONFIG_FILE).write_text("adaptive_spread: {enabled: true}\n")
    loaded = load_config(ws, [Path(SOAK_OVERRIDES_FILE)], {"queue_aware.enabled": True})
    written = flags.snapshot(ws, loaded, now=NOW)
    read = flags.read_snapshot(ws / flags.SNAPSHOT_FILE)
    assert read == json.loads(json.dumps(written))
    assert read["files"][CONFIG_FILE] == sha256_file(ws / CONFIG_FILE)
    assert read["flags"]["queue_aware.enabled"] is True
    assert read["restore"][CONFIG_FILE]["queue_aware.enabled"] is False, (
        "settings of one run are not restored"
    )
    assert read["restore"][CONFIG_FILE]["adaptive_spread.enabled"] is True
    assert read["restore"][CONFIG_FILE]["trace.sample_rate"] == 0.2, "defaults are spelt out"
    assert "adaptive_spread.enabled" not in read["restore"][SOAK_OVERRIDES_FILE]
    assert read["config_sha256"] == loaded.sha256


def test_an_older_snapshot_survives_a_newer_one_and_the_same_one_is_kept_once(ws: Path) -> None:
    flags.snapshot(ws, load_config(ws), now=NOW)
    flags.snapshot(ws, load_config(ws))
    first = list((ws / flags.SNAPSHOT_HISTORY).iterdir())
    flags.snapshot(ws, load_config(ws, sets={"trace.enabled": False}), now=NOW)
    assert len(first) == 1
    assert len(list((ws / flags.SNAPSHOT_HISTORY).iterdir())) == 2
    assert flags.read_snapshot(first[0])["flags"]["trace.enabled"] is True


def test_diff_and_stale_files(ws: Path) -> None:
    old = flags.snapshot(ws, load_config(ws), now=NOW)
    assert flags.stale_files(ws, old) == []
    assert flags.diff(old, old) == []
    (ws / CONFIG_FILE).write_text("fees: {taker_bps: 9}\ninstruments: {X: {tick_size: 1, lot_size: 2}}\n")
    new = flags.snapshot(ws, load_config(ws), now=NOW)
    assert flags.stale_files(ws, old) == [CONFIG_FILE]
    assert sorted(flags.diff(old, new)) == [
        ("fees.taker_bps", 7.0, 9.0),
        ("instruments.X.lot_size", None, 2.0),
        ("instruments.X.tick_size", None, 1.0),
    ]
    (ws / CONFIG_FILE).unlink()
    assert flags.stale_files(ws, new) == [CONFIG_FILE]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "files": {}, "flags": []}', "{"]
)
def test_what_is_not_a_snapshot_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(UserError, match=r"s\.json"):
        flags.read_snapshot(tmp_path / "s.json")


def test_secrets_are_masked_by_name_and_by_look() -> None:
    tree = {
        "API_KEY": "short",
        "apiSecret": 12345,
        "passphrase": ["a", "b"],
        "auth": {"user": "u"},
        "venue": {
            "url": "https://user:pw@host/x",
            "name": "binance",
            "note": "-----BEGIN RSA PRIVATE KEY-----",
        },
        "headers": ["Bearer abc", "plain"],
        "opaque": "4f9d2c7be81a4c0f9d2e",
        "symbol": "BTCUSDT",
        "limit": 9.0,
        "token_enabled": True,
        "absent": None,
    }
    assert mask(tree) == {
        "API_KEY": MASK,
        "apiSecret": MASK,
        "passphrase": MASK,
        "auth": MASK,
        "venue": {"url": MASK, "name": "binance", "note": MASK},
        "headers": [MASK, "plain"],
        "opaque": MASK,
        "symbol": "BTCUSDT",
        "limit": 9.0,
        "token_enabled": True,
        "absent": None,
    }


def test_the_configuration_itself_is_not_masked() -> None:
    plain = Config().model_dump(mode="json")
    assert mask(plain) == plain


@given(st.text("ABCDEFabcdef", min_size=10, max_size=30), st.text("0123456789", min_size=10, max_size=30))
def test_long_opaque_texts_look_secret_and_sentences_do_not(letters: str, digits: str) -> None:
    assert looks_secret(letters + digits)
    assert not looks_secret(f"{letters} costs {digits}")


@given(
    st.recursive(
        st.one_of(st.text(max_size=30), st.integers(), st.none()),
        lambda inner: st.dictionaries(
            st.sampled_from(["a", "b", "api_key", "Secret", "n"]), inner, max_size=3
        ),
        max_leaves=10,
    )
)
def test_masking_twice_changes_nothing_and_no_secret_key_keeps_its_value(tree: Any) -> None:
    once = mask({"root": tree})
    assert mask(once) == once
    todo = [once]
    while todo:
        for key, value in todo.pop().items():
            assert key not in ("api_key", "Secret") or value in (MASK, None)
            todo += [value] if isinstance(value, dict) else []
