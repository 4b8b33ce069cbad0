"""Series that drive one gate's metric over and under its limit, minute by minute: input of the rules' unit tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mmlib.gates.metrics import ACCOUNT_METRICS
from mmlib.gates.rules import high_is_bad, violates
from mmlib.gates.spec import Gate
from mmlib.metrics.exported import le_text

BAD, GOOD, MISSING = "b", "g", "-"

Column = list[float]
Columns = dict[str, Column]
Drive = Callable[[Gate, Sequence[bool]], Columns]

SYMBOL = "BTCUSDT"
_TICKS = 60.0
_FAR = 100.0  # a minute that turns the state outweighs everything traded before by this factor


def drive(gate: Gate, states: str, process: str) -> dict[str, str] | None:
    """Input series of a gate whose metric is bad, good or missing in each minute.

    Args:
        gate: a sustained gate, or one of the day.
        states: a letter a minute, ``BAD``, ``GOOD`` or ``MISSING``.
        process: whose series they are, their ``instance``.

    Returns:
        Series in promtool's notation -> values from minute 0 on (where every counter is 0); None for a gate that no
        series drives, e.g. one that nothing can violate.
    """
    if not _both_ways(gate):
        return None
    up: list[bool] = []
    for state in states:  # in a missing minute nothing turns, and nothing is counted
        up.append(up[-1] if state == MISSING else (state == BAD) == high_is_bad(gate))
    columns = _DRIVERS.get(gate.metric, _own)(gate, up)
    arms = ("A", "B") if gate.metric.startswith("delta_") else (gate.arm or "A",)
    columns |= {_series("mm_tick_total", arm=arm): _counter([_TICKS] * len(up)) for arm in arms}
    return {_of(process, name): _values(name, values, states) for name, values in columns.items()}


def _of(process: str, series: str) -> str:
    """A series as it is scraped from one process."""
    name, _, given = series.removesuffix("}").partition("{")
    return f'{name}{{{given}{", " if given else ""}instance="{process}"}}'


def _values(name: str, values: Column, states: str) -> str:
    """Values as promtool reads them: no sample of a missing minute, and no count in it."""
    seen = np.array([state != MISSING for state in states])
    if "_total{" in name or "_bucket{" in name:
        values = _counter(np.diff(values) * seen)
    return " ".join("_" if k and not seen[k - 1] else _text(v) for k, v in enumerate(values))


def drive_day(gates: Sequence[Gate], states: str, process: str) -> dict[str, str]:
    """Input series of a process in which the gates of a day are all of them bad or all of them good in each minute."""
    traded = 10_000.0
    worth_of = {gate.metric: gate for gate in gates}
    columns = {_series("mm_tick_total"): _counter([_TICKS] * len(states))}
    if gate := worth_of.get("taker_share_pct"):
        share = np.clip([worth(gate, state) / 100 for state in states], 0.0, 1.0)
        columns[_series("mm_fill_notional_total", type="taker")] = _counter(traded * share)
        columns[_series("mm_fill_notional_total", type="maker")] = _counter(traded * (1 - share))
    for metric, family in (("slippage_bps", "mm_fill_slippage_cost_total"), ("net_bps", "mm_pnl_total")):
        if gate := worth_of.get(metric):
            amount = np.array([worth(gate, state) for state in states]) * traded / 1e4
            for sign, part in (("plus", np.maximum(amount, 0)), ("minus", np.maximum(-amount, 0))):
                columns[_series(family, sign=sign)] = _counter(part)
            if metric == "slippage_bps":
                columns[_series(_SLIPPED)] = _counter([traded] * len(states))
    return {_of(process, name): " ".join(_text(v) for v in values) for name, values in columns.items()}


def labels(gate: Gate) -> dict[str, str]:
    """Labels of the recorded series that ``drive`` leads to."""
    if (gate.step == "daily" and gate.kind == "threshold") or gate.metric.startswith("rss_"):
        return {}
    if gate.metric in ACCOUNT_METRICS:
        return {"arm": gate.arm or "A"} if gate.metric == "pnl" else {}
    each = {"symbol": SYMBOL, "arm": gate.arm or "A"}
    return {"symbol": SYMBOL} if gate.metric == "delta_slippage_bps" else each


def worth(gate: Gate, state: str) -> float:
    """A value on the wished side of the limit; NaN for a missing minute."""
    if state == MISSING:
        return math.nan
    step = 1.0 + abs(gate.limit)
    return gate.limit + (step if (state == BAD) == high_is_bad(gate) else -step)


def _both_ways(gate: Gate) -> bool:
    values = np.array([worth(gate, BAD), worth(gate, GOOD)])
    return violates(gate, values).tolist() == [True, False] and gate.op != "=="


def _series(name: str, **given: str) -> str:
    labels = {"symbol": SYMBOL, "arm": "A"} | given
    return name + "{" + ", ".join(f'{k}="{v}"' for k, v in labels.items()) + "}"


def _text(number: float) -> str:
    return repr(float(number)).removesuffix(".0")


def _counter(steps: Sequence[float] | np.ndarray) -> Column:
    return [0.0, *np.cumsum(np.asarray(steps, dtype=np.float64)).tolist()]


def _share(family: str, other: str = "", **more: str) -> Drive:
    """All ticks of a minute in one counter, or none; what is not in it may be in another."""

    def columns(gate: Gate, up: Sequence[bool]) -> Columns:
        arm = gate.arm or "A"
        found = {_series(family, arm=arm, **more): _counter([_TICKS * u for u in up])}
        if other:
            found[_series(other, arm=arm)] = _counter([_TICKS * (not u) for u in up])
        return found

    return columns


def _bucket(family: str, **more: str) -> Drive:
    """All ticks of a minute past the limit, or all within it."""

    def columns(gate: Gate, up: Sequence[bool]) -> Columns:
        arm, bound = gate.arm or "A", gate.limit / 1e3
        within, every = _counter([_TICKS * (not u) for u in up]), _counter([_TICKS] * len(up))
        at = {le_text(bound): within, le_text(10 * bound): every, "+Inf": every}
        return {_series(f"{family}_bucket", arm=arm, **more, le=le): values for le, values in at.items()}

    return columns


def _errors(gate: Gate, up: Sequence[bool]) -> Columns:
    steps = [2.0 * (gate.limit + 1) * u for u in up]
    return {
        _series("mm_error_total", code="ERR_TIMEOUT", arm=gate.arm or "A"): _counter(steps),
        _series("mm_error_total", code="ERR_OTHER", arm=gate.arm or "A"): _counter([0.0] * len(up)),
    }


def _gauge(name: str, scale: float = 1.0, **more: str) -> Drive:
    def columns(gate: Gate, up: Sequence[bool]) -> Columns:
        values = [0.0, *(2 * gate.limit * scale * u for u in up)]
        return {name if not more else _series(name, arm=gate.arm or "A"): values}

    return columns


def _own(gate: Gate, up: Sequence[bool]) -> Columns:
    """A metric that the session itself exports."""
    step = 1.0 + abs(gate.limit)
    values = [0.0, *(gate.limit + (step if u else -step) for u in up)]
    return {_series("mm_gate_metric", metric=gate.metric, arm=gate.arm or "A"): values}


def _levels(up: Sequence[bool]) -> list[float]:
    """What is traded in each minute: after a turn so much that the hours before do not count."""
    level, total, levels = 1.0, 0.0, []
    for k, now in enumerate(up):
        if k and now != up[k - 1]:
            level = _FAR * (total + 1.0)
        total += level
        levels.append(level)
    return levels


def _taker(gate: Gate, up: Sequence[bool]) -> Columns:
    arm, levels = gate.arm or "A", _levels(up)
    split = {"taker": up, "maker": [not u for u in up]}
    return {
        _series("mm_fill_notional_total", arm=arm, type=kind): _counter(
            [level * on for level, on in zip(levels, which, strict=True)]
        )
        for kind, which in split.items()
    }


_SLIPPED = "mm_fill_slippage_notional_total"


def _signed(family: str, arm: str = "") -> Drive:
    """One per cent of what is traded, as a plus or as a minus; an arm A beside stays at nothing."""

    def columns(gate: Gate, up: Sequence[bool]) -> Columns:
        levels, whose = _levels(up), arm or gate.arm or "A"
        found = _taker(gate.model_copy(update={"arm": whose}), [False] * len(up))
        found[_series("mm_fill_notional_total", arm=whose, type="maker")] = _counter(levels)
        for sign, which in (("plus", up), ("minus", [not u for u in up])):
            steps = [0.01 * level * on for level, on in zip(levels, which, strict=True)]
            found[_series(family, arm=whose, sign=sign)] = _counter(steps)
            if whose == "B":
                found[_series(family, arm="A", sign=sign)] = _counter([0.0] * len(up))
        if whose == "B":
            found |= _taker(gate.model_copy(update={"arm": "A"}), [False] * len(up))
        if family == "mm_fill_slippage_cost_total":
            found[_series(_SLIPPED, arm=whose)] = _counter(levels)
            if whose == "B":
                found[_series(_SLIPPED, arm="A")] = _counter([1.0] * len(up))
        return found

    return columns


def _result(arm: str = "") -> Drive:
    """A result that is on either side of the limit, by what each minute adds to it; an arm A beside stays at nothing."""

    def columns(gate: Gate, up: Sequence[bool]) -> Columns:
        whose, step = arm or gate.arm or "A", 1.0 + abs(gate.limit)
        added = np.diff([0.0, *(gate.limit + (step if on else -step) for on in up)])
        signed = {"plus": np.maximum(added, 0.0), "minus": np.maximum(-added, 0.0)}
        found = {
            _series("mm_pnl_total", arm=whose, sign=sign): _counter(part) for sign, part in signed.items()
        }
        if whose == "B":
            found |= {_series("mm_pnl_total", arm="A", sign=s): _counter([0.0] * len(up)) for s in signed}
        return found

    return columns


def _memory(gate: Gate, up: Sequence[bool]) -> Columns:
    """Memory that jumps at every turn so far that the slope of the trailing hour turns with it, then stays."""
    x = np.arange(60.0) - 29.5
    values = np.full(60, 1e6)
    steps: list[float] = []
    for k, now in enumerate(up):
        y = values[-1]
        if now if k == 0 else now != up[k - 1]:
            wished = (3 if now else -30) * (abs(gate.limit) + 1) / 60.0
            y = (wished * (x @ x) - x[:-1] @ values[1:]) / x[-1]
        values = np.append(values[1:], y)
        steps.append(float(y) * 1e6)
    return {"process_resident_memory_bytes": [1e12, *steps]}


_DRIVERS: Mapping[str, Drive] = {
    "deadline_miss_pct": _share("mm_tick_deadline_miss_total"),
    "guard_hard_pct": _share("mm_guard_tick_total", level="hard"),
    "hit_ratio": _share("mm_md_cache_hit_total", "mm_md_cache_miss_total"),
    "tick_total_p95_ms": _bucket("mm_tick_duration_seconds"),
    "fetch_md_p95_ms": _bucket("mm_stage_duration_seconds", stage="fetch_md"),
    "errors_per_min": _errors,
    "breaker_open_s": _gauge("mm_circuit_breaker_open_duration_seconds", each="yes"),
    "rss_mb": _gauge("process_resident_memory_bytes", 1e6),
    "rss_slope_mb_per_h": _memory,
    "taker_share_pct": _taker,
    "slippage_bps": _signed("mm_fill_slippage_cost_total"),
    "net_bps": _signed("mm_pnl_total"),
    "pnl": _result(),
    "delta_pnl": _result(arm="B"),
    "delta_slippage_bps": _signed("mm_fill_slippage_cost_total", arm="B"),
}
