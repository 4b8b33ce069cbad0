"""Check that the notebooks stay thin and clean: parameters first, a library call a cell, no outputs, no definitions."""

from __future__ import annotations

import ast
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

TOP = Path(__file__).resolve().parents[1]
MOST_LINES = 25
MEDIAN_LINES = 6
KEPT = "keep_output"  # tag of contract cells, whose output is compared
LITERALS = ast.Constant | ast.List | ast.Tuple | ast.Dict | ast.UnaryOp


def check(path: Path) -> Iterator[str]:
    """Everything that is wrong with one notebook."""
    book = json.loads(path.read_text(encoding="utf-8"))
    cells = book["cells"]
    code = [(i, c, "".join(c["source"])) for i, c in enumerate(cells) if c["cell_type"] == "code"]
    prose = "".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    if (book["nbformat"], book["nbformat_minor"]) < (4, 5):
        yield "nbformat: expected 4.5 or later"
    if book["metadata"].get("kernelspec", {}).get("name") != "python3":
        yield "kernelspec: expected python3"
    if sorted(book["metadata"].get("papermill", {})):
        yield "metadata: holds traces of an execution"
    ids = [c.get("id") for c in cells]
    if None in ids or len(set(ids)) != len(ids):
        yield "cells: expected a unique id each"
    if cells[0]["cell_type"] != "markdown" or not "".join(cells[0]["source"]).startswith("# "):
        yield "cell 0: expected a title in Markdown"
    if len(prose) < 0.3 * sum(len(source) for _, _, source in code):
        yield "prose: too little for the amount of code"
    for index, cell, source in code:
        yield from (f"cell {index}: {text}" for text in _check_cell(cell, source))
    sizes = [len(source.splitlines()) for _, _, source in code]
    if statistics.median(sizes) > MEDIAN_LINES:
        yield f"median code cell: {statistics.median(sizes):g} lines, expected at most {MEDIAN_LINES}"
    if path.name[:2].isdigit():
        yield from _check_step(path, code)


def _check_cell(cell: dict[str, Any], source: str) -> Iterator[str]:
    kept = KEPT in cell["metadata"].get("tags", [])
    if cell["outputs"] and not kept:
        yield "has output; run nbstripout"
    if kept and "NBVAL_CHECK_OUTPUT" not in source:
        yield "keeps its output without NBVAL_CHECK_OUTPUT"
    if cell["execution_count"] is not None and not kept:
        yield "has an execution count"
    if len(source.splitlines()) > MOST_LINES:
        yield f"{len(source.splitlines())} lines, expected at most {MOST_LINES}"
    try:
        tree = ast.parse(source)
    except SyntaxError as exc:
        yield f"line {exc.lineno}: no plain Python ({exc.msg})"
        return
    if any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda)
        for node in ast.walk(tree)
    ):
        yield "defines a function or class; it belongs into mmlib"


def _check_step(path: Path, code: list[tuple[int, dict[str, Any], str]]) -> Iterator[str]:
    """A notebook of the workflow: one tagged parameters cell that its parameter file matches, a record at the end."""
    tagged = [source for _, cell, source in code if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        yield f"expected one cell tagged parameters, found {len(tagged)}"
        return
    names = set()
    for node in ast.parse(tagged[0]).body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.value, LITERALS):
            yield f"parameters line {node.lineno}: expected an annotated literal, such as window_s: float = 60.0"
        elif isinstance(node.target, ast.Name):
            names.add(node.target.id)
    file = TOP / "params" / "steps" / f"{path.stem}.yaml"
    given = set(yaml.safe_load(file.read_text(encoding="utf-8"))) if file.is_file() else set()
    if given != names:
        yield f"parameters differ from params/steps/{file.name}: {', '.join(sorted(given ^ names))}"
    if not any(".finish(" in source for _, _, source in code[-3:]):
        yield "expected ctx.finish(...) at the end"


def main() -> int:
    """Check every notebook; print what is wrong, one line each."""
    paths = sorted((TOP / "notebooks").glob("*.ipynb"))
    wrong = [f"{path.relative_to(TOP)}: {text}" for path in paths for text in check(path)]
    print("\n".join(wrong) if wrong else f"{len(paths)} notebooks are thin")
    return 1 if wrong or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
