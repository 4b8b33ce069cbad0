"""When a sustained gate would have fired, as it stands and with another limit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from mmlib.gates.spec import Gate
from mmlib.gates.sustained import find_runs

COLUMNS = ("gate", "title", "symbol", "arm", "start", "end", "seconds", "fired", "worst", "limit", "unit")


def sustained(gates: Iterable[Gate], minutes: pd.DataFrame) -> list[Gate]:
    """The sustained gates whose metric the minute series holds."""
    return [gate for gate in gates if gate.kind == "sustained" and gate.metric in minutes.columns]


def with_limit(gate: Gate, limit: float) -> Gate:
    """The same gate with another limit."""
    return gate.model_copy(update={"limit": float(limit)})


def windows(
    gates: Iterable[Gate], minutes: pd.DataFrame, limits: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """Every run of violating points, symbol by symbol and arm by arm.

    Args:
        gates: sustained gates; one that is for an arm looks at that arm only.
        minutes: ``metrics.latency.minute_series``; a column a metric.
        limits: gate id -> a limit instead of the gate's own.

    Returns:
        One row a run: gate, title, symbol, arm, start, end (UTC), seconds, fired (it lasted as long as the gate says), worst,
        limit, unit.
    """
    rows = []
    for gate in sustained(gates, minutes):
        judged = with_limit(gate, (limits or {}).get(gate.id, gate.limit))
        for (symbol, arm), part in minutes.groupby(["symbol", "arm"], observed=True):
            if gate.arm and gate.arm != arm:
                continue
            ts_ns = part["ts"].astype("int64").to_numpy()
            runs, _ = find_runs(judged, ts_ns, part[gate.metric].to_numpy(np.float64))
            for run in runs:
                where = (gate.id, gate.title, symbol, arm, run.start_ns, run.end_ns, run.seconds)
                rows.append((*where, run.fired_ns is not None, run.worst, judged.limit, gate.unit))
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    for name in ("start", "end"):
        frame[name] = pd.to_datetime(frame[name].astype("int64"), unit="ns", utc=True)
    return frame.astype({"fired": "bool", "seconds": "float64", "worst": "float64", "limit": "float64"})


def flips(gates: Iterable[Gate], minutes: pd.DataFrame, limits: Mapping[str, float]) -> pd.DataFrame:
    """Fired windows with the gates' own limits beside those with other ones.

    Returns:
        The rows of ``windows`` that fired in either, with ``change``: ``both`` (a window of the other overlaps it), ``gone``
        (only with the gate's own limit), ``new`` (only with the other).
    """
    chosen = list(gates)
    now, then = windows(chosen, minutes), windows(chosen, minutes, limits)
    now, then = now[now["fired"]], then[then["fired"]]
    gone = now[~_overlapped(now, then)].assign(change="gone")
    then = then.assign(change=np.where(_overlapped(then, now), "both", "new"))
    return pd.concat([then, gone], ignore_index=True).sort_values(
        ["gate", "symbol", "arm", "start"], ignore_index=True
    )


def _overlapped(rows: pd.DataFrame, others: pd.DataFrame) -> np.ndarray:
    """Which rows share a moment with another of the same gate, symbol and arm, ``bool[n]``."""
    found = np.zeros(len(rows), np.bool_)
    keys = ["gate", "symbol", "arm"]
    groups = dict(iter(others.groupby(keys, observed=True)))
    places = {index: place for place, index in enumerate(rows.index)}
    for key, part in rows.groupby(keys, observed=True):
        other = groups.get(key)
        if other is None:
            continue
        starts, ends = (
            np.sort(other["start"].to_numpy()),
            np.sort(other["end"].to_numpy()),
        )  # runs do not overlap
        hit = np.searchsorted(starts, part["end"].to_numpy(), side="right") > np.searchsorted(
            ends, part["start"].to_numpy()
        )
        found[[places[index] for index in part.index]] = hit
    return found
