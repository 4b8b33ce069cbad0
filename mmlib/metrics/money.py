"""Money of the two feeds: decomposition, buckets for the experiment, equity, markouts.

All bps are of the traded notional N = sum of p q, so that they add up exactly:
``net_bps = gross_bps - quote_travel_bps - fees_bps + inventory_bps``. (A fill's own gross and quote travel, in bps of the
mid at its quote, enter with the weight q m_q.) ``slippage_bps`` stands beside: what the fills cost against the mid one second
later, over the notional of those whose mid is known then. Definitions of the amounts are in ``metrics.ledger``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from mmlib.metrics.grid import SECOND_NS, Grid, groups, ns, ratio, typical_interval_ns, utc
from mmlib.metrics.ledger import Ledger, ledgers, mid_after

MIN_PRICED_PCT = 99.0  # of the notional must have both mids, or gross and quote travel are not stated
MIN_SLIPPED_PCT = 10.0
"""Of the notional must have a mid one second after the fill, or slippage is not stated."""

_SUMS = (
    *("n_fills", "notional", "taker_notional", "priced_notional"),
    *("gross_pnl", "travel_cost", "fees", "inventory_pnl", "pnl", "slippage_cost", "slippage_notional"),
)


def decompose(
    ticks: pd.DataFrame, fills: pd.DataFrame, by: Sequence[str] = ("symbol", "arm")
) -> pd.DataFrame:
    """Where the result came from.

    Args:
        ticks, fills: feed frames.
        by: symbol, arm, both, or nothing for one row over all.

    Returns:
        ``by``, n_fills, notional, taker_notional, gross_pnl, travel_cost, fees, inventory_pnl, pnl,
        slippage_cost, slippage_notional (quote currency), gross_bps, quote_travel_bps, fees_bps, inventory_bps, net_bps,
        slippage_bps, taker_share_pct, priced_pct. Without fills all ratios are NaN; gross_bps and quote_travel_bps are NaN
        when less than 99 % of the notional has both mids, slippage_bps when less than 10 % has one a second later.
    """
    return grouped(amounts(ticks, fills), by)


def amounts(ticks: pd.DataFrame, fills: pd.DataFrame) -> pd.DataFrame:
    """The sums behind `decompose`, one row a symbol and arm; hand them to `grouped`, as often as is needed."""
    return amounts_of(ledgers(ticks, fills))


def amounts_of(each: Iterable[Ledger]) -> pd.DataFrame:
    """`amounts` of ledgers that are there already."""
    rows = []
    for ledger in each:
        one_bin = np.zeros(len(ledger.ts_ns), np.int64), np.zeros(len(ledger.fill_ts_ns), np.int64)
        sums = {name: values[0] for name, values in money_sums(ledger, *one_bin, size=1).items()}
        rows.append({"symbol": ledger.symbol, "arm": ledger.arm, **sums})
    table = pd.DataFrame(rows, columns=["symbol", "arm", *_SUMS])
    return table.astype({name: "int64" if name == "n_fills" else "float64" for name in _SUMS})


def grouped(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """`amounts` added up over what ``by`` does not name, with the ratios; see `decompose`."""
    if by:
        table = table.groupby(list(by), as_index=False)[list(_SUMS)].sum(skipna=False)
    elif len(table):
        table = table[list(_SUMS)].sum(skipna=False).to_frame().T.astype({"n_fills": "int64"})
    return with_ratios(table)


def money_sums(
    ledger: Ledger, event_bin: np.ndarray, fill_bin: np.ndarray, *, size: int
) -> dict[str, np.ndarray]:
    """Amounts by bin, ``[size]``: n_fills (int64) and the rest in quote currency.

    Args:
        ledger: events and fills.
        event_bin, fill_bin: ``int64[k]``, ``int64[f]``, the bin of each event and fill.
        size: number of bins.
    """

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(fill_bin, weights=values, minlength=size)

    fees, trade = total(ledger.fee), total(ledger.trade)
    slipped = np.isfinite(ledger.slippage)
    inventory = np.bincount(event_bin, weights=ledger.inventory, minlength=size)
    return {
        "n_fills": np.bincount(fill_bin, minlength=size),
        "notional": total(ledger.notional),
        "taker_notional": total(ledger.notional * ledger.taker),
        "priced_notional": total(ledger.notional * ledger.priced),
        "gross_pnl": total(ledger.gross),
        "travel_cost": total(ledger.travel),
        "fees": fees,
        "inventory_pnl": inventory,
        "pnl": trade + inventory - fees,
        "slippage_cost": total(np.where(slipped, ledger.slippage, 0.0)),
        "slippage_notional": total(ledger.notional * slipped),
    }


def with_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """The amounts of ``money_sums`` with their ratios beside them."""
    return table.assign(**money_ratios(table)).drop(columns="priced_notional")


def money_ratios(sums: Mapping[str, np.ndarray] | pd.DataFrame) -> dict[str, np.ndarray]:
    """Ratios of the amounts of ``money_sums`` to the notional, by column name, ``float64[n]``; NaN without fills."""
    notional = np.asarray(sums["notional"], np.float64)
    amounts = ("gross_pnl", "travel_cost", "fees", "inventory_pnl", "pnl")
    names = ("gross_bps", "quote_travel_bps", "fees_bps", "inventory_bps", "net_bps")
    found = {
        name: ratio(np.asarray(sums[amount]), notional, 1e4)
        for amount, name in zip(amounts, names, strict=True)
    }
    found["taker_share_pct"] = ratio(np.asarray(sums["taker_notional"]), notional, 100.0)
    found["priced_pct"] = ratio(np.asarray(sums["priced_notional"]), notional, 100.0)
    unknown = ~(found["priced_pct"] >= MIN_PRICED_PCT)
    for name in ("gross_bps", "quote_travel_bps"):
        found[name][unknown] = np.nan
    return found | {"slippage_bps": slippage_bps(sums)}


def slippage_bps(sums: Mapping[str, np.ndarray] | pd.DataFrame) -> np.ndarray:
    """Slippage of the amounts of ``money_sums``, ``float64[n]``; NaN where too few fills have a mid a second later."""
    slipped = np.asarray(sums["slippage_notional"], np.float64)
    known = ratio(slipped, np.asarray(sums["notional"], np.float64), 100.0) >= MIN_SLIPPED_PCT
    return np.where(known, ratio(np.asarray(sums["slippage_cost"]), slipped, 1e4), np.nan)


def bucket_money(ticks: pd.DataFrame, fills: pd.DataFrame, bucket_s: float = 3600) -> pd.DataFrame:
    """Money by symbol, arm and UTC-aligned bucket; the position is carried over and marked to the mid at each edge.

    Returns:
        symbol, arm, bucket (start, UTC), coverage (share of the expected ticks, 0..1), then the columns of
        ``decompose``; every bucket from the first to the last event, so that the buckets add up to the whole.
    """
    step_ns = round(bucket_s * SECOND_NS)
    grid = Grid.spanning(ticks, fills, step_ns=step_ns)
    parts = []
    for ledger, ts_ns in _with_tick_times(ticks, fills):
        if grid is None:
            break
        sums = money_sums(
            ledger, grid.bins(ledger.ts_ns).index, grid.bins(ledger.fill_ts_ns).index, size=grid.size
        )
        covered = grid.bins(ts_ns).count() * typical_interval_ns(ts_ns) / step_ns
        labels = {"symbol": ledger.symbol, "arm": ledger.arm, "bucket": utc(grid.starts)}
        coverage = np.minimum(np.nan_to_num(covered, nan=0.0), 1.0)
        parts.append(pd.DataFrame({**labels, "coverage": coverage, **sums}))
    if not parts:
        empty = {
            name: pd.Series(dtype="int64" if name == "n_fills" else "float64")
            for name in ("coverage", *_SUMS)
        }
        labels = {"symbol": pd.Series(dtype="str"), "arm": pd.Series(dtype="str"), "bucket": utc(np.empty(0))}
        parts = [pd.DataFrame({**labels, **empty})]
    return with_ratios(pd.concat(parts, ignore_index=True))


def equity_curve(ticks: pd.DataFrame, fills: pd.DataFrame, every_s: float = 60) -> pd.DataFrame:
    """Marked-to-market result since the start, after the last event of each step.

    Returns:
        ts, symbol, arm, equity (quote currency), position (base units), mid.
    """
    parts = []
    for ledger in ledgers(ticks, fills):
        step = ledger.ts_ns // round(every_s * SECOND_NS)
        last = np.flatnonzero(np.append(np.diff(step) != 0, True)) if len(step) else np.empty(0, np.int64)
        columns = {
            "equity": ledger.equity()[last],
            "position": ledger.position[last],
            "mid": ledger.mark[last],
        }
        labels = {"ts": utc(ledger.ts_ns[last]), "symbol": ledger.symbol, "arm": ledger.arm}
        parts.append(pd.DataFrame({**labels, **columns}))
    if not parts:
        return pd.DataFrame(columns=["ts", "symbol", "arm", "equity", "position", "mid"])
    return pd.concat(parts, ignore_index=True)


def markouts(
    ticks: pd.DataFrame, fills: pd.DataFrame, horizons_s: Iterable[float] = (1, 5, 30, 60)
) -> pd.DataFrame:
    """Notional-weighted ``s (m_h - p) / p`` in bps, m_h the last mid known h seconds after the fill.

    A fill is dropped, and counted, when it lies closer than h to the last tick or when no tick with a mid came
    between the fill and h. Markouts are never added to net: inventory already contains them.

    Returns:
        symbol, arm, horizon_s, n, n_dropped, markout_bps, stderr_bps (NaN without fills).
    """
    rows = []
    for symbol, arm, (t, f) in groups(ticks, fills):
        price, buy = f["price"].to_numpy(np.float64), (f["side"] == "buy").to_numpy(np.bool_)
        notional = price * f["qty"].to_numpy(np.float64)
        of_fills = Markouts(ns(t["ts"]), t["mid"].to_numpy(np.float64), ns(f["ts"]), price, buy)
        for horizon_s in horizons_s:
            values = of_fills.after(horizon_s)
            kept = np.isfinite(values)
            mean, stderr = _weighted(values[kept], notional[kept])
            n = int(kept.sum())
            rows.append((symbol, arm, float(horizon_s), n, len(f) - n, mean, stderr))
    columns = ["symbol", "arm", "horizon_s", "n", "n_dropped", "markout_bps", "stderr_bps"]
    return pd.DataFrame(rows, columns=columns)


class Markouts:
    """Markouts of the fills of one symbol and arm.

    Args:
        tick_ts_ns: ``int64[n]`` rising. mid: ``float64[n]``, NaN where unknown.
        fill_ts_ns: ``int64[f]``. price: ``float64[f]``. buy: ``bool[f]``.
    """

    def __init__(
        self,
        tick_ts_ns: np.ndarray,
        mid: np.ndarray,
        fill_ts_ns: np.ndarray,
        price: np.ndarray,
        buy: np.ndarray,
    ) -> None:
        marked = np.isfinite(mid)
        self._tick_ts, self._mid = tick_ts_ns[marked], mid[marked]
        self._fill_ts, self._price, self._sign = fill_ts_ns, price, np.where(buy, 1.0, -1.0)

    def after(self, horizon_s: float) -> np.ndarray:
        """Markout of each fill, ``float64[n]``, bps; NaN for a fill that is dropped."""
        mid = mid_after(self._tick_ts, self._mid, self._fill_ts, horizon_s)
        return np.asarray(self._sign * (mid - self._price) / self._price * 1e4)


def _weighted(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Weighted mean and its standard error; NaN without values, the error also below two."""
    if len(values) == 0:
        return float("nan"), float("nan")
    share = weights / weights.sum()
    mean = float(share @ values)
    if len(values) < 2:
        return mean, float("nan")
    n = len(values)
    return mean, float(np.sqrt((share**2) @ (values - mean) ** 2 * n / (n - 1)))


def _with_tick_times(ticks: pd.DataFrame, fills: pd.DataFrame) -> list[tuple[Ledger, np.ndarray]]:
    """Each ledger with the times of all its ticks, those without a mid included."""
    times = [ns(t["ts"]) for _, _, (t, _) in groups(ticks, fills)]
    return list(zip(ledgers(ticks, fills), times, strict=True))
