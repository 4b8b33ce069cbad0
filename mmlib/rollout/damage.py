"""What can be wrong with the input of an A/B stage, each by name: nothing of it may end in a pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmlib.dtypes import Status
from mmlib.metrics.grid import groups, ns, typical_interval_ns

ARMS = ("A", "B")
MAX_SHARE = 0.5
"""One bucket with more than this of the stage's notional is the stage; the others say nothing about its hour."""
MAX_CROWDING = 1.05
"""More ticks than fit into a bucket by over this factor: its time was passed through twice."""
GAP_S = 120.0
"""Ticks of no arm for longer than two minutes: an outage, or a clock that jumped ahead."""
OFF_S = 60.0
"""A tick this much further from its schedule than others: one of the two clocks was set."""
_HOUR_NS = 3_600_000_000_000


@dataclass(frozen=True)
class Problem:
    """One kind of damage: what it makes of the stage, and where it was found."""

    kind: str
    status: Status
    text: str


def money_problems(money: pd.DataFrame) -> tuple[Problem, ...]:
    """Damage that shows in the buckets of ``metrics.money.bucket_money``: missing arm, duplicates, NaN, one huge bucket."""
    found: list[Problem] = []
    present = set(money["arm"].astype(str))
    if len(money) and (absent := [arm for arm in ARMS if arm not in present]):
        found.append(Problem("arm missing", Status.NO_DATA, f"arm {' and '.join(absent)} is missing"))
    repeated = money[money.duplicated(["symbol", "arm", "bucket"])]
    if len(repeated):
        found.append(
            Problem(
                "duplicated buckets", Status.ERROR, f"{_unit(repeated)} came more than once{_more(repeated)}"
            )
        )
    traded = money[~(money["notional"] <= 0)]
    for column, status in (
        ("notional", Status.ERROR),
        ("net_bps", Status.ERROR),
        ("slippage_bps", Status.NO_DATA),
    ):
        bad = traded[~np.isfinite(traded[column].to_numpy(np.float64))]
        if len(bad):
            first = float(bad[column].iloc[0])
            text = f"{column} of {_unit(bad)} is {'unknown' if math.isnan(first) else first}{_more(bad)}"
            found.append(Problem("not a number", status, text))
    by_bucket = traded.groupby("bucket", observed=True)["notional"].sum()
    if len(by_bucket) > 2 and by_bucket.max() > MAX_SHARE * by_bucket.sum():
        share = by_bucket.max() / by_bucket.sum()
        text = f"the bucket {_time(by_bucket.index[int(by_bucket.argmax())])} holds {share:.0%} of the traded notional"
        found.append(Problem("one bucket", Status.INCONCLUSIVE, text))
    return tuple(found)


def feed_problems(ticks: pd.DataFrame, fills: pd.DataFrame, *, paired: bool = True) -> tuple[Problem, ...]:
    """Damage that shows in the feed frames: clocks that stepped, arms that changed places.

    Args:
        ticks, fills: feed frames.
        paired: both arms run at once; in a switchback gaps of one arm, and one inventory for both, are the design.
    """
    found = list(_clock_problems(ticks if paired else ticks.assign(arm="A")))
    if paired:
        found += _swaps(ticks, fills)
    return tuple(found)


def _clock_problems(ticks: pd.DataFrame) -> list[Problem]:
    """Buckets with more ticks than time, ticks that left their schedule, and gaps."""
    found: dict[str, Problem] = {}
    for symbol, arm, (part,) in groups(ticks):
        ts = np.sort(ns(part["ts"]))
        interval = typical_interval_ns(ts)
        if len(ts) < 3 or not np.isfinite(interval):
            continue
        hour, count = np.unique(ts // _HOUR_NS, return_counts=True)
        crowded = count * interval > MAX_CROWDING * _HOUR_NS
        if crowded.any():
            at = pd.Timestamp(int(hour[crowded][0]) * _HOUR_NS, tz="UTC")
            text = f"{symbol} arm {arm}: more ticks than time from {_time(at)} on; the clock stepped back"
            found.setdefault("clock back", Problem("clock stepped back", Status.ERROR, text))
        steps = np.diff(ts)
        if steps.max() > GAP_S * 1e9 and steps.max() > 10 * interval:
            at = pd.Timestamp(int(ts[int(steps.argmax())]), tz="UTC")
            text = (
                f"{symbol} arm {arm}: no ticks for {steps.max() / 60e9:.0f} min after {_time(at)}: an outage, or the clock "
                "jumped ahead"
            )
            found.setdefault("gap", Problem("gap", Status.NO_DATA, text))
    late = (ticks["ts"] - ticks["scheduled_ts"]).dt.total_seconds().abs()
    if len(late) and late.max() - float(late.quantile(0.1)) > OFF_S:
        at = ticks["ts"].iloc[int(late.argmax())]
        text = (
            f"a tick at {_time(at)} lies {late.max():.0f} s from its schedule; one of the two clocks was set"
        )
        found.setdefault("schedule", Problem("clock was set", Status.ERROR, text))
    return list(found.values())


def _swaps(ticks: pd.DataFrame, fills: pd.DataFrame) -> list[Problem]:
    """Arms that changed places: each arm's inventory then stops following its own fills, by the same amount."""
    found = []
    for symbol, part in ticks.groupby("symbol", observed=True):
        own = fills[fills["symbol"] == symbol]
        drift = {
            arm: _drift(part[part["arm"] == arm], own[own["arm"] == arm])
            for arm in ARMS
            if (part["arm"] == arm).any()
        }
        scale = 1e-6 + 1e-6 * float(part["inventory"].abs().max())
        shifted = {arm: series[series.abs() > scale] for arm, series in drift.items()}
        hit = [arm for arm, series in shifted.items() if len(series)]
        if not hit:
            continue
        first = min(shifted[arm].index[0] for arm in hit)
        total = sum(series.reindex(shifted[hit[0]].index).abs().sum() for series in shifted.values())
        both = len(hit) == 2 and abs(drift["A"].add(drift["B"], fill_value=0.0)).sum() < 0.1 * total
        if both:
            text = f"{symbol}: from {_time(first)} on each arm holds the other's inventory; the arms were swapped"
            found.append(Problem("arms swapped", Status.ERROR, text))
        else:
            text = f"{symbol} arm {' and '.join(hit)}: from {_time(first)} on the inventory does not follow the fills"
            found.append(Problem("fills lost", Status.ERROR, text))
    return found


def _drift(ticks: pd.DataFrame, fills: pd.DataFrame) -> pd.Series:
    """Median by hour of the stated inventory minus that of the fills, since the first hour; fills on their way are few."""
    sign = np.where(fills["side"].to_numpy() == "buy", 1.0, -1.0)
    at = ns(fills["ts"])
    order = np.argsort(at, kind="stable")
    position = np.concatenate([[0.0], np.cumsum((sign * fills["qty"].to_numpy(np.float64))[order])])
    ts = ns(ticks["ts"])
    known = position[np.searchsorted(at[order], ts, side="right")]
    gap = pd.Series(ticks["inventory"].to_numpy(np.float64) - known)
    hours = gap.groupby(pd.DatetimeIndex(ticks["ts"]).floor("h")).median().dropna()
    return hours - hours.iloc[0] if len(hours) else hours


def worst(problems: Sequence[Problem]) -> Problem | None:
    """The problem that decides; None without any."""
    return max(problems, key=lambda problem: problem.status.rank, default=None)


def _unit(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    return f"{first['symbol']} arm {first['arm']} at {_time(first['bucket'])}"


def _more(rows: pd.DataFrame) -> str:
    return f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""


def _time(at: pd.Timestamp) -> str:
    return f"{at:%Y-%m-%dT%H:%MZ}"
