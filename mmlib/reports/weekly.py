"""daily/YYYY-Www.md: a week of daily reports on one page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime

from mmlib.gates.spec import GateBook
from mmlib.metrics.latency import STAGE_COLUMNS
from mmlib.ops.daily import HEALTHY, NO_DATA
from mmlib.ops.facts import Figures, merged, week_name
from mmlib.reports.render import Provenance, Table, code, num, render
from mmlib.reports.signs import shown

NO_REPORT = "no report"
COLUMNS: tuple[tuple[str, str], ...] = (
    ("up_pct", "Up [%]"),
    ("tick_total_p95_ms", "Tick p95 [ms]"),
    ("hit_ratio", "Hit ratio"),
    ("deadline_miss_pct", "Misses [%]"),
    ("errors", "Errors"),
    ("n_fills", "Fills"),
    ("notional", "Notional [quote]"),
    ("pnl", "Result [quote]"),
    ("net_bps", "Net [bps]"),
    ("slippage_bps", "Slippage [bps]"),
    ("taker_share_pct", "Taker [%]"),
)
_BAD = 3  # days of an alert within a week that make it a pattern


def weekly(
    days: Sequence[date], known: Mapping[date, Figures], book: GateBook, provenance: Provenance
) -> str:
    """The roll-up of a week: ratios from sums, percentiles from merged histograms.

    Args:
        days: the week's days, in order.
        known: day -> figures, of the days that have a report.
        book: for the runbooks.
        provenance: where this comes from.
    """
    parts = [known[day] for day in days if day in known]
    whole = merged("week", parts)
    rows = [_row(str(day), known.get(day)) for day in days]
    if whole is not None:
        rows.append(_row("week", whole))
    return render(
        "weekly.md.j2",
        provenance,
        name=week_name(days[0]),
        first=days[0],
        last=days[-1],
        headline=_headline(days, known, whole),
        days=Table(("Day", "Health", *(f"{text}>" for _, text in COLUMNS)), rows),
        stages=_stages(whole),
        fired=_fired(parts),
        actions=_actions(days, known, book),
    )


def _row(name: str, figures: Figures | None) -> tuple[object, ...]:
    if figures is None:
        return (name, NO_REPORT, *(math.nan for _ in COLUMNS))
    return (name, figures.health, *(shown(metric, figures.value(metric)) for metric, _ in COLUMNS))


def _headline(days: Sequence[date], known: Mapping[date, Figures], whole: Figures | None) -> str:
    if whole is None:
        return "No day of this week has a report."
    count = Counter(known[day].health for day in days if day in known)
    states = ", ".join(f"{n} {health}" for health, n in sorted(count.items(), key=lambda i: i[0] != HEALTHY))
    missing = len(days) - sum(count.values())
    text = f"{states}{f', {missing} without a report' if missing else ''}. "
    return (
        text + f"{num(whole.value('n_fills'))} fills, notional {num(whole.value('notional'))}, "
        f"result {num(whole.value('pnl'))}, net {num(whole.value('net_bps'))} bps."
    )


def _stages(whole: Figures | None) -> Table:
    rows = []
    found = whole.histograms if whole else {}
    for stage in STAGE_COLUMNS:
        if histogram := found.get(stage):
            rows.append((stage, histogram.n, *(histogram.quantile(q) for q in (0.5, 0.95, 0.99))))
    heads = ("Stage", "Ticks>", "p50 [ms]>", "p95 [ms]>", "p99 [ms]>")
    return Table(heads, rows, "No tick was measured.")


def _fired(parts: Sequence[Figures]) -> Table:
    rows = [
        (part.name, row["severity"], code(row["gate"]), row["who"], _clock(row["start"]), _clock(row["end"]))
        for part in parts
        for row in part.fired
    ]
    return Table(("Day", "Severity", "Alert", "Who", "From", "Until"), rows, "No alert would have fired.")


def _clock(iso: object) -> str:
    try:
        return f"{datetime.fromisoformat(str(iso)):%H:%M}"
    except ValueError:
        return str(iso)


def _actions(days: Sequence[date], known: Mapping[date, Figures], book: GateBook) -> list[str]:
    """What a week shows that no single day does, then days that are missing."""
    on: dict[str, set[str]] = {}
    for day in days:
        for row in known[day].fired if day in known else ():
            on.setdefault(str(row["gate"]), set()).add(str(day))
    runbook = {gate.id: gate.runbook for gate in book}
    todo = [
        f"{gate} fired on {len(dates)} days: {runbook.get(gate, 'see its days')}"
        for gate, dates in sorted(on.items(), key=lambda item: -len(item[1]))
        if len(dates) >= _BAD
    ]
    empty = [str(day) for day in days if day in known and known[day].health == NO_DATA]
    if empty:
        todo.append(f"No tick was written on {', '.join(empty)}: was the bot stopped on purpose?")
    if any(day not in known for day in days):
        todo.append("Days without a report: finishline daily --catch-up writes those that have feeds.")
    return todo
