"""The daily summary: one day of feeds judged by the gates, with what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from mmlib.core.histogram import Histogram
from mmlib.dtypes import Status
from mmlib.gates.evaluate import GateResult, Measurement, evaluate, evaluate_grouped, not_evaluated
from mmlib.gates.spec import Gate, GateBook
from mmlib.metrics.latency import (
    error_events,
    merged_stages,
    minutes_of,
    percentile_table,
    results_since,
    stage_histograms,
)
from mmlib.metrics.money import amounts_of, grouped
from mmlib.metrics.parts import Part, parts
from mmlib.ops import day_tables
from mmlib.ops.actions import NO_TICKS, actions, of_alerts
from mmlib.ops.day import Day
from mmlib.ops.error_codes import error_codes
from mmlib.ops.facts import SUMS, Figures, plain_rows
from mmlib.ops.firings import COLUMNS, firings, in_short, series

_TOTALS = (
    *("n_fills", "notional", "taker_notional", "gross_pnl", "travel_cost", "fees", "inventory_pnl", "pnl"),
    *("slippage_cost", "slippage_notional"),
    *("net_bps", "slippage_bps", "taker_share_pct"),
)

HEALTHY, DEGRADED, CRITICAL, NO_DATA = "HEALTHY", "DEGRADED", "CRITICAL", "NO DATA"


@dataclass(frozen=True)
class DailySummary:
    """Everything the daily report says; frames are described where they are made (``ops.day_tables``).

    Attributes:
        health: HEALTHY, DEGRADED, CRITICAL or NO DATA.
        status: worst status of the day's blocking gates.
        results: the ``daily.*`` gates.
        totals: n_ticks and, as ``metrics.money.decompose`` gives them, n_fills, the amounts, net_bps, slippage_bps and
            taker_share_pct over all symbols and arms.
        edge: decomposition of the result, one row a symbol and arm.
        fired: every alert that would have fired.
        in_short: the same, a row an alert and who (``ops.firings.in_short``).
        minutes: minute series of the day, for the figure.
        actions: what to do, first things first.
        codes: errors by code (``ops.error_codes``).
        figures: sums and histograms of the day, for the next day and the week.
    """

    date: date
    health: str
    status: Status
    results: tuple[GateResult, ...]
    totals: dict[str, float]
    uptime: pd.DataFrame
    stages: pd.DataFrame
    cache: pd.DataFrame
    edge: pd.DataFrame
    guards: pd.DataFrame
    errors: pd.DataFrame
    memory: pd.DataFrame
    best: pd.DataFrame
    worst: pd.DataFrame
    fired: pd.DataFrame
    in_short: pd.DataFrame
    minutes: pd.DataFrame
    quarantined: int
    actions: tuple[str, ...]
    codes: pd.DataFrame
    figures: Figures


def daily_summary(day: Day, book: GateBook, also: pd.DataFrame | None = None) -> DailySummary:
    """Judge one day.

    Args:
        day: its feeds, see ``load_day``.
        book: the gate file; ``daily.*`` gates judge, and every sustained criterion whose metric the minutes hold is searched
            for firings.
        also: alerts that would have fired on other feeds of this day, such as those of an A/B stage: as ``firings``.
    """
    lead = parts(day.ticks, day.fills)
    minutes = minutes_of(lead)
    minutes = day.of_day(results_since(minutes, pd.Timestamp(day.start))) if len(minutes) else minutes
    own = [part.between(day.start, day.end) for part in lead]
    money = amounts_of(part.ledger() for part in own if len(part.ticks) or len(part.fills))
    own = [part for part in own if len(part.ticks)]
    n_ticks = sum(len(part.ticks) for part in own)
    totals = _totals(n_ticks, money)
    gates = book.step("daily")
    results = tuple(_evaluate(gate, totals, minutes, day) for gate in gates)
    fired = firings(minutes, book if len(minutes) else [])
    if also is not None and len(also):
        fired = pd.concat([fired, also], ignore_index=True) if len(fired) else also
    status = Status.worst([r.status for r in results if r.blocking])
    up = day_tables.uptime(own, day.seconds)
    failed = day_tables.errors(own)
    codes = error_codes(own, day.tick_files, float(up["span_h"].max()) if len(up) else 0.0)
    every = _with_thresholds(fired, results, gates, day) if n_ticks else fired
    health = _health(results, fired, n_ticks)
    todo = [NO_TICKS, *of_alerts(fired)]
    if n_ticks:
        todo = actions(results, gates, fired, up, failed, codes, day.quarantined)
    best, worst = day_tables.symbol_ranking(grouped(money, ("symbol",)))
    stages = _stages(own)
    return DailySummary(
        date=day.date,
        health=health,
        status=status if n_ticks else Status.NO_DATA,
        results=results,
        totals=totals,
        uptime=up,
        stages=percentile_table({(symbol,): found for symbol, found in stages.items()}, by=("symbol",)),
        cache=day_tables.cache(own),
        edge=grouped(money, ("symbol", "arm")),
        guards=day_tables.guards(own),
        errors=failed,
        memory=day_tables.memory(own, minutes),
        best=best,
        worst=worst,
        fired=every,
        in_short=in_short(every, book),
        minutes=minutes,
        quarantined=day.quarantined,
        actions=tuple(todo),
        codes=codes,
        figures=Figures(
            str(day.date),
            _sums(own, totals, up, failed, day.seconds),
            merged_stages(stages.values()),
            health,
            plain_rows(every.drop(columns=["runbook"]).to_dict("records")),
            tuple(todo),
        ),
    )


def _with_thresholds(
    fired: pd.DataFrame, results: Iterable[GateResult], gates: Iterable[Gate], day: Day
) -> pd.DataFrame:
    """The alerts of a running session, and those that judge the whole day at midnight."""
    by_id = {gate.id: gate for gate in gates if gate.kind == "threshold"}
    rows = [
        (g.id, g.severity, "all", day.start, day.end, day.end, r.value, g.unit, g.rule, g.runbook)
        for r in results
        if r.status is Status.FAIL and (g := by_id.get(r.id))
    ]
    return pd.concat([fired, pd.DataFrame(rows, columns=COLUMNS)], ignore_index=True) if rows else fired


def _stages(own: Iterable[Part]) -> dict[str, dict[str, Histogram]]:
    """Histograms of the stages of each symbol, over its arms."""
    found: dict[str, dict[str, Histogram]] = {}
    for part in own:
        of_part = stage_histograms(part.ticks)
        known = found.get(part.symbol)
        found[part.symbol] = merged_stages([known, of_part]) if known else of_part
    return found


def _sums(
    own: Sequence[Part], totals: dict[str, float], up: pd.DataFrame, failed: pd.DataFrame, day_s: float
) -> dict[str, float]:
    """What a week adds up; time is that of a mean symbol and arm."""
    struck = [part.ticks.loc[part.ticks["errors"] > 0, ["symbol", "ts", "errors"]] for part in own]
    counted = {
        "n_ticks": totals["n_ticks"],
        "hits": float(sum(part.ticks["cache_hit"].sum() for part in own)),
        "deadline_misses": float(sum(part.ticks["deadline_miss"].sum() for part in own)),
        "errors": float(error_events(pd.concat(struck))) if own else 0.0,
        "breaker_openings": float(failed["openings"].sum()) if own else 0.0,
        "up_s": float(up["up_s"].mean()) if own else 0.0,
        "day_s": day_s,
    }
    money = {name: totals[name] for name in SUMS if name in totals and name not in counted}
    return counted | {name: value for name, value in money.items() if np.isfinite(value)}


def _totals(n_ticks: int, money: pd.DataFrame) -> dict[str, float]:
    """Totals over symbols and arms; the ratios are NaN without a fill."""
    found = {name: float("nan") for name in _TOTALS} | {
        "n_ticks": float(n_ticks),
        "n_fills": 0.0,
        "notional": 0.0,
    }
    for row in grouped(money, ()).to_dict("records"):
        found |= {name: float(row[name]) for name in _TOTALS}
    return found


def _evaluate(gate: Gate, totals: dict[str, float], minutes: pd.DataFrame, day: Day) -> GateResult:
    window = f"{day.date.isoformat()} UTC"
    if not totals["n_ticks"]:
        return not_evaluated(gate, f"no tick on {window}")
    if gate.kind == "sustained":
        return evaluate_grouped(gate, series(minutes, gate))
    if gate.metric not in totals:
        return not_evaluated(gate, f"{gate.metric} is not measured over a day")
    value, n = totals[gate.metric], int(totals["n_fills"])
    return evaluate(gate, Measurement(value, n, window=window, reason="" if n else "no fills"))


def _health(results: Iterable[GateResult], fired: pd.DataFrame, n_ticks: int) -> str:
    if not n_ticks and fired.empty:
        return NO_DATA
    results = list(results)
    if n_ticks and any(r.blocking and r.status in (Status.FAIL, Status.ERROR) for r in results):
        return CRITICAL
    if (fired["severity"] == "critical").any():
        return CRITICAL
    if len(fired) or any(r.status is not Status.PASS for r in results):
        return DEGRADED
    return HEALTHY
