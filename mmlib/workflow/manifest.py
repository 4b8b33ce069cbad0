"""What the runner plans, what came of it, and the manifest that says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmlib._io import sha256_file, sha256_json, write_json
from mmlib.config.masking import mask_strings, mask_text
from mmlib.dtypes import Status
from mmlib.workflow import runs
from mmlib.workflow.changes import changed_files
from mmlib.workflow.deciding import deciding
from mmlib.workflow.record import StepRecord, latest
from mmlib.workflow.steps import Step
from mmlib.workflow.table import explain
from mmlib.workflow.times import now_iso

SCHEMA = 1
OK, GATE, BAD_INPUT, FAILED = 0, 1, 2, 3
"""Exit codes: every gate passed; a gate did not pass; bad input; a notebook failed to execute."""


@dataclass(frozen=True)
class Planned:
    """A step with the notebook to execute and its parameters."""

    step: Step
    notebook: Path
    params: Mapping[str, Any]

    def json_params(self) -> dict[str, Any]:
        """The parameters in JSON types, as the notebook gets them."""
        return dict(json.loads(json.dumps(dict(self.params), default=str)))


@dataclass(frozen=True)
class RunOutcome:
    """How one step went; ``reason`` is one line when it did not pass."""

    step: Step
    returncode: int
    status: Status
    notebook: Path | None
    seconds: float
    reason: str = ""
    resumed: bool = False


@dataclass(frozen=True)
class Failure:
    """Why a notebook did not finish: exit code, error name, one line, the cell's index where it is known."""

    returncode: int
    name: str
    message: str
    cell: int | None


def fingerprint(ws: Path, item: Planned) -> str:
    """Hash of all that decides a result apart from data: parameters, configuration, gates, code, notebook, records built on."""
    from mmlib.gates.spec import load_gates

    index = runs.read_index(ws)
    sets = item.params.get("sets") or {}
    return sha256_json(
        {
            "params": item.json_params(),
            "deciding": deciding(ws, item.step, sets, load_gates(ws)),
            "notebook": sha256_file(item.notebook),
            "upstream": {key: index.get(key, {}).get("run_id") for key in item.step.depends},
        }
    )


def begin(ws: Path, item: Planned, run_id: str, started: str) -> None:
    """Mark a step as begun, in place of its earlier record: a run that is killed leaves an ERROR, never an old PASS.

    Raises:
        UserError: the workspace cannot be written.
    """
    entry = {
        "run_id": run_id,
        "path": f"{run_id}/{item.step.record}.ipynb",
        "sha256": "",
        "finished": "",
        "kind": "notebook",
        "error": f"began at {started} and has not finished; when it is not running any more, run the step again",
    }
    runs.update_index(ws, item.step.key, entry)


def write_manifest(
    ws: Path,
    item: Planned,
    outcome: RunOutcome,
    run_id: str,
    *,
    profile: str,
    started: str,
    print_hash: str,
    failure: Failure | None,
) -> None:
    """Write ``<record>.json`` beside the executed notebook and make this run the step's latest.

    Raises:
        UserError: the workspace cannot be written.
    """
    finished = now_iso()
    path = f"{run_id}/{outcome.step.record}.ipynb"
    error = mask_text(outcome.reason) if outcome.returncode in (BAD_INPUT, FAILED) else ""
    manifest = {
        "schema": SCHEMA,
        "run_id": run_id,
        "step": outcome.step.key,
        "profile": profile,
        "status": str(outcome.status),
        "returncode": outcome.returncode,
        "started": started,
        "finished": finished,
        "seconds": round(outcome.seconds, 3),
        "params": mask_strings(item.json_params()),
        "fingerprint": print_hash,
        "notebook": path if outcome.notebook else None,
        "error": None
        if not error
        else {
            "message": error,
            "name": failure.name if failure else "",
            "cell": failure.cell if failure else None,
        },
    }
    write_json((runs.runs_dir(ws) / path).with_suffix(".json"), manifest)
    entry = {
        "run_id": run_id,
        "path": path,
        "sha256": sha256_file(outcome.notebook) if outcome.notebook else "",
        "finished": finished,
        "kind": "notebook",
        "fingerprint": print_hash,
        "returncode": outcome.returncode,
        "seconds": manifest["seconds"],
        "error": error,
    }
    runs.update_index(ws, outcome.step.key, entry)


def resumable(ws: Path, item: Planned) -> RunOutcome | None:
    """The recorded outcome when the step finished and nothing that decides it changed since, else None."""
    entry = runs.read_index(ws).get(item.step.key, {})
    if entry.get("returncode") not in (OK, GATE) or entry.get("fingerprint") != fingerprint(ws, item):
        return None
    record = latest(ws).get(item.step.key)
    if record is None or not record.data or any(changed_files(ws, record.data)):
        return None
    seconds = float(entry.get("seconds", 0.0))
    return RunOutcome(
        item.step, int(entry["returncode"]), record.status, record.path, seconds, why(record), resumed=True
    )


def why(record: StepRecord) -> str:
    """Why a step did not pass: what went wrong, or the gates that held it back; empty when it passed."""
    if record.status == Status.PASS:
        return ""
    return record.reason if record.status == Status.ERROR else explain(record.gates) or record.reason
