"""Which sustained criteria fired over a minute series: start, end, worst value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from mmlib.gates.evaluate import find_runs
from mmlib.gates.metrics import ACCOUNT_METRICS, ALL_SYMBOLS
from mmlib.gates.rules import worst_of
from mmlib.gates.spec import Gate
from mmlib.metrics.latency import account

PROCESS_WIDE = frozenset({"rss_mb", "rss_slope_mb_per_h"})
"""Metrics of the process: the same for every symbol and arm, so one series stands for all."""

COLUMNS = ["gate", "severity", "who", "start", "end", "fired", "worst", "unit", "rule", "runbook"]

SHORT = ["gate", "severity", "who", "times", "minutes", "start", "end", "worst", "unit", "rule"]

Series = tuple[np.ndarray, np.ndarray]


def series(minutes: pd.DataFrame, gate: Gate) -> dict[str, Series]:
    """The series a sustained gate looks at, one a symbol and arm.

    Args:
        minutes: ts, symbol, arm and the metrics.
        gate: its metric and arm choose the series.

    Returns:
        Name -> (int64[n] ns, float64[n]); empty when the metric is absent.
    """
    if gate.metric not in minutes.columns or minutes.empty:
        return {}
    rows = minutes if not gate.arm else minutes[minutes["arm"] == gate.arm]
    if gate.metric in PROCESS_WIDE:
        return {"process": _arrays(_process(rows, gate.metric), gate.metric)}
    if gate.metric in ACCOUNT_METRICS:
        return {
            f"{ALL_SYMBOLS}, arm {arm}": _arrays(account(part, gate.metric), gate.metric)
            for arm, part in rows.groupby("arm", observed=True)
        }
    return {name: _arrays(part, gate.metric) for name, part in _groups(rows)}


def firings(minutes: pd.DataFrame, gates: Iterable[Gate]) -> pd.DataFrame:
    """Every window in which a sustained gate fired, worst severity and earliest first.

    Args:
        minutes: ts, symbol, arm and the metrics; missing minutes are NaN.
        gates: those that are not sustained are passed over.

    Returns:
        gate, severity, who, start, end, fired (UTC times), worst, unit, rule, runbook.
    """
    rows = []
    for gate in gates:
        if gate.kind != "sustained":
            continue
        for who, (ts, values) in series(minutes, gate).items():
            for run in find_runs(gate, ts, values)[0]:
                if run.fired_ns is not None:
                    times = [pd.Timestamp(t, tz="UTC") for t in (run.start_ns, run.end_ns, run.fired_ns)]
                    rows.append(
                        (gate.id, gate.severity, who, *times, run.worst, gate.unit, gate.rule, gate.runbook)
                    )
    frame = pd.DataFrame(rows, columns=COLUMNS)
    order = frame["severity"].map({"critical": 0, "warning": 1}).fillna(2)
    return frame.assign(_order=order).sort_values(["_order", "start"], kind="stable").drop(columns="_order")


def in_short(fired: pd.DataFrame, gates: Iterable[Gate]) -> pd.DataFrame:
    """What fired, a row an alert and who: what a night of many firings comes to.

    Args:
        fired: ``firings``.
        gates: those that fired are among them.

    Returns:
        gate, severity, who, times, minutes (together), start (of the first), end (of the last), worst, unit, rule; alerts in
        the order of ``fired``, of each the longest first.
    """
    by_id = {gate.id: gate for gate in gates}
    rows = []
    for (gate, who), part in fired.groupby(["gate", "who"], sort=False, observed=True):
        minutes = pd.Timedelta((part["end"] - part["start"]).sum()).total_seconds() / 60
        worst = worst_of(by_id[str(gate)], part["worst"].to_numpy(dtype=np.float64))
        first = part.iloc[0]
        span = (part["start"].min(), part["end"].max())
        rows.append(
            (gate, first["severity"], who, len(part), minutes, *span, worst, first["unit"], first["rule"])
        )
    order = {gate: number for number, gate in enumerate(fired["gate"].unique())}
    rows.sort(key=lambda row: (order[row[0]], -row[4]))
    return pd.DataFrame(rows, columns=SHORT)


def _process(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    return rows.groupby("ts")[metric].max().reset_index()


def _groups(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    arms = len(rows["arm"].unique()) > 1
    for (symbol, arm), part in rows.groupby(["symbol", "arm"], observed=True):
        yield f"{symbol} arm {arm}" if arms else str(symbol), part


def _arrays(rows: pd.DataFrame, metric: str) -> Series:
    ordered = rows.sort_values("ts")
    ts = ordered["ts"].to_numpy(dtype="datetime64[ns]").astype(np.int64)
    return ts, ordered[metric].to_numpy(dtype=np.float64)
