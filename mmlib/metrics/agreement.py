"""How well simulated fills agree with the actual fills of the same orders.

Each order that was filled in either world has one outcome: *matched* when both filled it and the first fills lie within the
tolerance, *early* or *late* when the simulation filled it sooner or later than that, *missed* when only the market filled it,
*extra* when only the simulation did.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

OUTCOMES = ("matched", "early", "late", "missed", "extra")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Agreement:
    """The comparison.

    Attributes:
        orders: one row an order filled in either world: order_id, side, outcome, time_error_ms, price_error_bps (positive when
            the simulation did worse), qty_simulated, qty_actual, price_simulated, price_actual; errors are NaN where only one
            world filled it.
        outcomes: one row an outcome: outcome, orders, share_pct of the orders filled in either world, notional.
        errors: one row an error: error, unit, n, and columns of quantiles p05 .. p95.
        tolerance_ms: what counts as the same time.
        unknown: actual fills of orders that were not sent.
        outside: actual fills before the first or after the last event of the recording.
    """

    orders: pd.DataFrame
    outcomes: pd.DataFrame
    errors: pd.DataFrame
    tolerance_ms: float
    unknown: int
    outside: int

    @property
    def recall(self) -> float:
        """Share of the orders filled in the market that the simulation filled too, NaN for none."""
        both, only = self._count("matched", "early", "late"), self._count("missed")
        return both / (both + only) if both + only else float("nan")

    @property
    def precision(self) -> float:
        """Share of the orders filled in the simulation that the market filled too, NaN for none."""
        both, only = self._count("matched", "early", "late"), self._count("extra")
        return both / (both + only) if both + only else float("nan")

    def _count(self, *outcomes: str) -> int:
        return int(self.orders["outcome"].isin(outcomes).sum())


def compare_fills(
    simulated: pd.DataFrame,
    actual: pd.DataFrame,
    sent: Collection[str],
    *,
    tolerance_ms: float,
    span_ns: tuple[int, int],
) -> Agreement:
    """Compare fills order by order.

    Args:
        simulated: order_id, exch_ts_ns, side, price, qty; one row a fill.
        actual: likewise, from the bot's own records.
        sent: ids of the orders replayed.
        tolerance_ms: first fills at most this far apart are at the same time.
        span_ns: first and last exchange time of the recording; actual fills outside cannot be judged.

    Oracle: the loop over orders in tests/test_metrics_agreement.py.
    """
    known = actual["order_id"].isin(list(sent))
    inside = actual["exch_ts_ns"].between(*span_ns)
    ours, theirs = _by_order(simulated), _by_order(actual[known & inside])
    both = ours.add_suffix("_simulated").join(theirs.add_suffix("_actual"), how="outer")
    side = both["side_simulated"].fillna(both["side_actual"])
    gap_ms = (both["at_ns_simulated"] - both["at_ns_actual"]) / 1e6
    error = (side * (both["price_simulated"] - both["price_actual"]) / both["price_actual"] * 1e4).round(9)
    orders = pd.DataFrame(
        {
            "order_id": both.index,
            "side": side.astype("int64").to_numpy(),
            "outcome": _outcomes(gap_ms, both["at_ns_actual"].isna(), tolerance_ms),
            "time_error_ms": gap_ms.to_numpy(),
            "price_error_bps": error.to_numpy(),
            "qty_simulated": both["qty_simulated"].fillna(0.0).to_numpy(),
            "qty_actual": both["qty_actual"].fillna(0.0).to_numpy(),
            "price_simulated": both["price_simulated"].to_numpy(),
            "price_actual": both["price_actual"].to_numpy(),
        }
    )
    return Agreement(
        orders,
        _outcome_table(orders),
        _error_table(orders),
        tolerance_ms,
        int((~known).sum()),
        int((known & ~inside).sum()),
    )


def _by_order(fills: pd.DataFrame) -> pd.DataFrame:
    """One row an order: first fill, side, volume-weighted price, quantity."""
    ordered = fills.sort_values("exch_ts_ns", kind="stable").assign(
        value=lambda f: f["price"] * f["qty"], id=lambda f: f["order_id"].astype(object)
    )
    grouped = ordered.groupby("id", sort=False)
    frame = grouped.agg(at_ns=("exch_ts_ns", "first"), side=("side", "first"), qty=("qty", "sum"))
    frame["price"] = grouped["value"].sum() / frame["qty"]
    # Times as offsets would lose nanoseconds in float64 once a join introduces gaps.
    return frame.astype({"at_ns": "Int64"})


def _outcomes(gap_ms: pd.Series, no_actual: pd.Series, tolerance_ms: float) -> np.ndarray:
    gap = gap_ms.to_numpy(dtype="float64", na_value=np.nan)
    alone = np.where(no_actual.to_numpy(bool), "extra", "missed")
    near = np.where(np.abs(gap) <= tolerance_ms, "matched", np.where(gap < 0, "early", "late"))
    return np.asarray(np.where(np.isnan(gap), alone, near), dtype=object)


def _outcome_table(orders: pd.DataFrame) -> pd.DataFrame:
    qty = orders[["qty_simulated", "qty_actual"]].max(axis=1)
    notional = qty * orders["price_actual"].fillna(orders["price_simulated"])
    rows = [
        {
            "outcome": name,
            "orders": int((orders["outcome"] == name).sum()),
            "share_pct": 100.0 * float((orders["outcome"] == name).mean()) if len(orders) else float("nan"),
            "notional": float(notional[orders["outcome"] == name].sum()),
        }
        for name in OUTCOMES
    ]
    return pd.DataFrame(rows)


def _error_table(orders: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for name, unit in (("time_error_ms", "ms"), ("price_error_bps", "bps")):
        values = orders[name].to_numpy(dtype="float64", na_value=np.nan)
        values = values[np.isfinite(values)]
        found = np.quantile(values, QUANTILES) if len(values) else np.full(len(QUANTILES), np.nan)
        named = {f"p{round(100 * q):02d}": float(value) for q, value in zip(QUANTILES, found, strict=True)}
        rows.append({"error": name.removesuffix(f"_{unit}"), "unit": unit, "n": len(values), **named})
    return pd.DataFrame(rows)
