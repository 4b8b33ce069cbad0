"""Brute-force reference of the daily report: every figure from the lines of the feeds, by the standard library alone."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests import naive_gates, naive_metrics

STAGES = ("fetch_md", "spread", "guards", "inventory", "queue_aware", "emit")
HOUR_NS = 3_600 * 10**9
MINUTE_NS = 60 * 10**9
Row = dict[str, Any]


def at_ns(text: str) -> int:
    whole, _, rest = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * 10**9 + int(rest.ljust(9, "0") or 0)


def read(feeds: Path, stem: str, day: date) -> list[Row]:
    """Lines of a day and of the hour before it, in order of time."""
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 10**9
    rows = []
    for of in (day - timedelta(days=1), day):
        path = feeds / f"{stem}_{of:%Y%m%d}.jsonl"
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                row["ns"] = at_ns(row["ts"])
                if start - HOUR_NS <= row["ns"] < start + 24 * HOUR_NS:
                    rows.append(row)
    return sorted(rows, key=lambda row: row["ns"])


def rank_quantile(values: list[float], q: float) -> float:
    return naive_gates.quantile_of_sorted(sorted(values), q)  # type: ignore[arg-type]


def money(ticks: list[Row], fills: list[Row]) -> dict[str, float]:
    """Amounts of one symbol and arm by walking its events."""
    before = sum(_sign(f) * f["qty"] for f in fills if f["ns"] <= ticks[0]["ns"])
    position = ticks[0]["inventory"] - before
    if abs(position) < 1e-9:
        position = 0.0
    marked = [(t["ns"], 1, t) for t in ticks if t["mid"] is not None]
    events = sorted([(f["ns"], 0, f) for f in fills] + marked, key=lambda event: event[:2])
    marks = [t["ns"] for _, _, t in marked], [t["mid"] for _, _, t in marked]
    total: dict[str, float] = defaultdict(float)
    mark = None
    for _, kind, row in events:
        mid = row["mid"] if kind else row["mid_at_fill"]
        if mark is not None:
            total["inventory"] += position * (mid - mark)
        mark = mid
        if kind == 0:
            s, q, p, quoted = _sign(row), row["qty"], row["price"], row["mid_at_quote"]
            total["gross"] += s * q * (quoted - p)
            total["travel"] += s * q * (quoted - mid)
            after = naive_metrics.mid_after(marks, row["ns"])
            if not math.isnan(after):
                total["slippage"] += s * q * (p - after)
                total["slipped"] += p * q
            total["fees"] += row["fee"]
            total["notional"] += p * q
            total["taker"] += p * q * (row["liquidity"] == "taker")
            position += s * q
    total["pnl"] = total["gross"] - total["travel"] - total["fees"] + total["inventory"]
    return dict(total)


def _sign(fill: Row) -> int:
    return 1 if fill["side"] == "buy" else -1


def figures(feeds: Path, day: date) -> dict[str, Any]:
    """Every figure of the report of a day whose feeds hold one symbol and arm."""
    lead_ticks, lead_fills = read(feeds, "pipeline_ticks", day), read(feeds, "fills", day)
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 10**9
    ticks = [t for t in lead_ticks if t["ns"] >= start]
    fills = [f for f in lead_fills if f["ns"] >= start]
    n = len(ticks)
    m = money(ticks, fills)
    bps = {k: 1e4 * m[k] / m["notional"] for k in ("gross", "travel", "fees", "inventory", "pnl")}
    stated = m["slipped"] >= 0.1 * m["notional"]
    bps["slippage"] = 1e4 * m["slippage"] / m["slipped"] if stated else math.nan
    steps = [(b["ns"] - a["ns"]) / 1e9 for a, b in pairwise(ticks)]
    usual = sorted(steps)[len(steps) // 2]
    gaps = [s for s in steps if s > max(60.0, 3 * usual)]
    up = sum(steps) - sum(g - usual for g in gaps) + usual
    percentiles = {}
    for stage in (*STAGES, "tick_total"):
        values = [t[f"{stage}_ms"] for t in ticks if t[f"{stage}_ms"] is not None]
        percentiles[stage] = (
            len(values),
            *(rank_quantile(values, q) if values else math.nan for q in (0.5, 0.95, 0.99)),
        )
    ages = [t["cache_age_ms"] for t in ticks if t["cache_age_ms"] is not None]
    rss = [t["rss_mb"] for t in ticks]
    levels = [t["guard_level"] for t in ticks]
    minutes = minute_metrics(lead_ticks, lead_fills, start)
    slopes = [row["rss_slope_mb_per_h"] for row in minutes.values() if row["rss_slope_mb_per_h"] is not None]
    by_minute: dict[int, int] = defaultdict(int)
    for t in ticks:
        by_minute[t["ns"] // MINUTE_NS] += t["errors"]
    errors = sum(t["errors"] for t in ticks)
    return {
        "n_ticks": n,
        "n_fills": len(fills),
        "notional": m["notional"],
        "pnl": m["pnl"],
        "bps": bps,
        "taker_share_pct": 100 * m["taker"] / m["notional"],
        "up_pct": 100 * up / 86_400,
        "span_pct": 100 * (1 - sum(g - usual for g in gaps) / sum(steps)),
        "gaps": len(gaps),
        "longest": max(gaps, default=0.0),
        "first": ticks[0]["ts"],
        "last": ticks[-1]["ts"],
        "stages": percentiles,
        "hit_ratio": sum(t["cache_hit"] for t in ticks) / n,
        "stale_pct": 100 * sum(t["used_stale"] for t in ticks) / n,
        "ages": (rank_quantile(ages, 0.5), rank_quantile(ages, 0.95)),
        "miss_pct": 100 * sum(t["deadline_miss"] for t in ticks) / n,
        "guards": [
            x
            for level in (1, 2)
            for x in (
                100 * levels.count(level) / n,
                sum(b == level != a for a, b in zip([0, *levels], levels, strict=False)),
            )
        ],
        "errors": errors,
        "errors_per_h": errors / (sum(steps) / 3600),
        "errors_per_10k": 1e4 * errors / n,
        "worst_minute": max(by_minute.values()),
        "openings": sum(
            t["breaker_open"] and not (k and ticks[k - 1]["breaker_open"]) for k, t in enumerate(ticks)
        ),
        "open_pct": 100 * sum(t["breaker_open"] for t in ticks) / n,
        "rss": (rss[0], rss[-1], min(rss), max(rss), max(slopes)),
        "worst_taker_pct": max(
            (v for row in minutes.values() if (v := row["taker_share_pct"]) == v), default=float("nan")
        ),
        "n_minutes": len(minutes),
        "minutes": minutes,
        "start": start,
    }


def minute_metrics(ticks: list[Row], fills: list[Row], start: int) -> dict[int, dict[str, float | None]]:
    """Minute of the day -> the gates' metrics; trailing ones look back into the hour before midnight."""
    of_ticks: dict[int, list[Row]] = defaultdict(list)
    of_fills: dict[int, list[Row]] = defaultdict(list)
    for t in ticks:
        of_ticks[t["ns"] // MINUTE_NS].append(t)
    for f in fills:
        of_fills[f["ns"] // MINUTE_NS].append(f)
    first = min([*of_ticks, *of_fills])
    last = max([*of_ticks, *of_fills])
    mean = {k: sum(t["rss_mb"] for t in of) / len(of) for k, of in of_ticks.items()}
    found = {}
    result = results_at(ticks, fills)
    midnight = max((k for k in of_ticks if k * MINUTE_NS < start), default=None)
    opened: int | None = None
    for k in range(first, last + 1):
        of = of_ticks.get(k, [])
        longest = 0.0
        for t in of:
            opened = (t["ns"] if opened is None else opened) if t["breaker_open"] else None
            longest = max(longest, (t["ns"] - opened) / 1e9 if opened is not None else 0.0)
        hour = [f for j in range(k - 59, k + 1) for f in of_fills.get(j, [])]
        notional = sum(f["price"] * f["qty"] for f in hour)
        taken = sum(f["price"] * f["qty"] for f in hour if f["liquidity"] == "taker")
        points = [(j, mean[j]) for j in range(k - 59, k + 1) if j in mean]
        slope = None
        if k - 59 >= first and len(points) >= 30:
            mx, my = (sum(p[i] for p in points) / len(points) for i in (0, 1))
            slope = 60 * sum((x - mx) * (y - my) for x, y in points) / sum((x - mx) ** 2 for x, _ in points)
        if k * MINUTE_NS < start or not of:
            continue
        fetched = [t["fetch_md_ms"] for t in of if t["fetch_md_ms"] is not None]
        found[k] = {
            "hit_ratio": sum(t["cache_hit"] for t in of) / len(of),
            "deadline_miss_pct": 100 * sum(t["deadline_miss"] for t in of) / len(of),
            "guard_hard_pct": 100 * sum(t["guard_level"] == 2 for t in of) / len(of),
            "tick_total_p95_ms": rank_quantile([t["tick_total_ms"] for t in of], 0.95),
            "fetch_md_p95_ms": rank_quantile(fetched, 0.95) if fetched else None,
            "errors_per_min": sum(t["errors"] for t in of),
            "breaker_open_s": longest,
            "rss_slope_mb_per_h": slope,
            "taker_share_pct": 100 * taken / notional if notional else float("nan"),
            "pnl": result[k] - (0.0 if midnight is None else result[midnight]),
        }
    return found


def results_at(ticks: list[Row], fills: list[Row]) -> dict[int, float]:
    """Minute -> result since the first event at its last one, by walking all events of one symbol and arm."""
    position = ticks[0]["inventory"] - sum(_sign(f) * f["qty"] for f in fills if f["ns"] <= ticks[0]["ns"])
    position = 0.0 if abs(position) < 1e-9 else position
    events = [(t["ns"], 1, t) for t in ticks if t["mid"] is not None] + [(f["ns"], 0, f) for f in fills]
    total, mark, found = 0.0, None, {}
    for ns, kind, row in sorted(events, key=lambda event: event[:2]):
        mid = row["mid"] if kind else row["mid_at_fill"]
        total += 0.0 if mark is None else position * (mid - mark)
        mark = mid
        if not kind:
            total += _sign(row) * row["qty"] * (mid - row["price"]) - row["fee"]
            position += _sign(row) * row["qty"]
        found[ns // MINUTE_NS] = total
    return found


def firings(
    minutes: dict[int, dict[str, float | None]], rules: list[tuple[str, str, str, float, float]]
) -> list[tuple[str, str, str, str, float]]:
    """(gate, start, fired, end, worst) of each rule (gate, metric, > or <, limit, seconds); times as HH:MM."""
    found = []
    for gate, metric, op, limit, lasting in rules:
        values = {k: row[metric] for k, row in minutes.items()}
        bad = {k: None if v is None else (v > limit if op == ">" else v < limit) for k, v in values.items()}
        for start, end, fired in naive_gates.sustained(
            [(60 * k, bad[k]) for k in sorted(bad)], 60, round(lasting)
        )[0]:
            if fired is not None:
                seen = [values[k] for k in values if start <= 60 * k <= end and values[k] is not None]
                clock = [f"{datetime.fromtimestamp(s, UTC):%H:%M}" for s in (start, fired, end)]
                found.append((gate, *clock, max(seen) if op == ">" else min(seen)))
    return found
