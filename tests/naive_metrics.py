"""Brute-force references of the metrics: plain loops over rows, definitions written out by hand."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd

NAN = float("nan")
Key = tuple[str, str]


def rows_of(frame: pd.DataFrame, symbol: str, arm: str) -> list[dict[str, Any]]:
    """Rows of one symbol and arm as dictionaries, with ``ns`` and, for fills, ``s``."""
    rows = []
    for row in frame[(frame["symbol"] == symbol) & (frame["arm"] == arm)].to_dict("records"):
        row["ns"] = row["ts"].value
        if "side" in row:
            row["s"] = 1 if row["side"] == "buy" else -1
        rows.append(row)
    return rows


def events(
    ticks: list[dict[str, Any]], fills: list[dict[str, Any]]
) -> list[tuple[int, float, dict[str, Any] | None]]:
    """(time, mark, fill or None) in order; unknown marks take the one before, at the start the first there is."""
    merged = [(f["ns"], 0, f["mid_at_fill"], f) for f in fills]
    merged += [(t["ns"], 1, t["mid"], None) for t in ticks if not math.isnan(t["mid"])]
    merged.sort(key=lambda event: event[:2])
    known = [mark for _, _, mark, _ in merged if not math.isnan(mark)]
    last = known[0] if known else NAN
    result = []
    for ns, _, mark, fill in merged:
        last = last if math.isnan(mark) else mark
        result.append((ns, last, fill))
    return result


def equity(
    ticks: list[dict[str, Any]], fills: list[dict[str, Any]], opening: float
) -> list[tuple[int, float]]:
    """(time, equity) after each event, from cash and position alone."""
    cash, position, result = 0.0, opening, []
    for ns, mark, fill in events(ticks, fills):
        if fill is not None:
            cash -= fill["s"] * fill["price"] * fill["qty"] + fill["fee"]
            position += fill["s"] * fill["qty"]
        result.append((ns, cash + position * mark))
    return result


def change_of_equity(ticks: list[dict[str, Any]], fills: list[dict[str, Any]], opening: float) -> float:
    """Equity at the end minus the opening position at the first mark."""
    path = equity(ticks, fills, opening)
    return path[-1][1] - opening * events(ticks, fills)[0][1] if path else 0.0


def identity(ticks: list[dict[str, Any]], fills: list[dict[str, Any]], opening: float) -> float:
    """Sum of s q (m - p) plus sum of position x Δm minus fees, term by term."""
    position, before, total = opening, None, 0.0
    for _, mark, fill in events(ticks, fills):
        if before is not None:
            total += position * (mark - before)
        before = mark
        if fill is not None:
            total += fill["s"] * fill["qty"] * (mark - fill["price"]) - fill["fee"]
            position += fill["s"] * fill["qty"]
    return total


def nearest_rank(values: list[float], q: float) -> float:
    """Smallest value that at least a share q does not exceed."""
    ordered = sorted(v for v in values if not math.isnan(v))
    if not ordered:
        return NAN
    return ordered[max(math.ceil(q * len(ordered) - 1e-9), 1) - 1]


def marks_of(ticks: list[dict[str, Any]]) -> tuple[list[int], list[float]]:
    """Times and mids of the ticks that have one."""
    known = [t for t in ticks if not math.isnan(t["mid"])]
    return [t["ns"] for t in known], [t["mid"] for t in known]


def mid_after(marks: tuple[list[int], list[float]], fill_ns: int) -> float:
    """The same of the times [ns] and mids of ticks in time order."""
    times, mids = marks
    if not times or times[-1] < fill_ns + 10**9:
        return NAN
    first, end = bisect_left(times, fill_ns), bisect_right(times, fill_ns + 10**9)
    return mids[end - 1] if end > first else NAN


def minutes(ticks: pd.DataFrame, fills: pd.DataFrame, symbol: str, arm: str) -> dict[int, dict[str, float]]:
    """Minute start [ns] -> the metrics that need no looking back, and the trailing taker share and slippage."""
    step = 60 * 10**9
    by_minute: dict[int, list[dict[str, Any]]] = defaultdict(list)
    longest: dict[int, float] = defaultdict(float)
    since = None
    for tick in rows_of(ticks, symbol, arm):
        minute = tick["ns"] // step * step
        by_minute[minute].append(tick)
        since = (tick["ns"] if since is None else since) if tick["breaker_open"] else None
        longest[minute] = max(longest[minute], 0.0 if since is None else (tick["ns"] - since) / 1e9)
    result = {}
    own_fills, own_marks = rows_of(fills, symbol, arm), marks_of(rows_of(ticks, symbol, arm))
    for minute, part in by_minute.items():
        hour = [f for f in own_fills if minute - 59 * step <= f["ns"] < minute + step]
        notional = sum(f["price"] * f["qty"] for f in hour)
        taken = sum(f["price"] * f["qty"] for f in hour if f["liquidity"] == "taker")
        costs = [(f["s"] * f["qty"] * (f["price"] - mid_after(own_marks, f["ns"])), f) for f in hour]
        slipped = [(cost, f["price"] * f["qty"]) for cost, f in costs if not math.isnan(cost)]
        stated = sum(n for _, n in slipped) >= 0.1 * notional and notional
        result[minute] = {
            "n_ticks": len(part),
            "n_fills": sum(minute <= f["ns"] < minute + step for f in own_fills),
            "hit_ratio": sum(t["cache_hit"] for t in part) / len(part),
            "deadline_miss_pct": 100 * sum(t["deadline_miss"] for t in part) / len(part),
            "tick_total_p95_ms": nearest_rank([t["tick_total_ms"] for t in part], 0.95),
            "fetch_md_p95_ms": nearest_rank([t["fetch_md_ms"] for t in part], 0.95),
            "errors_per_min": sum(t["errors"] for t in part),
            "breaker_open_s": longest[minute],
            "rss_mb": max((t["rss_mb"] for t in part if not math.isnan(t["rss_mb"])), default=NAN),
            "taker_share_pct": 100 * taken / notional if notional else float("nan"),
            "slippage_bps": 1e4 * sum(c for c, _ in slipped) / sum(n for _, n in slipped) if stated else NAN,
        }
    return result


def slope(values: np.ndarray, width: int) -> list[float]:
    """Least-squares slope per step over the last ``width`` points by polyfit."""
    result = []
    for end in range(1, len(values) + 1):
        window = values[max(end - width, 0) : end]
        known = np.flatnonzero(~np.isnan(window))
        enough = end >= width and len(known) >= max(width / 2, 2)
        result.append(float(np.polyfit(known, window[known], 1)[0]) if enough else NAN)
    return result


def markout(ticks: list[dict[str, Any]], fills: list[dict[str, Any]], horizon_s: float) -> tuple[int, float]:
    """(fills used, notional-weighted markout in bps)."""
    marked = [(t["ns"], t["mid"]) for t in ticks if not math.isnan(t["mid"])]
    weight = total = 0.0
    n = 0
    for f in fills:
        at = f["ns"] + round(horizon_s * 1e9)
        seen = [mid for ns, mid in marked if f["ns"] <= ns <= at]
        if not seen or not marked or at > marked[-1][0]:
            continue
        notional = f["price"] * f["qty"]
        total += notional * f["s"] * (seen[-1] - f["price"]) / f["price"] * 1e4
        weight += notional
        n += 1
    return n, total / weight if n else NAN
