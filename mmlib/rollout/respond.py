"""What a violated safety gate leads to: the treatment is taken back, once, with everything that explains it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmlib._io import sha256_file
from mmlib.config.flags import GRADUAL, SNAPSHOT_FILE
from mmlib.config.rollback import rollback
from mmlib.dtypes import Grade
from mmlib.rollout.monitor import Violation

WAY = "adaptive"
"""The gradual rollback that is the treatment: adaptive spread and queue-ETA off."""


def respond(
    ws: Path, violation: Violation | None, *, stage: str, grade: Grade, evidence: str
) -> dict[str, Any] | None:
    """Take the treatment back, or say what would be: a table of what happened and why; None without a violation.

    Flags, log and ``ROLLBACK.json``, which a running session follows, are written on live evidence only: a replay shows
    what would have happened, and leaves the workspace's configuration alone. A second call changes nothing.

    Args:
        ws: workspace.
        violation: of the safety monitor.
        stage: such as ``ab_10``.
        grade: of the evidence.
        evidence: one line naming the data.

    Raises:
        UserError: the parameter files cannot be changed; nothing has been changed then.
    """
    if violation is None:
        return None
    snapshot = ws / SNAPSHOT_FILE
    why = {
        "stage": stage,
        "gate": violation.gate,
        "metric": violation.metric,
        "group": violation.group,
        "value": violation.value,
        "threshold": violation.threshold,
        "window": violation.window,
        "evidence": evidence,
        "snapshot_sha256": sha256_file(snapshot) if snapshot.is_file() else "no snapshot was taken",
    }
    if grade is not Grade.LIVE:
        off = ", ".join(GRADUAL[WAY])
        return why | {"flags": f"left alone: {grade} evidence; on live evidence these go off: {off}"}
    report = rollback(
        ws,
        reason=f"{stage}: {violation.title} ({violation.gate}) violated",
        gradual=WAY,
        details=why,
    )
    changed = [f"{key}: {old} -> {new}" for key, old, new in report.changed]
    return why | {"flags": "; ".join(changed) or "were off already", "at": report.at}
