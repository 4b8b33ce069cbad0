"""The switchback: one arm at a time, alternating by (symbol, hour), as a desk runs it on its own account.

The first minutes of each hour are washed out: quotes and inventory of the arm before are still in the market. What is left
of an hour counts for the arm that ran: result over traded notional, each summed over the arm's own hours and all symbols, and
an hour of one arm contributes nothing to the other. Under random assignment that is the effect, whatever the market does (a
ratio estimator in both arms), and the sequences of the paired experiment serve here as well. Inventory held over from the other
arm after the wash-out counts for the arm that holds it.

The tick's p95 has no sums: with p the planned share of B and m the mean of the symbol's hours so far, both arms together,
``z = (Y - m) (1{B}/p - 1{A}/(1-p))`` has the effect on its logarithm as its expectation (augmented inverse probabilities).

Sources: Bojinov, Simchi-Levi, Zhao, "Design and analysis of switchback experiments", Management Science 2023 (carry-over and
burn-in); Waudby-Smith et al. (2024), section 3 (sequential augmented estimators).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmlib.core.histogram import Histogram
from mmlib.dtypes import Status
from mmlib.inference.srm import srm_p_value
from mmlib.metrics.money import bucket_money, slippage_bps
from mmlib.rollout.assign import assign_units
from mmlib.rollout.budget import HARM
from mmlib.rollout.damage import Problem, money_problems
from mmlib.rollout.experiment import MIN_COVERAGE, SUMS, WIDE, Experiment, effect, effect_frame, with_sums

WASHOUT_S = 300
"""Start of each hour that is left out [s]; it divides the hour."""
_HOUR = pd.Timedelta(hours=1)
_SUMS = (
    *(
        "n_fills",
        "notional",
        "taker_notional",
        "gross_pnl",
        "travel_cost",
        "slippage_cost",
        "slippage_notional",
    ),
    *("fees", "inventory_pnl", "pnl"),
)


@dataclass(frozen=True)
class Design:
    """How the arms were to alternate: share of B, seed of our schedule, wash-out; a p95 counts as ``floor_ms`` at least."""

    rollout_pct: int
    seed: int
    washout_s: int = WASHOUT_S
    floor_ms: float = 1e-3

    @property
    def words(self) -> str:
        """The estimator for the report."""
        return (
            f"switchback: arms alternate by (symbol, hour), {self.rollout_pct} % of them B; the first "
            f"{self.washout_s / 60:g} min of each hour washed out; result over traded notional, each arm over its own hours"
        )


def is_paired(ticks: pd.DataFrame) -> bool:
    """Whether both arms run at once: most (symbol, hour) units with ticks hold both arms, in like numbers."""
    if not len(ticks):
        return True
    counts = ticks.groupby(
        [ticks["symbol"].astype(str), ticks["ts"].dt.floor("h"), "arm"], observed=True
    ).size()
    wide = pd.DataFrame(counts.unstack("arm", fill_value=0))  # noqa: PD010
    if not {"A", "B"} <= set(wide.columns):
        return True
    both = wide[["A", "B"]].min(axis=1) > 0.5 * wide[["A", "B"]].max(axis=1)
    return bool(both.mean() >= 0.5)


def unit_money(ticks: pd.DataFrame, fills: pd.DataFrame, washout_s: int = WASHOUT_S) -> pd.DataFrame:
    """Money of each (symbol, hour) after its wash-out, with the arm that ran then.

    One account per symbol: the inventory goes from arm to arm.

    Returns:
        symbol, arm (A, B, or ``both`` when two arms ran after the wash-out), bucket, coverage, notional, net_bps,
        slippage_bps.
    """
    parts = bucket_money(ticks.assign(arm="A"), fills.assign(arm="A"), washout_s)
    hour = parts["bucket"].dt.floor("h")
    kept = parts["bucket"] > hour
    if washout_s >= 3600 or 3600 % washout_s:
        raise ValueError(f"washout_s {washout_s}: expected a part of an hour, such as 300")
    parts = parts.assign(bucket=hour)
    grouped = parts[kept].groupby(["symbol", "bucket"], observed=True)
    money = grouped[list(_SUMS)].sum().join(grouped["coverage"].sum()).reset_index()
    money["coverage"] = (money["coverage"] * washout_s / (3600.0 - washout_s)).clip(upper=1.0)
    notional = money["notional"].where(money["notional"] > 0)
    money["net_bps"] = money["pnl"] / notional * 1e4
    money["slippage_bps"] = slippage_bps(money)
    late = ticks[(ticks["ts"] - ticks["ts"].dt.floor("h")).dt.total_seconds() >= washout_s]
    ran = late.groupby([late["symbol"].astype(str), late["ts"].dt.floor("h")], observed=True)["arm"].agg(
        ["min", "max"]
    )
    arms = ran["min"].astype("str").where(ran["min"] == ran["max"], "both")
    arms.index.names = ["symbol", "bucket"]
    return money.merge(arms.rename("arm").reset_index(), on=["symbol", "bucket"], how="inner")


def switchback_experiment(
    ticks: pd.DataFrame,
    fills: pd.DataFrame,
    design: Design,
    *,
    planned_buckets: int,
    problems: Sequence[Problem] = (),
) -> Experiment:
    """Estimate B minus A from feeds in which the arms alternate.

    Args:
        ticks, fills: feed frames.
        design: how the arms were to alternate.
        planned_buckets: length of the stage in hours.
        problems: what was found wrong with the feeds.
    """
    units = unit_money(ticks, fills, design.washout_s)
    found = [*problems, *money_problems(units[units["arm"] != "both"]), *schedule_problems(units, design)]
    units = units.merge(_unit_p95(ticks, design), on=["symbol", "bucket"], how="left")
    good = units[
        (units["coverage"] >= MIN_COVERAGE)
        & (units["notional"] > 0)
        & (units["arm"] != "both")
        & np.isfinite(units[["net_bps", "slippage_bps"]].to_numpy(np.float64)).all(axis=1)
    ].sort_values(["bucket", "symbol"])
    share = design.rollout_pct / 100.0
    delivered = {arm: int((good["arm"] == arm).sum()) for arm in ("A", "B")}
    if share >= 1.0:
        text = "at 100 % a switchback has no control; let A go on in shadow beside B"
        found.append(Problem("no control", Status.NO_DATA, text))
        good = good.iloc[:0]
    pairs = _resting(with_sums(good))
    planned = max(planned_buckets, 2)
    return Experiment(
        pairs=pairs,
        net=effect(pairs, "net", planned),
        slippage=effect(pairs, "slippage", planned),
        money=effect(pairs, "money", planned),
        left_out=_left_out(units, pairs),
        delivered=delivered,
        srm_p=srm_p_value(delivered, {"A": 1.0 - share, "B": share}),
        planned_buckets=planned,
        estimator=design.words,
        paired=False,
        latency=_latency(good, min(share, 0.5) if share >= 1.0 else share, planned),
        problems=tuple(found),
    )


def _unit_p95(ticks: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Logarithm of the tick's p95 [ms] in each (symbol, hour) after its wash-out; below the floor it counts as the floor."""
    hour = ticks["ts"].dt.floor("h")
    kept = ((ticks["ts"] - hour).dt.total_seconds() >= design.washout_s) & ticks["tick_total_ms"].notna()
    rows = []
    for (symbol, bucket), part in ticks[kept].groupby(["symbol", hour[kept]], observed=True):
        p95 = Histogram(part["tick_total_ms"].to_numpy(np.float64)).quantile(0.95)
        rows.append((str(symbol), bucket, float(np.log(max(p95, design.floor_ms)))))
    return pd.DataFrame(rows, columns=["symbol", "bucket", "log_p95"])


def _resting(good: pd.DataFrame) -> pd.DataFrame:
    """Units with the sums of both arms, zero of the one that rested."""
    ran = good["arm"].to_numpy()
    sums = {f"{name}_{arm}": np.where(ran == arm, good[name], 0.0) for arm in ("A", "B") for name in SUMS}
    return good.assign(**sums)[["symbol", "bucket", "arm", *WIDE]].reset_index(drop=True)


def _latency(good: pd.DataFrame, share: float, planned_buckets: int) -> pd.DataFrame:
    """Effect on the logarithm of the tick's p95, by hour: the z of the module, its mean over symbols."""
    parts = [pd.Series(dtype="float64")]
    for _, rows in good.dropna(subset="log_p95").groupby("symbol", observed=True):
        y = rows["log_p95"].to_numpy(np.float64)
        weight = np.where(rows["arm"] == "B", 1.0 / share, -1.0 / (1.0 - share))[1:]
        past = np.cumsum(y)[:-1] / np.arange(1, len(y))  # the first has nothing to be compared with
        parts.append(pd.Series((y[1:] - past) * weight, index=pd.DatetimeIndex(rows["bucket"])[1:]))
    series = pd.concat(parts[1:] or parts)
    by_hour = series.groupby(level=0).mean().sort_index()
    zero, one = np.zeros(len(by_hour)), np.ones(len(by_hour))
    sums = np.stack([zero, one, by_hour.to_numpy(np.float64), one])
    return effect_frame(by_hour.index, sums, HARM, planned_buckets, 1.0)


def schedule_problems(units: pd.DataFrame, design: Design) -> list[Problem]:
    """Arms that followed our seeded schedule up to some hour and ran against it from then on: they were swapped.

    A desk with a schedule of its own agrees with ours by chance; that says nothing and is no problem.
    """
    known = units[units["arm"].isin(["A", "B"])].sort_values(["bucket", "symbol"])
    if design.rollout_pct >= 100 or len(known) < 2 * _RUN:
        return []
    pairs = known[["symbol", "bucket"]].itertuples(index=False, name=None)
    due = assign_units(pairs, design.rollout_pct, design.seed)["treated"].to_numpy()
    agrees = due == (known["arm"] == "B").to_numpy()
    before = np.concatenate([[0], np.cumsum(agrees)])
    after = np.concatenate([np.cumsum(~agrees[::-1])[::-1], [0]])
    matched = (before + after)[_RUN : len(agrees) - _RUN + 1]
    split = int(matched.argmax()) + _RUN
    if matched.max() < 0.97 * len(agrees) or agrees[split:].any():
        return []
    since = known["bucket"].iloc[split]
    text = f"up to {since:%Y-%m-%dT%H:%MZ} the arms follow the schedule of seed {design.seed}, from then on the opposite"
    return [Problem("arms swapped", Status.ERROR, text)]


_RUN = 6
"""Fewer units on either side of a swap are taken for chance."""


def _left_out(units: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Units that enter no estimate: symbol, bucket, reason."""
    used = pd.MultiIndex.from_frame(pairs[["symbol", "bucket"]])
    rest = units[~pd.MultiIndex.from_frame(units[["symbol", "bucket"]]).isin(used)]
    reasons = np.select(
        [
            rest["arm"] == "both",
            rest["coverage"] < MIN_COVERAGE,
            ~(rest["notional"] > 0),
            rest["net_bps"].isna(),
        ],
        [
            "both arms in one hour",
            f"coverage below {MIN_COVERAGE:.0%}",
            "nothing was traded",
            "net is not a number",
        ],
        default="slippage unknown",
    )
    return rest[["symbol", "bucket"]].assign(reason=reasons).reset_index(drop=True)
