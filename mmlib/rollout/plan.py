"""How long a stage must run: probabilities of its verdicts before it begins, simulated from hours that were really measured.

Stages are made of blocks of the measured hours (a moving block bootstrap, so that neighbours stay neighbours), centred so that
no effect is left, with a true gain added to B; then the configured gates judge them. What the hours did not contain cannot
happen.

Source: Künsch, "The jackknife and the bootstrap for general stationary observations", Annals of Statistics 17 (1989).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mmlib.feeds.reader import read_feeds
from mmlib.gates.spec import Gate
from mmlib.inference.rates import rate_of
from mmlib.metrics.money import bucket_money
from mmlib.rollout.budget import GAIN, STAGES_OF_A_ROLLOUT
from mmlib.rollout.experiment import MIN_COVERAGE, bounded, with_sums
from mmlib.rollout.safety import BUCKET_S

GAINS_BPS = (0.2, 0.5, 1.0)
LENGTHS_H = (24, 48, 72)
STAGES = 600
MIN_HOURS = 6
COLUMNS = ("gain_bps", "hours", "promoted_pct", "lower_pct", "upper_pct", "rollout_pct", "loss_first_pct")
"""promoted: one stage, with its exact Monte-Carlo interval; rollout: all three in order; loss_first: the loss budget is hit
before the stage ends."""


def null_hours(sums: np.ndarray) -> np.ndarray:
    """``float64[4, n]`` sums of hours without the effect they had; with one arm alone, the other is taken as its mean.

    Args:
        sums: ``experiment.effect_sums`` of net; B all zero when only A ran.

    Raises:
        ValueError: fewer than ``MIN_HOURS`` hours, or nothing was traded.
    """
    if sums.shape[1] < MIN_HOURS:
        raise ValueError(f"{sums.shape[1]} hours; expected at least {MIN_HOURS}")
    pnl_a, notional_a, pnl_b, notional_b = (row.copy() for row in sums)
    if not notional_a.sum() > 0:
        raise ValueError("arm A traded nothing; expected hours with fills")
    if not notional_b.any():
        pnl_b, notional_b = pnl_a.copy(), notional_a.copy()
        notional_a[:] = notional_a.mean()
        pnl_a[:] = pnl_a.mean()
    effect = pnl_b.sum() / notional_b.sum() - pnl_a.sum() / notional_a.sum()
    return np.stack([pnl_a, notional_a, pnl_b - effect * notional_b, notional_b])


def drawn_stages(
    null: np.ndarray, *, gain_bps: float, hours: int, stages: int, rng: np.random.Generator
) -> np.ndarray:
    """``float64[4, stages, hours]``: blocks of the hours, round the clock, with a true gain of B."""
    n = null.shape[1]
    block = max(round(n ** (1.0 / 3.0)), 1)
    starts = rng.integers(0, n, (stages, -(-hours // block)))
    index = ((starts[:, :, None] + np.arange(block)) % n).reshape(stages, -1)[:, :hours]
    made = null[:, index]
    made[2] += gain_bps / 1e4 * made[3]
    return np.asarray(made)


def plan_table(
    gate: Gate,
    sums: np.ndarray,
    *,
    loss_budget: float,
    gains_bps: Sequence[float] = GAINS_BPS,
    lengths_h: Sequence[int] = LENGTHS_H,
    stages: int = STAGES,
    seed: int = 0,
) -> pd.DataFrame:
    """Probabilities of each true gain and length, columns COLUMNS.

    Args:
        gate: the comparison on net.
        sums: ``float64[4, n]`` of measured hours, see ``null_hours``.
        loss_budget: of a stage, quote currency, positive.
        gains_bps, lengths_h: what to ask for. stages: how many are drawn for each. seed: of the draw.
    """
    null, rows = null_hours(sums), []
    for gain in gains_bps:
        for hours in lengths_h:
            rng = np.random.default_rng([seed, hours, round(1000 * gain)])
            made = drawn_stages(null, gain_bps=gain, hours=hours, stages=stages, rng=rng)
            found = bounded(made, GAIN, hours)
            passed = (found.mean[:, -1] >= gate.limit) & (found.lower[:, -1] > (gate.bound or 0.0))
            passed &= hours >= gate.min_n
            lost = (np.cumsum(made[2] - made[0], axis=1).min(axis=1)) < -loss_budget
            rate = rate_of(np.asarray(passed & ~lost)).percent()
            rollout = 100.0 * (rate["rate"] / 100.0) ** STAGES_OF_A_ROLLOUT
            rows.append(
                (gain, hours, *rate.values(), round(rollout, 2), round(100.0 * float(lost.mean()), 2))
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def plan_of_feeds(
    feeds: Path, gates: Mapping[str, Gate], *, stages: int = STAGES, seed: int = 0, cache: Path | None = None
) -> pd.DataFrame:
    """``plan_table`` of the hours in a feeds directory; empty when they are fewer than ``MIN_HOURS`` or hold no trade of A.

    Args:
        feeds: of a soak, or of an earlier stage: with both arms their difference is what varies, with A alone its own result.
        gates: of a stage, by id. stages, seed: of the draw. cache: of decoded feeds.
    """
    ticks, fills = (read_feeds(feeds, kind, cache_dir=cache).frame for kind in ("ticks", "fills"))
    empty = pd.DataFrame(columns=list(COLUMNS))
    if not len(ticks):
        return empty
    money = with_sums(bucket_money(ticks, fills, BUCKET_S))
    money = money[money["coverage"] >= MIN_COVERAGE]
    by_hour = money.groupby(["bucket", "arm"], observed=True)[["pnl", "notional"]].sum()
    by_hour = pd.DataFrame(by_hour.unstack("arm"))  # noqa: PD010
    names = [(name, arm) for arm in ("A", "B") for name in ("pnl", "notional")]
    wide = by_hour.reindex(columns=pd.MultiIndex.from_tuples(names))
    if not wide[("notional", "B")].fillna(0.0).any():
        wide = wide.fillna({names[2]: 0.0, names[3]: 0.0})
    sums = wide.dropna().to_numpy(np.float64).T
    try:
        return plan_table(
            gates["ab.accept.net"],
            sums,
            loss_budget=loss_budget_of(gates["ab.accept.money"]),
            stages=stages,
            seed=seed,
        )
    except ValueError:
        return empty


def hours_for(table: pd.DataFrame, gain_bps: float, power_pct: float = 80.0) -> int | None:
    """Least length of the table that finds a gain with ``power_pct``; None when none does."""
    found = table[np.isclose(table["gain_bps"], gain_bps) & (table["promoted_pct"] >= power_pct)]["hours"]
    return int(found.min()) if len(found) else None


def sentence(table: pd.DataFrame) -> str:
    """The plan in one sentence a gain."""
    parts = []
    for gain in table["gain_bps"].unique():
        hours, most = hours_for(table, gain), table[table["gain_bps"] == gain].iloc[-1]
        if hours is None:
            parts.append(
                f"a true gain of {gain:g} bps passes a stage of {most['hours']:.0f} h with {most['promoted_pct']:.0f} %"
            )
            continue
        row = table[(table["gain_bps"] == gain) & (table["hours"] == hours)].iloc[0]
        parts.append(
            f"a true gain of {gain:g} bps needs {hours} h a stage ({row['promoted_pct']:.0f} % pass one, "
            f"{row['rollout_pct']:.0f} % all three, {row['loss_first_pct']:.0f} % hit the loss budget first)"
        )
    return "; ".join(parts)


def loss_budget_of(gate: Gate) -> float:
    """The loss budget behind ``ab.accept.money``, positive; infinite where its limit is not a loss."""
    return -gate.limit if gate.limit < 0 else math.inf
