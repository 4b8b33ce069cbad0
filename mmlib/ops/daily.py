"""The daily summary: one day of feeds judged by the gates, with what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from mmlib._io import UserError
from mmlib.dtypes import Status
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.schema import FILE_STEM
from mmlib.gates.evaluate import GateResult, Measurement, evaluate, evaluate_grouped, not_evaluated
from mmlib.gates.spec import Gate, GateBook
from mmlib.metrics.latency import error_events, minute_series, stage_histograms, stage_percentiles
from mmlib.metrics.money import amounts, grouped
from mmlib.ops import day_tables
from mmlib.ops.actions import NO_TICKS, actions, of_alerts
from mmlib.ops.error_codes import error_codes
from mmlib.ops.facts import SUMS, Figures, plain_rows
from mmlib.ops.firings import COLUMNS, firings, series

LEAD = timedelta(hours=1)
"""Read before midnight as well, so that trailing-hour metrics hold from the first minute of the day."""

_TOTALS = (
    *("n_fills", "notional", "taker_notional", "gross_pnl", "slippage_cost", "fees", "inventory_pnl", "pnl"),
    *("net_bps", "slippage_bps", "taker_share_pct"),
)

HEALTHY, DEGRADED, CRITICAL, NO_DATA = "HEALTHY", "DEGRADED", "CRITICAL", "NO DATA"


@dataclass(frozen=True)
class Day:
    """The feeds of one UTC day and the hour before it.

    Attributes:
        date: the day.
        ticks, fills: frames as the feeds reader gives them, from an hour before midnight on.
        quarantined: lines that could not be read.
        files: what was read.
    """

    date: date
    ticks: pd.DataFrame
    fills: pd.DataFrame
    quarantined: int = 0
    files: tuple[Path, ...] = ()

    @property
    def start(self) -> pd.Timestamp:
        """Midnight at its beginning, UTC."""
        return pd.Timestamp(datetime.combine(self.date, time(), UTC))

    @property
    def seconds(self) -> float:
        """Length of the day, or of what has passed of it [s]."""
        return float(min(max((pd.Timestamp.now("UTC") - self.start).total_seconds(), 0.0), 86_400.0))

    def of_day(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of the day itself."""
        end = self.start + pd.Timedelta(days=1)
        if frame["ts"].is_monotonic_increasing:  # as read; the rows need not be copied
            first, last = frame["ts"].searchsorted([self.start, end])
            return frame.iloc[first:last].reset_index(drop=True)
        return frame[(frame["ts"] >= self.start) & (frame["ts"] < end)].reset_index(drop=True)


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
    minutes: pd.DataFrame
    quarantined: int
    actions: tuple[str, ...]
    codes: pd.DataFrame
    figures: Figures


def load_day(
    directory: Path,
    day: str | date = "latest",
    *,
    quarantine: Path | None = None,
    cache_dir: Path | None = None,
) -> Day:
    """Read one day of feeds and the hour before it.

    Args:
        directory: a feeds directory; a missing or empty one gives a day without data.
        day: a date, ``YYYY-MM-DD``, or ``latest`` for the last day that has a tick file (today when none has).
        quarantine: where lines that cannot be read are kept, see ``read_feeds``.
        cache_dir: where feeds are kept as Parquet, see ``read_feeds``.

    Raises:
        UserError: no such date, or a directory that cannot be read.
    """
    wanted = day if isinstance(day, date) else parse_date(day, directory)
    start = datetime.combine(wanted, time(), UTC)
    begin, end = start - LEAD, start + timedelta(days=1)
    ticks, fills = (
        read_feeds(directory, kind, start=begin, end=end, quarantine_dir=quarantine, cache_dir=cache_dir)
        for kind in ("ticks", "fills")
    )
    bad = len(ticks.quarantine) + len(fills.quarantine)
    return Day(
        wanted, _grouped_fast(ticks.frame), _grouped_fast(fills.frame), bad, (*ticks.files, *fills.files)
    )


def _grouped_fast(frame: pd.DataFrame) -> pd.DataFrame:
    """Symbol and arm as categories: a day is grouped by them a dozen times."""
    return frame.astype({"symbol": "category", "arm": "category"})


def parse_date(text: str, directory: Path) -> date:
    """A date from ``YYYY-MM-DD`` or ``latest``.

    Raises:
        UserError: no such date.
    """
    if text != "latest":
        try:
            if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
                raise ValueError
            return date.fromisoformat(text)
        except ValueError as exc:
            raise UserError(f"date {text!r}: no such date; expected YYYY-MM-DD or latest") from exc
    return max(days_with_feeds(directory), default=datetime.now(UTC).date())


def days_with_feeds(directory: Path) -> list[date]:
    """The UTC days that have a tick file, in order."""
    found = set()
    for path in directory.glob("pipeline_ticks_*.jsonl*"):
        if match := re.match(r"pipeline_ticks_(\d{4})(\d{2})(\d{2})\.", path.name):
            try:
                found.add(date(*(int(part) for part in match.groups())))
            except ValueError:
                continue
    return sorted(found)


def daily_summary(day: Day, book: GateBook, also: pd.DataFrame | None = None) -> DailySummary:
    """Judge one day.

    Args:
        day: its feeds, see ``load_day``.
        book: the gate file; ``daily.*`` gates judge, and every sustained criterion whose metric the minutes hold is searched
            for firings.
        also: alerts that would have fired on other feeds of this day, such as those of an A/B stage: as ``firings``.
    """
    ticks, fills = day.of_day(day.ticks), day.of_day(day.fills)
    minutes = minute_series(day.ticks, day.fills)
    minutes = day.of_day(minutes) if len(minutes) else minutes
    money = amounts(ticks, fills)
    totals = _totals(len(ticks), money)
    gates = book.step("daily")
    results = tuple(_evaluate(gate, totals, minutes, day) for gate in gates)
    fired = firings(minutes, book if len(minutes) else [])
    if also is not None and len(also):
        fired = pd.concat([fired, also], ignore_index=True) if len(fired) else also
    status = Status.worst([r.status for r in results if r.blocking])
    up = day_tables.uptime(ticks, day.seconds)
    failed = day_tables.errors(ticks)
    files = [path for path in day.files if path.name.startswith(FILE_STEM["ticks"])]
    codes = error_codes(ticks, files, float(up["span_h"].max()) if len(up) else 0.0)
    every = _with_thresholds(fired, results, gates, day) if len(ticks) else fired
    health = _health(results, fired, len(ticks))
    todo = [NO_TICKS, *of_alerts(fired)]
    if len(ticks):
        todo = actions(results, gates, fired, up, failed, codes, day.quarantined)
    best, worst = day_tables.symbol_ranking(grouped(money, ("symbol",)))
    return DailySummary(
        date=day.date,
        health=health,
        status=status if len(ticks) else Status.NO_DATA,
        results=results,
        totals=totals,
        uptime=up,
        stages=stage_percentiles(ticks, by=("symbol",)),
        cache=day_tables.cache(ticks),
        edge=grouped(money, ("symbol", "arm")),
        guards=day_tables.guards(ticks),
        errors=failed,
        memory=day_tables.memory(ticks, minutes),
        best=best,
        worst=worst,
        fired=every,
        minutes=minutes,
        quarantined=day.quarantined,
        actions=tuple(todo),
        codes=codes,
        figures=Figures(
            str(day.date),
            _sums(ticks, totals, up, failed, day.seconds),
            stage_histograms(ticks),
            health,
            plain_rows(every.drop(columns=["runbook"]).to_dict("records")),
            tuple(todo),
        ),
    )


def _with_thresholds(
    fired: pd.DataFrame, results: Iterable[GateResult], gates: Iterable[Gate], day: Day
) -> pd.DataFrame:
    """The alerts of a running session, and those that judge the whole day at midnight."""
    end = day.start + pd.Timedelta(days=1)
    by_id = {gate.id: gate for gate in gates if gate.kind == "threshold"}
    rows = [
        (g.id, g.severity, "all", day.start, end, end, r.value, g.unit, g.rule, g.runbook)
        for r in results
        if r.status is Status.FAIL and (g := by_id.get(r.id))
    ]
    return pd.concat([fired, pd.DataFrame(rows, columns=COLUMNS)], ignore_index=True) if rows else fired


def _sums(
    ticks: pd.DataFrame, totals: dict[str, float], up: pd.DataFrame, failed: pd.DataFrame, day_s: float
) -> dict[str, float]:
    """What a week adds up; time is that of a mean symbol and arm."""
    n = len(ticks)
    counted = {
        "n_ticks": float(n),
        "hits": float(ticks["cache_hit"].sum()) if n else 0.0,
        "deadline_misses": float(ticks["deadline_miss"].sum()) if n else 0.0,
        "errors": float(error_events(ticks)) if n else 0.0,
        "breaker_openings": float(failed["openings"].sum()) if n else 0.0,
        "up_s": float(up["up_s"].mean()) if n else 0.0,
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
