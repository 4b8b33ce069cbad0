"""What decides a step's result apart from its data, as hashes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmlib._io import sha256_json
from mmlib.workflow.provenance import SOAK_OVERRIDES, code_sha256

if TYPE_CHECKING:
    from mmlib.gates.spec import GateBook
    from mmlib.workflow.steps import Step

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
