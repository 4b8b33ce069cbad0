"""The experiment of a stage: hours of both arms, the effect on money with its bounds, and what was left out.

What is judged is the ratio of sums over the whole stage and all symbols, B minus A (``inference.pooled``). In shadow both arms
quote the same market, so every (symbol, hour) is a pair; symbols of the same hour move together, are added up and do not count
twice. Only whole hours enter, so that the effect may be looked at every minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mmlib.inference.pooled import PooledSequence, pooled_sequence
from mmlib.inference.srm import srm_p_value
from mmlib.rollout.budget import GAIN, HARM, Boundary
from mmlib.rollout.damage import Problem, money_problems

PAIRED = (
    "paired: both arms on the same market; result over traded notional, summed over hours and symbols, B - A"
)
MIN_COVERAGE = 0.9  # of a bucket's ticks; buckets with less are left out and counted
SUMS = ("pnl", "notional", "slippage_cost", "slippage_notional")
WIDE = tuple(f"{name}_{arm}" for arm in ("A", "B") for name in SUMS)
EFFECT = ("bucket", "delta", "mean", "lower", "upper", "std", "contribution")


@dataclass(frozen=True)
class Experiment:
    """Everything the gates and the report need of one stage.

    Attributes:
        pairs: one row a (symbol, bucket), columns symbol, bucket and WIDE: sums of both arms [quote currency].
        net, slippage: effect by hour, columns EFFECT [bps]; each bound is one-sided, valid at every look: of net at
            ``budget.GAIN``, of slippage at ``budget.HARM``.
        money: the same of the result itself, B minus A an hour [quote currency], at ``budget.GAIN``.
        left_out: buckets that say nothing, with the reason.
        delivered: units with data by arm.
        srm_p: probability of so uneven a delivery under the planned one; NaN without units.
        estimator: which one was used, in words.
        paired: both arms ran at once, on the same market.
        latency: in a switchback, the effect on the logarithm of the tick's p95; None in pairs, which share what makes
            a tick slow, so that the p95 of the trailing hour can be compared as it is.
        problems: what is wrong with the input; any of them keeps the stage from passing.
        segments: the effect by part of the trading, ``rollout.segments.COLUMNS``; None where fills were not looked at.
        turning_fills: single fills that turn the sign of the effect; None where fills were not looked at.
    """

    pairs: pd.DataFrame
    net: pd.DataFrame
    slippage: pd.DataFrame
    money: pd.DataFrame
    left_out: pd.DataFrame
    delivered: dict[str, int]
    srm_p: float
    planned_buckets: int
    estimator: str = PAIRED
    paired: bool = True
    latency: pd.DataFrame | None = None
    problems: tuple[Problem, ...] = field(default=())
    segments: pd.DataFrame | None = None
    turning_fills: int | None = None

    @property
    def harm(self) -> dict[str, pd.DataFrame]:
        """Effects by hour whose lower bound a safety gate reads, by the gate's metric, in the gate's unit."""
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
        money: symbol, arm, bucket, notional, coverage, and pnl and slippage_cost with slippage_notional (or net_bps and
            slippage_bps, of which they are made).
        planned_buckets: length of the stage in buckets; it fixes the sequence's tuning beforehand.
        problems: what was found wrong with the feeds; what is wrong with the buckets is added.
    """
    found = (*problems, *money_problems(money))
    money = with_sums(money.drop_duplicates(["symbol", "arm", "bucket"], keep=False))
    good = money[money["coverage"] >= MIN_COVERAGE]
    by_unit = good.set_index(["symbol", "bucket", "arm"])[list(SUMS)]
    wide = pd.DataFrame(by_unit.unstack("arm"))  # noqa: PD010  (a pivot table would average duplicates)
    wide.columns = pd.Index(["_".join(map(str, pair)) for pair in wide.columns])
    wide = wide.reindex(columns=list(WIDE)).reset_index()
    whole = np.isfinite(wide[list(WIDE)].to_numpy(np.float64)).all(axis=1)
    traded = (wide["notional_A"] > 0) | (wide["notional_B"] > 0)
    pairs = wide[whole & traded].reset_index(drop=True)
    delivered = {arm: int((good["arm"] == arm).sum()) for arm in ("A", "B")}
    planned = max(planned_buckets, 2)
    return Experiment(
        pairs=pairs,
        net=effect(pairs, "net", planned),
        slippage=effect(pairs, "slippage", planned),
        money=effect(pairs, "money", planned),
        left_out=_left_out(money, pairs),
        delivered=delivered,
        srm_p=srm_p_value(delivered, {"A": 0.5, "B": 0.5}),
        planned_buckets=planned,
        problems=found,
    )


def with_sums(money: pd.DataFrame) -> pd.DataFrame:
    """The frame with the sums that the effect is made of; a missing sum is its ratio times the notional."""
    made = {}
    if "pnl" not in money:
        made["pnl"] = money["net_bps"] * money["notional"] / 1e4
    if "slippage_cost" not in money:
        made["slippage_cost"] = money["slippage_bps"] * money["notional"] / 1e4
    if "slippage_notional" not in money:
        made["slippage_notional"] = money["notional"]
    return money.assign(**made)


def effect(pairs: pd.DataFrame, kind: str, planned_buckets: int) -> pd.DataFrame:
    """Effect after each hour, columns EFFECT; bounds are infinite while nothing can be said.

    Args:
        pairs: ``Experiment.pairs``.
        kind: ``net`` or ``slippage`` [bps], or ``money``: the result itself [quote currency an hour].
        planned_buckets: length of the stage in hours.
    """
    by_hour = pairs.groupby("bucket", observed=True)[list(WIDE)].sum().sort_index()
    sums = effect_sums(by_hour, kind)
    return effect_frame(
        by_hour.index, sums, HARM if kind == "slippage" else GAIN, planned_buckets, _SCALE[kind]
    )


def effect_sums(by_hour: pd.DataFrame, kind: str) -> np.ndarray:
    """``float64[4, n]``: numerator and denominator of A, then of B, an hour."""
    top, below = {"net": ("pnl", "notional"), "money": ("pnl", "")}.get(
        kind, ("slippage_cost", "slippage_notional")
    )
    ones = np.ones(len(by_hour))
    columns = [
        by_hour[f"{name}_{arm}"].to_numpy(np.float64) if name else ones
        for arm in ("A", "B")
        for name in (top, below)
    ]
    return np.stack(columns)


_SCALE = {"net": 1e4, "slippage": 1e4, "money": 1.0}


def effect_frame(
    buckets: pd.Index, sums: np.ndarray, boundary: Boundary, planned_buckets: int, scale: float
) -> pd.DataFrame:
    """Columns EFFECT of ``float64[4, n]`` sums by hour."""
    found = bounded(sums, boundary, planned_buckets, scale)
    with np.errstate(divide="ignore", invalid="ignore"):
        delta = (sums[2] / sums[3] - sums[0] / sums[1]) * scale
    if sums.shape[1] and not np.isfinite(delta).all():  # an arm rested: its hours contribute
        delta = np.where(np.isfinite(delta), delta, found.contribution + found.mean[-1])
    level = found.mean[-1] if sums.shape[1] else 0.0
    values = (buckets, delta, found.mean, found.lower, found.upper, found.std, found.contribution + level)
    return pd.DataFrame(dict(zip(EFFECT, values, strict=True)))


def bounded(sums: np.ndarray, boundary: Boundary, planned_buckets: int, scale: float = 1e4) -> PooledSequence:
    """The sequence of ``float64[4, ..., n]`` sums at a boundary."""
    return pooled_sequence(
        *sums,
        planned_n=boundary.tuned(planned_buckets),
        alpha=boundary.alpha,
        min_n=boundary.min_n,
        scale=scale,
        early=boundary.early,
    )


def by_symbol(experiment: Experiment) -> pd.DataFrame:
    """The effect on net in each symbol, and in all: symbol, n, mean, lower, upper [bps], money; for the forest plot.

    ``money`` is the result of B less that of A over the stage [quote currency].
    """
    parts = {str(name): part for name, part in experiment.pairs.groupby("symbol", observed=True)}
    rows = []
    for name, part in parts.items():
        frame = effect(part, "net", experiment.planned_buckets)
        gained = float((part["pnl_B"] - part["pnl_A"]).sum())
        rows.append((name, len(frame), *frame[["mean", "lower", "upper"]].iloc[-1], gained))
    if experiment.buckets:
        total = float((experiment.pairs["pnl_B"] - experiment.pairs["pnl_A"]).sum())
        rows.append(
            ("all symbols", experiment.buckets, *experiment.net[["mean", "lower", "upper"]].iloc[-1], total)
        )
    return pd.DataFrame(rows, columns=["symbol", "n", "mean", "lower", "upper", "money"])


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
        elif not (unit["notional"] > 0).any():
            reason = "neither arm traded"
        else:
            reason = "net or slippage is not a number"
        rows.append((symbol, bucket, reason))
    return pd.DataFrame(rows, columns=["symbol", "bucket", "reason"])
