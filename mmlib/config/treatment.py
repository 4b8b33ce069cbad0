"""A treatment's parameters from a file, as single settings: what arm B is given, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmlib._io import UserError
from mmlib.config.load import load_config
from mmlib.config.models import flatten
from mmlib.yamlfile import read_mapping

CALIBRATED = Path("params") / "calibrated"
SECTIONS = ("adaptive_spread", "queue_aware")
"""The treatment; the control has both of them off, so that their values mean nothing to it."""


def treatment_sets(ws: Path, name: str) -> dict[str, Any]:
    """Dotted key -> value of ``params/calibrated/NAME.yaml``, or of a file named by its path (relative ones below ``ws``).

    Raises:
        UserError: no such file, a key that is not the treatment's, or a value that the configuration does not take.
    """
    if not isinstance(name, str) or not name:
        raise UserError(f"treatment: {name!r}; expected a name in {CALIBRATED}, or a YAML file")
    named = "/" in name or name.endswith((".yaml", ".yml"))
    path = ws / name if named else ws / CALIBRATED / f"{name}.yaml"
    document = read_mapping(path)
    found = flatten(document.tree)
    for key in [*document.tree, *found]:
        if key.split(".")[0] not in SECTIONS or key.endswith(".enabled"):
            expected = f"keys of {' and '.join(SECTIONS)}, without their switches"
            raise UserError(
                f"{document.place(key)}: {key}: expected {expected}; the arms differ in nothing else"
            )
    load_config(ws, [path.relative_to(ws) if path.is_relative_to(ws) else path])
    return found
