"""YAML by libyaml and by PyYAML alone: the same values, the same lines, the same refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mmlib._io import UserError
from mmlib.yamlfile import read_mapping

PIECES = (
    *(
        "a",
        "b: ",
        "a: 1\n",
        "- ",
        "- x\n",
        "\n",
        "\n  ",
        "\n    ",
        ": ",
        ":",
        "::",
        ", ",
        "[",
        "]",
        "{",
        "}",
        "? ",
        "?",
    ),
    *(
        "'",
        '"',
        "|\n",
        "> \n",
        "\\n",
        "1e3",
        "012",
        "1_000",
        "2025-01-01",
        "true",
        "~",
        ".inf",
        "<<: ",
        "# c\n",
    ),
    *(
        "\t",
        "\r\n",
        "\x85",
        "\u2028",
        "\ufeff",
        "é",
        "🎉",
        "&x ",
        "*x ",
        "!!str ",
        "%",
        "@",
        "---\n",
        "...\n",
    ),
)
SHIPPED = sorted((Path(__file__).resolve().parents[1] / "params").rglob("*.yaml"))


def outcome(path: Path) -> Any:
    """What is read of a file, or the message."""
    try:
        return repr(read_mapping(path))
    except UserError as exc:
        return str(exc)


def both(path: Path) -> tuple[Any, Any]:
    """The outcome by libyaml and without it."""
    with pytest.MonkeyPatch.context() as patch:
        by_libyaml = outcome(path)
        patch.delattr(yaml, "CSafeLoader")
        return by_libyaml, outcome(path)


def test_libyaml_is_there() -> None:
    """Without it the tests below would compare one parser with itself."""
    assert yaml.__with_libyaml__


@given(
    st.lists(st.sampled_from(PIECES), max_size=14).map("".join),
    st.sampled_from(["", "a: ", "k:\n  ", "k: ["]),
)
def test_both_parsers_read_or_refuse_alike(
    tmp_path_factory: pytest.TempPathFactory, text: str, before: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes((before + text).encode())
    one, other = both(path)
    assert one == other


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_shipped_files_are_read_alike(path: Path) -> None:
    one, other = both(path)
    assert one == other
    assert one.startswith("Document(")


@pytest.mark.parametrize("text", ["[" * 900_000, "- " * 400_000, "? " * 400_000, "{a: " * 200_000])
def test_nesting_that_would_overflow_the_stack_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match="nested too deeply"):
        read_mapping(path)
