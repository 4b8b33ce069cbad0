"""Have the process from which kernels are forked import what notebooks import, while this one still reads parameters."""

from __future__ import annotations

import ast
import json
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path

NAMES_ENV = "FINISHLINE_PRELOAD"
"""Names of the modules to import ahead, separated by blanks."""
LATER = ("ipykernel.kernelapp", "papermill", "duckdb", "pyarrow.parquet")
"""What is imported only where it is needed: by the runner, by kernels, by modules of ours."""
STATISTICS = ("scipy.signal",)
"""The same, of notebooks that import the packages which compare; the others need not wait for it."""
_COMPARING = ("mmlib.rollout", "mmlib.baseline")


def prepare(notebooks: Iterable[Path]) -> None:
    """Have the fork server begin to import what the notebooks import; returns at once.

    Only the first call of a process decides what is imported ahead; a kernel imports what is missing itself.
    """
    names = {name for notebook in notebooks for name in imported(notebook)}
    statistics = STATISTICS if any(name.startswith(_COMPARING) for name in names) else ()
    os.environ[NAMES_ENV] = " ".join((*LATER, *statistics, *sorted(names)))
    multiprocessing.get_context("forkserver").set_forkserver_preload(["mmlib.workflow.preload"])
    forkserver.ensure_running()


def imported(notebook: Path) -> list[str]:
    """Modules, and names that may be modules, that the cells of a notebook import; what cannot be read imports nothing."""
    found: list[str] = []
    for body in _code(notebook):
        for node in body:
            if isinstance(node, ast.Import):
                found += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def _code(notebook: Path) -> Iterator[list[ast.stmt]]:
    """Statements of each cell of code that is plain Python."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # its execution will name it
    for source in sources:
        with suppress(SyntaxError):
            yield ast.parse(source).body
