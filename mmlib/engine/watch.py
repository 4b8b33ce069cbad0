"""The stop criteria while a session runs: the minute series and the monitors of the offline evaluator, fed minute by minute.

A symbol is looked at when an hour of it, or more, has become whole. The minutes that are new come from the same function as
offline, on their records and those of the time before that trailing figures look back to, and go to a `Monitor` a gate and
arm. How seldom one looks changes nothing: what lies behind the minute that fires does not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from mmlib.feeds.schema import LIQUIDITY, SIDE_TEXT
from mmlib.gates.metrics import ACCOUNT_METRICS
from mmlib.gates.rules import iso
from mmlib.gates.spec import Gate
from mmlib.gates.sustained import Monitor
from mmlib.metrics.grid import utc
from mmlib.metrics.latency import minute_series

MINUTE_NS = 60_000_000_000
_HOUR_NS = 60 * MINUTE_NS
_MS_DIGITS = 6  # as the feeds round durations
_TICK_NUMBERS = ("rss_mb", "mid", "spread_bps", "inventory", "errors", "guard_level")
_TICK_FLAGS = ("cache_hit", "used_stale", "deadline_miss", "breaker_open")
_FILL_NUMBERS = ("price", "qty", "fee", "quote_price", "mid_at_quote", "mid_at_fill", "queue_ahead_qty")


@dataclass(frozen=True)
class Firing:
    """A stop criterion that fired.

    Attributes:
        gate, rule, unit: which, as gates.yaml words it.
        symbol, arm: whose series it was.
        minute_ns: start of the minute with which the violation had lasted long enough.
        since_ns: start of the first violating minute.
        value: of the metric in the minute that fired.
    """

    gate: str
    rule: str
    unit: str
    symbol: str
    arm: str
    minute_ns: int
    since_ns: int
    value: float

    @property
    def halt_ns(self) -> int:
        """When the session stops: the end of the minute."""
        return self.minute_ns + MINUTE_NS

    def text(self) -> str:
        """One line for a person."""
        shown = "" if self.unit in ("1", "bool") else f" {self.unit}"
        return (
            f"{self.gate} fired at {iso(self.halt_ns)} for {self.symbol}, arm {self.arm}: {self.rule}; "
            f"violated since {iso(self.since_ns)}, {self.value:.6g}{shown} in the last minute"
        )

    def to_dict(self) -> dict[str, Any]:
        """Builtin types, with the times and the whole in words."""
        return asdict(self) | {"halted_at": iso(self.halt_ns), "text": self.text()}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Firing:
        """The inverse of `to_dict`."""
        return cls(**{field.name: facts[field.name] for field in fields(cls)})


def immediate(gates: Sequence[Gate]) -> tuple[Gate, ...]:
    """The criteria that end a session at once: sustained stops of critical severity."""
    return tuple(g for g in gates if g.kind == "sustained" and g.sense == "stop" and g.severity == "critical")


class Watch:
    """The stop criteria of one symbol.

    Args:
        gates: see `immediate`.
        symbol: whose records are shown.
        arms: arm names by index.
        start_ns: when the session begins.
    """

    def __init__(self, gates: Sequence[Gate], symbol: str, arms: Sequence[str], start_ns: int) -> None:
        self._symbol, self._arms = symbol, tuple(arms)
        self._monitors = {
            (gate.id, arm): Monitor(gate)
            for arm in arms
            for gate in gates
            if gate.arm in ("", arm) and gate.metric not in ACCOUNT_METRICS  # those are engine.account's
        }
        self._seen_ns = start_ns // MINUTE_NS * MINUTE_NS  # minutes before are done
        self._first = [0, 0]  # rows of ticks and fills before which nothing matters any more

    def due(self, reached_ns: int) -> bool:
        """Whether an hour of new minutes has become whole with a tick at ``reached_ns``."""
        return reached_ns // MINUTE_NS * MINUTE_NS - self._seen_ns >= _HOUR_NS

    def look(self, ticks: np.ndarray, fills: np.ndarray, *, last: bool = False) -> list[Firing]:
        """Take the minutes that have become whole; every criterion that fired in the first minute in which one did.

        Args:
            ticks: ``TICK[n]``, all so far, rising; fills: ``FILL[m]``, all so far.
            last: nothing follows, so the minute under way counts as well, and an hour need not be whole.
        """
        if not len(ticks) or not self._monitors:
            return []
        until = int(ticks["ts_ns"][-1]) // MINUTE_NS * MINUTE_NS + (MINUTE_NS if last else 0)
        if until - self._seen_ns < (MINUTE_NS if last else _HOUR_NS):
            return []
        recent = [np.array(records[k:]) for records, k in zip((ticks, fills), self._first, strict=True)]
        since = self._context_ns(recent[0])
        rows = [_rows_between(records, since, until) for records in recent]
        minutes = minute_series(
            tick_frame(recent[0][rows[0]], self._symbol, self._arms),
            fill_frame(recent[1][rows[1]], self._symbol, self._arms),
        )
        fired = self._feed(minutes)
        self._first = [k + part.start for k, part in zip(self._first, rows, strict=True)]
        self._seen_ns = until
        return fired

    def _feed(self, minutes: pd.DataFrame) -> list[Firing]:
        """Give the monitors every minute that is new, until one fires."""
        series = dict(iter(minutes.groupby("arm", observed=True)))
        starts = np.unique(np.asarray(minutes["ts"].dt.as_unit("ns").astype("int64")))
        new = [(k, at) for k, at in enumerate(starts.tolist()) if at >= self._seen_ns]
        values = {
            key: series[key[1]][monitor.gate.metric].to_numpy(np.float64)
            for key, monitor in self._monitors.items()
            if key[1] in series
        }
        for k, minute_ns in new:
            fired = [
                self._firing(key, minute_ns, float(column[k]))
                for key, column in values.items()
                if self._monitors[key].update(minute_ns, float(column[k]))
            ]
            if fired:
                return fired
        return []

    def _firing(self, key: tuple[str, str], minute_ns: int, value: float) -> Firing:
        gate, since = self._monitors[key].gate, self._monitors[key].active_since_ns
        began = minute_ns if since is None else since
        return Firing(gate.id, gate.rule, gate.unit, self._symbol, key[1], minute_ns, began, value)

    def _context_ns(self, ticks: np.ndarray) -> int:
        """From when on records matter: an hour before the minutes to come, and the opening of a breaker that is open."""
        since = self._seen_ns - _HOUR_NS
        before = ticks[: int(np.searchsorted(ticks["ts_ns"], self._seen_ns))]
        for arm in range(len(self._arms)):
            own = before[before["arm"] == arm]
            closed = np.flatnonzero(own["breaker_open"] == 0)
            opened = int(closed[-1]) + 1 if len(closed) else 0
            if opened < len(own):
                since = min(since, int(own["ts_ns"][opened]) // MINUTE_NS * MINUTE_NS)
        return since


def tick_frame(ticks: np.ndarray, symbol: str, arms: Sequence[str]) -> pd.DataFrame:
    """``TICK[n]`` of one symbol as the columns of a feed frame that the minute series reads, rounded as feeds are."""
    columns: Mapping[str, np.ndarray] = {
        **{name: np.round(ticks[name], _MS_DIGITS) for name in ("fetch_md_ms", "tick_total_ms")},
        **{name: ticks[name].astype(bool) for name in _TICK_FLAGS},
        **{name: ticks[name] for name in _TICK_NUMBERS},
    }
    return _frame(ticks, symbol, arms, columns)


def fill_frame(fills: np.ndarray, symbol: str, arms: Sequence[str]) -> pd.DataFrame:
    """``FILL[m]`` of one symbol, likewise."""
    columns: Mapping[str, np.ndarray] = {
        "side": np.where(fills["side"] > 0, SIDE_TEXT[1], SIDE_TEXT[-1]),
        "liquidity": np.asarray(LIQUIDITY)[fills["liquidity"]],
        **{name: fills[name] for name in _FILL_NUMBERS},
    }
    return _frame(fills, symbol, arms, columns)


def _frame(
    records: np.ndarray, symbol: str, arms: Sequence[str], columns: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    labels = {"ts": utc(records["ts_ns"]), "symbol": symbol, "arm": np.asarray(arms)[records["arm"]]}
    return pd.DataFrame(labels | dict(columns))


def _rows_between(records: np.ndarray, since_ns: int, until_ns: int) -> slice:
    """Rows in ``[since, until)``; a row out of order counts where it stands."""
    times = np.maximum.accumulate(records["ts_ns"])
    return slice(int(np.searchsorted(times, since_ns)), int(np.searchsorted(times, until_ns)))
