"""The safety timeline of a stage: B against A, minute by minute, as the sustained gates read it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from mmlib.core import histogram
from mmlib.core._jit import read_only
from mmlib.gates.metrics import ACCOUNT_METRICS, ALL_SYMBOLS
from mmlib.gates.rules import high_is_bad
from mmlib.gates.spec import Gate
from mmlib.metrics.latency import account

Series = dict[str, tuple[np.ndarray, np.ndarray]]
BUCKET_S = 3600
"""Length of a bucket of the experiment [s]."""
HOUR_MIN = 60


def timeline(
    minutes: pd.DataFrame, ticks: pd.DataFrame, *, floor_ms: float = 0.0, paired: bool = True
) -> pd.DataFrame:
    """B against A at the end of each minute.

    Args:
        minutes: ``metrics.latency.minute_series``.
        ticks: the feed frame; the tick's p95 of an arm is taken over all its ticks of the trailing hour, since 60 ticks a
            minute leave a p95 that jumps by more than the limit between arms that are equal.
        floor_ms: a p95 below this counts as this, in both arms [ms].
        paired: both arms run at once; in a switchback B is held against what A last showed.

    Returns:
        DataFrame[ts, symbol, delta_slippage_bps, taker_share_pct, tick_p95_regression_pct, literal_regression_pct,
        deadline_miss_pct, pnl, delta_pnl]: taker share, misses and pnl are arm B's; slippage and taker share look back one
        hour as well, pnl to the start of the stage; the literal regression has no floor.
    """
    keys = ["symbol", "ts"]
    a = minutes[minutes["arm"] == "A"].set_index(keys)
    b = minutes[minutes["arm"] == "B"].set_index(keys)
    a, b = a.align(b, join="outer", axis=0)
    p95_a, p95_b = (_hourly_p95(ticks[ticks["arm"] == arm]).reindex(a.index) for arm in ("A", "B"))
    if not paired:
        a, p95_a = a.groupby(level="symbol").ffill(), p95_a.groupby(level="symbol").ffill()
    with np.errstate(divide="ignore", invalid="ignore"):
        literal = (p95_b / p95_a - 1.0) * 100.0
        regression = (p95_b.clip(lower=floor_ms) / p95_a.clip(lower=floor_ms) - 1.0) * 100.0
    frame = pd.DataFrame(
        {
            "delta_slippage_bps": b["slippage_bps"] - a["slippage_bps"],
            "taker_share_pct": b["taker_share_pct"],
            "tick_p95_regression_pct": regression,
            "literal_regression_pct": literal,
            "deadline_miss_pct": b["deadline_miss_pct"],
            "pnl": b["pnl"],
            "delta_pnl": b["pnl"] - a["pnl"],
        }
    )
    return frame.reset_index().sort_values(keys, ignore_index=True)


class TrailingP95:
    """95th percentile over the last 60 minutes that had ticks within an hour, from merged minute histograms."""

    def __init__(self) -> None:
        self._minutes: deque[tuple[int, np.ndarray, np.ndarray]] = deque()
        self._counts = np.zeros(histogram.SIZE, np.int64)

    def push(self, minute: int, values_ms: np.ndarray) -> float:
        """Take all ticks of a minute (counted since 1970, rising) and return the percentile [ms], NaN without ticks."""
        fresh = np.zeros(histogram.SIZE, np.int64)
        histogram.add(read_only(np.ascontiguousarray(values_ms, np.float64)), fresh)
        used = np.flatnonzero(fresh)
        self._minutes.append((minute, used, fresh[used]))
        self._counts[used] += fresh[used]
        while self._minutes[0][0] <= minute - HOUR_MIN:
            _, old, counts = self._minutes.popleft()
            self._counts[old] -= counts
        return float(histogram.quantile(self._counts, 0.95))


def _hourly_p95(ticks: pd.DataFrame) -> pd.Series:
    """95th percentile of the whole tick over the trailing hour, known at each minute that has ticks, by (symbol, ts)."""
    parts = []
    for symbol, part in ticks.groupby("symbol", observed=True):
        minute = _ns(part["ts"]) // 60_000_000_000
        order = np.argsort(minute, kind="stable")
        values = part["tick_total_ms"].to_numpy(np.float64)[order]
        at, first = np.unique(minute[order], return_index=True)
        rolling = TrailingP95()
        p95 = [rolling.push(int(m), chunk) for m, chunk in zip(at, np.split(values, first[1:]), strict=True)]
        times = pd.DatetimeIndex((at * 60_000_000_000).view("M8[ns]")).tz_localize("UTC")
        index = pd.MultiIndex.from_product([[symbol], times], names=["symbol", "ts"])
        parts.append(pd.Series(p95, index=index, dtype="float64"))
    empty = pd.MultiIndex.from_arrays([[], pd.DatetimeIndex([], tz="UTC")], names=["symbol", "ts"])
    return pd.concat(parts) if parts else pd.Series(dtype="float64", index=empty)


def series(frame: pd.DataFrame, metric: str, *, paired: bool = True) -> Series:
    """One metric of a minute frame as (int64 ns, float64) a symbol, for the gates' evaluator.

    In a switchback B rests while A runs: its stretches, over two minutes apart, are series of their own.
    """
    found: Series = {}
    if metric in ACCOUNT_METRICS:
        frame = account(frame, metric).assign(symbol=ALL_SYMBOLS)
    for symbol, part in frame.groupby("symbol", observed=True):
        ts, values = _ns(part["ts"]), part[metric].to_numpy(dtype=np.float64)
        if paired or not np.isfinite(values).any():
            found[str(symbol)] = ts, values
            continue
        there = np.flatnonzero(~np.isnan(values))
        for run in np.split(there, np.flatnonzero(np.diff(ts[there]) > 2 * 60_000_000_000) + 1):
            name = f"{symbol} from {np.datetime64(int(ts[run[0]]) // 10**9, 's')}Z"
            found[name] = ts[run[0] : run[-1] + 1], values[run[0] : run[-1] + 1]
    return found


def gate_lines(
    frame: pd.DataFrame, gates: Iterable[Gate], harm: Mapping[str, pd.DataFrame] | None = None
) -> pd.DataFrame:
    """The timeline in long form with the limits beside: ts, gate, value (the worst symbol's), limit, unit.

    Args:
        frame: ``timeline``.
        gates: of the stage.
        harm: ``Experiment.harm``; the bounds that gates read instead follow as lines of their own.
    """
    parts = []
    for gate in gates:
        if gate.metric not in frame.columns or gate.kind != "sustained":
            continue
        by_minute = frame.groupby("ts", observed=True)[gate.metric]
        worst = by_minute.max() if high_is_bad(gate) else by_minute.min()
        labels = {"gate": gate.title, "limit": gate.limit, "unit": gate.unit}
        parts.append(pd.DataFrame({"ts": worst.index, "value": worst.to_numpy(), **labels}))
        if harm and len(harm.get(gate.metric, ())):
            ((_, bound),) = harm_series(harm[gate.metric], pd.Series(worst.index), BUCKET_S).values()
            value = np.where(np.isfinite(bound), bound, np.nan)
            labels["gate"] = f"{gate.title}: lower bound, which decides"
            parts.append(pd.DataFrame({"ts": worst.index, "value": value, **labels}))
    columns = ["ts", "gate", "value", "limit", "unit"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def harm_series(effect: pd.DataFrame, ts: pd.Series, bucket_s: int) -> Series:
    """Lower confidence bound of B minus A, known at each minute: the last bucket that was complete by then.

    The literal rule (the point estimate of the last hour above zero) fires by chance on arms without any difference; this
    one fires when harm is established at the level of the sequence.
    """
    known_at = _ns(effect["bucket"] + pd.Timedelta(seconds=bucket_s))
    at = np.unique(_ns(ts))
    index = np.searchsorted(known_at, at, side="right") - 1
    lower = effect["lower"].to_numpy(dtype=np.float64)
    values = np.where(index >= 0, lower[np.maximum(index, 0)] if len(lower) else np.nan, np.nan)
    return {"all symbols": (at, values)}


def _ns(times: pd.Series) -> np.ndarray:
    """Times as int64 nanoseconds since 1970 UTC."""
    return times.to_numpy(dtype="datetime64[ns]").astype(np.int64)
