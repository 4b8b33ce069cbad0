"""Makes tick and fill frames of a day for the tests of operations and their reports."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmlib.dtypes import STAGES

DAY = pd.Timestamp("2025-01-15", tz="UTC")


def ticks(
    n: int, *, start: pd.Timestamp = DAY, symbol: str = "BTCUSDT", arm: str = "A", every_s: int = 10
) -> pd.DataFrame:
    """``n`` healthy ticks, one every ``every_s`` seconds."""
    frame = pd.DataFrame({"ts": start + pd.to_timedelta(np.arange(n) * every_s, unit="s")})
    frame["ts"] = frame["ts"].astype("datetime64[ns, UTC]")
    frame = frame.assign(symbol=symbol, arm=arm, scheduled_ts=frame["ts"])
    for stage in STAGES:
        frame[f"{stage}_ms"] = 2.0
    frame = frame.assign(
        tick_total_ms=12.0, modelled_ms=0.0, cache_hit=True, cache_age_ms=20.0, used_stale=False
    )
    frame = frame.assign(deadline_miss=False, guard_level=0, breaker_open=False, rss_mb=200.0, mid=100.0)
    return frame.assign(spread_bps=2.0, inventory=0.0, errors=0)


def fills(
    times: pd.Series, *, symbol: str = "BTCUSDT", arm: str = "A", edge: float = 0.1, taker: bool = False
) -> pd.DataFrame:
    """Buys and sells in turn, each ``edge`` better than a mid of 100 that never moves, without fees."""
    n = len(times)
    buys = np.arange(n) % 2 == 0
    frame = pd.DataFrame(
        {"ts": times.to_numpy(), "symbol": symbol, "arm": arm, "side": np.where(buys, "buy", "sell")}
    )
    frame["ts"] = (
        pd.DatetimeIndex(frame["ts"]).tz_localize("UTC") if frame["ts"].dt.tz is None else frame["ts"]
    )
    frame["price"] = np.where(buys, 100 - edge, 100 + edge)
    frame = frame.assign(
        qty=1.0, liquidity="taker" if taker else "maker", fee=0.0, quote_price=frame["price"]
    )
    frame = frame.assign(mid_at_quote=100.0, mid_at_fill=100.0, queue_ahead_qty=0.0, latency_ms=10.0)
    return frame.assign(order_id=[str(i) for i in range(n)], fill_id=[f"{symbol}{arm}{i}" for i in range(n)])
