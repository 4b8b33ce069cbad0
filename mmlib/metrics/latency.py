"""Latency and health of the ticks: percentiles by stage, one summary, and the minute series that gates are evaluated on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from mmlib.core.histogram import Histogram
from mmlib.dtypes import STAGES, GuardLevel
from mmlib.metrics.grid import (
    SECOND_NS,
    Bins,
    Grid,
    ns,
    ratio,
    trailing_windows,
    typical_interval_ns,
    utc,
)
from mmlib.metrics.money import money_sums, slippage_bps
from mmlib.metrics.parts import Part, parts

STAGE_COLUMNS: dict[str, str] = {**{stage: f"{stage}_ms" for stage in STAGES}, "tick_total": "tick_total_ms"}
"""Stage name, the whole tick included -> column of the ticks frame."""

HOUR_S = 3600.0
_SERIES = (
    *("n_ticks", "n_fills", "hit_ratio", "deadline_miss_pct", "tick_total_p95_ms", "fetch_md_p95_ms"),
    *("errors_per_min", "breaker_open_s", "guard_hard_pct", "rss_mb", "rss_slope_mb_per_h"),
    *("taker_share_pct", "slippage_bps", "net_bps", "pnl"),
)
_COUNTS = ("n_ticks", "n_fills")
_WHOLE = (*_COUNTS, "pnl")  # known in a minute without ticks as well
_MINUTE_COLUMNS = (
    *("symbol", "arm", "ts", "cache_hit", "deadline_miss", "tick_total_ms", "fetch_md_ms", "errors"),
    *("breaker_open", "guard_level", "rss_mb", "mid", "inventory"),
)


def stage_histograms(ticks: pd.DataFrame) -> dict[str, Histogram]:
    """A mergeable histogram of each stage and of tick_total; ticks without a value of a stage are not counted."""
    return {
        stage: Histogram(_finite(ticks[column].to_numpy(np.float64)))
        for stage, column in STAGE_COLUMNS.items()
    }


def stage_percentiles(ticks: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Percentiles of each stage and of tick_total, from histograms (relative error at most 0.1 %).

    Args:
        ticks: feed frame.
        by: none, symbol, arm, or both.

    Returns:
        ``by``, stage, n, p50_ms, p95_ms, p99_ms; NaN where n is 0.
    """
    return percentile_table({key: stage_histograms(part) for key, part in _parts(ticks, by)}, by)


def percentile_table(
    histograms: Mapping[tuple[object, ...], Mapping[str, Histogram]], by: Sequence[str] = ()
) -> pd.DataFrame:
    """As ``stage_percentiles``, of the histograms of each group, whose key has a value for each of ``by``."""
    rows = [
        (*key, stage, histogram.n, *(histogram.quantile(q) for q in (0.5, 0.95, 0.99)))
        for key, of_stages in histograms.items()
        for stage, histogram in of_stages.items()
    ]
    return pd.DataFrame(rows, columns=[*by, "stage", "n", "p50_ms", "p95_ms", "p99_ms"])


def merged_stages(histograms: Iterable[Mapping[str, Histogram]]) -> dict[str, Histogram]:
    """The histograms of several groups in one a stage: those of all their ticks; empty ones of no group."""
    found = {stage: Histogram() for stage in STAGE_COLUMNS}
    for of_stages in histograms:
        found = {stage: histogram.merge(of_stages[stage]) for stage, histogram in found.items()}
    return found


def tick_summary(ticks: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """The run in one row a group: what the threshold gates are evaluated on.

    Returns:
        ``by``, n_ticks, span_s (last minus first tick plus one interval), hit_ratio, deadline_miss_pct,
        tick_total_p95_ms, fetch_md_p95_ms, errors (`error_events`), rss_max_mb; NaN where there are no ticks.
    """
    rows = []
    for key, part in _parts(ticks, by):
        ts_ns = ns(part["ts"])
        span_ns = (
            float(ts_ns.max() - ts_ns.min()) + np.nan_to_num(typical_interval_ns(ts_ns)) if len(part) else 0.0
        )
        p95 = [Histogram(_finite(part[c].to_numpy(np.float64))).quantile(0.95) for c in _P95_COLUMNS]
        n = len(part)
        hits = float(part["cache_hit"].mean()) if n else float("nan")
        misses = 100.0 * float(part["deadline_miss"].mean()) if n else float("nan")
        rows.append((*key, n, span_ns / 1e9, hits, misses, *p95, error_events(part), part["rss_mb"].max()))
    names = ("hit_ratio", "deadline_miss_pct", "tick_total_p95_ms", "fetch_md_p95_ms", "errors", "rss_max_mb")
    return pd.DataFrame(rows, columns=[*by, "n_ticks", "span_s", *names])


_P95_COLUMNS = ("tick_total_ms", "fetch_md_ms")


def error_events(ticks: pd.DataFrame) -> int:
    """Errors of a tick frame as events: what a tick of both arms met at once, and both carry, counts once."""
    struck = ticks[ticks["errors"] > 0]
    return int(struck.groupby(["symbol", "ts"], observed=True)["errors"].max().sum())


def minute_series(ticks: pd.DataFrame, fills: pd.DataFrame, interval_s: float = 60) -> pd.DataFrame:
    """Gate metrics of each symbol, arm and minute, on one grid from the first to the last event of the feeds.

    A minute without ticks has NaN in every metric: missing, not fine. taker_share_pct, slippage_bps and net_bps look
    back over at most one hour; when nothing was traded in it, all three are NaN: a share of
    nothing is not known. rss_slope_mb_per_h is a least-squares slope over the trailing hour, NaN before a full one and when
    half of its minutes are missing. breaker_open_s is the longest time that the breaker had by then been open without
    a break. pnl is the result since the first event, all symbols of the arm together, the same in each symbol's row [quote
    currency].

    Returns:
        ts (start of the minute, UTC), symbol, arm, n_ticks, n_fills, and the metrics under their gate names.
    """
    return minutes_of(parts(ticks[list(_MINUTE_COLUMNS)], fills), interval_s)


def minutes_of(each: Sequence[Part], interval_s: float = 60) -> pd.DataFrame:
    """``minute_series`` of feeds that are cut by symbol and arm already."""
    frames = [frame for part in each for frame in (part.ticks, part.fills)]
    grid = Grid.spanning(*frames, step_ns=round(interval_s * SECOND_NS))
    if grid is None:
        labels = {"ts": utc(np.empty(0)), "symbol": pd.Series(dtype="str"), "arm": pd.Series(dtype="str")}
        empty_columns = {n: pd.Series(dtype="int64" if n in _COUNTS else "float64") for n in _SERIES}
        return pd.DataFrame({**labels, **empty_columns})
    frames = [_minutes(grid, part, interval_s) for part in each]
    results: dict[str, np.ndarray] = {}
    for part, frame in zip(each, frames, strict=True):
        results[part.arm] = results.get(part.arm, 0.0) + frame["pnl"].to_numpy(np.float64)
    whole = [
        frame.assign(pnl=np.where(frame["n_ticks"] > 0, results[part.arm], np.nan))
        for part, frame in zip(each, frames, strict=True)
    ]
    return pd.concat(whole, ignore_index=True)


def account(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """ts and one metric of all symbols together (``gates.metrics.ACCOUNT_METRICS``), which every symbol's row repeats."""
    return frame.groupby("ts", observed=True)[metric].max().reset_index()


def results_since(minutes: pd.DataFrame, start: pd.Timestamp) -> pd.DataFrame:
    """The minute series with ``pnl`` counted from ``start`` instead of the first event."""
    found = minutes.copy()
    for _, rows in minutes[minutes["ts"] < start].groupby("arm", observed=True):
        known = account(rows, "pnl")["pnl"].dropna()
        if len(known):
            found.loc[found["arm"] == rows["arm"].iloc[0], "pnl"] -= float(known.iloc[-1])
    return found


def _minutes(grid: Grid, part: Part, interval_s: float) -> pd.DataFrame:
    """The minutes of one symbol and arm."""
    columns = _tick_columns(grid.bins(ns(part.ticks["ts"])), part.ticks, interval_s)
    columns |= _money_columns(grid, part, interval_s)
    empty = columns["n_ticks"] == 0
    labels = {"ts": utc(grid.starts), "symbol": part.symbol, "arm": part.arm}
    values = {
        name: columns[name] if name in _WHOLE else np.where(empty, np.nan, columns[name]) for name in _SERIES
    }
    return pd.DataFrame({**labels, **values})


def _tick_columns(bins: Bins, ticks: pd.DataFrame, interval_s: float) -> dict[str, np.ndarray]:
    """Columns of one symbol and arm that come from its ticks, ``[size]`` each."""
    n = bins.count()
    rss = ticks["rss_mb"].to_numpy(np.float64)
    rss_mean = bins.mean(rss)
    return {
        "n_ticks": n,
        "hit_ratio": bins.mean(ticks["cache_hit"].to_numpy()),
        "deadline_miss_pct": 100.0 * bins.mean(ticks["deadline_miss"].to_numpy()),
        "tick_total_p95_ms": bins.quantile(ticks["tick_total_ms"].to_numpy(np.float64), 0.95),
        "fetch_md_p95_ms": bins.quantile(ticks["fetch_md_ms"].to_numpy(np.float64), 0.95),
        "errors_per_min": bins.total(ticks["errors"].to_numpy(np.float64)) * (60.0 / interval_s),
        "breaker_open_s": bins.maximum(open_seconds(ns(ticks["ts"]), ticks["breaker_open"].to_numpy())),
        "guard_hard_pct": 100.0 * bins.mean(ticks["guard_level"].to_numpy() == GuardLevel.HARD),
        "rss_mb": bins.maximum(rss),
        "rss_slope_mb_per_h": trailing_slope(rss_mean, _hour_width(interval_s)) * HOUR_S / interval_s,
    }


def open_seconds(ts_ns: np.ndarray, is_open: np.ndarray) -> np.ndarray:
    """Seconds since the first tick of the current unbroken run of open ones, ``float64[n]``; 0 when closed.

    Args:
        ts_ns: ``int64[n]``, rising.
        is_open: ``bool[n]``.
    """
    opened = is_open & ~np.concatenate([[False], is_open[:-1]])
    since = np.maximum.accumulate(np.where(opened, np.arange(len(ts_ns)), 0))
    return np.where(is_open, (ts_ns - ts_ns[since]) / 1e9, 0.0) if len(ts_ns) else np.zeros(0)


def trailing_slope(values: np.ndarray, width: int) -> np.ndarray:
    """Least-squares slope per step over the last ``width`` points, ``float64[n]``.

    NaN before the first full window and where less than half of the window is present.
    """
    y = trailing_windows(values, width, np.nan)
    present = ~np.isnan(y)
    n = present.sum(axis=1)
    x = np.where(present, np.arange(width, dtype=np.float64), 0.0)
    x_mean, y_mean = ratio(x.sum(axis=1), n), ratio(np.nansum(y, axis=1), n)
    dx = np.where(present, x - x_mean[:, None], 0.0)
    dy = np.where(present, y - y_mean[:, None], 0.0)
    slope = ratio((dx * dy).sum(axis=1), (dx * dx).sum(axis=1))
    slope[n < max(width / 2, 2)] = np.nan
    slope[: width - 1] = np.nan
    return slope


def _money_columns(grid: Grid, part: Part, interval_s: float) -> dict[str, np.ndarray]:
    """Columns of one symbol and arm that come from its money, trailing one hour, ``[size]`` each."""
    ledger = part.ledger()
    event_bin, fill_bin = grid.bins(ledger.ts_ns).index, grid.bins(ledger.fill_ts_ns).index
    sums = money_sums(ledger, event_bin, fill_bin, size=grid.size)
    width = _hour_width(interval_s)
    hour = {name: trailing_windows(values, width, 0).sum(axis=1) for name, values in sums.items()}
    notional = hour["notional"]
    return {
        "n_fills": sums["n_fills"],
        "taker_share_pct": ratio(hour["taker_notional"], notional, 100.0),
        "slippage_bps": slippage_bps(hour),
        "net_bps": ratio(hour["pnl"], notional, 1e4),
        "pnl": np.cumsum(sums["pnl"]),
    }


def _hour_width(interval_s: float) -> int:
    return max(round(HOUR_S / interval_s), 1)


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def _parts(frame: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[tuple[object, ...], pd.DataFrame]]:
    """(key, rows) of each group; one group of everything when ``by`` is empty."""
    if not by:
        yield (), frame
        return
    yield from frame.groupby(list(by), observed=True)
