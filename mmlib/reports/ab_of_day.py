"""The A/B stages of a day for the daily report: which ran, what their gates said, and the A/B alerts that would have fired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from mmlib.dtypes import Status
from mmlib.gates.spec import GateBook
from mmlib.metrics.latency import minute_series, results_since
from mmlib.ops.day import Day, load_day
from mmlib.ops.days import days_with_feeds
from mmlib.ops.firings import COLUMNS, firings
from mmlib.reports.render import Table
from mmlib.reports.verdict import gate_table
from mmlib.rollout.safety import timeline
from mmlib.rollout.switchback import is_paired

STAGES = ("ab_10", "ab_50", "ab_100")
_SAFETY = "ab.safety."
_TIMELINE_ONLY = frozenset({"delta_slippage_bps", "delta_pnl", "tick_p95_regression_pct"})
"""Metrics of B against A; the minutes of any feeds hold the others."""


class Recorded(Protocol):
    """What a finished stage recorded."""

    @property
    def status(self) -> Status:
        """Of all its gates."""
        ...

    @property
    def gates(self) -> Sequence[Mapping[str, Any]]:
        """Its gate results."""
        ...

    @property
    def data(self) -> Mapping[str, Any]:
        """Its parameters and facts."""
        ...


@dataclass(frozen=True)
class StageOfDay:
    """One stage as the daily report shows it.

    Attributes:
        ran: from which to which time of the day, empty when it has no tick of the day.
        status: of its record over all of its length; NO_DATA where it did not run on this day.
        sentence: what its verdict was, or why there is none.
        gates: its gate results, none where it did not run on this day.
        fired: as `ops.firings.firings`, of this day alone; ``who`` begins with the stage.
        on_the_days: whether it ran on the feeds that the day itself is judged on, whose alerts are then its own.
    """

    stage: str
    ran: str
    status: Status
    sentence: str
    gates: tuple[Mapping[str, Any], ...]
    fired: pd.DataFrame
    on_the_days: bool = False


def stages_of(
    ws: Path,
    day: date,
    book: GateBook,
    records: Mapping[str, Recorded],
    *,
    home: Path,
    cache_dir: Path | None = None,
) -> list[StageOfDay]:
    """Look at every A/B stage.

    The alerts are judged on the series that a monitor scrapes: slippage by its point estimate over the trailing hour, where
    the stage's own gate reads a lower confidence bound.

    Args:
        day: the day that is reported.
        records: of the steps that ran, by key.
        home: the feeds that the day itself is judged on; what is judged there already is not told twice.
        cache_dir: where feeds are kept as Parquet.

    Raises:
        UserError: feeds that cannot be read.
    """
    return [_stage_of(ws, stage, day, book, records.get(stage), home, cache_dir) for stage in STAGES]


def fired_in(stages: Sequence[StageOfDay]) -> pd.DataFrame:
    """The A/B alerts of all stages in one frame."""
    fired = [stage.fired for stage in stages if len(stage.fired)]
    return pd.concat(fired, ignore_index=True) if fired else pd.DataFrame(columns=COLUMNS)


def stages_table(stages: Sequence[StageOfDay]) -> Table:
    """Which stages ran."""
    rows = [(s.stage, s.ran or "not on this day", s.status.value, len(s.fired), s.sentence) for s in stages]
    return Table(("Stage", "Ticks (UTC)", "Status", "Alerts>", "What it said"), rows)


def stage_gates(stages: Sequence[StageOfDay]) -> list[tuple[str, Table]]:
    """The gate table of each stage that ran."""
    return [(s.stage, gate_table(s.gates)) for s in stages if s.ran]


def without_stage(fired: pd.DataFrame, stages: Sequence[StageOfDay]) -> str:
    """Why A/B alerts of the day's own feeds stand beside stages that did not run; empty where a stage accounts for them.

    Args:
        fired: every alert of the day: gate, who.
        stages: the A/B stages, whose own alerts are among them.
    """
    own = {
        gate
        for gate, who in zip(fired["gate"], fired["who"], strict=True)
        if gate.startswith(_SAFETY) and not str(who).startswith(STAGES)
    }
    if not own or any(stage.on_the_days for stage in stages):
        return ""
    return (
        f"The alerts of {', '.join(sorted(own))} above are of arm B in the day's own feeds, and no stage is recorded that ran "
        "on them: both arms quoted without a stage, or it ran in another workspace. So nothing here takes arm B back, and B "
        "against A (slippage, regression of the tick's p95) is not judged."
    )


def _stage_of(
    ws: Path,
    stage: str,
    day: date,
    book: GateBook,
    record: Recorded | None,
    home: Path,
    cache_dir: Path | None,
) -> StageOfDay:
    nothing = pd.DataFrame(columns=COLUMNS)
    if record is None:
        return StageOfDay(stage, "", Status.NO_DATA, "It has not run.", (), nothing)
    feeds = _feeds(ws, stage, record)
    days = days_with_feeds(feeds)
    loaded = load_day(feeds, day, cache_dir=cache_dir) if day in days else None
    times = loaded.of_day(loaded.ticks[["ts"]])["ts"] if loaded is not None else pd.Series(dtype="object")
    if loaded is None or times.empty:
        where = f"its ticks are of {days[0]} to {days[-1]}" if days else f"no ticks in {feeds.name}"
        return StageOfDay(stage, "", Status.NO_DATA, f"No tick on this day; {where}.", (), nothing)
    own = feeds.resolve() != home.resolve()
    fired = _fired(stage, loaded, book, None if own else _TIMELINE_ONLY)
    first, last = times.agg(["min", "max"])
    sentence = str(record.data.get("facts", {}).get("sentence") or "It left no verdict.")
    ran = f"{first:%H:%M} to {last:%H:%M}"
    return StageOfDay(stage, ran, record.status, sentence, tuple(record.gates), fired, on_the_days=not own)


def _feeds(ws: Path, stage: str, record: Recorded) -> Path:
    """The stage's own feeds, or the desk's that it was judged on."""
    kind, _, rest = str(record.data.get("params", {}).get("source", "")).partition(":")
    return (
        Path(rest).expanduser()
        if kind == "feeds"
        else ws / "artifacts" / "edge" / "ab" / stage.replace("ab", "stage")
    )


def _fired(stage: str, day: Day, book: GateBook, only: frozenset[str] | None) -> pd.DataFrame:
    gates = [
        gate
        for gate in book.step(stage)
        if gate.id.startswith(_SAFETY) and (only is None or gate.metric in only)
    ]
    floor_ms = next((gate.floor_ms for gate in gates if gate.metric == "tick_p95_regression_pct"), 0.0)
    minutes = results_since(minute_series(day.ticks, day.fills), pd.Timestamp(day.start))
    against = timeline(minutes, day.ticks, floor_ms=floor_ms, paired=is_paired(day.ticks))
    found = firings(day.of_day(against).assign(arm="B"), gates)
    return found.assign(who=[f"{stage} {who}" for who in found["who"]])
