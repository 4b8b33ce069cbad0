"""The safety monitor of a stage, fed minute by minute: a running session and the replay of its feeds use the same object.

It watches in every stage and while waiting, and names the first violation that lasted as long as its gate says. What it
says is what ``gates.sustained.evaluate_series`` finds on the same points; both run on ``core.windows.advance``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from mmlib.gates.metrics import ACCOUNT_METRICS, ALL_SYMBOLS
from mmlib.gates.rules import iso, worst_of
from mmlib.gates.spec import Gate
from mmlib.gates.sustained import Monitor
from mmlib.rollout.budget import HARM
from mmlib.rollout.experiment import WIDE, Experiment, bounded, effect_sums
from mmlib.rollout.safety import BUCKET_S

SLIPPAGE = "delta_slippage_bps"
ALL = ALL_SYMBOLS


@dataclass(frozen=True)
class Violation:
    """A safety gate that was violated for as long as it takes.

    ``value`` is the worst one from ``since_ns``, the first violating minute, to ``fired_ns``; ``group`` is the symbol, or all
    of them; where the gate reads a sequence, the value is its lower bound.
    """

    gate: str
    title: str
    metric: str
    group: str
    value: float
    threshold: str
    since_ns: int
    fired_ns: int
    config_sha256: str = ""

    @property
    def window(self) -> str:
        """ISO 8601 interval."""
        return f"{iso(self.since_ns)}/{iso(self.fired_ns)}"

    def to_dict(self) -> dict[str, Any]:
        """Builtin types only, for the record of the rollback."""
        return asdict(self) | {"window": self.window}


class SafetyMonitor:
    """Sustained safety gates of a stage over time, by symbol.

    Args:
        gates: those that are sustained and named ``ab.safety.*`` are watched.
        planned_buckets: length of the stage; it tunes the harm sequence beforehand.
        config_sha256: configuration that the arms run with.
    """

    def __init__(self, gates: Iterable[Gate], planned_buckets: int, config_sha256: str = "") -> None:
        self.gates = tuple(g for g in gates if g.kind == "sustained" and g.id.startswith("ab.safety."))
        self.planned_buckets = max(planned_buckets, 2)
        self.config_sha256 = config_sha256
        self.reset()

    def reset(self) -> None:
        """Forget everything: counters, worst values, buckets, the violation."""
        self._watches: dict[tuple[str, str], Monitor] = {}
        self._worst: dict[tuple[str, str], float] = {}
        self._buckets: dict[str, list[tuple[float, ...]]] = {}
        self._harm: dict[str, float] = {}
        self.violation: Violation | None = None

    def configure(self, config_sha256: str) -> bool:
        """Say which configuration the arms run with from here on; another one resets all counters. True if it did."""
        if config_sha256 == self.config_sha256:
            return False
        self.config_sha256 = config_sha256
        self.reset()
        return True

    def close_bucket(self, sums: Mapping[str, Sequence[float]]) -> dict[str, float]:
        """Take an hour that is complete: metric -> numerator and denominator of A, then of B (``experiment.effect_sums``).

        Of the tick's p95 it is the logarithm of the ratio, over one; its bound comes back in percent. Returns the lower bounds
        now; the gates of these metrics read them from here on.
        """
        for metric, values in sums.items():
            self._buckets.setdefault(metric, []).append(tuple(values))
            scale = 1e4 if metric == SLIPPAGE else 1.0
            hours = np.array(self._buckets[metric], np.float64).T
            lower = float(bounded(hours, HARM, self.planned_buckets, scale).lower[-1])
            self._harm[metric] = lower if metric == SLIPPAGE else float(np.expm1(lower) * 100.0)
        return dict(self._harm)

    def update(self, ts_ns: int, values: Mapping[str, Mapping[str, float]]) -> Violation | None:
        """Take one minute: metric -> symbol -> value (NaN: missing); the first violation, once there is one.

        Slippage, and any other metric with closed buckets, is not read from ``values``: its gate reads the lower bound.
        """
        for gate in self.gates:
            if gate.metric == SLIPPAGE or gate.metric in self._harm:
                groups: Mapping[str, float] = {ALL: self._harm.get(gate.metric, float("nan"))}
            else:
                groups = values.get(gate.metric, {})
                if gate.metric in ACCOUNT_METRICS and groups:
                    known = [value for value in groups.values() if not np.isnan(value)]
                    groups = {ALL: known[0] if known else float("nan")}
            for group, value in groups.items():
                self._one(gate, group, ts_ns, float(value))
        return self.violation

    def _one(self, gate: Gate, group: str, ts_ns: int, value: float) -> None:
        key = gate.id, group
        watch_ = self._watches.setdefault(key, Monitor(gate))
        fired = watch_.update(ts_ns, value)
        since = watch_.active_since_ns
        if since is None:
            self._worst.pop(key, None)
            return
        if not np.isnan(value):
            seen = self._worst.get(key)
            self._worst[key] = value if seen is None else worst_of(gate, np.array([seen, value]))
        if fired and self.violation is None:
            rule = f"{gate.op} {gate.limit:g} {gate.unit}"
            self.violation = Violation(
                gate.id,
                gate.title,
                gate.metric,
                group,
                self._worst[key],
                rule,
                since,
                ts_ns,
                self.config_sha256,
            )


def closing_sums(experiment: Experiment) -> dict[str, pd.DataFrame]:
    """What each closed hour tells the monitor, by the gate's metric: bucket, then ``experiment.effect_sums``."""
    by_hour = experiment.pairs.groupby("bucket", observed=True)[list(WIDE)].sum().sort_index()
    found = {SLIPPAGE: _sums_frame(by_hour.index, effect_sums(by_hour, "slippage"))}
    if experiment.latency is not None:
        values = experiment.latency["contribution"].to_numpy(np.float64)
        zero, one = np.zeros(len(values)), np.ones(len(values))
        found["tick_p95_regression_pct"] = _sums_frame(
            experiment.latency["bucket"], np.stack([zero, one, values, one])
        )
    return found


def _sums_frame(buckets: Any, sums: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"bucket": buckets, **{str(k): row for k, row in enumerate(sums)}})


def watch(
    monitor: SafetyMonitor, safety: pd.DataFrame, closing: Mapping[str, pd.DataFrame]
) -> Violation | None:
    """Feed a stage's timeline to the monitor as time passed it by; the first violation, or None.

    Args:
        safety: ``safety.timeline``.
        closing: ``closing_sums``.
    """
    metrics = [gate.metric for gate in monitor.gates if gate.metric not in closing]
    waiting: dict[pd.Timestamp, dict[str, tuple[float, ...]]] = {}
    for metric, frame in closing.items():
        for at, *sums in frame.itertuples(index=False, name=None):
            waiting.setdefault(at + pd.Timedelta(seconds=BUCKET_S), {})[metric] = tuple(map(float, sums))
    due = sorted(waiting)
    rows = safety.sort_values("ts", kind="stable")
    ts = pd.DatetimeIndex(rows["ts"]).as_unit("ns").asi8
    symbols = rows["symbol"].astype(str).to_list()
    columns = {name: rows[name].to_list() for name in metrics}
    minutes, first = np.unique(ts, return_index=True)
    ends = np.append(first[1:], len(ts))[: len(minutes)]  # no minute, no end
    for now, start, end in zip(minutes.tolist(), first, ends, strict=True):
        while due and due[0].value <= now:
            monitor.close_bucket(waiting[due.pop(0)])
        named = symbols[start:end]
        values = {name: dict(zip(named, of[start:end], strict=True)) for name, of in columns.items()}
        if monitor.update(now, values) is not None:
            break
    return monitor.violation
