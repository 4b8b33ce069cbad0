"""What Prep measures: the files that are in force, the required flags, the snapshot, the gates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmlib._io import UserError, sha256_file
from mmlib.config.flags import FlagCheck, read_snapshot, stale_files
from mmlib.gates.evaluate import Measurement
from mmlib.gates.spec import GateBook, read_gates

if TYPE_CHECKING:
    from mmlib.config.load import LoadedConfig

SNAPSHOT = "artifacts/release/FEATURE_FLAGS_SNAPSHOT.json"


def prep_measurements(
    ws: Path, loaded: Sequence[LoadedConfig], flags: Sequence[FlagCheck], gates: GateBook
) -> dict[str, Measurement]:
    """Measurements of the Prep gates, each looked up again on disk.

    Args:
        ws: the workspace.
        loaded: every configuration that was validated (base, and base with the soak overrides).
        flags: the required flags of each.
        gates: the gate file as loaded.
    """
    return {
        "config_ok": _config(ws, loaded),
        "flags_ok": _flags(flags),
        "snapshot_ok": _snapshot(ws),
        "gates_ok": _gates(gates),
    }


def _config(ws: Path, loaded: Sequence[LoadedConfig]) -> Measurement:
    """Whether the validated files are still the ones on disk."""
    files = {name: sha for config in loaded for name, sha in config.files.items()}
    changed = [
        name for name, sha in files.items() if not (ws / name).is_file() or sha256_file(ws / name) != sha
    ]
    reason = (
        f"changed while Prep ran: {', '.join(changed)}"
        if changed
        else f"validated: {', '.join(sorted(files))}"
    )
    return Measurement(float(not changed), n=len(files), reason=reason)


def _flags(flags: Sequence[FlagCheck]) -> Measurement:
    wrong = [f"{flag.name} is {flag.value}, expected {flag.expected}" for flag in flags if not flag.ok]
    return Measurement(float(not wrong), n=len(flags), reason="; ".join(wrong) or f"{len(flags)} checks")


def _snapshot(ws: Path) -> Measurement:
    """Whether the snapshot can be read back and was taken from the files that are in force."""
    try:
        taken = read_snapshot(ws / SNAPSHOT)
    except UserError as exc:
        return Measurement(0.0, n=1, reason=str(exc))
    stale = stale_files(ws, taken)
    reason = f"taken from other files: {', '.join(stale)}" if stale else f"{SNAPSHOT} reads back"
    return Measurement(float(not stale), n=1, reason=reason, evidence=SNAPSHOT)


def _gates(gates: GateBook) -> Measurement:
    """Whether the gate file on disk is valid and the one in force."""
    try:
        again = read_gates(gates.path)
    except UserError as exc:
        return Measurement(0.0, n=len(gates), reason=str(exc))
    same = again.sha256 == gates.sha256
    reason = f"{len(again)} gates" if same else "changed while Prep ran"
    return Measurement(float(same), n=len(again), reason=reason, evidence=gates.path.name)
