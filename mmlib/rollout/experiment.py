"""The paired experiment: both arms quote the same market, so every (symbol, bucket) is a pair.

One observation is the mean of B minus A over the symbols of one time bucket; symbols of the same hour move together and do
not count twice. The confidence sequence over buckets may be looked at as often as one likes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmlib.inference.sequence import confidence_sequence
from mmlib.inference.srm import srm_p_value

ESTIMATOR = "paired: both arms on the same market, mean over symbols of B - A per bucket"
MIN_COVERAGE = 0.9  # of a bucket's ticks; buckets with less are left out and counted
ALPHA = 0.05


@dataclass(frozen=True)
class Experiment:
    """Everything the gates and the report need of one stage.

    Attributes:
        pairs: one row a (symbol, bucket) with both arms: net, slippage, their differences.
        net, slippage: effect by bucket: bucket, delta, mean, lower, upper, std [bps] (time-uniform, two-sided).
        left_out: buckets without a pair, with the reason.
        delivered: buckets with data by arm.
        srm_p: probability of so uneven a delivery under the planned one to one; NaN without units.
    """

    pairs: pd.DataFrame
    net: pd.DataFrame
    slippage: pd.DataFrame
    left_out: pd.DataFrame
    delivered: dict[str, int]
    srm_p: float
    planned_buckets: int

    @property
    def buckets(self) -> int:
        """Paired time buckets."""
        return len(self.net)


def paired_experiment(money: pd.DataFrame, *, planned_buckets: int) -> Experiment:
    """Pair the buckets of ``metrics.money.bucket_money`` and estimate B minus A.

    Args:
        money: symbol, arm, bucket, net_bps, slippage_bps, notional, coverage.
        planned_buckets: length of the stage in buckets; it fixes the sequence's tuning beforehand.
    """
    good = money[(money["coverage"] >= MIN_COVERAGE) & (money["notional"] > 0)]
    wide = good.pivot_table(
        index=["symbol", "bucket"],
        columns="arm",
        values=["net_bps", "slippage_bps", "notional"],
        observed=True,
    )
    wide.columns = pd.Index(["_".join(map(str, pair)) for pair in wide.columns])
    for name in ("net_bps", "slippage_bps", "notional"):
        for arm in ("A", "B"):
            if f"{name}_{arm}" not in wide:
                wide[f"{name}_{arm}"] = np.nan
    wide["delta_net_bps"] = wide["net_bps_B"] - wide["net_bps_A"]
    wide["delta_slippage_bps"] = wide["slippage_bps_B"] - wide["slippage_bps_A"]
    wide = wide.reset_index()
    whole = wide["delta_net_bps"].notna() & wide["delta_slippage_bps"].notna()
    pairs = wide[whole].reset_index(drop=True)
    delivered = {arm: int((good["arm"] == arm).sum()) for arm in ("A", "B")}
    return Experiment(
        pairs=pairs,
        net=effect(pairs, "delta_net_bps", max(planned_buckets, 2)),
        slippage=effect(pairs, "delta_slippage_bps", max(planned_buckets, 2)),
        left_out=_left_out(money, pairs),
        delivered=delivered,
        srm_p=srm_p_value(delivered, {"A": 0.5, "B": 0.5}),
        planned_buckets=max(planned_buckets, 2),
    )


def effect(pairs: pd.DataFrame, column: str, planned_buckets: int) -> pd.DataFrame:
    """Effect after each bucket: bucket, delta, mean, lower, upper, std; bounds are infinite while nothing can be said."""
    series = pairs.groupby("bucket", observed=True)[column].mean().sort_index()
    values = series.to_numpy(dtype=np.float64)
    bands = confidence_sequence(values, alpha=ALPHA, planned_n=planned_buckets)
    return pd.DataFrame(
        {
            "bucket": series.index,
            "delta": values,
            "mean": bands.mean,
            "lower": bands.lower,
            "upper": bands.upper,
            "std": bands.std,
        }
    )


def _left_out(money: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Units without a pair: symbol, bucket, reason."""
    paired = set(zip(pairs["symbol"], pairs["bucket"], strict=True))
    rows = []
    for (symbol, bucket), unit in money.groupby(["symbol", "bucket"], observed=True):
        if (symbol, bucket) in paired:
            continue
        missing = sorted({"A", "B"} - set(unit["arm"].astype(str)))
        if missing:
            reason = f"no ticks of arm {' and '.join(missing)}"
        elif (unit["coverage"] < MIN_COVERAGE).any():
            reason = f"coverage below {MIN_COVERAGE:.0%}"
        else:
            reason = "an arm traded nothing"
        rows.append((symbol, bucket, reason))
    return pd.DataFrame(rows, columns=["symbol", "bucket", "reason"])
