"""Recording beside simulation: stylised facts, what counts as alike, and whether it is.

The tolerances stand here and nowhere else. ``ratio t``: the larger over the smaller is at most t; ``difference t``: they
differ by at most t. A figure that is not known on either side is not met.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mmlib.market import moments
from mmlib.market.observe import Observed


@dataclass(frozen=True)
class Fact:
    """One stylised fact.

    Attributes:
        key: name in `facts`.
        group: what it is about; name: for a reader; unit: '' for none.
        kind: ``ratio`` or ``difference``; tolerance: see the module.
        fitted: calibration sets a parameter by it, so that it tests less.
    """

    key: str
    group: str
    name: str
    unit: str
    kind: str
    tolerance: float
    fitted: bool = False


FACTS = (
    Fact("spread_mean_ticks", "Spread", "mean over time", "ticks", "ratio", 1.25),
    Fact("spread_p99_ticks", "Spread", "99th percentile over time", "ticks", "ratio", 2.0),
    Fact("open_share", "Spread", "time at more than the usual spread", "share", "difference", 0.02, True),
    Fact("touches_per_s", "Event rates", "changes of the touch", "1/s", "ratio", 1.25, True),
    Fact("orders_per_s", "Event rates", "market orders", "1/s", "ratio", 1.25, True),
    Fact("deep_per_s", "Event rates", "changes behind the touch, within 5 bps", "1/s", "ratio", 2.0),
    Fact(
        "order_gap_median_ms", "Event rates", "time between market orders, median", "ms", "ratio", 2.0, True
    ),
    Fact("order_gap_cv", "Event rates", "time between market orders, deviation over mean", "", "ratio", 1.5),
    Fact(
        "order_fano_1s", "Event rates", "market orders a second, variance over mean", "", "ratio", 1.5, True
    ),
    Fact(
        "queue_p25_notional",
        "Depth at the touch",
        "25th percentile over time",
        "quote currency",
        "ratio",
        2.0,
        True,
    ),
    Fact("queue_p50_notional", "Depth at the touch", "median over time", "quote currency", "ratio", 1.5),
    Fact(
        "queue_p75_notional",
        "Depth at the touch",
        "75th percentile over time",
        "quote currency",
        "ratio",
        2.0,
        True,
    ),
    Fact("order_p50_notional", "Trade sizes", "market order, median", "quote currency", "ratio", 1.5),
    Fact(
        "order_p95_notional", "Trade sizes", "market order, 95th percentile", "quote currency", "ratio", 2.0
    ),
    Fact(
        "multi_level_share",
        "Trade sizes",
        "market orders at more than one price",
        "share",
        "difference",
        0.05,
        True,
    ),
    Fact("sign_correlation_1", "Trade signs", "autocorrelation at 1 order", "", "difference", 0.1, True),
    Fact("sign_correlation_5", "Trade signs", "autocorrelation at 5 orders", "", "difference", 0.1, True),
    Fact("sign_correlation_20", "Trade signs", "autocorrelation at 20 orders", "", "difference", 0.1),
    Fact("vol_1s_bps", "Returns", "root mean square at 1 s, per root second", "bps", "ratio", 1.25),
    Fact("vol_10s_bps", "Returns", "root mean square at 10 s, per root second", "bps", "ratio", 1.25, True),
    Fact("vol_60s_bps", "Returns", "root mean square at 60 s, per root second", "bps", "ratio", 1.5),
    Fact("kurtosis_1s", "Returns", "kurtosis at 1 s", "", "ratio", 1.5),
    Fact("kurtosis_10s", "Returns", "kurtosis at 10 s", "", "ratio", 1.5),
    Fact("kurtosis_60s", "Returns", "kurtosis at 60 s", "", "ratio", 1.5),
    Fact("moves_per_s", "Moves of the mid", "number", "1/s", "ratio", 1.25, True),
    Fact("move_size_bps", "Moves of the mid", "mean size", "bps", "ratio", 1.25, True),
    Fact("continuation", "Moves of the mid", "goes the way of the one before", "share", "difference", 0.1),
    Fact(
        "imbalance_before_move",
        "Moves of the mid",
        "imbalance of the touch before",
        "",
        "difference",
        0.15,
        True,
    ),
    Fact(
        "queue_lifetime_s", "Queues", "life of the best queue at a random moment, median", "s", "ratio", 2.0
    ),
    Fact("impact_1s_bps", "Impact", "mid 1 s after a market order", "bps", "difference", 0.3),
    Fact("impact_5s_bps", "Impact", "mid 5 s after a market order", "bps", "difference", 0.3),
    Fact("maker_fills_per_h", "Touch-joining maker", "fills", "1/h", "ratio", 2.0),
    Fact("maker_half_spread_bps", "Touch-joining maker", "half spread earned", "bps", "difference", 0.1),
    Fact("maker_markout_1s_bps", "Touch-joining maker", "markout at 1 s", "bps", "difference", 0.5),
    Fact("maker_markout_5s_bps", "Touch-joining maker", "markout at 5 s", "bps", "difference", 0.5),
    Fact("maker_markout_30s_bps", "Touch-joining maker", "markout at 30 s", "bps", "difference", 1.0),
    Fact("maker_markout_60s_bps", "Touch-joining maker", "markout at 60 s", "bps", "difference", 1.0),
)
"""Everything compared, with its tolerance."""


def facts(seen: Observed) -> dict[str, float]:
    """The figures of `FACTS` that the market shows by itself, by key; those of a maker are measured elsewhere."""
    weights = moments.dwell_s(seen)
    spread = moments.spread_ticks(seen)[:-1]
    p25, p50, p75 = moments.queue_notional(seen, np.array([0.25, 0.5, 0.75]))
    gaps_ms = np.diff(seen.orders["exch_ns"]) / 1e6
    notional = seen.orders["qty"] * seen.price
    found = moments.moves(seen)
    levels = seen.orders["levels"]
    return {
        "spread_mean_ticks": float(np.average(spread, weights=weights)) if weights.sum() > 0.0 else math.nan,
        "spread_p99_ticks": float(moments.weighted_quantiles(spread, weights, np.array([0.99]))[0]),
        "open_share": moments.open_share(seen),
        "touches_per_s": moments.touches_per_s(seen),
        "orders_per_s": moments.orders_per_s(seen),
        "deep_per_s": seen.deep_per_s,
        "order_gap_median_ms": moments.order_gap_median_ms(seen),
        "order_gap_cv": float(gaps_ms.std() / gaps_ms.mean()) if len(gaps_ms) else math.nan,
        "order_fano_1s": moments.order_fano(seen),
        "queue_p25_notional": float(p25),
        "queue_p50_notional": float(p50),
        "queue_p75_notional": float(p75),
        "order_p50_notional": float(np.median(notional)) if len(notional) else math.nan,
        "order_p95_notional": float(np.quantile(notional, 0.95)) if len(notional) else math.nan,
        "multi_level_share": float((levels > 1).mean()) if len(levels) else math.nan,
        **{f"sign_correlation_{lag}": moments.sign_correlation(seen, lag) for lag in (1, 5, 20)},
        **{f"vol_{h}s_bps": moments.vol_bps(seen, h) for h in (1, 10, 60)},
        **{f"kurtosis_{h}s": moments.kurtosis(moments.returns_bps(seen, h)) for h in (1, 10, 60)},
        "moves_per_s": found.per_s,
        "move_size_bps": float(np.abs(found.bps).mean()) if len(found.bps) else math.nan,
        "continuation": found.continuation,
        "imbalance_before_move": found.imbalance,
        "queue_lifetime_s": moments.queue_lifetime_s(seen),
        **{f"impact_{h}s_bps": moments.order_impact_bps(seen, h) for h in (1, 5)},
    }


def halves(seen: Observed) -> tuple[Observed, Observed]:
    """The first and the second half of the time."""
    middle = (int(seen.touch["exch_ns"][0]) + int(seen.touch["exch_ns"][-1])) // 2

    def part(first: bool) -> Observed:
        keep_touch = (seen.touch["exch_ns"] < middle) == first
        keep_order = (seen.orders["exch_ns"] < middle) == first
        touch, orders = seen.touch[keep_touch], seen.orders[keep_order]
        return replace(seen, touch=touch, orders=orders, deep_per_s=math.nan)

    return part(True), part(False)


def compare(
    recorded: Mapping[str, float],
    simulated: Mapping[str, float],
    recorded_halves: tuple[Mapping[str, float], ...] = (),
) -> pd.DataFrame:
    """One row a fact.

    Args:
        recorded, simulated: figures by key.
        recorded_halves: the same of parts of the recording, which show how well it is known.

    Returns:
        key, group, fact, unit, recorded, simulated, lowest, highest (over the parts), tolerance (in words), distance (in
        tolerances), met, fitted.
    """
    rows = []
    for fact in FACTS:
        mine, other = recorded.get(fact.key, math.nan), simulated.get(fact.key, math.nan)
        parts = [part.get(fact.key, math.nan) for part in recorded_halves]
        known = [value for value in parts if math.isfinite(value)]
        rows.append(
            {
                "key": fact.key,
                "group": fact.group,
                "fact": fact.name,
                "unit": fact.unit,
                "recorded": mine,
                "simulated": other,
                "lowest": min(known, default=math.nan),
                "highest": max(known, default=math.nan),
                "tolerance": f"{'factor' if fact.kind == 'ratio' else '±'} {fact.tolerance:g}",
                "distance": distance(fact, mine, other),
                "met": distance(fact, mine, other) <= 1.0,
                "fitted": fact.fitted,
            }
        )
    return pd.DataFrame(rows)


def distance(fact: Fact, recorded: float, simulated: float) -> float:
    """How far apart the two are, in tolerances; NaN where one is not known, infinite where their signs differ."""
    if not (math.isfinite(recorded) and math.isfinite(simulated)):
        return math.nan
    if fact.kind == "difference":
        return abs(recorded - simulated) / fact.tolerance
    if recorded == simulated:
        return 0.0
    if recorded <= 0.0 or simulated <= 0.0:
        return math.inf
    return abs(math.log(recorded / simulated)) / math.log(fact.tolerance)
