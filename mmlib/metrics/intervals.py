"""Calibration intervals: one row a symbol, arm and UTC-aligned interval, with the reason why a row was filtered out."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmlib.dtypes import GuardLevel
from mmlib.metrics.grid import Bins, Grid, groups, ns, ratio, typical_interval_ns, utc
from mmlib.metrics.latency import STAGE_COLUMNS
from mmlib.metrics.ledger import Ledger, ledgers
from mmlib.metrics.money import money_sums, with_ratios

MAX_P95_MS = 1000.0  # of tick_total; slower intervals are not the bot's normal life
MIN_HIT_RATIO = 0.3
MIN_COVERAGE = 0.5  # of the ticks expected in an interval

NO_TICKS = "no ticks"
REQUIRED = (
    "hit_ratio",
    "deadline_miss_pct",
    "tick_total_p95_ms",
    "fetch_md_p95_ms",
    "mid_last",
    "spread_bps",
)
"""A NaN or infinity in one of these filters the interval out."""
WITH_FILLS = (
    *("gross_bps", "slippage_bps", "fees_bps", "inventory_bps", "net_bps", "taker_share_pct"),
    "priced_pct",
    *("queue_ahead_qty", "order_latency_p95_ms"),
)
"""Undefined, and therefore missing, in an interval without fills."""
OPTIONAL = ("volatility_bps", "rss_mb", "inventory_mean")
"""May be missing: too few mids, or a bot that does not report them."""


def interval_frame(ticks: pd.DataFrame, fills: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """Every interval of the grid for every symbol and arm.

    Args:
        ticks, fills: feed frames; rows outside the grid must have been cut off.
        grid: intervals.

    Returns:
        ts (start, UTC), symbol, arm, reason ("" when kept, otherwise why it was filtered out), coverage (0..1), n_ticks,
        the metrics by column name with units, n_fills, money as in ``money.decompose``.
    """
    parts = []
    by_pair = {(ledger.symbol, ledger.arm): ledger for ledger in ledgers(ticks, fills)}
    for symbol, arm, (t, f) in groups(ticks, fills):
        ts_ns = ns(t["ts"])
        bins = grid.bins(ts_ns)
        labels = {"ts": utc(grid.starts), "symbol": symbol, "arm": arm}
        covered = bins.count() * np.nan_to_num(typical_interval_ns(ts_ns)) / grid.step_ns
        columns = {"coverage": np.minimum(covered, 1.0), **_tick_columns(bins, t, ts_ns)}
        columns |= _fill_columns(grid.bins(ns(f["ts"])), f)
        part = pd.DataFrame({**labels, **columns})
        parts.append(pd.concat([part, _money(by_pair[symbol, arm], grid)], axis=1))
    if not parts:
        return pd.DataFrame(
            {"ts": utc(np.empty(0)), **dict.fromkeys(("symbol", "arm", "reason"), pd.Series(dtype="str"))}
        )
    frame = pd.concat(parts, ignore_index=True).sort_values(["ts", "symbol", "arm"], ignore_index=True)
    frame.insert(3, "reason", reasons(frame))
    return frame


def reasons(frame: pd.DataFrame) -> pd.Series:
    """Why each interval is filtered out, the first rule that applies; "" when it is kept."""
    finite = np.isfinite(frame[list(REQUIRED)].to_numpy(np.float64))
    bad_name = np.array(REQUIRED)[np.argmin(finite, axis=1)]
    rules = [
        (frame["n_ticks"].to_numpy() == 0, NO_TICKS),
        (frame["coverage"].to_numpy() < MIN_COVERAGE, f"coverage below {MIN_COVERAGE:g}"),
        (~finite.all(axis=1), np.char.add("not finite: ", bad_name)),
        (frame["tick_total_p95_ms"].to_numpy() > MAX_P95_MS, f"tick_total p95 above {MAX_P95_MS:g} ms"),
        (frame["hit_ratio"].to_numpy() < MIN_HIT_RATIO, f"hit ratio below {MIN_HIT_RATIO:g}"),
    ]
    result = np.full(len(frame), "", dtype=object)
    for applies, reason in reversed(rules):
        result = np.where(applies, reason, result)
    return pd.Series(result, index=frame.index, dtype="str")


def nonfinite_values(frame: pd.DataFrame) -> int:
    """NaN and infinite values in kept intervals, where a number must be: everywhere but in ``OPTIONAL`` columns, and in
    ``WITH_FILLS`` columns only where there are fills."""
    kept = frame[frame["reason"] == ""]
    count = 0
    for name in kept.select_dtypes("number").columns:
        values = kept[name].to_numpy(np.float64)
        if name in OPTIONAL:
            count += int(np.isinf(values).sum())
            continue
        due = kept["n_fills"].to_numpy() > 0 if name in WITH_FILLS else np.ones(len(kept), dtype=bool)
        count += int((~np.isfinite(values) & due).sum()) + int((np.isinf(values) & ~due).sum())
    return count


def _tick_columns(bins: Bins, ticks: pd.DataFrame, ts_ns: np.ndarray) -> dict[str, np.ndarray]:
    total = ticks["tick_total_ms"].to_numpy(np.float64)
    mid = ticks["mid"].to_numpy(np.float64)
    guard = ticks["guard_level"].to_numpy()
    columns = {
        "n_ticks": bins.count(),
        "hit_ratio": bins.mean(ticks["cache_hit"].to_numpy()),
        "stale_pct": 100.0 * bins.mean(ticks["used_stale"].to_numpy()),
        "deadline_miss_pct": 100.0 * bins.mean(ticks["deadline_miss"].to_numpy()),
        "tick_total_p50_ms": bins.quantile(total, 0.5),
        "tick_total_p99_ms": bins.quantile(total, 0.99),
    }
    for stage, column in STAGE_COLUMNS.items():
        columns[f"{stage}_p95_ms"] = bins.quantile(ticks[column].to_numpy(np.float64), 0.95)
    return columns | {
        "errors": bins.total(ticks["errors"].to_numpy(np.float64)),
        "breaker_open_pct": 100.0 * bins.mean(ticks["breaker_open"].to_numpy()),
        "guard_soft_pct": 100.0 * bins.mean(guard == GuardLevel.SOFT),
        "guard_hard_pct": 100.0 * bins.mean(guard == GuardLevel.HARD),
        "rss_mb": bins.maximum(ticks["rss_mb"].to_numpy(np.float64)),
        "spread_bps": bins.mean(ticks["spread_bps"].to_numpy(np.float64)),
        "mid_last": bins.last(mid),
        "inventory_mean": bins.mean(ticks["inventory"].to_numpy(np.float64)),
        "volatility_bps": _volatility(bins, ts_ns, mid),
    }


def _volatility(bins: Bins, ts_ns: np.ndarray, mid: np.ndarray) -> np.ndarray:
    """Realised volatility of the mid, bps per square root of a second; NaN below two mids in an interval."""
    marked = np.flatnonzero(np.isfinite(mid))
    index = bins.index[marked]
    within = np.flatnonzero(np.diff(index) == 0)
    steps = np.diff(np.log(mid[marked]))[within]
    seconds = np.diff(ts_ns[marked])[within] / 1e9
    pairs = Bins(index[within], bins.size)
    return 1e4 * np.sqrt(ratio(pairs.total(steps**2), pairs.total(seconds)))


def _fill_columns(bins: Bins, fills: pd.DataFrame) -> dict[str, np.ndarray]:
    return {
        "queue_ahead_qty": bins.mean(fills["queue_ahead_qty"].to_numpy(np.float64)),
        "order_latency_p95_ms": bins.quantile(fills["latency_ms"].to_numpy(np.float64), 0.95),
    }


def _money(ledger: Ledger, grid: Grid) -> pd.DataFrame:
    event_bin, fill_bin = grid.bins(ledger.ts_ns).index, grid.bins(ledger.fill_ts_ns).index
    return with_ratios(pd.DataFrame(money_sums(ledger, event_bin, fill_bin, size=grid.size)))
