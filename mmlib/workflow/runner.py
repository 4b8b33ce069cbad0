"""Execute the notebook of a step headless and keep a manifest of how it went (the one user of papermill)."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from mmlib._io import UserError, write_atomic, write_json
from mmlib.config.masking import mask_strings
from mmlib.dtypes import Status
from mmlib.workflow import kernels, runs
from mmlib.workflow.ending import asking_first
from mmlib.workflow.light import light_jsonschema
from mmlib.workflow.manifest import (
    BAD_INPUT,
    FAILED,
    GATE,
    OK,
    Failure,
    Planned,
    RunOutcome,
    begin,
    fingerprint,
    why,
    write_manifest,
)
from mmlib.workflow.record import RUN_ID_ENV, StepRecord, read_record
from mmlib.workflow.steps import Step, hint
from mmlib.workflow.times import now_iso

KERNEL = "python3"
_START_TIMEOUT_S = 600


@dataclass(frozen=True)
class Event:
    """Progress: ``kind`` is start, cell or end; ``cell`` of ``cells`` is the cell now running, from 1."""

    kind: str
    step: Step
    cell: int = 0
    cells: int = 0
    outcome: RunOutcome | None = None


OnEvent = Callable[[Event], None]


def run_step(
    ws: Path, item: Planned, run_id: str, *, profile: str = "", on_event: OnEvent | None = None
) -> RunOutcome:
    """Execute one notebook below ``artifacts/runs/<run_id>/``, read its record, write manifest and index.

    The notebook is executed under a temporary name and renamed when it ended, also when it failed.
    """
    step, started, clock = item.step, now_iso(), time.monotonic()
    final = runs.runs_dir(ws) / run_id / f"{step.record}.ipynb"
    partial = final.with_name(f".{step.record}.{os.getpid()}.partial.ipynb")
    sweep(ws)
    print_hash = fingerprint(ws, item)

    def tell(kind: str, **details: Any) -> None:
        if on_event:
            on_event(Event(kind, step, **details))

    tell("start")
    begin(ws, item, run_id, started)
    failure: Failure | None = None
    interrupted: BaseException | None = None
    try:
        with asking_first(str(item.params.get("source", "")).startswith("live:")) as asked:
            failure = _execute(ws, item, partial, run_id, tell)
        interrupted = KeyboardInterrupt() if asked else None
    except KeyboardInterrupt as exc:
        failure, interrupted = Failure(FAILED, "KeyboardInterrupt", "interrupted", None), exc
        logging.getLogger("asyncio").setLevel(
            logging.CRITICAL
        )  # it would print the kernel's traceback on the way out
    notebook = _settle(partial, final, item)
    record = _record_of(notebook, step, failure)
    outcome = RunOutcome(
        step, _returncode(record, failure), record.status, notebook, time.monotonic() - clock, why(record)
    )
    write_manifest(
        ws, item, outcome, run_id, profile=profile, started=started, print_hash=print_hash, failure=failure
    )
    tell("end", outcome=outcome)
    if interrupted is not None:
        raise interrupted
    return outcome


def sweep(ws: Path) -> None:
    """Remove the notebooks of runs that were killed: half executed, and with parameters that were never masked."""
    for left in runs.runs_dir(ws).glob("*/.*.partial.ipynb"):
        pid = left.name.split(".")[-3]
        if not (pid.isdigit() and psutil.pid_exists(int(pid))):
            left.unlink(missing_ok=True)


def check_known(item: Planned) -> None:
    """Refuse parameters that the notebook does not have; papermill itself would only warn.

    Raises:
        UserError: an unknown parameter, or a notebook that is missing or unreadable.
    """
    known = parameters_of(item.notebook)
    for name in item.params:
        if name not in known:
            expected = f"expected one of {', '.join(known)}{hint(name, known)}"
            raise UserError(f"{item.notebook.name}: parameter {name!r}: unknown; {expected}")


def parameters_of(notebook: Path) -> dict[str, str]:
    """Parameters of a notebook: name -> source text of its default, in order.

    Raises:
        UserError: the notebook is missing or no notebook.
    """
    if not notebook.is_file():
        raise UserError(f"{notebook}: no such notebook")
    with light_jsonschema():
        import papermill
    try:
        found = papermill.inspect_notebook(str(notebook))
    except Exception as exc:  # whatever a damaged notebook makes nbformat or papermill raise
        raise UserError(
            f"{notebook}: no readable notebook ({type(exc).__name__}: {_one_line(str(exc))})"
        ) from exc
    return {name: str(info["default"]) for name, info in found.items()}


@contextmanager
def private_kernel() -> Iterator[None]:
    """Make ``python3`` mean this very interpreter for kernels started inside, whatever is installed."""
    spec = {
        "argv": [
            sys.executable,
            "-m",
            "ipykernel_launcher",
            "-f",
            "{connection_file}",
            "--log-level=CRITICAL",
        ],
        "language": "python",
        "display_name": "Python 3",
        "metadata": {
            "supported_encryption": ["curve"],
            "kernel_provisioner": {"provisioner_name": kernels.PROVISIONER},
        },
    }
    kernels.register()
    with tempfile.TemporaryDirectory(prefix="finishline-") as place:
        write_json(Path(place) / "kernels" / KERNEL / "kernel.json", spec)
        before = os.environ.get("JUPYTER_PATH")
        os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, (place, before)))
        try:
            yield
        finally:
            kernels.end_all()
            if before is None:
                del os.environ["JUPYTER_PATH"]
            else:
                os.environ["JUPYTER_PATH"] = before


def _execute(ws: Path, item: Planned, output: Path, run_id: str, tell: Callable[..., None]) -> Failure | None:
    with light_jsonschema():
        import papermill

    cells = _count_cells(item)

    def cell_starts(cell: Any, cell_index: int) -> None:
        tell("cell", cell=cell_index + 1, cells=cells)

    environment = {
        RUN_ID_ENV: run_id,
        "PLOTLY_RENDERER": "plotly_mimetype",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        papermill.execute_notebook(
            str(item.notebook),
            str(output),
            parameters=item.json_params(),
            kernel_name=KERNEL,
            progress_bar=False,
            start_timeout=_START_TIMEOUT_S,
            cwd=str(ws),
            on_cell_start=cell_starts,
            config=_kernel_config(),
            shutdown_kernel="immediate",  # the notebook is done or given up: there is nothing to wait for
        )
    except papermill.PapermillExecutionError as exc:
        code = BAD_INPUT if exc.ename == UserError.__name__ else FAILED
        return Failure(code, exc.ename, _one_line(exc.evalue), int(exc.cell_index))
    except Exception as exc:  # a dead kernel, a time-out, a full disk: recorded, never a traceback
        return Failure(FAILED, type(exc).__name__, _one_line(str(exc)), None)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return None


def _kernel_config() -> Any:
    """Our client, and encrypted loopback traffic where ZeroMQ can, which also spares a warning in every run."""
    import zmq
    from traitlets.config import Config

    encryption = "auto" if zmq.has("curve") else "disabled"
    client = f"{kernels.__name__}.{kernels.Client.__name__}"
    return Config({"KernelManager": {"transport_encryption": encryption, "client_class": client}})


def _count_cells(item: Planned) -> int:
    """Cells that will run: those of the notebook and the one with the injected parameters."""
    try:
        return len(json.loads(item.notebook.read_text(encoding="utf-8"))["cells"]) + 1
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _settle(partial: Path, final: Path, item: Planned) -> Path | None:
    """Give the executed notebook its name, and metadata with paths that mean something elsewhere."""
    if not partial.is_file():
        return None
    try:
        payload = json.loads(partial.read_text(encoding="utf-8"))
        payload["metadata"]["papermill"].update(input_path=item.notebook.name, output_path=final.name)
        payload = mask_strings(payload)
    except (ValueError, KeyError, TypeError):
        partial.replace(final)
        return final
    write_atomic(final, json.dumps(payload, indent=1, ensure_ascii=False) + "\n")
    partial.unlink()
    return final


def _record_of(notebook: Path | None, step: Step, failure: Failure | None) -> StepRecord:
    if failure is not None:
        where = "" if failure.cell is None else f" in cell {failure.cell}"
        shown = (
            failure.message
            if failure.returncode == BAD_INPUT
            else f"{failure.name}{where}: {failure.message}"
        )
        return StepRecord(step.key, Status.ERROR, path=notebook, reason=shown)
    if notebook is None:
        return StepRecord(step.key, Status.ERROR, reason="no executed notebook was written")
    record = read_record(notebook, step.key)
    if record.status != Status.ERROR and record.step != step.key:
        reason = f"{notebook.name}: recorded step {record.step!r}; expected {step.key!r}"
        return StepRecord(step.key, Status.ERROR, path=notebook, reason=reason)
    return record


def _returncode(record: StepRecord, failure: Failure | None) -> int:
    if failure is not None:
        return failure.returncode
    if not record.finished:
        return FAILED
    return OK if record.status == Status.PASS else GATE


def _one_line(text: str) -> str:
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    return (lines[0] if lines else "no message")[:500]
