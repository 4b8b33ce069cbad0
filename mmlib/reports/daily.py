"""daily/YYYY-MM-DD.md: what the person on call reads in the morning."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mmlib.dtypes import Status
from mmlib.metrics.latency import percentile_table
from mmlib.ops.compare import findings
from mmlib.ops.daily import DailySummary
from mmlib.ops.error_codes import UNCODED
from mmlib.ops.facts import week_name
from mmlib.reports.ab import ARM_COLUMNS
from mmlib.reports.ab_of_day import StageOfDay, stage_gates, stages_table, without_stage
from mmlib.reports.beside import Beside, beside_text, compared, compared_table
from mmlib.reports.render import Provenance, Table, code, frame_table, num, render
from mmlib.reports.stages import stage_table
from mmlib.reports.verdict import gate_table, with_unit
from mmlib.reports.words import MISSING

PARTS = (
    ("gross_bps", "gross", 1),
    ("quote_travel_bps", "quote travel", -1),
    ("fees_bps", "fees", -1),
    ("inventory_bps", "inventory", 1),
)
"""Column, name, and sign with which it enters the net result."""
WHO = {"symbol": "Symbol", "arm": "Arm"}
UPTIME = {
    "first": "First tick",
    "last": "Last tick",
    "ticks": "Ticks",
    "day_pct": "Up [% of the day]",
    "uptime_pct": "Up [% from first to last]",
    "gaps": "Outages",
    "longest_gap_s": "Longest [s]",
}
CACHE = {
    "n": "Ticks",
    "hit_ratio": "Hit ratio",
    "used_stale_pct": "Stale used [%]",
    "cache_age_p50_ms": "Age p50 [ms]",
    "cache_age_p95_ms": "Age p95 [ms]",
    "deadline_miss_pct": "Deadline misses [%]",
}
GUARDS = {
    "soft_pct": "Soft [% of ticks]",
    "soft_triggers": "Soft triggers",
    "hard_pct": "Hard [% of ticks]",
    "hard_triggers": "Hard triggers",
}
ERRORS = {
    "errors": "Errors",
    "per_h": "An hour",
    "per_10k_ticks": "In 10,000 ticks",
    "worst_minute": "In the worst minute",
    "worst_at": "Worst minute",
}
BREAKER = {
    "openings": "Openings",
    "longest_open_s": "Longest [s]",
    "open_ticks_pct": "Open [% of ticks]",
}
CODES = {"code": "Code", "n": "Errors", "per_h": "An hour", "share_pct": "Share [%]"}
LINKS = (
    ("Alert rules and what to do on each", "../ALERT_RULES.md"),
    ("Executed notebook, figures and history", "../../html/index.html"),
    ("Baseline lock", "../BASELINE_LOCK_REPORT.md"),
    ("Stop criteria of the soak", "../SOAK_START.md"),
)
"""Text, and path from the directory of the daily reports."""
MEMORY = {
    "first_mb": "First [MB]",
    "last_mb": "Last [MB]",
    "lowest_mb": "Lowest [MB]",
    "highest_mb": "Highest [MB]",
    "steepest_mb_per_h": "Steepest hour [MB/h]",
}
RANKED = {
    "symbol": "Symbol",
    "n_fills": "Fills",
    "notional": "Notional [quote]",
    "pnl": "Result [quote]",
    "net_bps": "Net [bps]",
}


def daily(
    summary: DailySummary,
    provenance: Provenance,
    other: Beside | None = None,
    stages: Sequence[StageOfDay] = (),
) -> str:
    """The daily report.

    Args:
        summary: the judged day.
        provenance: where this comes from.
        other: what to compare the day with.
        stages: the A/B stages; their alerts are in the summary already.
    """
    s, other = summary, other or Beside()
    table = compared(s, other)
    return render(
        "daily.md.j2",
        provenance,
        s=s,
        headline=headline(s),
        why=why(s),
        actions=[*s.actions, *(findings(table) if s.totals["n_ticks"] else [])],
        compared=compared_table(table),
        beside=beside_text(other),
        links=LINKS,
        week=week_name(s.date),
        drivers=_drivers(s.edge),
        gates=gate_table(s.results),
        in_short=_in_short(s.in_short) if len(s.in_short) < len(s.fired) else None,
        fired=_fired(s.fired),
        ab=stages_table(stages),
        stage_gates=stage_gates(stages),
        without_stage=without_stage(s.fired, stages),
        uptime=frame_table(s.uptime, {**WHO, **UPTIME}),
        over_all=_over_all(s) if len(set(s.stages["symbol"])) > 1 else None,
        stages=stage_table(s.stages),
        cache=frame_table(s.cache, {**WHO, **CACHE}),
        edge=frame_table(s.edge, ARM_COLUMNS, empty="No fills."),
        guards=frame_table(s.guards, {**WHO, **GUARDS}),
        errors=frame_table(s.errors, {**WHO, **ERRORS}),
        codes=frame_table(
            s.codes if (s.codes["code"] != UNCODED).any() else s.codes[:0],
            {**WHO, **CODES},
            empty="No error has a code." if len(s.codes) else "No errors.",
        ),
        breaker=frame_table(s.errors[s.errors["openings"] > 0], {**WHO, **BREAKER}, empty="It never opened."),
        memory=frame_table(s.memory, MEMORY, empty="Memory was not reported."),
        best=frame_table(s.best, RANKED, empty="No symbol traded."),
        ranked=len(set(s.edge["symbol"])) > 1,
        worst=frame_table(s.worst, RANKED, empty="No further symbol traded."),
    )


def headline(s: DailySummary) -> str:
    """The day in one line."""
    if not s.totals["n_ticks"]:
        return "No tick was written on this day."
    ticks = f"{num(s.totals['n_ticks'])} ticks, up {num(s.uptime['day_pct'].min())} % of the day"
    fills = f"{num(s.totals['n_fills'])} fills, notional {num(s.totals['notional'])}"
    return f"{ticks}, {fills}, net {num(s.totals['net_bps'])} bps of traded notional."


def why(s: DailySummary) -> str:
    """What makes the day what it is, in one sentence."""
    failed = [r.title for r in s.results if r.status in (Status.FAIL, Status.ERROR)]
    undecided = [r.title for r in s.results if r.status not in (Status.PASS, Status.FAIL, Status.ERROR)]
    found = []
    for titles, what in ((failed, "failed"), (undecided, "not decided")):
        if titles:
            found.append(f"{what}: {', '.join(titles)} ({len(titles)} of {len(s.results)} gates)")
    if len(s.fired):
        critical = int((s.fired["severity"] == "critical").sum())
        found.append(
            f"would have fired: {_counted(len(s.fired), 'alert')} of {_counted(s.fired['gate'].nunique(), 'rule')}, "
            f"{critical} of them critical"
        )
    text = "; ".join(found)
    return f"{text[:1].upper()}{text[1:]}." if text else "Every gate passed, and no alert would have fired."


def _counted(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"


def _drivers(edge: pd.DataFrame) -> str:
    """What made the day's result, and who carried it; empty without fills.

    Args:
        edge: decomposition of the result, one row a symbol and arm.
    """
    traded = edge[edge["notional"] > 0] if len(edge) else edge
    if not len(traded):
        return ""
    weight = traded["notional"] / traded["notional"].sum()
    parts = {name: sign * float((traded[column] * weight).sum()) for column, name, sign in PARTS}
    listed = ", ".join(f"{name} {round(value, 2) + 0.0:+.2f}" for name, value in parts.items())
    worst = min(parts, key=lambda name: parts[name])
    text = f"In bps of traded notional: {listed}."
    if round(parts[worst], 2) < 0:
        text += f" The largest cost was {worst}."
    if len(traded) < 2:
        return text
    low = traded.sort_values("net_bps").iloc[0]
    arm = f", arm {low['arm']}" if len(set(traded["arm"])) > 1 else ""
    return f"{text} The weakest was {low['symbol']}{arm} with {low['net_bps']:+.2f} bps net."


def _over_all(s: DailySummary) -> Table:
    """Percentiles of each stage over all symbols, and where it was slowest."""
    rows = []
    for row in percentile_table({(): s.figures.histograms}).to_dict("records"):
        of_stage = s.stages[s.stages["stage"] == row["stage"]].dropna(subset=["p95_ms"])
        slowest = of_stage.sort_values("p95_ms").iloc[-1] if len(of_stage) else None
        where = MISSING if slowest is None else f"{slowest['symbol']}, {num(slowest['p95_ms'])}"
        rows.append((row["stage"], row["n"], row["p50_ms"], row["p95_ms"], row["p99_ms"], where))
    heads = ("Stage", "Ticks>", "p50 [ms]>", "p95 [ms]>", "p99 [ms]>", "Highest p95 [ms]")
    return Table(heads, rows, "No tick was measured.")


def _in_short(short: pd.DataFrame) -> Table:
    rows = [
        (
            row["severity"],
            code(row["gate"]),
            row["who"],
            row["times"],
            row["minutes"],
            *(_clock(row[at], row["start"]) for at in ("start", "end")),
            with_unit(row["worst"], row["unit"]),
        )
        for row in short.to_dict("records")
    ]
    heads = ("Severity", "Alert", "Who", "Times>", "Together [min]>", "First from", "Last until", "Worst>")
    return Table(heads, rows)


def _fired(fired: pd.DataFrame) -> Table:
    rows = [
        (
            row["severity"],
            code(row["gate"]),
            row["who"],
            *(_clock(row[at], row["start"]) for at in ("start", "fired", "end")),
            with_unit(row["worst"], row["unit"]),
            code(row["rule"]),
        )
        for row in fired.to_dict("records")
    ]
    heads = ("Severity", "Alert", "Who", "Violated from", "Fired", "Until", "Worst>", "Rule")
    return Table(heads, rows, "No alert would have fired.")


def _clock(at: pd.Timestamp, start: pd.Timestamp) -> str:
    """HH:MM; midnight at the end of the day is 24:00."""
    return "24:00" if at.date() > start.date() and at == at.normalize() else f"{at:%H:%M}"
