"""BASELINE_LOCK_REPORT.md and CI_GATES_STATUS.md: what was locked, and what guards it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from mmlib.baseline.budgets import Budgets
from mmlib.baseline.lock import LOCKED_FILE, Lock, LockState
from mmlib.gates.spec import GateBook
from mmlib.reports.render import Provenance, Table, frame_table, render
from mmlib.reports.soak import rules_table
from mmlib.reports.stages import stage_table
from mmlib.reports.verdict import gate_table, judge

RATIO_COLUMNS = {
    "stage": "Stage",
    "ratio": "Ratio",
    "low": "From",
    "high": "To",
    "limit": "Limit",
    "status": "By interval",
    "point_status": "By point rule",
    "runs": "Runs",
    "needed_runs": "Runs that would decide",
    "n_candidate": "Ticks",
    "needed_n": "Ticks that would decide",
}
TREND_COLUMNS = {
    "stage": "Stage",
    "since": "Level since",
    "points": "Measurements",
    "level_ms": "p95 [ms]",
    "change_pct": "Against the level before [%]",
}


def lock_report(
    results: Iterable[Any],
    state: LockState,
    provenance: Provenance,
    *,
    runbooks: Mapping[str, str] | None = None,
    history: Sequence[Lock] = (),
    unreadable: Sequence[str] = (),
) -> str:
    """The baseline lock report.

    Args:
        results: gate results of the step.
        state: the lock, or why there is none.
        provenance: where the baseline's numbers come from.
        runbooks: gate id -> what to do when it is violated.
        history: every lock that was made, oldest first; unreadable: what is wrong with those that cannot be read.
    """
    results = list(results)
    lock = state.lock
    if lock is not None and provenance.grade is None:
        provenance = replace(provenance, grade=lock.budgets.grade, source=lock.budgets.source)
    return render(
        "baseline_lock_report.md.j2",
        provenance,
        verdict=judge(results, runbooks),
        gates=gate_table(results),
        reason=state.reason,
        lock=lock,
        path=LOCKED_FILE.as_posix(),
        stages=stage_table(_stages(lock.budgets) if lock else pd.DataFrame()),
        runs=_runs(lock) if lock else None,
        history=_history(history),
        unreadable=list(unreadable),
        facts=_pairs(_facts(lock) if lock else {}),
        fingerprint=_pairs(lock.budgets.fingerprint if lock else {}),
    )


def _runs(lock: Lock) -> Table:
    """What differs between runs of the locked build."""
    rows = [
        (name, len(values), min(values), float(pd.Series(values).median()), max(values))
        for name, values in lock.made.runs.items()
        if values
    ]
    headings = ("Stage", "Runs>", "Lowest p95 [ms]>", "Median [ms]>", "Highest [ms]>")
    return Table(headings, rows, "The build was not measured in runs of its own.")


def _history(locks: Sequence[Lock]) -> Table:
    """Every lock, newest first."""
    rows = [
        (one.locked_at, one.sha256[:16], one.made.build_sha256[:8] or None, one.budgets.source, one.unproven)
        for one in reversed(locks)
    ]
    return Table(("Locked at", "Lock", "Build", "Source", "Unproven"), rows, "This is the first lock.")


def _stages(budgets: Budgets) -> pd.DataFrame:
    """Percentiles of the locked histograms."""
    rows = [
        (name, h.n, *(h.quantile(q) for q in (0.5, 0.95, 0.99))) for name, h in budgets.histograms.items()
    ]
    return pd.DataFrame(rows, columns=["stage", "n", "p50_ms", "p95_ms", "p99_ms"])


def _facts(lock: Lock) -> dict[str, Any]:
    """What the locked run was."""
    found = lock.budgets
    return {
        "locked at": lock.locked_at,
        "measured at": found.created,
        "shadow gates": found.status.value,
        "evidence grade": found.grade.value,
        "source": found.source,
        "symbols": ", ".join(found.symbols),
        "ticks": found.n_ticks,
        "covered time [min]": found.span_s / 60,
        "cache hit ratio": found.hit_ratio,
        "deadline misses [%]": found.deadline_miss_pct,
        "latency": found.latency_note or None,
        "build": lock.made.build_sha256[:16] or None,
        "lock before this one": lock.previous_sha256 or None,
    }


def ci_gates_status(
    results: Iterable[Any],
    book: GateBook,
    provenance: Provenance,
    *,
    active: bool,
    ratios: pd.DataFrame | None = None,
    measured: str = "",
    levels: pd.DataFrame | None = None,
) -> str:
    """The status of the CI gates.

    Args:
        results: ``ci.*`` gate results of the last validation; empty when none was made.
        book: every gate; those of CI are listed.
        provenance: where the candidate's numbers come from.
        active: a lock exists, its hash matches, and every CI gate was evaluated against it.
        ratios: ``baseline.validate.Comparison.frame()``: candidate over baseline with its interval, a row a stage.
        measured: one line that says what was measured.
        levels: ``baseline.trend.trend``: every measurement on this host; None leaves the section out.
    """
    results = list(results)
    return render(
        "ci_gates_status.md.j2",
        provenance,
        active=active,
        verdict=judge(results, {gate.id: gate.runbook for gate in book}),
        gates=gate_table(results),
        rules=rules_table(book.step("ci"), "gates.yaml holds no CI gate."),
        ratios=None
        if ratios is None
        else frame_table(ratios, RATIO_COLUMNS, empty="No stage could be compared."),
        measured=measured,
        levels=None
        if levels is None
        else frame_table(_levels(levels), TREND_COLUMNS, empty="Nothing was measured yet."),
    )


def _levels(trend: pd.DataFrame) -> pd.DataFrame:
    """The latest level of each stage: since when, from how many measurements, and how it differs from the one before."""
    rows = []
    for stage, part in trend.groupby("stage", sort=False):
        last = part[part["segment"] == part["segment"].max()]
        first = last.iloc[0]
        since = f"{first['at']:%Y-%m-%d %H:%M}"
        rows.append((stage, since, len(part), first["level_ms"], first["change_pct"]))
    return pd.DataFrame(rows, columns=list(TREND_COLUMNS))


def _pairs(values: Mapping[str, Any]) -> Table:
    return Table(("What", "Value"), [(name, value) for name, value in values.items()], "Nothing was stated.")
