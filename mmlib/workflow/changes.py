"""What has changed since a step ran: configuration, limits, files it read or wrote, code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmlib._io import UserError
from mmlib.workflow.deciding import deciding
from mmlib.workflow.provenance import MISSING, PARAM_FILES, SOAK_OVERRIDES, hash_files, param_hashes, stamps
from mmlib.workflow.steps import BY_KEY

if TYPE_CHECKING:
    from mmlib.workflow.record import StepRecord

CONFIG, GATES = PARAM_FILES[0], PARAM_FILES[2]


def changes(ws: Path, record: StepRecord, *, content: bool = False) -> tuple[str, ...]:
    """What is not as it was when a step was recorded, one reason a thing; empty when all is.

    Args:
        content: read every file, also one whose size and time of change are as they were.
    """
    if not record.data:
        return ()
    return (*_decided_otherwise(ws, record), *changed_files(ws, record.data, content=content))


def changed_files(ws: Path, data: Mapping[str, Any], *, content: bool = False) -> Iterator[str]:
    """Files that a step read or wrote and that are gone or hold something else now.

    A file of the same size and time of change counts as the same without being read, unless ``content`` is asked for.
    """
    recorded = {
        name: digest
        for group in ("inputs", "outputs")
        for name, digest in _mapping(data.get(group)).items()
        if name not in PARAM_FILES
    }
    before, now = {} if content else _mapping(data.get("stamps")), stamps(ws, recorded)
    again = hash_files(ws, [name for name in recorded if name in now and before.get(name) != now[name]])
    for name, digest in recorded.items():
        if name not in now:
            if digest != MISSING:
                yield f"{name} is gone"
        elif again.get(name, digest) != digest:
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
