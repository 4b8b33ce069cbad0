"""The effect of the treatment by side, hour of day, symbol, queue depth and volatility: a clearly harmed part holds the stage.

What is compared is what a fill was worth half a minute later, fees included: `s q (m_30s - p) - fee`. Queue depth and
volatility are cut into thirds within each symbol, over both arms; volatility is that of the five minutes before the fill's own.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmlib.inference.segments import holm, segment_effect
from mmlib.metrics.grid import SECOND_NS, groups, ns, typical_interval_ns
from mmlib.metrics.ledger import mid_after

ALPHA = 0.05
HORIZON_S = 30.0
"""After a fill, or two ticks where they are further apart [s]."""
CLUSTER_S = 300
COLUMNS = ("kind", "segment", "n_a", "n_b", "effect_bps", "std_err_bps", "p_value", "p_holm", "harmed")
_HOURS = 6
_THIRDS = ("low", "middle", "high")


def turning_fills(worth: pd.DataFrame, sums: np.ndarray) -> int:
    """How many single fills would turn the sign of the effect, were what they were worth and their notional left out.

    Args:
        worth: ``fills_worth``.
        sums: ``float64[4, n]``, ``experiment.effect_sums`` of net by hour.
    """
    pnl_a, notional_a, pnl_b, notional_b = sums.sum(axis=1)
    own = (worth["arm"] == "B").to_numpy(np.bool_)
    result, notional = (worth[name].to_numpy(np.float64) for name in ("result", "notional"))
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = pnl_b / notional_b - pnl_a / notional_a
        without = (pnl_b - result * own) / (notional_b - notional * own)
        without -= (pnl_a - result * ~own) / (notional_a - notional * ~own)
    return int((np.sign(without) != np.sign(whole)).sum())


def segments(worth: pd.DataFrame) -> pd.DataFrame:
    """Every segment of a stage, columns COLUMNS; p_holm is adjusted over all of them, NaN where too few traded.

    Args:
        worth: ``fills_worth``.
    """
    return effects(worth, [name for name in _KINDS if name in worth])


def effects(worth: pd.DataFrame, kinds: list[str]) -> pd.DataFrame:
    """`segments` of fills with arm, cluster, result, notional, and a column of labels a kind ("" for unknown)."""
    rows = []
    for kind in kinds:
        for label, part in worth[worth[kind] != ""].groupby(kind, observed=True):
            treated = (part["arm"] == "B").to_numpy(np.bool_)
            columns = (part[name].to_numpy() for name in ("cluster", "result", "notional"))
            found = segment_effect(treated, *columns)
            rows.append((kind, str(label), int((~treated).sum()), int(treated.sum()), *found))
    frame = pd.DataFrame(rows, columns=list(COLUMNS[:7]))
    adjusted = holm(frame["p_value"].to_numpy(np.float64))
    return frame.assign(p_holm=adjusted, harmed=adjusted < ALPHA)


def fills_worth(ticks: pd.DataFrame, fills: pd.DataFrame) -> pd.DataFrame:
    """arm, cluster, result, notional and the labels of each fill whose mid half a minute later is known."""
    parts = [_of_pair(symbol, arm, t, f) for symbol, arm, (t, f) in groups(ticks, fills) if len(f)]
    columns = ["symbol", "arm", "cluster", "result", "notional", "queue", "variance", *_KINDS[:2]]
    worth = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    for kind, source in (("queue depth", "queue"), ("volatility", "variance")):
        worth[kind] = _thirds(worth, source)
    return worth


_KINDS = ("side", "hours UTC", "symbol", "queue depth", "volatility")


def _of_pair(symbol: str, arm: str, ticks: pd.DataFrame, fills: pd.DataFrame) -> pd.DataFrame:
    ticks, fills = ticks.sort_values("ts", kind="stable"), fills.sort_values("ts", kind="stable")
    at, mid = ns(ticks["ts"]), ticks["mid"].to_numpy(np.float64)
    marked = np.isfinite(mid)
    ts, price, qty = ns(fills["ts"]), *(fills[name].to_numpy(np.float64) for name in ("price", "qty"))
    sign = np.where(fills["side"] == "buy", 1.0, -1.0)
    horizon_s = max(HORIZON_S, 2e-9 * np.nan_to_num(typical_interval_ns(at)))
    later = mid_after(at[marked], mid[marked], ts, horizon_s)
    cluster = ts // (CLUSTER_S * SECOND_NS)
    begin = ts // (_HOURS * 3600 * SECOND_NS) % (24 // _HOURS) * _HOURS
    frame = pd.DataFrame(
        {
            "symbol": symbol,
            "arm": arm,
            "cluster": cluster,
            "result": sign * qty * (later - price) - fills["fee"].to_numpy(np.float64),
            "notional": price * qty,
            "queue": pd.Series(fills.get("queue_ahead_qty", np.nan), fills.index).to_numpy(np.float64),
            "variance": _variance_before(at[marked], mid[marked], cluster),
            "side": fills["side"].astype(str).to_numpy(),
            "hours UTC": [f"{hour:02d}-{hour + _HOURS:02d}" for hour in begin.tolist()],
        }
    )
    return frame[np.isfinite(frame["result"])]


def _variance_before(at_ns: np.ndarray, mid: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Sum of squared returns of the stretch before each fill's, ``float64[f]``; NaN where it had no ticks."""
    if len(mid) < 2:
        return np.full(len(cluster), np.nan)
    stretch = at_ns[1:] // (CLUSTER_S * SECOND_NS)
    first = int(stretch.min())
    sums = np.bincount(stretch - first, weights=np.diff(np.log(mid)) ** 2)
    seen = np.bincount(stretch - first) > 0
    before = cluster - 1 - first
    known = (before >= 0) & (before < len(sums))
    found = np.full(len(cluster), np.nan)
    found[known] = np.where(seen, sums, np.nan)[before[known]]
    return found


def _thirds(worth: pd.DataFrame, source: str) -> pd.Series:
    """low, middle or high within the symbol, "" where unknown or all the same."""
    labels = pd.Series("", index=worth.index, dtype="object")
    for _, part in worth.groupby("symbol", observed=True):
        values = part[source].to_numpy(np.float64)
        known = np.isfinite(values)
        if not known.any() or np.ptp(values[known]) == 0.0:
            continue
        cuts = np.quantile(values[known], [1 / 3, 2 / 3])
        index = np.searchsorted(cuts, values, side="left")
        labels.loc[part.index] = np.where(known, np.asarray(_THIRDS, object)[np.minimum(index, 2)], "")
    return labels
