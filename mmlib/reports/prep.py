"""PREP_LOG.md, PRE_SOAK_REPORT.md and the flags registry: was all in order, and may the soak start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from mmlib.dtypes import Status
from mmlib.reports.render import Provenance, Table, code, frame_table, render
from mmlib.reports.stages import stage_table
from mmlib.reports.verdict import as_dict, gate_table, judge


def flags_frame(checks: Iterable[Any]) -> pd.DataFrame:
    """Required flags as a frame: name, value, expected, ok.

    Args:
        checks: objects with those attributes.
    """
    names = ["name", "value", "expected", "ok"]
    return pd.DataFrame([[getattr(check, name) for name in names] for check in checks], columns=names)


def _flag_table(flags: pd.DataFrame) -> Table:
    """One row a flag; a second one only where another configuration gives it another value."""
    flags = flags[["name", "value", "expected", "ok"]].drop_duplicates()
    rows = [
        ("PASS" if row.ok else "FAIL", code(row.name), row.value, row.expected)
        for row in flags.itertuples(index=False, name="Flag")
    ]
    return Table(("Status", "Flag", "Value", "Expected"), rows, "No flag was checked.")


def prep_log(
    results: Iterable[Any],
    flags: pd.DataFrame,
    provenance: Provenance,
    *,
    files: Mapping[str, str],
    directories: Sequence[str] = (),
    snapshot: str = "artifacts/release/FEATURE_FLAGS_SNAPSHOT.json",
    runbooks: Mapping[str, str] | None = None,
) -> str:
    """The preparation log.

    Args:
        results: gate results of the step.
        flags: name, value, expected, ok; one row a required flag.
        provenance: where this comes from.
        files: parameter file below the workspace -> SHA-256.
        directories: directories that were made or found, below the workspace.
        snapshot: where the feature flags were snapshotted.
        runbooks: gate id -> what to do when it is violated.
    """
    results = list(results)
    return render(
        "prep_log.md.j2",
        provenance,
        verdict=judge(results, runbooks),
        gates=gate_table(results),
        flags=_flag_table(flags),
        files=Table(("File", "SHA-256"), [(code(name), code(sha)) for name, sha in files.items()]),
        directories=Table(("Directory",), [(code(name),) for name in directories]),
        snapshot=snapshot,
    )


def _steps_named(results: Sequence[Any]) -> str:
    """The steps whose gates are at hand, in words."""
    steps = {str(as_dict(result)["step"]) for result in results}
    return (
        " and ".join(name for step, name in (("prep", "Preparation"), ("shadow", "Shadow")) if step in steps)
        or "No step"
    )


def pre_soak_report(
    results: Iterable[Any],
    stages: pd.DataFrame,
    provenance: Provenance,
    *,
    flags: pd.DataFrame | None = None,
    soak_command: str = "finishline soak --hours 72",
    runbooks: Mapping[str, str] | None = None,
) -> str:
    """Go or no go for the soak.

    Args:
        results: gate results of Prep and Shadow.
        stages: stage, n, p50_ms, p95_ms, p99_ms of the shadow session; may be empty.
        provenance: where this comes from.
        flags: as for ``prep_log``; None leaves the section out.
        soak_command: what starts the soak.
        runbooks: gate id -> what to do when it is violated.
    """
    results = list(results)
    verdict = judge(results, runbooks)
    return render(
        "pre_soak_report.md.j2",
        provenance,
        verdict=verdict,
        go=verdict.status is Status.PASS,
        named=_steps_named(results),
        gates=gate_table(results),
        stages=stage_table(stages),
        flags=None if flags is None else _flag_table(flags),
        soak_command=soak_command,
    )


def feature_flags_registry(rows: pd.DataFrame, provenance: Provenance) -> str:
    """docs/FEATURE_FLAGS_REGISTRY.md: every flag, what it does, and how it is taken back.

    Args:
        rows: name, description, default, current, rollback, optionally unit, required and since; one row a flag.
        provenance: where this comes from.
    """
    columns = {
        "name": "Flag",
        "description": "What it does",
        "unit": "Unit",
        "default": "Default",
        "current": "Now",
        "since": "Since",
        "required": "Required",
        "rollback": "Taken back by",
    }
    changed = [str(row["name"]) for row in rows.to_dict("records") if row["default"] != row["current"]]
    table = frame_table(rows, columns, empty="No flag is registered.", as_code=("name",))
    return render("feature_flags_registry.md.j2", provenance, flags=table, changed=changed, count=len(rows))
