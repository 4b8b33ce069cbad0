"""What has changed since a step ran: configuration, limits, files it read or wrote, code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmlib._io import UserError, sha256_file, sha256_json
from mmlib.workflow.provenance import MISSING, PARAM_FILES, SOAK_OVERRIDES, code_sha256, param_hashes, stamps
from mmlib.workflow.steps import BY_KEY, Step

if TYPE_CHECKING:
    from mmlib.gates.spec import GateBook
    from mmlib.workflow.record import StepRecord

CONFIG, GATES = PARAM_FILES[0], PARAM_FILES[2]
_READ_GATES = {
    "soak": ("soak", "daily"),
    "baseline_lock": ("baseline_lock", "ci"),
}
"""Gates that a step reads beside those under its own name; Prep and Daily ops read them all."""
_READ_ALL = ("prep", "daily_ops")


def deciding(ws: Path, step: Step, sets: Mapping[str, Any], gates: GateBook) -> dict[str, str]:
    """Hashes of what decides a step's result apart from its data: effective configuration, its gates, the code.

    Args:
        sets: single settings by dotted key, as the step was given them.
        gates: all gates of the workspace.

    Raises:
        UserError: the configuration is wrong.
    """
    from mmlib.config.load import load_config

    soak = [ws / SOAK_OVERRIDES] if (ws / SOAK_OVERRIDES).is_file() else []
    layers = [[], soak] if step.key == "prep" else [soak if step.overrides else []]
    config = [load_config(ws, overrides, sets).sha256 for overrides in layers]
    names = None if step.key in _READ_ALL else _READ_GATES.get(step.key, (step.family,))
    read = [gate.model_dump(mode="json") for gate in gates if names is None or gate.step in names]
    return {"config": sha256_json(config), "gates": sha256_json(read), "code": code_sha256()}


def changes(ws: Path, record: StepRecord) -> tuple[str, ...]:
    """What is not as it was when a step was recorded, one reason a thing; empty when all is."""
    if not record.data:
        return ()
    return (*_decided_otherwise(ws, record), *changed_files(ws, record.data))


def changed_files(ws: Path, data: Mapping[str, Any]) -> Iterator[str]:
    """Files that a step read or wrote and that are gone or hold something else now.

    A file of the same size and time of change counts as the same without being read.
    """
    recorded = {
        name: digest
        for group in ("inputs", "outputs")
        for name, digest in _mapping(data.get(group)).items()
        if name not in PARAM_FILES
    }
    before, now = _mapping(data.get("stamps")), stamps(ws, recorded)
    for name, digest in recorded.items():
        if name not in now:
            if digest != MISSING:
                yield f"{name} is gone"
        elif before.get(name) != now[name] and sha256_file(ws / name) != digest:
            yield f"{name} changed since"


def _decided_otherwise(ws: Path, record: StepRecord) -> Iterator[str]:
    from mmlib.gates.spec import load_gates

    before = _mapping(record.data.get("deciding"))
    step = BY_KEY.get(record.step)
    if not before or step is None:
        return
    sets = _mapping(_mapping(record.data.get("params")).get("sets"))
    try:
        now = deciding(ws, step, sets, load_gates(ws))
    except UserError as exc:
        yield str(exc)
        return
    if before.get("config") != now["config"]:
        files, current = _mapping(record.data.get("inputs")), param_hashes(ws)
        named = [n for n in (CONFIG, SOAK_OVERRIDES) if files.get(n) != current.get(n)]
        yield f"{' and '.join(named) or 'the configuration'} changed since"
    if before.get("gates") != now["gates"]:
        yield f"{GATES} changed since"
    if before.get("code") != now["code"]:
        yield "the package's code changed since"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
