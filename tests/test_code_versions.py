"""What a cache keeps goes when the code that made it changes: the sources it is keyed by are those that are imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import mmlib
from mmlib.feeds import cache
from mmlib.metrics import kept

PACKAGE = Path(mmlib.__file__).parent
MAKES_PARQUET = "feeds/cache.py"
"""Slices are keyed by the Parquet file that they were worked out of, so that what it imports is in the key of that."""
DECIDE_NOTHING = {
    *("_crc.py", "_expansion.py", "_io.py", "feeds/progress.py", "metrics/farm.py"),
    *(f"core/{name}.py" for name in ("compiling", "kernelcache", "kernelhome")),
}
"""Checksums, refusals of bombs, errors and atomic writes, progress, who does the work, and where compiled kernels are kept."""


def imported(source: str) -> Iterator[str]:
    """Sources of this package that one of them imports, at its top or within a function."""
    for node in ast.walk(ast.parse((PACKAGE / source).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mmlib"):
            for one in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                name = "/".join(one.split(".")[1:]) + ".py"
                if (PACKAGE / name).is_file():
                    yield name


def needed(*sources: str) -> set[str]:
    """Those sources and all that they import, directly or not."""
    found: set[str] = set()
    waiting = [*sources]
    while waiting:
        name = waiting.pop()
        if name not in found | DECIDE_NOTHING:
            found.add(name)
            waiting += imported(name) if name != MAKES_PARQUET else ()
    return found


@pytest.mark.parametrize(
    ("said", "made_by"),
    [
        (cache.DECIDING, ["feeds/convert.py"]),
        (kept.DECIDING, ["metrics/slices.py", "metrics/passing.py"]),
    ],
    ids=["cache", "kept"],
)
def test_all_sources_that_decide_are_part_of_the_key(said: Sequence[str], made_by: list[str]) -> None:
    assert {*said} == needed(*made_by)
