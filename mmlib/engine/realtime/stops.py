"""The stop criteria of a running session: the minute figures of metrics.latency, kept up tick by tick, and the monitors."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmlib.dtypes import Liquidity
from mmlib.engine.realtime.loop import LiveLoop
from mmlib.gates.metrics import ACCOUNT_METRICS, ALL_SYMBOLS
from mmlib.gates.rules import high_is_bad
from mmlib.gates.spec import Gate
from mmlib.gates.sustained import Monitor
from mmlib.metrics.latency import trailing_slope

MINUTE_NS = 60_000_000_000
_HOUR = 60  # minutes
_MS_DIGITS = 6  # as feeds round durations
_GRACE_NS = 5_000_000_000  # a minute is closed by the next tick, or this long after its end


@dataclass
class _Minute:
    ticks: int = 0
    hits: int = 0
    misses: int = 0
    errors: int = 0
    open_s: float = 0.0
    rss_sum: float = 0.0
    tick_ms: list[float] = field(default_factory=list)
    fetch_ms: list[float] = field(default_factory=list)
    notional: float = 0.0
    taken: float = 0.0


class MinuteFigures:
    """The gates' metrics of one symbol and arm, minute by minute, as `metrics.latency.minute_series` has them."""

    def __init__(self) -> None:
        self.start_ns = 0  # of the minute under way
        self._now = _Minute()
        self._rss: deque[float] = deque([np.nan] * _HOUR, maxlen=_HOUR)
        self._notional: deque[tuple[float, float]] = deque([(0.0, 0.0)] * _HOUR, maxlen=_HOUR)
        self._seen = 0
        self._open_since: int | None = None
        self._position = self._cash = 0.0
        self._mark = float("nan")

    @property
    def result(self) -> float:
        """Result since the first tick that had a mid, marked to the last one [quote currency]; 0 before."""
        return 0.0 if np.isnan(self._mark) else self._cash + self._position * self._mark

    def tick(self, row: Any) -> None:
        """Take a tick of the minute under way."""
        now, ts_ns = self._now, int(row["ts_ns"])
        now.ticks += 1
        now.hits += int(row["cache_hit"])
        now.misses += int(row["deadline_miss"])
        now.errors += int(row["errors"])
        now.rss_sum += float(row["rss_mb"])
        now.tick_ms.append(round(float(row["tick_total_ms"]), _MS_DIGITS))
        now.fetch_ms.append(round(float(row["fetch_md_ms"]), _MS_DIGITS))
        self._take_mark(float(row["mid"]), float(row["inventory"]))
        if row["breaker_open"]:
            self._open_since = ts_ns if self._open_since is None else self._open_since
            now.open_s = max(now.open_s, (ts_ns - self._open_since) / 1e9)
        else:
            self._open_since = None

    def fill(self, row: Any) -> None:
        """Take a fill; one that is learnt after its minute counts in the minute under way."""
        amount = float(row["price"] * row["qty"])
        self._now.notional += amount
        side, mid = int(row["side"]), float(row["mid_at_fill"])
        self._position += side * float(row["qty"])
        self._cash -= side * amount + float(row["fee"])
        self._mark = self._mark if np.isnan(mid) else mid
        self._now.taken += amount if row["liquidity"] == Liquidity.TAKER else 0.0

    def _take_mark(self, mid: float, inventory: float) -> None:
        if np.isnan(mid):
            return
        opening = inventory - self._position
        if np.isnan(self._mark) and np.isfinite(opening):  # a position at the start is valued, not won
            self._position, self._cash = self._position + opening, self._cash - opening * mid
        self._mark = mid

    def close(self) -> dict[str, float]:
        """End the minute: metric to value, NaN for everything in a minute without ticks."""
        now, self._now = self._now, _Minute()
        self._seen += 1
        n = now.ticks
        self._rss.append(now.rss_sum / n if n else np.nan)
        self._notional.append((now.notional, now.taken))
        if not n:
            return {}
        traded = sum(amount for amount, _ in self._notional)
        slope = trailing_slope(np.array(self._rss), _HOUR)[-1] if self._seen >= _HOUR else np.nan
        return {
            "hit_ratio": now.hits / n,
            "deadline_miss_pct": 100.0 * now.misses / n,
            "tick_total_p95_ms": _p95(now.tick_ms),
            "fetch_md_p95_ms": _p95(now.fetch_ms),
            "errors_per_min": float(now.errors),
            "breaker_open_s": now.open_s,
            "rss_slope_mb_per_h": float(slope) * _HOUR,
            "taker_share_pct": 100.0 * sum(taken for _, taken in self._notional) / traded
            if traded
            else np.nan,
        }


def _p95(values: list[float]) -> float:
    return float(np.quantile(values, 0.95, method="inverted_cdf"))


class StopCriteria:
    """Observer that ends a session by the first critical stop criterion that fires.

    Args:
        gates: sustained ones are watched; those of sense ``stop`` and severity ``critical`` end the session.
        arms: names by index.
    """

    def __init__(self, gates: Sequence[Gate], arms: Sequence[str]) -> None:
        self._gates = [gate for gate in gates if gate.kind == "sustained"]
        self._arms = tuple(arms)
        self._figures: dict[tuple[str, int], MinuteFigures] = {}
        self._monitors: dict[tuple[str, str, int], Monitor] = {}
        self._values: dict[tuple[str, str, int], float] = {}
        self._results: dict[int, dict[tuple[str, int], tuple[float, bool]]] = {}
        self._fired: str = ""

    def on_tick(self, symbol: str, rows: np.ndarray, errors: dict[str, int]) -> None:
        """See `loop.Observer`."""
        for arm, row in enumerate(rows):
            figures = self._of(symbol, arm)
            self._roll(symbol, arm, figures, int(row["ts_ns"]))
            figures.tick(row)

    def on_fill(self, symbol: str, fills: np.ndarray) -> None:
        """See `loop.Observer`."""
        for row in fills:
            self._of(symbol, int(row["arm"])).fill(row)

    def on_second(self, session: LiveLoop, now_ns: int) -> None:
        """See `loop.Observer`."""
        for (symbol, arm), figures in list(self._figures.items()):
            if figures.start_ns:
                self._roll(symbol, arm, figures, now_ns - _GRACE_NS)
        if self._fired:
            session.stop(self._fired)

    def rows(self) -> list[dict[str, Any]]:
        """The worst series of each gate, for the status: value, margin, and how long it has been violated."""
        shown = []
        for gate in self._gates:
            own = [
                (key, value)
                for key, value in self._values.items()
                if key[0] == gate.id and not np.isnan(value)
            ]
            if not own:
                continue
            bad_high = high_is_bad(gate)
            key, value = (max if bad_high else min)(own, key=lambda item: item[1])
            since = self._monitors[key].active_since_ns
            margin = gate.limit - value if bad_high else value - gate.limit
            shown.append(
                {
                    "gate": gate.id,
                    "series": f"{key[1]} {self._arms[key[2]]}",
                    "value": value,
                    "op": gate.op,
                    "limit": gate.limit,
                    "unit": gate.unit,
                    "margin": margin,
                    "for_s": gate.for_s,
                    "violated_s": None if since is None else (self._reached_ns(key) - since) / 1e9,
                }
            )
        return shown

    def _of(self, symbol: str, arm: int) -> MinuteFigures:
        return self._figures.setdefault((symbol, arm), MinuteFigures())

    def _roll(self, symbol: str, arm: int, figures: MinuteFigures, ts_ns: int) -> None:
        """Close the minutes before the one of ``ts_ns``."""
        minute = ts_ns // MINUTE_NS * MINUTE_NS
        if not figures.start_ns:
            figures.start_ns = minute
        while figures.start_ns < minute:
            values = figures.close()
            self._watch(symbol, arm, figures.start_ns, values)
            self._results.setdefault(figures.start_ns, {})[symbol, arm] = figures.result, bool(values)
            figures.start_ns += MINUTE_NS
        self._watch_account()

    def _reached_ns(self, key: tuple[str, str, int]) -> int:
        """Start of the minute under way of a series."""
        own = self._figures.get(key[1:])
        return own.start_ns if own is not None else min(f.start_ns for f in self._figures.values())

    def _watch_account(self) -> None:
        """The minutes that every symbol has closed: the result of each arm over all symbols."""
        reached = min(figures.start_ns for figures in self._figures.values())
        for minute_ns in sorted(minute for minute in self._results if minute < reached):
            rows = self._results.pop(minute_ns)
            for arm in sorted({arm for _, arm in rows}):
                own = [found for (_, of_arm), found in rows.items() if of_arm == arm]
                known = any(ticked for _, ticked in own)
                value = sum(value for value, _ in own) if known else float("nan")
                self._watch(ALL_SYMBOLS, arm, minute_ns, {"pnl": value})

    def _watch(self, symbol: str, arm: int, minute_ns: int, values: dict[str, float]) -> None:
        for gate in self._gates:
            if gate.arm not in ("", self._arms[arm]) or (symbol == ALL_SYMBOLS) != (
                gate.metric in ACCOUNT_METRICS
            ):
                continue
            key = (gate.id, symbol, arm)
            value = values.get(gate.metric, float("nan"))
            self._values[key] = value
            fired = self._monitors.setdefault(key, Monitor(gate)).update(minute_ns, value)
            if fired and gate.sense == "stop" and gate.severity == "critical" and not self._fired:
                self._fired = (
                    f"{gate.id}: {gate.metric} {value:.6g} {gate.op} {gate.limit:g} {gate.unit}, "
                    f"{symbol}, arm {self._arms[arm]}"
                )
