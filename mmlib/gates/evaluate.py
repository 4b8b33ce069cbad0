"""Gates evaluated: one number against a limit, B minus A with its interval, and a whole step at once.

Sustained gates are in ``gates.sustained``; everything a caller needs can be imported from here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from mmlib.dtypes import Status
from mmlib.gates.result import GateResult, aggregate, make
from mmlib.gates.rules import against, cut_short, iso, lacking, satisfied, violates
from mmlib.gates.spec import Gate
from mmlib.gates.sustained import Monitor, Run, evaluate_grouped, evaluate_series, find_runs

__all__ = [
    "GateResult",
    "Measurement",
    "Monitor",
    "Run",
    "aggregate",
    "evaluate",
    "evaluate_all",
    "evaluate_comparison",
    "evaluate_grouped",
    "evaluate_series",
    "find_runs",
    "iso",
    "make",
    "not_evaluated",
    "satisfied",
    "violates",
]


@dataclass(frozen=True)
class Measurement:
    """A number for a threshold gate.

    ``value`` None or NaN means there is none, and ``reason`` says why. ``n`` is the number of samples behind
    it, ``span_s`` the time they cover, ``planned_span_s`` what the run meant to cover (0 = no plan): a run
    cut short never passes.
    """

    value: float | None
    n: int
    span_s: float = 0.0
    window: str = ""
    reason: str = ""
    evidence: str = ""
    planned_span_s: float = 0.0

    @property
    def missing(self) -> bool:
        """Whether there is no number at all."""
        return self.value is None or math.isnan(self.value) or self.n <= 0


def not_evaluated(gate: Gate, reason: str, status: Status = Status.NO_DATA) -> GateResult:
    """A result without a number, for a gate that could not be looked at."""
    return make(gate, status, reason=reason)


def evaluate(gate: Gate, m: Measurement) -> GateResult:
    """A threshold gate: PASS, the gate's ``unmet`` status, its ``short`` status, or NO_DATA."""
    if m.value is None or m.missing:
        return _result(gate, m, Status.NO_DATA, "" if m.reason else "no samples" if m.n <= 0 else "no value")
    if lack := lacking(gate, m.n, m.span_s):
        return _result(gate, m, gate.short_status, lack)
    if not satisfied(gate, m.value):
        return _result(gate, m, gate.unmet_status, against(gate, m.value))
    if cut := cut_short(m.span_s, m.planned_span_s):
        return _result(gate, m, Status.INCONCLUSIVE, cut)
    return _result(gate, m, Status.PASS)


def evaluate_comparison(gate: Gate, m: Measurement, lower: float, upper: float) -> GateResult:
    """A comparison gate (B minus A): the limit must hold and ``lower`` must exceed the gate's ``bound``.

    FAIL only when even ``upper`` misses the limit; otherwise an unmet rule is INCONCLUSIVE: hold, and collect
    more. NaN bounds are NO_DATA.
    """
    if m.value is None or m.missing or lacking(gate, m.n, m.span_s):
        return evaluate(gate, m)
    if math.isnan(lower) or math.isnan(upper):
        return _result(gate, m, Status.NO_DATA, "no interval")
    interval = f"interval {lower:.4g} to {upper:.4g} {gate.unit}"
    if not satisfied(gate, upper):
        return _result(gate, m, Status.FAIL, f"even the upper bound misses the limit; {interval}")
    if not satisfied(gate, m.value):
        return _result(gate, m, Status.INCONCLUSIVE, f"hold: {against(gate, m.value)}; {interval}")
    if gate.bound is not None and lower <= gate.bound:
        reason = f"hold: the lower bound is not above {gate.bound:g} {gate.unit}; {interval}"
        return _result(gate, m, Status.INCONCLUSIVE, reason)
    if cut := cut_short(m.span_s, m.planned_span_s):
        return _result(gate, m, Status.INCONCLUSIVE, f"{cut}; {interval}")
    return _result(gate, m, Status.PASS, interval)


def evaluate_all(
    gates: Iterable[Gate],
    measurements: Mapping[str, Measurement] | None = None,
    series: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]] | None = None,
    *,
    span_s: float | None = None,
    evidence: str = "",
    planned_span_s: float = 0.0,
) -> list[GateResult]:
    """Threshold gates against ``measurements[metric]``, sustained ones against ``series[metric][group]``.

    ``series`` holds ``(int64[n] ts_ns, float64[n])`` a group. A metric that is not there gives NO_DATA.
    Regression and comparison gates are skipped: they need an interval of their own.
    """
    results = []
    for gate in gates:
        if gate.kind == "threshold":
            m = (measurements or {}).get(gate.metric)
            results.append(evaluate(gate, m) if m else not_evaluated(gate, f"{gate.metric} was not measured"))
        elif gate.kind == "sustained":
            groups = (series or {}).get(gate.metric, {})
            results.append(
                evaluate_grouped(
                    gate, groups, span_s=span_s, evidence=evidence, planned_span_s=planned_span_s
                )
            )
    return results


def _result(gate: Gate, m: Measurement, status: Status, reason: str = "") -> GateResult:
    text = "; ".join(p for p in (reason, m.reason) if p)
    return make(gate, status, value=m.value, n=m.n, window=m.window, reason=text, evidence=m.evidence)
