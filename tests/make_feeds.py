"""Makes TICK and FILL records, and feed frames of them, for the tests of feeds and metrics."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmlib.dtypes import FILL, TICK
from mmlib.feeds.columns import typed_frame
from mmlib.feeds.schema import Kind

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


def tick_frame(rows: np.ndarray, symbol: str = "BTCUSDT") -> pd.DataFrame:
    """The feed frame of ``TICK[n]``, sorted as the reader sorts."""
    names = [name for name in TICK.names or () if name not in ("ts_ns", "scheduled_ns", "arm", "_pad")]
    columns = {
        "ts": rows["ts_ns"],
        "scheduled_ts": rows["scheduled_ns"],
        **{name: rows[name] for name in names},
    }
    return _frame("ticks", rows, symbol, columns)


def fill_frame(rows: np.ndarray, symbol: str = "BTCUSDT") -> pd.DataFrame:
    """The feed frame of ``FILL[n]``, sorted as the reader sorts."""
    names = [name for name in FILL.names or () if name not in ("ts_ns", "arm", "_pad", "side", "liquidity")]
    columns = {"ts": rows["ts_ns"], **{name: rows[name] for name in names}}
    columns["side"] = np.where(rows["side"] > 0, "buy", "sell")
    columns["liquidity"] = np.where(rows["liquidity"] == 1, "taker", "maker")
    columns |= {name: columns[name].astype(str) for name in ("order_id", "fill_id")}
    return _frame("fills", rows, symbol, columns)


def _frame(kind: Kind, rows: np.ndarray, symbol: str, columns: dict[str, np.ndarray]) -> pd.DataFrame:
    n = len(rows)
    labels = {
        "symbol": np.full(n, symbol, dtype=object),
        "arm": np.array(["A", "B"], dtype=object)[rows["arm"]],
    }
    frame = typed_frame(kind, {**columns, **labels, "_line": np.arange(1, n + 1)})
    return frame.drop(columns="_line").sort_values(["ts", "symbol", "arm"], kind="stable", ignore_index=True)
