"""What a day is compared with, and how the comparison reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pandas as pd

from mmlib.baseline.lock import lock_state
from mmlib.ops.compare import comparison
from mmlib.ops.daily import DailySummary
from mmlib.ops.facts import Figures, before, facts_path, merged, read_figures
from mmlib.reports.render import Table
from mmlib.reports.signs import shown

COMPARED = {
    "day": "This day",
    "previous": "Day before",
    "change": "Change",
    "week": "Week before",
    "baseline": "Locked baseline",
}


@dataclass(frozen=True)
class Beside:
    """What a day is compared with.

    Attributes:
        previous: the day before, when it has a report.
        week: those of the seven days before that have one.
        baseline: the locked stage budgets, when there are any; without money.
        note: what to know about the baseline before comparing with it.
    """

    previous: Figures | None = None
    week: tuple[Figures, ...] = ()
    baseline: Figures | None = None
    note: str = ""


def beside(workspace: Path, day: date, source: str = "") -> Beside:
    """What a workspace knows to compare a day with.

    Args:
        workspace: holds artifacts/reports/daily and artifacts/baseline.
        day: the day that is reported.
        source: what the day's feeds come from; a baseline of another source is said to be one.

    Raises:
        UserError: the figures of an earlier day are damaged.
    """
    reports = workspace / "artifacts" / "reports" / "daily"
    week = tuple(before(reports, day, 7))
    previous = read_figures(facts_path(reports, day - timedelta(days=1)))
    locked = lock_state(workspace).lock
    if locked is None:
        return Beside(previous, week)
    budgets = locked.budgets
    sums = {"n_ticks": budgets.n_ticks, "hits": budgets.n_hits, "deadline_misses": budgets.n_misses}
    figures = Figures("baseline", {k: float(v) for k, v in sums.items()}, budgets.histograms)
    note = f"locked {locked.locked_at}"
    if source and source != budgets.source:
        note += f", on another source ({budgets.source}): latencies and cache are not like for like"
    return Beside(previous, week, figures, note)


def compared(summary: DailySummary, other: Beside) -> pd.DataFrame:
    """The day beside what it is compared with, see ``ops.compare.comparison``."""
    week = merged("week", other.week)
    return comparison(summary.figures, other.previous, week, len(other.week), other.baseline)


def compared_table(table: pd.DataFrame) -> Table:
    """The comparison, without figures that nothing is known of."""
    columns = [*COMPARED]
    rows = [
        (
            f"{row['name']} [{row['unit']}]" if row["unit"] else row["name"],
            *(shown(row["metric"], row[c]) for c in columns),
        )
        for row in table.to_dict("records")
        if any(math.isfinite(row[c]) for c in columns)
    ]
    return Table(("Figure", *(f"{COMPARED[c]}>" for c in columns)), rows, "Nothing to compare.")


def beside_text(other: Beside) -> str:
    """What the columns of the comparison are, and why some are empty."""
    parts = [
        f"Day before: {other.previous.health}." if other.previous else "The day before has no report.",
        f"Week before: {len(other.week)} of 7 days have a report; counts are a day's mean."
        if other.week
        else "No day of the week before has a report.",
        f"Baseline: {other.note}." if other.baseline else "No baseline is locked.",
    ]
    return " ".join(parts)
