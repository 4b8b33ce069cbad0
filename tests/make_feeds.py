"""Makes TICK and FILL records for the tests of feeds and metrics."""

from __future__ import annotations

import numpy as np

from mmlib.dtypes import FILL, TICK

START_NS = 1_736_899_200_000_000_000  # 2025-01-15T00:00:00Z
SECOND_NS = 1_000_000_000


def ticks(n: int, seed: int, *, holes: bool = False, interval_ns: int = SECOND_NS) -> np.ndarray:
    """``TICK[n]``, arms in turn, one an interval; with ``holes`` nullable numbers are sometimes NaN."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(n, TICK)
    rows["scheduled_ns"] = START_NS + np.arange(n) * interval_ns
    rows["ts_ns"] = rows["scheduled_ns"] + rng.integers(0, 1000, n)
    for name in ("fetch_md_ms", "spread_ms", "guards_ms", "inventory_ms", "queue_aware_ms", "emit_ms"):
        rows[name] = rng.lognormal(size=n)
    rows["tick_total_ms"] = rng.lognormal(3.0, 1.0, n)
    rows["modelled_ms"] = rng.lognormal(size=n)
    rows["cache_age_ms"] = rng.lognormal(size=n)
    rows["mid"] = 60_000.0 + np.cumsum(rng.integers(-3, 4, n)) * 0.05
    rows["spread_bps"] = rng.normal(2.0, 1.0, n)
    rows["inventory"] = rng.normal(size=n)
    rows["rss_mb"] = 200.0 + rng.random(n)
    rows["errors"] = rng.poisson(0.1, n)
    rows["arm"] = np.arange(n) % 2
    for name, share in (
        ("cache_hit", 0.8),
        ("used_stale", 0.1),
        ("deadline_miss", 0.02),
        ("breaker_open", 0.01),
    ):
        rows[name] = rng.random(n) < share
    rows["guard_level"] = rng.integers(0, 3, n)
    if holes:
        for name in ("fetch_md_ms", "cache_age_ms", "mid", "spread_bps", "inventory", "rss_mb"):
            rows[name][rng.random(n) < 0.2] = np.nan
    return rows


def fills(n: int, seed: int, *, holes: bool = False, span_ns: int = 500 * SECOND_NS) -> np.ndarray:
    """``FILL[n]`` spread over ``span_ns``, in time order."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(n, FILL)
    rows["ts_ns"] = START_NS + np.sort(rng.integers(0, span_ns, n))
    rows["order_id"] = np.arange(n) + 2**53
    rows["fill_id"] = np.arange(n) + 1
    rows["mid_at_fill"] = 60_000.0 + rng.integers(-40, 41, n) * 0.05
    rows["mid_at_quote"] = rows["mid_at_fill"] + rng.integers(-4, 5, n) * 0.05
    rows["side"] = rng.choice([1, -1], n)
    rows["price"] = rows["mid_at_fill"] - rows["side"] * rng.integers(-2, 9, n) * 0.1
    rows["quote_price"] = rows["price"]
    rows["qty"] = rng.integers(1, 50, n) * 0.001
    rows["fee"] = rows["price"] * rows["qty"] * rng.choice([-0.5e-4, 7e-4], n)
    rows["queue_ahead_qty"] = rng.lognormal(size=n)
    rows["latency_ms"] = rng.lognormal(2.0, 0.3, n)
    rows["arm"] = rng.integers(0, 2, n)
    rows["liquidity"] = rng.random(n) < 0.1
    if holes:
        for name in ("quote_price", "mid_at_quote", "mid_at_fill", "queue_ahead_qty", "latency_ms"):
            rows[name][rng.random(n) < 0.2] = np.nan
    return rows
