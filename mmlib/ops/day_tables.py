"""Tables of one day, cut by symbol and arm: uptime, cache, guards, errors, memory, best and worst symbols."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from mmlib.core.histogram import Histogram
from mmlib.dtypes import GuardLevel
from mmlib.metrics.grid import ns
from mmlib.metrics.latency import open_seconds
from mmlib.metrics.parts import Part

GAP_S = 60.0
"""Ticks further apart than this are an outage; a slower schedule is judged by three of its own intervals."""

KEYS = ["symbol", "arm"]
_MINUTE_NS = 60 * 10**9


def uptime(parts: Iterable[Part], day_s: float = 86_400.0) -> pd.DataFrame:
    """Coverage a symbol and arm, from the distances between ticks.

    Args:
        parts: of one day, each with ticks.
        day_s: length of the day, or of what has passed of it [s].

    Returns:
        symbol, arm, first, last, ticks, span_h (first to last tick), gaps (outages), longest_gap_s, down_s, uptime_pct
        (share of the span outside outages), up_s and day_pct (time outside outages, the last tick's own interval counted, and
        its share of the day: before the first tick and after the last the bot was not up either).
    """
    rows = []
    for symbol, arm, ticks, _ in parts:
        ts = ticks["ts"]
        steps = np.diff(ns(ts)) / 1e9
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


def cache(parts: Iterable[Part]) -> pd.DataFrame:
    """Market data cache and deadlines a symbol and arm.

    Returns:
        symbol, arm, n, hit_ratio (0..1), used_stale_pct, cache_age_p50_ms, cache_age_p95_ms, deadline_miss_pct.
    """
    rows = []
    for symbol, arm, ticks, _ in parts:
        age = ticks["cache_age_ms"].to_numpy(dtype=np.float64)
        histogram = Histogram()
        histogram.add(age[np.isfinite(age)])
        p50, p95 = (histogram.quantile(q) if histogram.n else np.nan for q in (0.5, 0.95))
        shares = (ticks["cache_hit"].mean(), 100 * ticks["used_stale"].mean())
        rows.append((symbol, arm, len(ticks), *shares, p50, p95, 100 * ticks["deadline_miss"].mean()))
    names = ["n", "hit_ratio", "used_stale_pct", "cache_age_p50_ms", "cache_age_p95_ms", "deadline_miss_pct"]
    return pd.DataFrame(rows, columns=[*KEYS, *names])


def guards(parts: Iterable[Part]) -> pd.DataFrame:
    """How often the risk guards stepped in, a symbol and arm.

    Returns:
        symbol, arm, soft_pct, hard_pct (share of ticks), soft_triggers, hard_triggers (changes into the level).
    """
    rows = []
    for symbol, arm, ticks, _ in parts:
        level = ticks["guard_level"].to_numpy()
        counts = []
        for wanted in (GuardLevel.SOFT, GuardLevel.HARD):
            at = level == wanted
            counts.append((100 * at.mean(), _starts(at)))
        rows.append((symbol, arm, counts[0][0], counts[1][0], counts[0][1], counts[1][1]))
    return pd.DataFrame(rows, columns=[*KEYS, "soft_pct", "hard_pct", "soft_triggers", "hard_triggers"])


def errors(parts: Iterable[Part]) -> pd.DataFrame:
    """Errors and circuit breaker a symbol and arm.

    Returns:
        symbol, arm, errors, per_h (of the time from first to last tick), per_10k_ticks, worst_minute (count), worst_at (its
        start, NaT without errors), openings, longest_open_s (from its first open tick to its last), open_ticks_pct.
    """
    rows = []
    for symbol, arm, ticks, _ in parts:
        ts_ns, count = ns(ticks["ts"]), ticks["errors"].to_numpy()
        opened = ticks["breaker_open"].to_numpy(dtype=bool)
        total, hours = int(count.sum()), float(ts_ns[-1] - ts_ns[0]) / 3.6e12
        minute = ts_ns // _MINUTE_NS
        by_minute = np.bincount(minute - minute[0], weights=count)
        worst = int(np.argmax(by_minute))
        worst_at = pd.Timestamp(int(minute[0] + worst) * _MINUTE_NS, tz="UTC") if total else pd.NaT
        rates = (total / hours if hours else np.nan, 1e4 * total / len(ticks))
        breaker = (_starts(opened), float(open_seconds(ts_ns, opened).max()), 100 * opened.mean())
        rows.append((symbol, arm, total, *rates, int(by_minute[worst]), worst_at, *breaker))
    names = ["errors", "per_h", "per_10k_ticks", "worst_minute", "worst_at"]
    return pd.DataFrame(rows, columns=[*KEYS, *names, "openings", "longest_open_s", "open_ticks_pct"])


def memory(parts: Iterable[Part], minutes: pd.DataFrame) -> pd.DataFrame:
    """Resident memory of the process over the day; no row when it was never reported.

    Returns:
        first_mb, last_mb, lowest_mb, highest_mb, steepest_mb_per_h (trailing hour; NaN before a full hour).
    """
    known = {
        (symbol, arm): rows
        for symbol, arm, ticks, _ in parts
        if len(rows := ticks[["ts", "rss_mb"]].dropna())
    }
    names = ["first_mb", "last_mb", "lowest_mb", "highest_mb", "steepest_mb_per_h"]
    if not known:
        return pd.DataFrame(columns=names)
    first = min((rows["ts"].iloc[0], who, rows["rss_mb"].iloc[0]) for who, rows in known.items())[-1]
    last = max((rows["ts"].iloc[-1], who, rows["rss_mb"].iloc[-1]) for who, rows in known.items())[-1]
    lowest = min(rows["rss_mb"].min() for rows in known.values())
    highest = max(rows["rss_mb"].max() for rows in known.values())
    slope = minutes["rss_slope_mb_per_h"].max() if "rss_slope_mb_per_h" in minutes.columns else np.nan
    return pd.DataFrame([[first, last, lowest, highest, slope]], columns=names)


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


def _starts(at: np.ndarray) -> int:
    """How often a bool[n] turns true."""
    return int(at[:1].sum() + (at[1:] & ~at[:-1]).sum())
