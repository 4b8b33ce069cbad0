"""The locks: each file has a hash, no index is named, one resolution serves the demo, its optional parts and development."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from mmlib._extras import EXTRAS, command, need
from mmlib._io import UserError

ROOT = Path(__file__).parents[1]
NAMES = ("", "-extras", "-dev", "-bench", "-build")


def text(name: str) -> str:
    return (ROOT / "ci" / f"requirements{name}.lock").read_text(encoding="utf-8")


def pins(name: str) -> dict[str, set[str]]:
    """Package -> its version; two where Pythons differ."""
    found: dict[str, set[str]] = {}
    for block in re.split(r"^(?=[a-z0-9])", text(name), flags=re.MULTILINE):
        if pin := re.match(r"([a-z0-9.-]+)==([^\s;]+)", block):
            assert "--hash=sha256:" in block, f"{pin[0]} has no hash"
            found.setdefault(pin[1], set()).add(pin[2])
    return found


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~; ]", one)[0].lower().replace("_", "-") for one in requirements}


@pytest.mark.parametrize("name", NAMES)
def test_every_file_has_a_hash_and_no_index_is_named(name: str) -> None:
    lines = [line for line in text(name).splitlines() if line and not line.startswith((" ", "#"))]
    assert len(pins(name)) > 5
    assert not [line for line in lines if "==" not in line], "a line that pins nothing"
    assert not re.search(r"://|--(extra-)?index|--find-links", text(name))


def test_the_demo_has_a_part_of_what_development_has_in_the_same_versions() -> None:
    small, extras, dev = (pins(name) for name in ("", "-extras", "-dev"))
    for less, more in ((small, extras), (extras, dev)):
        assert less.keys() < more.keys()
        assert not {name: versions for name, versions in less.items() if not versions <= more[name]}


def test_what_the_project_asks_for_is_locked_and_what_is_optional_is_not_in_the_demo() -> None:
    told = project()
    runtime = names(told["project"]["dependencies"])
    assert {"jupyterlab", "papermill", "pandas", "numba", "plotly", "scrapbook", "pyyaml", "nbval"} <= runtime
    assert runtime <= set(pins(""))
    optional = told["project"]["optional-dependencies"]
    for package, extra in EXTRAS.items():
        assert package in names(optional[extra])
        assert package in pins("-extras")
        assert package not in pins("")
    assert set(EXTRAS.values()) == set(optional) - {"all"}
    for group, lock in (("dev", "-dev"), ("bench", "-bench"), ("build", "-build")):
        assert names(told["dependency-groups"][group]) <= set(pins(lock))


def test_a_package_that_is_not_there_is_named_with_the_command_that_brings_it(monkeypatch) -> None:
    need("ccxt", "live:kraken")
    monkeypatch.setattr("mmlib._extras.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"live:kraken: needs the package ccxt.*'exchanges'.* -m pip install"):
        need("ccxt", "live:kraken")
    python = sys.executable
    wanted = f"{python} -m pip install --require-hashes -r {ROOT / 'ci/requirements-extras.lock'}"
    assert command("exchanges") == f"{python} -m ensurepip && {wanted}"
    monkeypatch.setattr("mmlib._extras.find_spec", lambda name: name)
    assert command("exchanges") == wanted
