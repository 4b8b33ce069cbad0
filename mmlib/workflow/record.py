"""What a notebook opens first and records last, and how a record is read back (the one user of scrapbook)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmlib._io import UserError, inside, read_json, sha256_file, sha256_json, write_json
from mmlib.config.masking import mask_strings
from mmlib.dtypes import Grade, Status
from mmlib.seal import fault
from mmlib.workflow import runs
from mmlib.workflow.deciding import deciding
from mmlib.workflow.light import light_jsonschema
from mmlib.workflow.params import check_parameters
from mmlib.workflow.provenance import (
    SOAK_OVERRIDES,
    code_sha256,
    command,
    hash_files,
    param_hashes,
    stamps,
    versions,
)
from mmlib.workflow.steps import BY_KEY, Step, get_step
from mmlib.workflow.table import GateTable
from mmlib.workflow.times import now_iso

if TYPE_CHECKING:
    from mmlib.config.load import LoadedConfig
    from mmlib.gates.result import GateResult
    from mmlib.gates.spec import GateBook

SCHEMA = 1
RUN_ID_ENV = "FINISHLINE_RUN_ID"
"""Set by the runner; a notebook that finds it leaves the index of runs to the runner."""


@dataclass
class StepContext:
    """An open step: where it works, what it was given, and the way to record what came of it."""

    ws: Path
    spec: Step
    config: LoadedConfig
    gates: GateBook
    params: dict[str, Any]
    run_id: str
    managed: bool  # executed by the runner, which indexes the record itself
    started: str
    deciding: Mapping[str, str]  # hashes of configuration, gates and code when the step was opened
    source: str = ""
    symbols: tuple[str, ...] = ()
    seed: int = 0
    start_ns: int | None = None
    from_ns: int | None = None
    to_ns: int | None = None

    @property
    def step(self) -> str:
        """The step's key."""
        return self.spec.key

    def path(self, relative: str | Path) -> Path:
        """A path below the workspace; anything that leaves it is refused."""
        return inside(self.ws, relative)

    @property
    def resume(self) -> bool:
        """Whether a session that was killed here goes on instead of beginning anew."""
        from mmlib.engine.realtime.options import resume_wanted

        return resume_wanted()

    @property
    def quarantine(self) -> Path:
        """Where this step keeps lines that it could not read; never beside feeds, which may belong to a desk."""
        return self.path(f"artifacts/quarantine/{self.step}")

    def finish(
        self,
        results: Sequence[GateResult],
        *,
        grade: Grade | None = None,
        outputs: Iterable[Path | str] = (),
        inputs: Iterable[Path | str] = (),
        facts: Mapping[str, Any] | None = None,
    ) -> GateTable:
        """Record the step and return its gate table for display.

        Args:
            results: gate results in the order of display; warnings are listed but do not decide the status.
            grade: where the data came from, None for a step that read none.
            outputs: files (or directories) below the workspace that the step wrote; each is hashed. A desk's own
                feeds (``feeds:DIR``) are counted among the inputs: the step read them where they are.
            inputs: data files read; each is hashed beside the parameter files, and so is the recording that the
                step's source names.
            facts: numbers worth keeping with the record (builtin or NumPy types, nested).

        Raises:
            UserError: an output lies outside the workspace.
        """
        from mmlib.gates.result import aggregate

        given = self._given_data()
        wrote = [out for out in outputs if given is None or Path(out).resolve() != given]
        read = [*inputs, *([] if given is None else [given])]
        hashes_read = hash_files(self.ws, read)
        hashes_wrote = hash_files(self.ws, [self.path(out) for out in wrote])
        gates = [plain(result.to_dict()) for result in results]
        verdict = aggregate(results, self.step)
        record = {
            "schema": SCHEMA,
            "step": self.step,
            "status": str(verdict.status),
            "reason": verdict.reason,
            "grade": None if grade is None else str(Grade(grade)),
            "run_id": self.run_id,
            "started": self.started,
            "finished": now_iso(),
            "params": plain(self.params),
            "params_sha256": sha256_json(plain(self.params)),
            "config_sha256": self.config.sha256,
            "gates_sha256": str(self.gates.sha256),
            "code_sha256": code_sha256(),
            "deciding": dict(self.deciding),
            "inputs": {**param_hashes(self.ws), **hashes_read},
            "outputs": hashes_wrote,
            "stamps": stamps(self.ws, [*hashes_read, *hashes_wrote]),
            "versions": versions(),
            "command": command(),
            "facts": plain(dict(facts or {})),
        }
        _glue("gates", gates)
        _glue("step", record)
        if not self.managed:
            _write_own_record(self.ws, self.spec, record, gates)
        note = f"evidence: {record['grade']}" if grade is not None else ""
        return GateTable(self.spec.title, str(verdict.status), gates, note)

    def _given_data(self) -> Path | None:
        """The recording or a desk's own feeds that the source names, None for every other source."""
        kind, _, rest = self.source.partition(":")
        return Path(rest).expanduser().resolve() if kind in ("recording", "feeds") else None


def open_step(step: str, *, workspace: str | Path = ".", **parameters: Any) -> StepContext:
    """Open a step at the top of its notebook: workspace, configuration, gates, checked parameters.

    ``step`` is a key of the table of steps; ``ab`` takes its stage from ``rollout_pct``. A workspace without
    parameters gets the shipped ones. ``.`` is searched upwards, because JupyterLab starts a notebook in its
    own directory.

    Raises:
        UserError: a parameter, the configuration, the gates or the workspace is not as expected.
    """
    from mmlib.config.load import ensure_params, load_config
    from mmlib.gates.spec import load_gates

    _prepare_kernel()
    ws = resolve_workspace(workspace)
    checked = check_parameters(parameters)
    spec = get_step(step, rollout_pct=parameters.get("rollout_pct"))
    if ensure_params(ws):
        print(f"{ws}: had no params/; the shipped ones were copied there")  # noqa: T201  (a notebook's own output)
    overrides = [ws / SOAK_OVERRIDES] if spec.overrides and (ws / SOAK_OVERRIDES).is_file() else []
    sets = parameters.get("sets") or {}
    config = load_config(ws, overrides=overrides, sets=sets)
    gates = load_gates(ws)
    managed = os.environ.get(RUN_ID_ENV, "")
    return StepContext(
        ws=ws,
        spec=spec,
        config=config,
        gates=gates,
        params={"workspace": str(workspace), **parameters},
        run_id=runs.check_run_id(managed) if managed else runs.new_run(ws),
        managed=bool(managed),
        started=now_iso(),
        deciding=deciding(ws, spec, sets, gates),
        source=checked.source,
        symbols=checked.symbols,
        seed=checked.seed,
        start_ns=checked.start_ns,
        from_ns=checked.from_ns,
        to_ns=checked.to_ns,
    )


def resolve_workspace(workspace: str | Path) -> Path:
    """Absolute workspace; a relative one without ``params/`` is looked for in the parent directories.

    Raises:
        UserError: the path exists and is no directory.
    """
    path = Path(workspace).expanduser()
    full = path.resolve()
    if full.exists() and not full.is_dir():
        raise UserError(f"{full}: is a file; expected a workspace directory")
    if str(workspace) in (".", "") and not (full / "params").is_dir():
        for parent in full.parents:
            if (parent / "params" / "gates.yaml").is_file():
                return parent
    return full


# --- reading back ---


@dataclass(frozen=True)
class StepRecord:
    """A step as its executed notebook tells it; ``reason`` says why there is no proper record."""

    step: str
    status: Status
    grade: Grade | None = None
    run_id: str = ""
    finished: str = ""
    gates: tuple[dict[str, Any], ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    reason: str = ""


def read_record(path: Path, step: str = "") -> StepRecord:
    """Read the scraps of an executed notebook (or the JSON record of a notebook run by hand).

    A notebook without its step scrap did not finish, and a status that its gates do not bear out was not decided
    by them: both are ERROR.
    """
    try:
        scraps = read_json(path) if path.suffix == ".json" else _scraps(path)
        data, gates = (scraps.get("step"), scraps.get("gates")) if isinstance(scraps, dict) else (None, None)
    except UserError as exc:
        return StepRecord(step, Status.ERROR, path=path, reason=str(exc))
    if (
        not isinstance(data, dict)
        or not isinstance(gates, list)
        or not all(isinstance(g, dict) for g in gates)
    ):
        return StepRecord(
            step, Status.ERROR, path=path, reason=f"{path.name}: no step was recorded; it did not finish"
        )
    from mmlib.gates.result import GateResult, aggregate

    try:
        grade = None if data.get("grade") is None else Grade(data["grade"])
        verdict = aggregate([GateResult.from_dict(gate) for gate in gates], step)
        if verdict.status != Status(data["status"]):
            raise ValueError(f"status {data['status']} does not follow from its gates: {verdict.status}")
        return StepRecord(
            step=str(data["step"]),
            status=Status(data["status"]),
            grade=grade,
            run_id=str(data.get("run_id", "")),
            finished=str(data.get("finished", "")),
            gates=tuple(gates),
            data=data,
            path=path,
            reason=str(data.get("reason", "")),
        )
    except (KeyError, ValueError) as exc:
        return StepRecord(
            step, Status.ERROR, path=path, reason=f"{path.name}: step record: unreadable ({exc})"
        )


def latest(ws: Path) -> dict[str, StepRecord]:
    """The latest record of each step that ran, in workflow order; a changed or lost file is an ERROR record.

    Raises:
        UserError: the index of runs is damaged.
    """
    index = runs.read_index(ws)
    return {key: _from_entry(ws, key, index[key]) for key in BY_KEY if key in index}


def recorded_gates(ws: Path, *steps: str) -> list[GateResult]:
    """Gate results of the latest records of some steps, in order; a step that did not run gives none."""
    from mmlib.gates.result import GateResult

    records = latest(ws)
    return [GateResult.from_dict(gate) for step in steps if step in records for gate in records[step].gates]


def _from_entry(ws: Path, key: str, entry: Mapping[str, Any]) -> StepRecord:
    run_id, finished = str(entry.get("run_id", "")), str(entry.get("finished", ""))

    def failed(reason: str, at: Path | None = None) -> StepRecord:
        return StepRecord(key, Status.ERROR, run_id=run_id, finished=finished, path=at, reason=reason)

    if edited := fault(ws, key, entry):
        return failed(f"{runs.runs_dir(ws) / 'index.json'}: {edited}; run the step again")
    try:
        path = inside(runs.runs_dir(ws), str(entry.get("path", "")))
    except UserError as exc:
        return failed(str(exc))
    if entry.get("error"):
        return failed(str(entry["error"]), path if path.is_file() else None)
    if not path.is_file():
        return failed(f"{path}: the record is gone; run the step again")
    if sha256_file(path) != entry.get("sha256"):
        return failed(f"{path}: changed after it was recorded; run the step again", path)
    record = read_record(path, key)
    if record.status != Status.ERROR and record.step != key:
        return failed(f"{path}: holds a record of {record.step!r}; expected {key!r}", path)
    return record if record.finished else failed(record.reason, path)


def _scraps(path: Path) -> dict[str, Any]:
    with light_jsonschema():
        import scrapbook
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        scraps = scrapbook.read_notebook(str(path)).scraps
    except Exception as exc:  # whatever a damaged notebook makes nbformat or scrapbook raise
        raise UserError(f"{path}: no readable notebook ({type(exc).__name__})") from exc
    return {name: scrap.data for name, scrap in scraps.items()}


# --- writing ---


def plain(value: Any) -> Any:
    """The value in builtin JSON types: NumPy unpacked, NaN and infinity become None, the rest its text."""
    if value is None or (isinstance(value, bool | int) and not isinstance(value, Enum)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [
            plain(item) for item in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)
        ]
    if hasattr(value, "tolist"):
        unpacked = value.tolist()
        return plain(unpacked) if not hasattr(unpacked, "tolist") else str(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return str(value)


def _in_kernel() -> Any:
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    shell = get_ipython()  # type: ignore[no-untyped-call,unused-ignore]
    return shell if shell is not None and getattr(shell, "kernel", None) is not None else None


def _glue(name: str, data: Any) -> None:
    if _in_kernel() is None:
        return
    with light_jsonschema():
        import scrapbook
    scrapbook.glue(name, data, encoder="json")


def _prepare_kernel() -> None:
    """Let a notebook show a UserError as its one line, and spare it a second at its first figure."""
    shell = _in_kernel()
    if shell is not None:
        shell.set_custom_exc((UserError,), _show_one_line)
        with light_jsonschema():
            import nbformat  # noqa: F401  (plotly asks for it when it shows a figure)


def _show_one_line(
    shell: Any, etype: type, value: BaseException, _tb: Any, tb_offset: int | None = None
) -> list[str]:
    line = [f"{etype.__name__}: {value}"]
    shell._showtraceback(etype, value, line)
    return line


def _write_own_record(ws: Path, spec: Step, record: dict[str, Any], gates: list[dict[str, Any]]) -> None:
    """Index a notebook that ran by itself (JupyterLab, plain papermill), so that readiness can find it."""
    relative = f"{record['run_id']}/{spec.record}.record.json"
    path = write_json(runs.runs_dir(ws) / relative, mask_strings({"step": record, "gates": gates}))
    runs.update_index(
        ws,
        spec.key,
        {
            "run_id": record["run_id"],
            "path": relative,
            "sha256": sha256_file(path),
            "finished": record["finished"],
            "kind": "record",
        },
    )
