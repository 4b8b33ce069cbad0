"""Sustained gates: a series of evaluation points, offline or fed point by point."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mmlib.core import windows
from mmlib.dtypes import Status
from mmlib.gates.result import GateResult, make
from mmlib.gates.rules import cut_short, high_is_bad, iso, lacking, violates, worst_of
from mmlib.gates.spec import Gate, duration_text


@dataclass(frozen=True)
class Run:
    """Consecutive violating points. ``fired_ns`` is None when they did not cover the gate's duration."""

    start_ns: int
    end_ns: int  # the last violating point
    fired_ns: int | None
    worst: float

    @property
    def seconds(self) -> float:
        """Time from the first to the last violating point."""
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def window(self) -> str:
        """ISO 8601 interval."""
        return f"{iso(self.start_ns)}/{iso(self.end_ns)}"


def find_runs(gate: Gate, ts_ns: np.ndarray, values: np.ndarray) -> tuple[list[Run], int]:
    """Every run of violating points of a sustained gate, and the number of gaps between points.

    Args:
        gate: a sustained gate.
        ts_ns: ``int64[n]``, strictly rising.
        values: ``float64[n]``; NaN is a missing point.

    Raises:
        ValueError: shapes differ or times do not rise.
    """
    values = np.asarray(values, dtype=np.float64)
    rows, gaps = _runs(gate, ts_ns, _marks(gate, values))
    runs = [
        Run(
            start_ns=int(ts_ns[first]),
            end_ns=int(ts_ns[last]),
            fired_ns=None if fired < 0 else int(ts_ns[fired]),
            worst=worst_of(gate, values[first : last + 1]),
        )
        for first, last, fired in rows.tolist()
    ]
    return runs, gaps


def fires(gate: Gate, ts_ns: np.ndarray, series: np.ndarray) -> np.ndarray:
    """Whether a sustained gate FAILs each row of ``float64[stages, n]``, ``bool[stages]``, as ``evaluate_series`` decides it.

    Raises:
        ValueError: as ``find_runs``.
    """
    fired = [bool((_runs(gate, ts_ns, row)[0][:, 2] >= 0).any()) for row in _marks(gate, series)]
    return np.array(fired, bool) & (gate.unmet_status is Status.FAIL)


def _marks(gate: Gate, values: np.ndarray) -> np.ndarray:
    """Each value's mark, ``int8`` of the same shape: missing, fine or violating."""
    return np.where(np.isnan(values), windows.MISSING, violates(gate, values)).astype(np.int8)


def _runs(gate: Gate, ts_ns: np.ndarray, marks: np.ndarray) -> tuple[np.ndarray, int]:
    """``windows.sustained_runs`` with the gate's interval and duration."""
    return windows.sustained_runs(ts_ns, marks, round(gate.interval_s * 1e9), round(gate.for_s * 1e9))


def evaluate_series(
    gate: Gate,
    ts_ns: np.ndarray,
    values: np.ndarray,
    *,
    span_s: float | None = None,
    evidence: str = "",
    planned_span_s: float = 0.0,
) -> GateResult:
    """A sustained gate over ``int64[n]`` times and ``float64[n]`` values; NaN is a missing point.

    FAIL when a run fired: the window is the first one's, the value its worst. Otherwise the ``short`` status
    when ``span_s`` (default: the points' own) covers less than the gate needs, NO_DATA when points are
    missing for over two intervals (after ``warmup_s``), INCONCLUSIVE for a run cut short; else PASS with the
    worst value. Times that do not rise are ERROR.
    """
    ts = np.asarray(ts_ns, dtype=np.int64)
    series = np.asarray(values, dtype=np.float64)
    try:
        runs, gaps = find_runs(gate, ts, series)
    except ValueError as exc:
        return make(gate, Status.ERROR, reason=str(exc), evidence=evidence)
    present = np.flatnonzero(~np.isnan(series))
    n = len(present)
    if n == 0:
        why = "every point is missing" if len(ts) else "no points"
        return make(gate, Status.NO_DATA, reason=why, evidence=evidence)
    fired = [r for r in runs if r.fired_ns is not None]
    if fired:
        first = fired[0]
        return make(
            gate,
            gate.unmet_status,
            value=first.worst,
            n=n,
            window=first.window,
            reason=_fired_reason(fired),
            evidence=evidence,
        )
    covered = span_s if span_s is not None else float(ts[-1] - ts[0]) / 1e9 + gate.interval_s
    status, reason = _quiet(gate, ts, present, gaps, covered, planned_span_s)
    if runs and status is Status.PASS:
        longest = max(runs, key=lambda r: r.seconds)
        reason = f"{_count(len(runs), 'shorter violation')}, the longest {duration_text(longest.seconds)}"
    window = f"{iso(int(ts[present[0]]))}/{iso(int(ts[present[-1]]))}"
    value = worst_of(gate, series)
    return make(gate, status, value=value, n=n, window=window, reason=reason, evidence=evidence)


def evaluate_grouped(
    gate: Gate,
    groups: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    span_s: float | None = None,
    evidence: str = "",
    planned_span_s: float = 0.0,
) -> GateResult:
    """A sustained gate over a series per group (symbol): the worst one is the result, named in the reason."""
    worst: GateResult | None = None
    name = ""
    for group, (ts, values) in groups.items():
        one = evaluate_series(
            gate, ts, values, span_s=span_s, evidence=evidence, planned_span_s=planned_span_s
        )
        if worst is None or _badness(gate, one) > _badness(gate, worst):
            worst, name = one, group
    if worst is None:
        return make(gate, Status.NO_DATA, reason="no series", evidence=evidence)
    if not name:
        return worst
    return replace(worst, reason=f"{name}: {worst.reason}" if worst.reason else f"worst: {name}")


class Monitor:
    """A sustained gate fed point by point; it fires exactly where ``evaluate_series`` finds that it fired."""

    def __init__(self, gate: Gate) -> None:
        if gate.kind != "sustained":
            raise ValueError(f"gate {gate.id}: expected a sustained gate, found {gate.kind}")
        self.gate = gate
        self._state = windows.new_state()
        self._interval_ns = round(gate.interval_s * 1e9)
        self._for_ns = round(gate.for_s * 1e9)

    @property
    def active_since_ns(self) -> int | None:
        """First violating point of the current run, None outside a run."""
        since = int(self._state[windows.ACTIVE_SINCE])
        return None if since == windows.NONE else since

    def update(self, ts_ns: int, value: float) -> bool:
        """Take one point (NaN: missing); True while the gate has fired. Times must rise."""
        mark = windows.MISSING if math.isnan(value) else int(violates(self.gate, np.array([value]))[0])
        return bool(windows.advance(self._state, ts_ns, mark, self._interval_ns, self._for_ns))


def _quiet(
    gate: Gate, ts: np.ndarray, present: np.ndarray, gaps: int, span_s: float, planned_span_s: float
) -> tuple[Status, str]:
    """Status of a series in which nothing fired."""
    limit_ns = 2 * gate.interval_s * 1e9
    gaps += int(float(ts[present[0]] - ts[0]) > max(limit_ns, gate.warmup_s * 1e9))
    gaps += int(float(ts[-1] - ts[present[-1]]) > limit_ns)
    if lack := lacking(gate, len(present), span_s):
        return gate.short_status, lack
    if gaps:
        return Status.NO_DATA, f"points missing for over two intervals in {_count(gaps, 'place')}"
    if cut := cut_short(span_s, planned_span_s):
        return Status.INCONCLUSIVE, cut
    return Status.PASS, ""


def _badness(gate: Gate, result: GateResult) -> tuple[int, float]:
    """Order of results: by status, then by how bad the value is (an infinite one was replaced by None)."""
    if result.value is None:
        return result.status.rank, math.inf if result.n else -math.inf
    return result.status.rank, result.value if high_is_bad(gate) else -result.value


def _fired_reason(fired: list[Run]) -> str:
    first = fired[0]
    longest = max(fired, key=lambda r: r.seconds)
    text = f"violated for {duration_text(first.seconds)}, fired at {iso(first.fired_ns or first.end_ns)}"
    if len(fired) > 1:
        text += f"; {len(fired)} such windows, the longest {duration_text(longest.seconds)} {longest.window}"
    return text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
