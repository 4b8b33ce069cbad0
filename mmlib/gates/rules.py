"""The comparison of a number with a gate, and what keeps a good number from being enough."""

from __future__ import annotations

import math

import numpy as np

from mmlib.gates.spec import Gate, duration_text

SPAN_TOLERANCE = 0.998
"""A covered time this close to the demanded one counts: a last point stands one interval before the end."""


def violates(gate: Gate, values: np.ndarray) -> np.ndarray:
    """Which of ``float64[n]`` values violate the gate, ``bool[n]``; NaN violates nothing."""
    compare = {
        ">=": np.greater_equal,
        "<=": np.less_equal,
        ">": np.greater,
        "<": np.less,
        "==": np.equal,
    }[gate.op]
    holds = compare(values, gate.limit)
    bad = holds if gate.sense == "stop" else ~holds
    return np.asarray(bad & ~np.isnan(values))


def satisfied(gate: Gate, value: float) -> bool:
    """The literal rule: nothing but the gate's comparison, exactly as written. NaN satisfies nothing."""
    return not math.isnan(value) and not violates(gate, np.array([value]))[0]


def high_is_bad(gate: Gate) -> bool:
    """Whether larger values are nearer to, or further into, violation."""
    return (gate.op in (">", ">=")) == (gate.sense == "stop")


def worst_of(gate: Gate, values: np.ndarray) -> float:
    """The value nearest to, or furthest past, the limit; at least one value is not NaN."""
    if gate.op == "==":
        return float(values[np.nanargmax(np.abs(values - gate.limit))])
    return float(np.nanmax(values) if high_is_bad(gate) else np.nanmin(values))


def lacking(gate: Gate, n: int, span_s: float) -> str:
    """Why ``n`` samples over ``span_s`` seconds are too little for the gate; empty when they are enough."""
    if n < gate.min_n:
        return f"{n} samples, at least {gate.min_n} needed"
    needed = max(gate.min_span_s, gate.for_s)
    if span_s < SPAN_TOLERANCE * needed:
        return f"covers {duration_text(span_s)}, at least {duration_text(needed)} needed"
    return ""


def cut_short(span_s: float, planned_span_s: float) -> str:
    """Why a run does not cover its plan; empty when it does."""
    if span_s < SPAN_TOLERANCE * planned_span_s:
        return f"cut short: covers {duration_text(span_s)} of {duration_text(planned_span_s)} planned"
    return ""


def against(gate: Gate, value: float) -> str:
    """A violation in words."""
    unit = "" if gate.unit in ("1", "bool") else f" {gate.unit}"
    text = f"{gate.metric} is {value:.6g}{unit}"
    return (
        f"{text}, expected {gate.op} {gate.limit:g}{unit}"
        if gate.sense == "require"
        else f"{text}; {gate.rule}"
    )


def iso(ts_ns: int) -> str:
    """RFC 3339 UTC, to the second."""
    return f"{np.datetime64(ts_ns // 1_000_000_000, 's')}Z"
