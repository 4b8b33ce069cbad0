"""What quoting beside the touch earns on a market: fills of a plain two-sided maker and their markouts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmlib.engine.bench import run_grid
from mmlib.market.observe import at, before, observe
from mmlib.market.source import Instrument

HORIZONS_S = (1.0, 5.0, 30.0, 60.0)
_NOTIONAL = 1000.0  # one quote, quote currency
_UNLIMITED = 1e12


def maker_fills(
    rows: np.ndarray, instrument: Instrument, half_spread_bps: float = 0.0, *, queue_model: str = "log"
) -> pd.DataFrame:
    """Quote one post-only order a side, 10 ms away from the exchange, looked at every 100 ms, without a limit of position.

    Args:
        rows: ``EVENT[n]`` in processing order.
        instrument: what is traded.
        half_spread_bps: distance of both quotes from the mid; a quote is never better than the touch, so 0 joins it.
        queue_model: how its place in the queue is estimated, see ``core.queue``.

    Returns:
        One row a maker fill: exch_ns, side (+1 bought), price (quote currency), qty, half_spread_bps (what it earned
        against the mid just before), markout_1s_bps, ... markout_60s_bps: ``side (mid later - price) / price``, missing
        where the market ends before.
    """
    seen = observe(rows, instrument)
    mid = seen.mid_ticks * instrument.tick_size
    price = float(np.median(mid))
    qty = max(1.0, round(_NOTIONAL / (price * instrument.lot_size))) * instrument.lot_size
    grid = {
        "levels": 1,
        "interval_ticks": 1,
        "half_spread_ticks": _ticks(half_spread_bps, price, instrument),
        "skew": 0.0,
    }
    found, _ = run_grid(
        rows,
        grid,
        tick_size=instrument.tick_size,
        lot_size=instrument.lot_size,
        order_qty=qty,
        max_position=_UNLIMITED,
        queue_model=queue_model,
        queue_exponent=3.0,
    )
    found = found[found["maker"] == 1]
    side, paid = found["side"].astype(np.float64), found["price_ticks"] * instrument.tick_size
    first = before(seen.touch, found["exch_ns"])
    table = {
        "exch_ns": found["exch_ns"],
        "side": found["side"].astype(np.int64),
        "price": paid,
        "qty": found["qty"],
        "half_spread_bps": np.where(
            first >= 0, side * (mid[np.maximum(first, 0)] - paid) / paid * 1e4, np.nan
        ),
    }
    for horizon in HORIZONS_S:
        later_ns = found["exch_ns"] + int(horizon * 1e9)
        known = later_ns <= seen.touch["exch_ns"][-1]
        later = mid[np.maximum(at(seen.touch, later_ns), 0)]
        table[f"markout_{horizon:g}s_bps"] = np.where(known, side * (later - paid) / paid * 1e4, np.nan)
    return pd.DataFrame(table)


def _ticks(bps: float, price: float, instrument: Instrument) -> int:
    return round(bps * 1e-4 * price / instrument.tick_size)


def maker_summary(fills: pd.DataFrame, span_s: float) -> dict[str, float]:
    """Fills an hour, mean half spread earned and mean markouts [bps]; NaN without fills."""
    columns = [name for name in fills.columns if name.endswith("_bps")]
    return {"fills_per_h": 3600.0 * len(fills) / span_s} | {
        name: float(fills[name].mean()) if fills[name].notna().any() else float("nan") for name in columns
    }
