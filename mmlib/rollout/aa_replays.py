"""A/A replays: the control against itself, in both designs of a stage, through the whole stack of gates.

Twins are two arms on one market, paired as in shadow, B with a treatment that does nothing: what can differ is the time
that ticks take.
Switched hours are those of one control, labelled A and B by seeded schedules, judged as a switchback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from mmlib.config.models import Config
from mmlib.dtypes import Status
from mmlib.engine.measure import Measures, measure
from mmlib.engine.session import SessionSpec, run_session
from mmlib.gates.spec import GateBook
from mmlib.market.source import parse_uri
from mmlib.metrics.latency import minute_series
from mmlib.rollout import aa, stage
from mmlib.rollout.assign import assign_units
from mmlib.rollout.estimate import experiment_of
from mmlib.rollout.safety import timeline
from mmlib.rollout.switchback import Design
from mmlib.rollout.watchdog import control_for_both

OFFSET_S = 14 * 86400.0
"""Simulated time at which these replays begin: no stage sees their market."""
SHARE_PCT = 50
_KINDS = [(d, r) for d in ("rollback", "promotion") for r in ("statistical", "literal")]
COLUMNS = ("run", "design", "action", "fired", "sentence")


def control_runs(
    spec: SessionSpec, config: Config, home: Path, *, runs: int, quarantine: Path | None = None
) -> list[Measures]:
    """Replay control and a treatment without an effect ``runs`` times: other seeds, or later stretches of a recording.

    Raises:
        UserError: as ``run_session``.
    """
    simulated = parse_uri(spec.uri)[0] == "simulated"
    found = []
    for number in range(runs):
        shift, seed = (0.0, number) if simulated else (number * spec.duration_s, 0)
        own = replace(spec, arms=("A", "B"), seed=spec.seed + seed, offset_s=spec.offset_s + shift)
        feeds = run_session(
            own, control_for_both(config), home / f"run_{number}", quarantine=quarantine
        ).feeds
        found.append(measure(feeds, planned_s=spec.duration_s))
    return found


def judge_runs(
    book: GateBook, runs: Sequence[Measures], *, planned_s: float, seed: int = 0, schedules: int = 8
) -> tuple[list[pd.DataFrame], pd.DataFrame]:
    """Judge every run as twins, and under ``schedules`` labellings as a switchback.

    Returns:
        tables of rates (columns ``aa.COLUMNS``), and one row a stage, columns COLUMNS. Schedules of one run share its
        hours: their interval is too narrow.
    """
    twins, switched, rows = dict.fromkeys(_KINDS, 0), dict.fromkeys(_KINDS, 0), []
    n_twins = n_switched = 0
    for number, run in enumerate(runs):
        ticks, fills = run.ticks, run.fills
        verdict = _judge(book, ticks, fills, Design(SHARE_PCT, seed), planned_s, run.span_s)
        n_twins += 1
        _count(twins, verdict)
        rows.append((number, "twins", *_row(verdict)))
        alone, own = ticks[ticks["arm"] == "A"], fills[fills["arm"] == "A"]
        for k in range(schedules):
            design = Design(SHARE_PCT, seed * 1009 + number * schedules + k, floor_ms=_floor_ms(book))
            verdict = _judge(book, *_labelled(alone, own, design), design, planned_s, run.span_s)
            n_switched += 1
            _count(switched, verdict)
            rows.append((number, "switchback", *_row(verdict)))
    tables = [
        aa.table_of_counts("replays, twins on one market", twins, n_twins),
        aa.table_of_counts("replays, hours switched by schedules", switched, n_switched),
    ]
    return tables, pd.DataFrame(rows, columns=list(COLUMNS))


def _judge(
    book: GateBook, ticks: pd.DataFrame, fills: pd.DataFrame, design: Design, planned_s: float, span_s: float
) -> stage.StageVerdict:
    experiment = experiment_of(ticks, fills, planned_s=planned_s, design=design)
    safety = timeline(minute_series(ticks, fills), ticks, floor_ms=_floor_ms(book), paired=experiment.paired)
    return stage.judge(
        book, experiment, safety, rollout_pct=10, previous=None, evidence="A/A", planned_s=planned_s, span_s=span_s
    )  # fmt: skip


def _floor_ms(book: GateBook) -> float:
    return book.get("ab.safety.tick_p95").floor_ms


def _labelled(ticks: pd.DataFrame, fills: pd.DataFrame, design: Design) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Feeds of one control with the arm that a schedule gives to each (symbol, hour)."""
    frames = []
    for frame in (ticks, fills):
        hour = frame["ts"].dt.floor("h")
        units = pd.DataFrame({"symbol": frame["symbol"].astype(str), "bucket": hour})
        names = units.drop_duplicates().itertuples(index=False, name=None)
        due = assign_units(names, design.rollout_pct, design.seed)
        treated = units.merge(due, on=["symbol", "bucket"], how="left")["treated"].to_numpy(bool)
        frames.append(frame.assign(arm=pd.Series(treated, index=frame.index).map({True: "B", False: "A"})))
    return frames[0], frames[1]


def _count(counts: dict[tuple[str, str], int], verdict: stage.StageVerdict) -> None:
    literal = {r.title: r.status for r in verdict.literal}
    net = literal.pop("Literal: net edge")
    counts["rollback", "statistical"] += verdict.action == "ROLL BACK"
    counts["promotion", "statistical"] += verdict.action == "PROCEED"
    counts["promotion", "literal"] += net is Status.PASS
    counts["rollback", "literal"] += Status.FAIL in literal.values()


def _row(verdict: stage.StageVerdict) -> tuple[str, str, str]:
    failed = [r.id for r in verdict.results if r.status is Status.FAIL]
    return verdict.action, ", ".join(failed), verdict.sentence
