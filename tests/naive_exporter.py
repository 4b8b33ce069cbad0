"""Brute-force reference of the exporter: what a scrape at each moment would have read, from the rows of the feeds."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping

import pandas as pd

from mmlib.dtypes import STAGES
from mmlib.metrics.exported import ERROR_CODES, FILL_TYPES, SIGNS, duration_buckets, le_text
from tests import naive_metrics as naive

Events = dict[tuple[str, tuple[tuple[str, str], ...]], list[tuple[int, float]]]


def scrapes(
    ticks: pd.DataFrame,
    fills: pd.DataFrame,
    *,
    start_ns: int,
    count: int,
    step_s: int,
    limits_ms: list[float],
) -> dict[str, str]:
    """Series in promtool's notation -> values at ``count`` moments ``step_s`` apart, from ``start_ns`` on.

    A counter holds what happened before the moment, a gauge what the last tick before it said.
    """
    counters, gauges = _events(ticks, fills, duration_buckets(limits_ms))
    moments = [start_ns + k * step_s * 10**9 for k in range(count)]
    found = {}
    for key, events in counters.items():
        times = [ts for ts, _ in events]
        sums = [0.0]
        for _, amount in events:
            sums.append(sums[-1] + amount)
        found[_name(key)] = " ".join(repr(sums[bisect_left(times, moment)]) for moment in moments)
    for key, events in gauges.items():
        times = [ts for ts, _ in events]
        at = [bisect_left(times, moment) for moment in moments]
        found[_name(key)] = " ".join("_" if k == 0 else repr(events[k - 1][1]) for k in at)
    return found


def own_metric(
    name: str, labels: Mapping[str, str], values: Mapping[int, float], start_ns: int, count: int, step_s: int
):
    """``mm_gate_metric``: in each moment the value of the last whole minute (by its start, ns)."""
    texts = []
    for k in range(count):
        minute = (start_ns + k * step_s * 10**9) // 60_000_000_000 * 60_000_000_000 - 60_000_000_000
        value = values.get(minute, math.nan)
        texts.append("NaN" if math.isnan(value) else repr(float(value)))
    return {_name(("mm_gate_metric", (("metric", name), *labels.items()))): " ".join(texts)}


def _name(key: tuple[str, tuple[tuple[str, str], ...]]) -> str:
    name, labels = key
    return name + ("{" + ", ".join(f'{k}="{v}"' for k, v in labels) + "}" if labels else "")


def _events(ticks: pd.DataFrame, fills: pd.DataFrame, bounds: tuple[float, ...]) -> tuple[Events, Events]:
    counters: Events = defaultdict(list)
    gauges: Events = defaultdict(list)
    opened: dict[tuple[str, str], int] = {}
    for row in ticks.sort_values("ts").to_dict("records"):
        ts = row["ts"].value
        each = (("symbol", row["symbol"]), ("arm", row["arm"]))
        pair = (row["symbol"], row["arm"])
        add = {
            "mm_tick_total": 1,
            "mm_tick_deadline_miss_total": int(row["deadline_miss"]),
            "mm_md_cache_hit_total": int(row["cache_hit"]),
            "mm_md_cache_miss_total": int(not row["cache_hit"]),
        }
        for level in (1, 2):
            key = ("mm_guard_tick_total", (*each, ("level", ("soft", "hard")[level - 1])))
            counters[key].append((ts, int(row["guard_level"] == level)))
        for name, amount in add.items():
            counters[name, each].append((ts, amount))
        for code in ERROR_CODES:
            counters["mm_error_total", (*each, ("code", code))].append(
                (ts, row["errors"] if code == "ERR_OTHER" else 0)
            )
        for bound in (*bounds, math.inf):
            le = ("le", "+Inf" if math.isinf(bound) else le_text(bound))
            counters["mm_tick_duration_seconds_bucket", (*each, le)].append(
                (ts, int(row["tick_total_ms"] / 1e3 <= bound))
            )
            for stage in STAGES:
                if not math.isnan(row[f"{stage}_ms"]):
                    counters["mm_stage_duration_seconds_bucket", (*each, ("stage", stage), le)].append(
                        (ts, int(row[f"{stage}_ms"] / 1e3 <= bound))
                    )
        if row["breaker_open"]:
            opened.setdefault(pair, ts)
        else:
            opened.pop(pair, None)
        gauges["mm_circuit_breaker_open_duration_seconds", each].append(
            (ts, (ts - opened.get(pair, ts)) / 1e9)
        )
        gauges["process_resident_memory_bytes", ()].append((ts, row["rss_mb"] * 1e6))
    for symbol, arm in sorted({(r.symbol, r.arm) for r in ticks.itertuples()}):
        each = (("symbol", symbol), ("arm", arm))
        for kind in FILL_TYPES:
            counters["mm_fill_notional_total", (*each, ("type", kind))] = []
        counters["mm_fill_slippage_notional_total", each] = []
        for sign in SIGNS:
            counters["mm_fill_slippage_cost_total", (*each, ("sign", sign))] = []
    marks = {
        pair: part.dropna(subset="mid").sort_values("ts") for pair, part in ticks.groupby(["symbol", "arm"])
    }
    marks = {
        pair: (part["ts"].astype("int64").to_list(), part["mid"].to_list()) for pair, part in marks.items()
    }
    for row in fills.sort_values("ts").to_dict("records"):
        ts, each = row["ts"].value, (("symbol", row["symbol"]), ("arm", row["arm"]))
        side = 1 if row["side"] == "buy" else -1
        cost = (
            side
            * row["qty"]
            * (row["price"] - naive.mid_after(marks[row["symbol"], row["arm"]], row["ts"].value))
        )
        counters["mm_fill_notional_total", (*each, ("type", row["liquidity"]))].append(
            (ts, row["price"] * row["qty"])
        )
        if not math.isnan(cost):
            sign = "plus" if cost > 0 else "minus"
            counters["mm_fill_slippage_cost_total", (*each, ("sign", sign))].append((ts, abs(cost)))
            counters["mm_fill_slippage_notional_total", each].append((ts, row["price"] * row["qty"]))
    for (symbol, arm), (times, mids) in marks.items():
        own = fills[(fills["symbol"] == symbol) & (fills["arm"] == arm)].sort_values("ts").to_dict("records")
        for sign in SIGNS:
            counters["mm_pnl_total", (("symbol", symbol), ("arm", arm), ("sign", sign))] = []
        before = 0.0
        for ts, mid in zip(times, mids, strict=True):
            equity = 0.0
            for row in own:
                if row["ts"].value <= ts:
                    side = 1 if row["side"] == "buy" else -1
                    equity += side * row["qty"] * (mid - row["price"]) - row["fee"]
            change = equity - before
            sign = "plus" if change >= 0 else "minus"
            counters["mm_pnl_total", (("symbol", symbol), ("arm", arm), ("sign", sign))].append(
                (ts, abs(change))
            )
            before = equity
    return counters, gauges
