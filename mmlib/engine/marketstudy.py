"""A recording and a simulation of it side by side: stylised facts, and curves to draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmlib.engine.touchmaker import HORIZONS_S, maker_fills, maker_summary
from mmlib.market import moments, pilot
from mmlib.market.flowmodel import FlowModel
from mmlib.market.observe import Observed, conflate_rows
from mmlib.market.source import Instrument
from mmlib.metrics.stylised import compare, facts, halves

_SEED = 101  # no pilot of a calibration has it
_SHARES = np.linspace(0.01, 0.99, 50)


@dataclass(frozen=True)
class Study:
    """What the two came to.

    Attributes:
        table: see `metrics.stylised.compare`.
        curves: panel, market (recorded or simulated), x, y.
        span_s: length of the recording; simulated_s: of the simulation.
    """

    table: pd.DataFrame
    curves: pd.DataFrame
    span_s: float
    simulated_s: float


def study(
    rows: np.ndarray, seen: Observed, model: FlowModel, *, hours: float = 1.0, seed: int = _SEED
) -> Study:
    """Simulate a market and hold it against its recording.

    Both are observed alike: depth is published at the recording's intervals, and a short recording's market is
    simulated at the volatility and activity that it shows (see `pilot.at_its_level`).

    Args:
        rows: ``EVENT[n]`` of the recording; seen: what was seen of it.
        model: the market.
        hours: length of the simulation; seed: its seed.
    """
    made = pilot.run(pilot.at_its_level(model, seen.span_s), hours * 3600.0, seed)
    look = pilot.observed(model, made, seen)
    sent = conflate_rows(made, seen.depth_every_ms)
    fills = [
        maker_fills(part, Instrument("", market.tick_size, market.lot_size))
        for part, market in ((rows, seen.instrument), (sent, model))
    ]
    mine = facts(seen) | _maker_facts(fills[0], seen.span_s)
    other = facts(look) | _maker_facts(fills[1], look.span_s)
    published = conflated_deep(sent, look, seen)
    table = compare(mine, other | published, tuple(facts(part) for part in halves(seen)))
    curves = pd.concat(
        [_curves(seen, fills[0], "recorded"), _curves(look, fills[1], "simulated")], ignore_index=True
    )
    return Study(table, curves, seen.span_s, look.span_s)


def conflated_deep(sent: np.ndarray, look: Observed, seen: Observed) -> dict[str, float]:
    """Changes behind the touch a second as published; the touch itself may be known better than the depth."""
    from mmlib.market.observe import observe

    if seen.depth_every_ms <= 0.0:
        return {}
    return {"deep_per_s": observe(sent, look.instrument).deep_per_s}


def _maker_facts(fills: pd.DataFrame, span_s: float) -> dict[str, float]:
    return {f"maker_{name}": value for name, value in maker_summary(fills, span_s).items()}


def _curves(seen: Observed, fills: pd.DataFrame, market: str) -> pd.DataFrame:
    weights = moments.dwell_s(seen)
    gaps_ms = np.diff(seen.orders["exch_ns"]) / 1e6
    lags = np.array([1, 2, 3, 5, 8, 13, 20, 30, 50])
    horizons = np.array([0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0])
    moved = np.abs(moments.moves(seen).bps)
    notional = seen.orders["qty"] * seen.price
    panels = {
        "Notional at the touch [quote currency]": (moments.queue_notional(seen, _SHARES), _SHARES),
        "Spread [ticks]": (
            moments.weighted_quantiles(moments.spread_ticks(seen)[:-1].astype(float), weights, _SHARES),
            _SHARES,
        ),
        "Time between market orders [ms]": (_quantiles(gaps_ms), _SHARES),
        "Notional of a market order [quote currency]": (_quantiles(notional), _SHARES),
        "Size of a move of the mid [bps]": (_quantiles(moved), _SHARES),
        "Lag of trade signs [orders]": (
            lags,
            np.array([moments.sign_correlation(seen, int(lag)) for lag in lags]),
        ),
        "Horizon of volatility [s]": (
            horizons,
            np.array([moments.vol_bps(seen, float(h)) for h in horizons]),
        ),
        "Horizon of a touch-joining maker's markout [s]": (
            np.array(HORIZONS_S),
            np.array([fills[f"markout_{h:g}s_bps"].mean() for h in HORIZONS_S]),
        ),
    }
    parts = [
        pd.DataFrame({"panel": name, "market": market, "x": x, "y": y}) for name, (x, y) in panels.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _quantiles(values: np.ndarray) -> np.ndarray:
    return np.quantile(values, _SHARES) if len(values) else np.full(len(_SHARES), np.nan)
