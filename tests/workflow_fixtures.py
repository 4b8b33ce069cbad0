"""Tiny notebooks and a workspace for the tests of the workflow."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import psutil

from mmlib.dtypes import Grade
from mmlib.gates.result import GateResult
from mmlib.workflow.steps import STEPS

OPEN = "from mmlib.workflow.record import open_step\nctx = open_step({step!r}, workspace=workspace, {rest})"


def write_notebook(path: Path, cells: Sequence[str], parameters: Mapping[str, Any] | None = None) -> Path:
    """A notebook: a title, a tagged parameters cell, then ``cells`` as code (or Markdown when they begin with #)."""
    made = [nbformat.v4.new_markdown_cell(f"# {path.stem}")]
    lines = [f"{name} = {value!r}" for name, value in (parameters or {"workspace": "."}).items()]
    made.append(nbformat.v4.new_code_cell("\n".join(lines), metadata={"tags": ["parameters"]}))
    for text in cells:
        kind = nbformat.v4.new_markdown_cell if text.startswith("# ") else nbformat.v4.new_code_cell
        made.append(kind(text))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": kernel})
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def passing_cells(step: str, status: str = "PASS", value: float = 0.9) -> list[str]:
    """Code of a notebook that opens a step and records one gate."""
    rest = "rollout_pct=rollout_pct" if step == "ab" else ""
    return [
        OPEN.format(step=step, rest=rest),
        "from mmlib.gates.result import GateResult\nfrom mmlib.dtypes import Grade",
        f"result = GateResult(id='{step}.x', step=ctx.step, status={status!r}, value={value!r}, op='>=', limit=0.7, "
        "unit='ratio', n=10, title='Hit ratio')",
        "ctx.finish([result], grade=Grade.SIMULATED, outputs=[])",
    ]


def write_all(home: Path) -> Path:
    """Notebooks for every step, passing, with the parameters that the shipped parameter files name."""
    import yaml

    shipped = Path(__file__).resolve().parents[1] / "params" / "steps"
    for step in STEPS:
        params = yaml.safe_load((shipped / f"{step.notebook}.yaml").read_text())
        write_notebook(home / f"{step.notebook}.ipynb", passing_cells(step.family), params)
    return home


def result(step: str, status: str = "PASS", **changes: Any) -> GateResult:
    """One gate result."""
    values: dict[str, Any] = {
        "id": f"{step}.x",
        "step": step,
        "status": status,
        "value": 1.0,
        "n": 5,
        "title": "X",
    }
    return GateResult(**(values | changes))


def record_all(
    ws: Path, *, grade: Grade = Grade.LIVE, without: Sequence[str] = (), status: str = "PASS"
) -> None:
    """Record every acceptance step outside a kernel, as a notebook run by hand does."""
    from mmlib.workflow.record import open_step
    from mmlib.workflow.steps import ACCEPTANCE

    for step in ACCEPTANCE:
        if step.key not in without:
            given = {"rollout_pct": step.fixed["rollout_pct"]} if step.family == "ab" else {}
            ctx = open_step(step.family, workspace=ws, **given)
            ctx.finish([result(step.key, status)], grade=grade)


def decide(ws: Path, evidence_required: str = "live", rehearsal: bool = False) -> None:
    """Record readiness, as its notebook does."""
    from mmlib.workflow.readiness import collect, write_readiness
    from mmlib.workflow.record import open_step

    step = open_step("readiness", workspace=ws, evidence_required=evidence_required, rehearsal=rehearsal)
    found = collect(ws, evidence_required, rehearsal)
    step.finish(found.results(step.gates), grade=found.grade, outputs=write_readiness(ws, found))


def gone(pid: int, patience_s: float = 200.0) -> bool:
    """Whether a process has ended, or does so soon."""
    until = time.monotonic() + patience_s
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True
