"""Loading: defaults, merging, settings, and one clear line for everything that is wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mmlib._io import UserError
from mmlib.config.load import (
    CONFIG_FILE,
    SOAK_OVERRIDES_FILE,
    deep_merge,
    ensure_params,
    load_config,
    shipped_dir,
)
from mmlib.config.models import Config, expectation, flatten, unit_of, walk

leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.text("abc", max_size=3), st.lists(st.integers(0, 3))
)
trees = st.recursive(
    st.dictionaries(st.sampled_from("abcd"), leaves, max_size=3),
    lambda children: st.dictionaries(st.sampled_from("abcd"), st.one_of(leaves, children), max_size=3),
    max_leaves=8,
)


@pytest.fixture
def ws(tmp_path: Path) -> Path:
    """A workspace with the shipped parameter files."""
    assert ensure_params(tmp_path)
    return tmp_path


def refusal(ws: Path, text: str | bytes | None = None, sets: Any = (), overrides: Any = ()) -> str:
    """The one-line message for a config.yaml of this text, or for these settings."""
    if text is not None:
        (ws / CONFIG_FILE).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as caught:
        load_config(ws, overrides, sets)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_shipped_file_spells_every_key_with_its_default_meaning_and_unit(ws: Path) -> None:
    text = (ws / CONFIG_FILE).read_text()
    assert flatten(yaml.safe_load(text)) == flatten(Config())
    for name, field in walk():
        leaf = name.rpartition(".")[2]
        lines = [line for line in text.splitlines() if line.strip().startswith(f"{leaf}: ")]
        note = f"# {field.description}" + (f" [{unit_of(field)}]" if unit_of(field) else "")
        assert any(line.endswith(note) for line in lines), name


def test_every_default_is_within_its_own_limits() -> None:
    assert Config.model_validate(Config().model_dump()) == Config()


def test_every_key_has_a_meaning_and_an_expectation() -> None:
    for name, field in walk():
        assert field.description, name
        assert expectation(field), name
        if name.endswith(("_ms", "_s", "_bps", "_pct")):
            assert unit_of(field), name


def test_layers_win_in_order_and_only_where_they_speak(ws: Path) -> None:
    loaded = load_config(
        ws,
        [Path(SOAK_OVERRIDES_FILE), {"md_cache": {"ttl_ms": 200}, "fees": {"taker_bps": 5}}],
        ["md_cache.ttl_ms=1500", "pipeline.enabled=false", "fees.maker_bps=1e-1"],
    )
    assert loaded.config.md_cache.ttl_ms == 1500
    assert loaded.config.md_cache.fresh_ms_for_pricing == 60
    assert loaded.config.fees.taker_bps == 5.0
    assert loaded.config.fees.maker_bps == 0.1
    assert loaded.config.pipeline.enabled is False
    assert loaded.sets == {"md_cache.ttl_ms": 1500, "pipeline.enabled": False, "fees.maker_bps": 0.1}
    assert loaded.files == {
        name: hashlib.sha256((ws / name).read_bytes()).hexdigest()
        for name in (CONFIG_FILE, SOAK_OVERRIDES_FILE)
    }


def test_the_soak_overrides_set_what_the_workflow_names(ws: Path) -> None:
    tree = yaml.safe_load((ws / SOAK_OVERRIDES_FILE).read_text())
    assert {"pipeline", "md_cache", "taker_cap", "trace", "async_batch"} <= set(tree)
    assert tree["taker_cap"]["max_taker_share_pct"] == 9.0


def test_the_hash_follows_the_effective_values_not_their_spelling(ws: Path) -> None:
    plain = load_config(ws)
    (ws / CONFIG_FILE).write_text("# all defaults\nfees: {taker_bps: 7}\n")
    assert load_config(ws).sha256 == plain.sha256
    assert load_config(ws, sets={"fees.taker_bps": 7.5}).sha256 != plain.sha256


def test_settings_may_name_an_instrument(ws: Path) -> None:
    loaded = load_config(ws, sets={"instruments": {"BTCUSDT": {"tick_size": 0.1, "lot_size": 0.001}}})
    assert loaded.config.instruments["BTCUSDT"].tick_size == 0.1


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "md_cache:\n  ttl_mss: 5\n",
            [":2: md_cache.ttl_mss: unknown key", "did you mean 'md_cache.ttl_ms'"],
        ),
        ("md_cach:\n  ttl_ms: 5\n", [":1: md_cach: unknown key", "did you mean 'md_cache'"]),
        ("ttl_ms: 5\n", [":1: ttl_ms: unknown key", "did you mean 'md_cache.ttl_ms'"]),
        (
            "md_cache:\n  ttl_ms: soon\n",
            [":2: md_cache.ttl_ms: expected a whole number >= 1", "[ms], got 'soon'"],
        ),
        ("md_cache:\n  ttl_ms: true\n", ["expected a whole number", "got True"]),
        ("md_cache:\n  ttl_ms: 1.5\n", ["expected a whole number", "got 1.5"]),
        ("md_cache:\n", [":1: md_cache: expected a mapping of keys, got nothing"]),
        ("md_cache: [1]\n", ["md_cache: expected a mapping of keys, got [1]"]),
        ("pipeline:\n  enabled: 1\n", ["expected true or false, got 1"]),
        ("fees:\n  maker_bps: .nan\n", ["fees.maker_bps: .nan is not finite", "expected a decimal number"]),
        ("fees:\n  maker_bps: .inf\n", ["fees.maker_bps: .inf is not finite", "expected a decimal number"]),
        (
            "quoting: {max_inventory_notional: .inf}\n",
            ["quoting.max_inventory_notional: .inf is not finite", "expected a decimal number"],
        ),
        ("market: {regime: wild}\n", ["expected calm or normal or stressed, got 'wild'"]),
        ("adaptive_spread: {min_spread_bps: 30}\n", ["min_spread_bps must be at most max_spread_bps (20.0)"]),
        ("risk_guards: {soft_vol_bps: 8}\n", ["soft_vol_bps must be below hard_vol_bps (8.0)"]),
        (
            "quoting: {order_notional: 9000}\n",
            ["order_notional must be at most max_inventory_notional (5000.0)"],
        ),
        (
            "instruments: {BTCUSDT: {tick_size: 0.1}}\n",
            ["instruments.BTCUSDT.lot_size: expected a number > 0"],
        ),
        (
            "instruments: {BTCUSDT: {tick_size: 0, lot_size: 1}}\n",
            ["tick_size: expected a number > 0", "got 0"],
        ),
        ("fees: {maker_bps: 500}\ntrace: {sample_rate: 2}\n", ["(and 1 more)"]),
    ],
)
def test_wrong_keys_and_values_are_named_with_line_and_expectation(
    ws: Path, text: str, parts: list[str]
) -> None:
    message = refusal(ws, text)
    assert message.startswith(str(ws / CONFIG_FILE))
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", ":1: expected a mapping"),
        ("- a\n- b\n", ":1: expected a mapping"),
        ("just text\n", ":1: expected a mapping"),
        ("trace: {enabled: true}\n\ntrace: {enabled: false}\n", ":3: trace: duplicate key, first on line 1"),
        ("trace:\n  enabled: true\n  enabled: true\n", ":3: trace.enabled: duplicate key, first on line 2"),
        (
            "trace: !!python/object/apply:os.system ['touch pwned']\n",
            ":1: trace: tag !!python/object/apply:os.system",
        ),
        ("trace:\n  enabled: !!python/name:os.system\n", ":2: trace.enabled: tag !!python/name:os.system"),
        ("!!python/object:os.Popen {}\n", "tag !!python/object:os.Popen is refused"),
        ("trace: !custom {}\n", ":1: trace: tag !custom is refused"),
        ("trace: !!binary aGk=\n", "tag !!binary is refused"),
        ("a: &x {b: 1}\nc: *x\n", "alias is refused"),
        ("a: &x [*x]\n", "alias is refused"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", ":3: c: expected text as a key"),
        ("1: 2\n", ":1: top level: expected text as a key"),
        ("yes: 2\n", ":1: top level: expected text as a key"),
        ("? [a]\n: 2\n", "expected text as a key"),
        ("trace: {enabled: true\n", ": not YAML ("),
        ("trace:\n\tenabled: true\n", ":2: not YAML ("),
        ("a: 1\n---\nb: 2\n", "not YAML (but found another document)"),
        ("a: *nowhere\n", ":1: not YAML ("),
        ("fees:\n  maker_bps: 2025-02-30\n", ":2: cannot be read (day is out of range for month)"),
        ("fees: {maker_bps: !!int x}\n", ":1: fees.maker_bps: x is no number"),
        ("a: \x00\n", "not YAML ("),
        (b"a: \xff\xfe\n", "byte 3 is not UTF-8"),
        ("a: " + "[" * 3000 + "\n", "nested too deeply"),
        ("#" * 1_000_001, "expected a parameter file of at most 1000000 bytes"),
    ],
)
def test_hostile_yaml_is_one_line_and_runs_nothing(
    ws: Path, monkeypatch: pytest.MonkeyPatch, text: str | bytes, part: str
) -> None:
    monkeypatch.chdir(ws)
    assert part in refusal(ws, text)
    assert not (ws / "pwned").exists()


def test_a_bomb_of_aliases_is_refused_before_it_unfolds(ws: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert "alias is refused" in refusal(ws, "\n".join(lines))


@pytest.mark.parametrize(
    ("sets", "part"),
    [
        (["md_cache.ttl_ms"], "--set md_cache.ttl_ms: expected key=value"),
        (["=5"], "--set : no such key"),
        (
            ["md_cache.ttl_msx=5"],
            "--set md_cache.ttl_msx: no such key; expected a key of params/config.yaml; did you mean",
        ),
        (["md_cache.ttl_ms=-1"], "--set md_cache.ttl_ms: expected a whole number >= 1"),
        (["md_cache.ttl_ms="], "got nothing"),
        (["md_cache.ttl_ms=[1"], "--set md_cache.ttl_ms:1: not YAML"),
        (
            ["fees.maker_bps=!!python/object/apply:os.system [x]"],
            "tag !!python/object/apply:os.system is refused",
        ),
        (["md_cache.ttl_ms.deeper=1"], "no such key"),
        (["instruments.BTCUSDT.tick=1"], "did you mean 'instruments.BTCUSDT.tick_size'"),
        ({"md_cache.ttl_ms": "fast"}, "expected a whole number >= 1"),
        ({"md_cache": 5}, "--set md_cache: expected a mapping of keys, got 5"),
        ("md_cache.ttl_ms=5", "expected a list of key=value"),
    ],
)
def test_wrong_settings_are_refused(ws: Path, sets: Any, part: str) -> None:
    assert part in refusal(ws, sets=sets)


def test_an_error_names_the_layer_that_wrote_the_value(ws: Path) -> None:
    (ws / "extra.yaml").write_text("# ours\nmd_cache:\n  ttl_ms: 0\n")
    assert refusal(ws, overrides=[Path("extra.yaml")]).startswith(f"{ws / 'extra.yaml'}:3: md_cache.ttl_ms: ")
    assert "--set md_cache.ttl_ms" in refusal(
        ws, overrides=[Path("extra.yaml")], sets={"md_cache.ttl_ms": 0.5}
    )


def test_a_rejected_secret_is_not_repeated(ws: Path) -> None:
    for text in (
        "trace: {sample_rate: AKIAABCDEFGHIJKLMNOP}",
        "api_key: hunter2",
        "fees: {maker_bps: 'Bearer abc.def'}",
    ):
        message = refusal(ws, text)
        assert not any(secret in message for secret in ("AKIA", "hunter2", "abc.def"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path / CONFIG_FILE}: no such file; expected a YAML file"


def test_shipped_files_fill_gaps_and_never_overwrite(ws: Path) -> None:
    mine = "fees: {taker_bps: 1}\n"
    (ws / CONFIG_FILE).write_text(mine)
    assert not ensure_params(ws)
    (ws / SOAK_OVERRIDES_FILE).unlink()
    assert ensure_params(ws)
    assert (ws / CONFIG_FILE).read_text() == mine
    shipped = {p.relative_to(shipped_dir("params")) for p in shipped_dir("params").rglob("*.yaml")}
    assert shipped <= {p.relative_to(ws / "params") for p in (ws / "params").rglob("*.yaml")}


def test_a_workspace_that_cannot_hold_params_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params").write_text("")
    with pytest.raises(UserError, match="is a file; expected a directory"):
        ensure_params(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        ensure_params(tmp_path / "file")


def test_an_installed_package_ships_its_own_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "mmlib"
    (package / "_shipped" / "params").mkdir(parents=True)
    (package / "_shipped" / "params" / "config.yaml").write_text("{}\n")
    (tmp_path / "site-packages" / "params").mkdir()
    monkeypatch.setattr("mmlib._io.__file__", str(package / "_io.py"))
    assert shipped_dir("params") == package / "_shipped" / "params"
    assert ensure_params(tmp_path / "new" / "workspace")
    assert load_config(tmp_path / "new" / "workspace").config == Config()


def test_an_incomplete_installation_says_so() -> None:
    with pytest.raises(UserError, match="expected a complete installation"):
        shipped_dir("nothing-of-that-name")


@given(trees, trees, trees)
def test_merge_is_associative_and_leaves_its_arguments_alone(a: dict, b: dict, c: dict) -> None:
    before = repr((a, b, c))
    left, right = deep_merge(deep_merge(a, b), c), deep_merge(a, deep_merge(b, c))
    if not _replaces_a_mapping(a, b) and not _replaces_a_mapping(b, c) and not _replaces_a_mapping(a, c):
        assert left == right
    assert repr((a, b, c)) == before


@given(trees, trees)
def test_merge_is_idempotent_and_the_later_tree_is_all_there(a: dict, b: dict) -> None:
    merged = deep_merge(a, b)
    assert deep_merge(merged, b) == merged
    assert deep_merge(a, {}) == a
    assert deep_merge({}, a) == a
    over = flatten(b)
    assert {key: value for key, value in flatten(merged).items() if key in over} == over


def _replaces_a_mapping(a: Any, b: Any) -> bool:
    """Whether a scalar meets a mapping anywhere, where the order of merging matters."""
    if isinstance(a, dict) and isinstance(b, dict):
        return any(_replaces_a_mapping(a[key], b[key]) for key in a.keys() & b.keys())
    return isinstance(a, dict) != isinstance(b, dict)
