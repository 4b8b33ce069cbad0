"""Feeds of a soak for the dataset bench: the contract's full layout, ten symbols, both arms, a tick a second."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from mmlib.dtypes import FILL, STAGES, TICK
from mmlib.feeds.writer import FeedWriter

SYMBOLS = tuple(
    f"{base}USDT" for base in ["BTC", "ETH", "SOL", "BNB", "XRP", "ADA", "DOGE", "AVAX", "LINK", "LTC"]
)
FIRST_DAY = datetime(2025, 1, 15, tzinfo=UTC)
_START_NS = int(FIRST_DAY.timestamp()) * 1_000_000_000
_STAGE_MS = {"fetch_md": 6.0, "spread": 0.2, "guards": 0.1, "inventory": 0.1, "queue_aware": 0.4, "emit": 2.0}
_FIRST_ID = 1_000_000_000  # its first digit is changed from day to day
_BATCH = 600  # seconds that a symbol's session appends at once


def tick_rows(rng: np.random.Generator, first_s: int, n_s: int, mid: float) -> np.ndarray:
    """``TICK[2 n_s]``: both arms at each second from ``first_s`` on; latencies are lognormal, the mid a random walk."""
    n = 2 * n_s
    rows = np.zeros(n, TICK)
    rows["arm"] = np.arange(n) % 2
    rows["scheduled_ns"] = _START_NS + (first_s + np.arange(n) // 2) * 1_000_000_000
    rows["ts_ns"] = rows["scheduled_ns"] + rng.integers(1_000, 400_000, n)
    for stage in STAGES:
        rows[f"{stage}_ms"] = _STAGE_MS[stage] * rng.lognormal(0.0, 0.6, n)
    rows["tick_total_ms"] = sum(rows[f"{stage}_ms"] for stage in STAGES) + rng.lognormal(-2.0, 0.5, n)
    rows["modelled_ms"] = rows["fetch_md_ms"]
    rows["cache_age_ms"] = rng.lognormal(3.0, 1.0, n)
    rows["cache_hit"] = rng.random(n) < 0.85
    rows["used_stale"] = rng.random(n) < 0.02
    rows["deadline_miss"] = rows["tick_total_ms"] > 60.0
    rows["guard_level"] = rng.choice(3, n, p=[0.95, 0.04, 0.01])
    rows["rss_mb"] = (220.0 + rng.random(n)).round(3)
    rows["mid"] = mid * np.exp(np.repeat(np.cumsum(rng.normal(0, 2e-5, n_s)), 2))
    rows["spread_bps"] = rng.lognormal(0.5, 0.3, n)
    rows["inventory"] = rng.normal(0.0, 0.4, n).round(3)
    rows["errors"] = rng.random(n) < 0.001
    return rows


def fill_rows(rng: np.random.Generator, ticks: np.ndarray, n: int, first_id: int) -> np.ndarray:
    """``FILL[n]`` near the mids of some of the ticks, in time order."""
    at = ticks[np.sort(rng.integers(0, len(ticks), n))]
    rows = np.zeros(n, FILL)
    rows["ts_ns"] = at["ts_ns"] + rng.integers(0, 1_000_000, n)
    rows["arm"], rows["mid_at_quote"], rows["mid_at_fill"] = at["arm"], at["mid"], at["mid"] * 0.999999
    rows["side"] = rng.choice([1, -1], n)
    rows["price"] = at["mid"] * (1.0 - rows["side"] * 1e-4)
    rows["quote_price"] = rows["price"]
    rows["qty"] = rng.integers(1, 50, n) * 0.001
    rows["liquidity"] = rng.random(n) < 0.05
    rows["fee"] = rows["price"] * rows["qty"] * np.where(rows["liquidity"] == 1, 4e-4, -0.5e-4)
    rows["queue_ahead_qty"], rows["latency_ms"] = rng.lognormal(size=n), rng.lognormal(2.0, 0.3, n)
    rows["order_id"] = rows["fill_id"] = _FIRST_ID + first_id + np.arange(n)
    return rows


def write_feeds(directory: Path, n_ticks: int, seed: int = 7, symbols: Sequence[str] = SYMBOLS) -> list[Path]:
    """About ``n_ticks`` ticks (whole batches) and 1 % of fills in daily files; the tick files.

    The first day is drawn; each later one is the first with its date changed, which is a hundred times as fast to make.
    """
    rng = np.random.default_rng(seed)
    per_day = 2 * len(symbols) * 86_400
    seconds = min(-(-n_ticks // (2 * len(symbols)) // _BATCH) * _BATCH, 86_400)
    writers = [FeedWriter(directory, symbol) for symbol in symbols]
    for first_s in range(0, seconds, _BATCH):
        for number, writer in enumerate(writers):
            rows = tick_rows(rng, first_s, _BATCH, 60_000.0 / 3**number)
            writer.ticks(rows)
            writer.fills(fill_rows(rng, rows, len(rows) // 100, first_s * 1_000))
    for writer in writers:
        writer.close()
    for day in range(1, max(round(n_ticks / per_day), 1)):
        for stem in ("pipeline_ticks", "fills"):
            _copy_day(directory, stem, day)
    return sorted(directory.glob("pipeline_ticks_*.jsonl"))


def _copy_day(directory: Path, stem: str, day: int) -> None:
    """The first day's file as that of a later day: its dates, and for fills their numbers, changed."""
    other = FIRST_DAY + timedelta(days=day)
    source = directory / f"{stem}_{FIRST_DAY:%Y%m%d}.jsonl"
    old, new = f'"{FIRST_DAY:%Y-%m-%d}T'.encode(), f'"{other:%Y-%m-%d}T'.encode()
    with source.open("rb") as lines, (directory / f"{stem}_{other:%Y%m%d}.jsonl").open("wb") as copy:
        while block := b"".join(lines.readlines(1 << 24)):
            block = block.replace(old, new)
            copy.write(
                block.replace(b'"fill_id":1', f'"fill_id":{day + 1}'.encode()) if stem == "fills" else block
            )
