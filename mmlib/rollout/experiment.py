"""The experiment of a stage: buckets of both arms, the effect with its bounds, and what was left out.

In shadow both arms quote the same market, so every (symbol, bucket) is a pair. One observation is the mean of B minus A over
the symbols of one time bucket; symbols of the same hour move together and do not count twice. Only whole buckets enter,
so that the effect may be looked at every minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mmlib.inference.srm import srm_p_value
from mmlib.inference.student import t_sequence
from mmlib.rollout.damage import Problem, money_problems

PAIRED = "paired: both arms on the same market, mean over symbols of B - A per bucket"
MIN_COVERAGE = 0.9  # of a bucket's ticks; buckets with less are left out and counted
ALPHA = 0.05
MIN_BUCKETS = 6
"""Neither bound is finite before: t is exact for normal buckets, and a handful does not show whether they are."""


@dataclass(frozen=True)
class Experiment:
    """Everything the gates and the report need of one stage.

    Attributes:
        pairs: one row a (symbol, bucket): delta_net_bps, delta_slippage_bps, and in pairs both arms' own figures.
        net, slippage: effect by bucket: bucket, delta, mean, lower, upper, std [bps]; each bound is a one-sided sequence
            of its own at ALPHA, valid at every look.
        left_out: buckets that say nothing, with the reason.
        delivered: units with data by arm.
        srm_p: probability of so uneven a delivery under the planned one; NaN without units.
        estimator: which one was used, in words.
        paired: both arms ran at once, on the same market.
        latency: in a switchback, the effect on the logarithm of the tick's p95; None in pairs, which share what makes
            a tick slow, so that the p95 of the trailing hour can be compared as it is.
        problems: what is wrong with the input; any of them keeps the stage from passing.
    """

    pairs: pd.DataFrame
    net: pd.DataFrame
    slippage: pd.DataFrame
    left_out: pd.DataFrame
    delivered: dict[str, int]
    srm_p: float
    planned_buckets: int
    estimator: str = PAIRED
    paired: bool = True
    latency: pd.DataFrame | None = None
    problems: tuple[Problem, ...] = field(default=())

    @property
    def harm(self) -> dict[str, pd.DataFrame]:
        """Effects by bucket whose lower bound a safety gate reads, by the gate's metric, in the gate's unit."""
        found = {"delta_slippage_bps": self.slippage}
        if self.latency is not None:
            percent = self.latency.copy()
            for name in ("mean", "lower", "upper"):
                percent[name] = np.expm1(percent[name]) * 100.0
            found["tick_p95_regression_pct"] = percent
        return found

    @property
    def buckets(self) -> int:
        """Time buckets with an effect."""
        return len(self.net)


def paired_experiment(
    money: pd.DataFrame, *, planned_buckets: int, problems: Sequence[Problem] = ()
) -> Experiment:
    """Pair the buckets of ``metrics.money.bucket_money`` and estimate B minus A.

    Args:
        money: symbol, arm, bucket, net_bps, slippage_bps, notional, coverage.
        planned_buckets: length of the stage in buckets; it fixes the sequence's tuning beforehand.
        problems: what was found wrong with the feeds; what is wrong with the buckets is added.
    """
    found = (*problems, *money_problems(money))
    money = money.drop_duplicates(["symbol", "arm", "bucket"], keep=False)
    good = money[(money["coverage"] >= MIN_COVERAGE) & (money["notional"] > 0)]
    columns = ["net_bps", "slippage_bps", "notional"]
    by_unit = good.set_index(["symbol", "bucket", "arm"])[columns]
    wide = pd.DataFrame(by_unit.unstack("arm"))  # noqa: PD010  (a pivot table would average duplicates)
    wide.columns = pd.Index(["_".join(map(str, pair)) for pair in wide.columns])
    for name in ("net_bps", "slippage_bps", "notional"):
        for arm in ("A", "B"):
            if f"{name}_{arm}" not in wide:
                wide[f"{name}_{arm}"] = np.nan
    wide["delta_net_bps"] = wide["net_bps_B"] - wide["net_bps_A"]
    wide["delta_slippage_bps"] = wide["slippage_bps_B"] - wide["slippage_bps_A"]
    wide = wide.reset_index()
    whole = np.isfinite(wide[["delta_net_bps", "delta_slippage_bps"]].to_numpy(np.float64)).all(axis=1)
    pairs = wide[whole].reset_index(drop=True)
    delivered = {arm: int((good["arm"] == arm).sum()) for arm in ("A", "B")}
    planned = max(planned_buckets, 2)
    return Experiment(
        pairs=pairs,
        net=effect(pairs, "delta_net_bps", planned),
        slippage=effect(pairs, "delta_slippage_bps", planned),
        left_out=_left_out(money, pairs),
        delivered=delivered,
        srm_p=srm_p_value(delivered, {"A": 0.5, "B": 0.5}),
        planned_buckets=planned,
        problems=found,
    )


def effect(pairs: pd.DataFrame, column: str, planned_buckets: int) -> pd.DataFrame:
    """Effect after each bucket: bucket, delta, mean, lower, upper, std; bounds are infinite while nothing can be said."""
    series = pairs.groupby("bucket", observed=True)[column].mean().sort_index()
    values = series.to_numpy(dtype=np.float64)
    below, above = (
        t_sequence(values, planned_n=planned_buckets, alpha=ALPHA, side=side, min_n=MIN_BUCKETS)
        for side in ("lower", "upper")
    )
    return pd.DataFrame(
        {
            "bucket": series.index,
            "delta": values,
            "mean": below.mean,
            "lower": below.lower,
            "upper": above.upper,
            "std": below.std,
        }
    )


def by_symbol(experiment: Experiment) -> pd.DataFrame:
    """The effect on net in each symbol, and in all: symbol, n, mean, lower, upper [bps]; for the forest plot."""
    parts = {str(name): part for name, part in experiment.pairs.groupby("symbol", observed=True)}
    rows = []
    for name, part in parts.items():
        frame = effect(part, "delta_net_bps", experiment.planned_buckets)
        rows.append((name, len(frame), *frame[["mean", "lower", "upper"]].iloc[-1]))
    if experiment.buckets:
        rows.append(("all symbols", experiment.buckets, *experiment.net[["mean", "lower", "upper"]].iloc[-1]))
    return pd.DataFrame(rows, columns=["symbol", "n", "mean", "lower", "upper"])


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
        elif not (unit["notional"] > 0).all():
            reason = "an arm traded nothing"
        else:
            reason = "net or slippage is not a number"
        rows.append((symbol, bucket, reason))
    return pd.DataFrame(rows, columns=["symbol", "bucket", "reason"])
