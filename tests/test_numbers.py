"""One grammar of numbers in files, gates, mappings, profiles, market presets and --set."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmlib._io import UserError
from mmlib._numbers import number
from mmlib.config.load import load_config
from mmlib.config.profiles import load_profile
from mmlib.gates.spec import load_gates
from mmlib.market.flowmodel import parse_preset
from mmlib.workflow.mappings import load_mapping
from mmlib.yamlfile import parse_value, read_mapping

CASE = Path(__file__).resolve().parents[2] / "shared" / "cases" / "07_yaml_numbers"
SHIPPED = Path(__file__).resolve().parents[1] / "params"
READ = {
    "150": 150, "-1": -1, "+1": 1, "0": 0, "0.5": 0.5, ".5": 0.5, "1.": 1.0, "-.25": -0.25, "1e-6": 1e-6, "1.0e-6": 1e-6,
    "1E5": 1e5, "2.5e+3": 2500.0, "1_000": 1000, "12_000_000": 12_000_000, "1_000.5": 1000.5, "0.0": 0.0, "-0": 0,
    "9007199254740993": 9007199254740993,
}  # fmt: skip
REFUSED = (
    "0150", "-007", "00", "007.5", "00e3", "1:30", "190:20:30", "1:30.5", "10:00", "0:0", "0x10", "0X1f", "0o7", "0b101", "1_0",
    "1__000", "1_", "1000_000", "0_1", ".inf", "-.inf", "+.INF", ".nan", ".NaN", "inf", "-inf", "nan", "NaN", "Infinity",
    "1e400", "-1e999", "1.5_0", "9" * 5000,
)  # fmt: skip
TEXT = (
    "1000SHIBUSDT",
    "BTC-USDT",
    "info",
    "nano",
    "1d",
    "5m",
    "1.2.3",
    "2025-01",
    "e5",
    "-",
    ".",
    "1e",
    "live:okx",
    "--5",
    "0xyz",
)


def in_file(text: str, tmp_path: Path) -> Any:
    path = tmp_path / "any.yaml"
    path.write_text(f"section:\n  key: {text}\n")
    return read_mapping(path).tree["section"]["key"]


@pytest.mark.parametrize("text", READ)
def test_a_number_is_what_everyone_reads(text: str, tmp_path: Path) -> None:
    for value in (in_file(text, tmp_path), parse_value(text, "--set a.b"), number(text)):
        assert value == READ[text]
        assert type(value) is type(READ[text])


@pytest.mark.parametrize("text", REFUSED)
def test_what_readers_take_differently_is_refused_by_name(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"any\.yaml:2: section\.key: .*expected a decimal number"):
        in_file(text, tmp_path)
    with pytest.raises(UserError, match=r"--set a\.b: .*expected a decimal number"):
        parse_value(text, "--set a.b")
    assert in_file(f"'{text}'", tmp_path) == text


@pytest.mark.parametrize("text", TEXT)
def test_other_text_stays_text(text: str, tmp_path: Path) -> None:
    assert in_file(f'"{text}"', tmp_path) == text
    if text not in ("-",):
        assert in_file(text, tmp_path) == text


@pytest.mark.parametrize(
    ("text", "value"), [("on", True), ("off", False), ("yes", True), ("no", False), ("true", True)]
)
def test_switches_are_booleans_everywhere(text: str, value: bool, tmp_path: Path) -> None:
    assert in_file(text, tmp_path) is value
    assert parse_value(text, "--set a.b") is value


@given(st.text("0123456789_.:eExob+-inaf", min_size=1, max_size=9))
def test_whatever_looks_like_a_number_is_its_decimal_value_or_refused(text: str) -> None:
    """Oracle: Python's own reading of plain decimals; a text that Python takes for a number never stays text."""
    try:
        value = parse_value(text, "--set a.b")
    except UserError:
        return
    if isinstance(value, int | float) and not isinstance(value, bool):
        assert value == float(text)
        assert math.isfinite(value)
    elif isinstance(value, str):
        with pytest.raises(ValueError):
            float(value)


def changed(name: str, before: str, after: str, tmp_path: Path) -> Path:
    text = (SHIPPED / name).read_text()
    assert before in text
    path = tmp_path / "params" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace(before, after, 1))
    return path


PLACES: dict[str, Callable[[str, Path], Any]] = {
    "config": lambda text, tmp: load_config(
        SHIPPED.parent, [_written(tmp, f"md_cache:\n  ttl_ms: {text}\n")]
    ),
    "--set": lambda text, tmp: load_config(SHIPPED.parent, sets=[f"md_cache.ttl_ms={text}"]),
    "gates": lambda text, tmp: load_gates(
        changed("gates.yaml", "limit: 0.7", f"limit: {text}", tmp).parents[1]
    ),
    "profile": lambda text, tmp: load_profile(
        tmp, changed("profiles/demo.yaml", "seed: 7", f"seed: {text}", tmp)
    ),
    "mapping": lambda text, tmp: load_mapping(
        changed("mappings/hummingbot.yaml", "{from: price}", f"{{from: price, scale: {text}}}", tmp)
    ),
    "preset": lambda text, tmp: parse_preset(_written(tmp, f"market:\n  slow_sd: {text}\n")),
}


def _written(tmp: Path, text: str) -> Path:
    path = tmp / "written.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("text", ["0150", "1:30", "0x10", ".inf", "1_0"])
def test_every_place_uses_the_grammar(place: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a decimal number"):
        PLACES[place](text, tmp_path)


@pytest.mark.skipif(not CASE.is_dir(), reason="../shared/cases is not here")
def test_the_reported_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"octal\.yaml:2: md_cache\.ttl_ms: 0150"):
        load_config(SHIPPED.parent, [CASE / "octal.yaml"])
    held = load_config(SHIPPED.parent, [CASE / "plain_exponent.yaml"])
    assert held.config.instruments["1000SHIBUSDT"].tick_size == 1e-6
    switched = load_config(SHIPPED.parent, [CASE / "onoff.yaml"])
    assert (switched.config.pipeline.enabled, switched.config.quoting.order_notional) == (False, 1000.0)
