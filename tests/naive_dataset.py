"""Brute-force reference of the dataset: every figure of an interval from the rows in it, by loops and definitions."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise
from typing import Any

import pandas as pd

from tests import naive_metrics as naive

NAN = float("nan")
STAGES = ("fetch_md", "spread", "guards", "inventory", "queue_aware", "emit", "tick_total")
HORIZONS = (1, 5, 30, 60)


def mean(values: list[float]) -> float:
    """Mean of what is known."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else NAN


def share(values: list[Any]) -> float:
    """Share of true ones."""
    return sum(bool(value) for value in values) / len(values) if values else NAN


def interval(
    ticks: pd.DataFrame, fills: pd.DataFrame, symbol: str, arm: str, start_ns: int, step_ns: int
) -> dict[str, float]:
    """Every figure of one symbol, arm and interval; ``ticks`` and ``fills`` are the whole feed, in time order."""
    all_ticks, all_fills = (naive.rows_of(frame, symbol, arm) for frame in (ticks, fills))
    t = [row for row in all_ticks if start_ns <= row["ns"] < start_ns + step_ns]
    f = [row for row in all_fills if start_ns <= row["ns"] < start_ns + step_ns]
    times = [row["ns"] for row in all_ticks]
    distances = [b - a for a, b in pairwise(times) if b > a]
    marks = [(row["ns"], row["mid"]) for row in t if not math.isnan(row["mid"])]
    found = {
        "n_ticks": len(t),
        "coverage": min(len(t) * statistics.median(distances) / step_ns, 1.0) if distances else 0.0,
        "hit_ratio": share([row["cache_hit"] for row in t]),
        "stale_pct": 100 * share([row["used_stale"] for row in t]),
        "deadline_miss_pct": 100 * share([row["deadline_miss"] for row in t]),
        "breaker_open_pct": 100 * share([row["breaker_open"] for row in t]),
        "guard_soft_pct": 100 * share([row["guard_level"] == 1 for row in t]),
        "guard_hard_pct": 100 * share([row["guard_level"] == 2 for row in t]),
        "errors": sum(row["errors"] for row in t),
        "rss_mb": max((row["rss_mb"] for row in t if not math.isnan(row["rss_mb"])), default=NAN),
        "spread_bps": mean([row["spread_bps"] for row in t]),
        "inventory_mean": mean([row["inventory"] for row in t]),
        "mid_last": marks[-1][1] if marks else NAN,
        "volatility_bps": volatility(marks),
        "queue_ahead_qty": mean([row["queue_ahead_qty"] for row in f]),
        "order_latency_p95_ms": naive.nearest_rank([row["latency_ms"] for row in f], 0.95),
    }
    for stage in STAGES:
        for q in (50, 95, 99):
            found[f"{stage}_p{q}_ms"] = naive.nearest_rank([row[f"{stage}_ms"] for row in t], q / 100)
    for horizon in HORIZONS:
        found[f"markout_{horizon}s_bps"] = naive.markout(all_ticks, f, horizon)[1]
    return found | money(all_ticks, all_fills, f, start_ns, step_ns)


def volatility(marks: list[tuple[int, float]]) -> float:
    """Square root of the squared log steps over the seconds they took, bps."""
    pairs = list(pairwise(marks))
    seconds = sum((b[0] - a[0]) / 1e9 for a, b in pairs)
    return 1e4 * math.sqrt(sum(math.log(b[1] / a[1]) ** 2 for a, b in pairs) / seconds) if pairs else NAN


def opening_position(ticks: list[dict[str, Any]], fills: list[dict[str, Any]]) -> float:
    """Median over the first 61 ticks that know their inventory of it less what was traded by then."""
    known = [row for row in ticks if not math.isnan(row["inventory"])][:61]
    values = [
        row["inventory"] - sum(f["s"] * f["qty"] for f in fills if f["ns"] <= row["ns"]) for row in known
    ]
    return statistics.median(values) if values else 0.0


def money(
    ticks: list[dict[str, Any]],
    fills: list[dict[str, Any]],
    inside: list[dict[str, Any]],
    start_ns: int,
    step_ns: int,
) -> dict[str, float]:
    """Amounts and ratios of an interval; holding is marked at every tick and fill."""
    position, before, inventory, trade, gross, travel, slippage, slipped = (
        opening_position(ticks, fills),
        NAN,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
    )
    marks = naive.marks_of(ticks)
    for at, mark, fill in naive.events(ticks, fills):
        within = start_ns <= at < start_ns + step_ns
        if within and not math.isnan(before):
            inventory += position * (mark - before)
        before = mark
        if fill is None:
            continue
        position += fill["s"] * fill["qty"]
        if within:
            known = not math.isnan(fill["mid_at_quote"]) and not math.isnan(fill["mid_at_fill"])
            quote = fill["mid_at_quote"] if known else mark
            trade += fill["s"] * fill["qty"] * (mark - fill["price"])
            gross += fill["s"] * fill["qty"] * (quote - fill["price"])
            travel += fill["s"] * fill["qty"] * (quote - mark)
            after = naive.mid_after(marks, at)
            if not math.isnan(after):
                slippage += fill["s"] * fill["qty"] * (fill["price"] - after)
                slipped += fill["price"] * fill["qty"]
    notional = sum(f["price"] * f["qty"] for f in inside)
    fees = sum(f["fee"] for f in inside)
    taken = sum(f["price"] * f["qty"] for f in inside if f["liquidity"] == "taker")
    priced = sum(
        f["price"] * f["qty"]
        for f in inside
        if not math.isnan(f["mid_at_quote"]) and not math.isnan(f["mid_at_fill"])
    )
    pnl = trade + inventory - fees
    bps = {"gross": gross, "quote_travel": travel, "fees": fees, "inventory": inventory, "net": pnl}
    ratios = {f"{name}_bps": 1e4 * value / notional if notional else NAN for name, value in bps.items()}
    if not notional or priced < 0.99 * notional:
        ratios |= {"gross_bps": NAN, "quote_travel_bps": NAN}
    return ratios | {
        "n_fills": len(inside),
        "notional": notional,
        "taker_notional": taken,
        "gross_pnl": gross,
        "travel_cost": travel,
        "slippage_cost": slippage,
        "slippage_notional": slipped,
        "slippage_bps": 1e4 * slippage / slipped if notional and slipped >= 0.1 * notional else NAN,
        "fees": fees,
        "inventory_pnl": inventory,
        "pnl": pnl,
        "taker_share_pct": 100 * taken / notional if notional else NAN,
        "priced_pct": 100 * priced / notional if notional else NAN,
    }
