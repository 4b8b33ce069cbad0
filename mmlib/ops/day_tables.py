"""Tables of one day from its tick and fill frames: uptime, cache, guards, errors, memory, best and worst symbols."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from mmlib.core.histogram import Histogram
from mmlib.dtypes import GuardLevel
from mmlib.metrics.grid import ns
from mmlib.metrics.latency import open_seconds

GAP_S = 60.0
"""Ticks further apart than this are an outage; a slower schedule is judged by three of its own intervals."""

KEYS = ["symbol", "arm"]


def uptime(ticks: pd.DataFrame, day_s: float = 86_400.0) -> pd.DataFrame:
    """Coverage a symbol and arm, from the distances between ticks.

    Args:
        ticks: of one day.
        day_s: length of the day, or of what has passed of it [s].

    Returns:
        symbol, arm, first, last, ticks, span_h (first to last tick), gaps (outages), longest_gap_s, down_s, uptime_pct
        (share of the span outside outages), up_s and day_pct (time outside outages, the last tick's own interval counted, and
        its share of the day: before the first tick and after the last the bot was not up either).
    """
    rows = []
    for (symbol, arm), part in _parts(ticks, "ts"):
        ts = part["ts"].sort_values()
        steps = ts.diff().dt.total_seconds().to_numpy()[1:]
        usual = float(np.median(steps)) if len(steps) else 0.0
        gaps = steps[steps > max(GAP_S, 3 * usual)]
        span = float(steps.sum())
        down = float(np.maximum(gaps - usual, 0).sum())
        share = 100 * (1 - down / span) if span > 0 else np.nan
        longest = float(gaps.max()) if len(gaps) else 0.0
        up = min(span - down + usual, day_s)
        seen = (ts.iloc[0], ts.iloc[-1], len(ts), span / 3600, len(gaps), longest, down, share)
        rows.append((symbol, arm, *seen, up, 100 * up / day_s if day_s > 0 else np.nan))
    names = ["first", "last", "ticks", "span_h", "gaps", "longest_gap_s", "down_s", "uptime_pct"]
    return pd.DataFrame(rows, columns=[*KEYS, *names, "up_s", "day_pct"])


def cache(ticks: pd.DataFrame) -> pd.DataFrame:
    """Market data cache and deadlines a symbol and arm.

    Returns:
        symbol, arm, n, hit_ratio (0..1), used_stale_pct, cache_age_p50_ms, cache_age_p95_ms, deadline_miss_pct.
    """
    rows = []
    for (symbol, arm), part in _parts(ticks, "cache_age_ms", "cache_hit", "used_stale", "deadline_miss"):
        age = part["cache_age_ms"].to_numpy(dtype=np.float64)
        histogram = Histogram()
        histogram.add(age[np.isfinite(age)])
        p50, p95 = (histogram.quantile(q) if histogram.n else np.nan for q in (0.5, 0.95))
        shares = (part["cache_hit"].mean(), 100 * part["used_stale"].mean())
        rows.append((symbol, arm, len(part), *shares, p50, p95, 100 * part["deadline_miss"].mean()))
    names = ["n", "hit_ratio", "used_stale_pct", "cache_age_p50_ms", "cache_age_p95_ms", "deadline_miss_pct"]
    return pd.DataFrame(rows, columns=[*KEYS, *names])


def guards(ticks: pd.DataFrame) -> pd.DataFrame:
    """How often the risk guards stepped in, a symbol and arm.

    Returns:
        symbol, arm, soft_pct, hard_pct (share of ticks), soft_triggers, hard_triggers (changes into the level).
    """
    rows = []
    for (symbol, arm), part in _parts(ticks, "ts", "guard_level"):
        level = part.sort_values("ts")["guard_level"].to_numpy()
        counts = []
        for wanted in (GuardLevel.SOFT, GuardLevel.HARD):
            at = level == wanted
            counts.append((100 * at.mean(), _starts(at)))
        rows.append((symbol, arm, counts[0][0], counts[1][0], counts[0][1], counts[1][1]))
    return pd.DataFrame(rows, columns=[*KEYS, "soft_pct", "hard_pct", "soft_triggers", "hard_triggers"])


def errors(ticks: pd.DataFrame) -> pd.DataFrame:
    """Errors and circuit breaker a symbol and arm.

    Returns:
        symbol, arm, errors, per_h (of the time from first to last tick), per_10k_ticks, worst_minute (count), worst_at (its
        start, NaT without errors), openings, longest_open_s (from its first open tick to its last), open_ticks_pct.
    """
    rows = []
    for (symbol, arm), unsorted in _parts(ticks, "ts", "errors", "breaker_open"):
        part = unsorted.sort_values("ts")
        by_minute = part.groupby(part["ts"].dt.floor("min"))["errors"].sum()
        total = int(part["errors"].sum())
        worst_at = by_minute.idxmax() if total else pd.NaT
        opened = part["breaker_open"].to_numpy(dtype=bool)
        ts_ns = ns(part["ts"])
        hours = float(ts_ns[-1] - ts_ns[0]) / 3.6e12
        rates = (total / hours if hours else np.nan, 1e4 * total / len(part))
        breaker = (_starts(opened), float(open_seconds(ts_ns, opened).max()), 100 * opened.mean())
        rows.append((symbol, arm, total, *rates, int(by_minute.max()), worst_at, *breaker))
    names = ["errors", "per_h", "per_10k_ticks", "worst_minute", "worst_at"]
    return pd.DataFrame(rows, columns=[*KEYS, *names, "openings", "longest_open_s", "open_ticks_pct"])


def memory(ticks: pd.DataFrame, minutes: pd.DataFrame) -> pd.DataFrame:
    """Resident memory of the process over the day; no row when it was never reported.

    Returns:
        first_mb, last_mb, lowest_mb, highest_mb, steepest_mb_per_h (trailing hour; NaN before a full hour).
    """
    rss = ticks[["ts", "rss_mb"]].sort_values("ts")["rss_mb"].dropna()
    names = ["first_mb", "last_mb", "lowest_mb", "highest_mb", "steepest_mb_per_h"]
    if rss.empty:
        return pd.DataFrame(columns=names)
    slope = minutes["rss_slope_mb_per_h"].max() if "rss_slope_mb_per_h" in minutes.columns else np.nan
    return pd.DataFrame([[rss.iloc[0], rss.iloc[-1], rss.min(), rss.max(), slope]], columns=names)


def symbol_ranking(edge: pd.DataFrame, *, top: int = 5, bottom: int = 3) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Best and worst symbols by net result; a symbol stands in one list only.

    Args:
        edge: symbol, n_fills, notional, pnl, net_bps; one row a symbol.
        top, bottom: longest length of the lists.

    Returns:
        Two frames with the rows of ``edge``, best first and worst first; symbols without fills are in neither.
    """
    ranked = edge[edge["notional"] > 0].sort_values("net_bps", ascending=False, ignore_index=True)
    best = ranked.head(min(top, (len(ranked) + 1) // 2))
    worst = ranked.iloc[len(best) :].tail(bottom).iloc[::-1].reset_index(drop=True)
    return best, worst


def _parts(ticks: pd.DataFrame, *columns: str) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """((symbol, arm), some columns of its rows): the others of what may be millions of rows are not copied."""
    return iter(ticks[[*KEYS, *columns]].groupby(KEYS, observed=True))


def _starts(at: np.ndarray) -> int:
    """How often a bool[n] turns true."""
    return int(at[:1].sum() + (at[1:] & ~at[:-1]).sum())
