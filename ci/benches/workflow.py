"""Workflow: the whole demo in a warm environment, notebook by notebook, beside what an empty notebook costs.

The peer is an empty notebook through the same runner: its time is the floor that the start of a kernel sets. A notebook's
time is what papermill took; its imports are the cell that holds them. What is imported ahead, by the process from which kernels
are forked, shows in the first notebook, which waits for it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from report import at_most, bar, finish, machine, seconds

from mmlib.workflow import ahead
from mmlib.workflow.manifest import Planned
from mmlib.workflow.runner import private_kernel, run_step
from mmlib.workflow.runs import new_run
from mmlib.workflow.steps import get_step

_MOST_S, _MOST_MB = 60.0, 12.0


def run_demo(workspace: Path, profile: str) -> tuple[float, dict[str, Any]]:
    """Wall seconds of ``finishline run --all`` and what it says in JSON."""
    command = [sys.executable, "-m", "mmlib", "run", "--all", "--json"]
    command += ["--profile", profile, "--workspace", str(workspace)]
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode > 1:
        raise SystemExit(f"the demo did not execute: exit code {done.returncode}")
    return time.perf_counter() - start, json.loads(done.stdout)


def notebook_times(path: Path) -> dict[str, float]:
    """Seconds of an executed notebook: all of it, the cell that imports, what happened outside of cells."""
    notebook = nbformat.read(path, as_version=4)
    whole = float(notebook.metadata.papermill.duration)
    imports = inside = 0.0
    for cell in notebook.cells:
        took = float(cell.metadata.get("papermill", {}).get("duration") or 0.0)
        inside += took
        if cell.cell_type == "code" and any(
            x.startswith(("import ", "from ")) for x in cell.source.splitlines()
        ):
            imports += took
    return {
        "notebook": round(whole, 3),
        "imports": round(imports, 3),
        "start_and_end": round(whole - inside, 3),
    }


def empty_notebook(place: Path, repeats: int) -> list[float]:
    """Seconds that the runner takes for a notebook with one empty cell (it records nothing, which the runner notes)."""
    source = place / "empty.ipynb"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("")], metadata={"kernelspec": kernel}),
        source,
    )
    workspace = place / "empty"
    workspace.mkdir()
    from mmlib.config.load import ensure_params

    ensure_params(workspace)
    took = []
    ahead.prepare([])
    with private_kernel():
        for _ in range(repeats + 1):
            item = Planned(get_step("prep"), source, {})
            took.append(run_step(workspace, item, new_run(workspace)).seconds)
    return took[1:]  # the first one waits for what is imported ahead


def print_table(steps: list[dict[str, Any]]) -> None:
    """Seconds of each notebook on standard error."""
    columns = ("step", "status", "notebook", "start_and_end", "imports")
    for row in [dict(zip(columns, columns, strict=True)), *steps]:
        print(" ".join(f"{row[name]!s:>14}" for name in columns), file=sys.stderr)


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="demo", help="profile to run (default: demo)")
    parser.add_argument(
        "--repeats", type=int, default=2, help="timed runs after the one that warms (default: 2)"
    )
    args = parser.parse_args()
    result: dict[str, Any] = {
        "bench": "workflow",
        "machine": machine("papermill", "nbclient", "ipykernel", "numba"),
    }
    with tempfile.TemporaryDirectory(prefix="finishline-bench-") as name:
        place = Path(name)
        run_demo(place / "warm", args.profile)
        floor = empty_notebook(place, 3)
        runs = [run_demo(place / f"run{k}", args.profile) for k in range(args.repeats)]
        steps = [
            {
                "step": step["step"],
                "status": step["status"],
                "seconds": seconds([run["steps"][k]["seconds"] for _, run in runs]),
                **notebook_times(Path(step["notebook"])),
            }
            for k, step in enumerate(runs[-1][1]["steps"])
        ]
        site = place / f"run{args.repeats - 1}" / "artifacts" / "html"
        site_mb = sum(p.stat().st_size for p in site.rglob("*") if p.is_file()) / 1e6
        scripts = (site / "index.html").read_text(encoding="utf-8").count("<script")
    print_table(steps)
    total = [took for took, _ in runs]
    ideal = statistics.median(floor) * len(steps)
    result |= {
        "seconds": seconds(total),
        "empty_notebook_seconds": seconds(floor),
        "floor_of_all_starts_seconds": round(ideal, 2),
        "imports_seconds": round(sum(step["imports"] for step in steps), 2),
        "steps": steps,
        "site_mb": round(site_mb, 2),
        "bars": [
            at_most("whole demo, seconds", round(min(total), 2), _MOST_S),
            at_most("site of the demo, MB", round(site_mb, 2), _MOST_MB),
            bar("front page without a script", scripts == 0, True),
        ],
    }
    return finish(result)


if __name__ == "__main__":
    raise SystemExit(main())
