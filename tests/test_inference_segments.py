"""Segments: the effect against a plain loop, Holm against statsmodels, a planted one-sided loss, and what is no loss."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from mmlib.inference.segments import holm, segment_effect
from mmlib.rollout.segments import COLUMNS, effects, fills_worth, segments, turning_fills
from tests.make_feeds import SECOND_NS, fill_frame, fills, tick_frame, ticks


def naive_effect(rows: list[tuple[bool, int, float, float]]) -> tuple[float, float]:
    """Difference of ratios and its clustered error, the sums written out [bps]."""
    ratio, traded = {}, {}
    for arm in (False, True):
        traded[arm] = sum(n for b, _, _, n in rows if b == arm)
        ratio[arm] = sum(r for b, _, r, _ in rows if b == arm) / traded[arm]
    stretches = sorted({c for _, c, _, _ in rows})
    square = 0.0
    for stretch in stretches:
        parts = [((1 if b else -1) * (r - ratio[b] * n) / traded[b]) for b, c, r, n in rows if c == stretch]
        square += sum(parts) ** 2
    k = len(stretches)
    return (ratio[True] - ratio[False]) * 1e4, math.sqrt(square * k / (k - 2)) * 1e4


def test_the_effect_is_that_of_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    n = 200
    columns = rng.random(n) < 0.4, rng.integers(0, 30, n), rng.normal(0, 1, n), rng.uniform(50, 150, n)
    found = segment_effect(*columns)
    np.testing.assert_allclose(
        found[:2], naive_effect(list(zip(*(c.tolist() for c in columns), strict=True)))
    )
    assert 0.0 < found.p_value < 1.0
    assert math.isnan(segment_effect(*(c[:25] for c in columns)).p_value), (
        "too few fills of an arm say nothing"
    )


def test_holm_is_that_of_statsmodels() -> None:
    p = np.random.default_rng(2).random(9) ** 3
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])
    with_gap = holm(np.insert(p, 4, np.nan))
    assert np.isnan(with_gap[4])
    np.testing.assert_allclose(np.delete(with_gap, 4), holm(p))
    assert len(holm(np.zeros(0))) == 0


def stage(rng: np.random.Generator, buys: float, sells: float, n: int = 300) -> pd.DataFrame:
    """``n`` fills of each arm in eight segments: a standard deviation of 20 bps (the demo's have 9), B's means as given."""
    side = rng.choice(["buy", "sell"], 2 * n)
    arm = np.repeat(["A", "B"], n)
    mean = np.where(arm == "B", np.where(side == "buy", buys, sells), 0.0)
    market = rng.normal(0, 5, 60)  # what moves the fills of a stretch together, in both arms
    cluster = rng.integers(0, 60, 2 * n)
    bps = mean + market[cluster] + rng.standard_t(5, 2 * n) * 15.0
    return pd.DataFrame(
        {
            "arm": arm,
            "cluster": cluster,
            "side": side,
            "result": bps / 1e4 * 100.0,
            "notional": 100.0,
            "hours UTC": rng.choice(["00-06", "06-12", "12-18", "18-24"], 2 * n),
            "symbol": rng.choice(["X", "Y"], 2 * n),
        }
    )


def test_a_one_sided_loss_is_found_and_eight_equal_segments_are_not_accused() -> None:
    rng = np.random.default_rng(3)
    kinds = ["side", "hours UTC", "symbol"]
    planted = [effects(stage(rng, -14.0, 2.5), kinds) for _ in range(100)]
    hit = sum(bool(found.set_index("segment").loc["buy", "harmed"]) for found in planted)
    assert hit >= 80
    assert sum(bool(found.set_index("segment").loc["sell", "harmed"]) for found in planted) <= 5
    false = sum(bool(effects(stage(rng, 0.0, 0.0), kinds)["harmed"].any()) for _ in range(200))
    assert false <= 18  # 5 % of 200 is 10; more than 18 has probability 0.6 %


def test_the_segments_of_feeds_cover_every_kind() -> None:
    t = tick_frame(ticks(6 * 3600, seed=5))
    f = fill_frame(fills(400, seed=6, span_ns=5 * 3600 * SECOND_NS))
    found = segments(fills_worth(t, f))
    assert set(found["kind"]) >= {"side", "hours UTC", "symbol"}
    both = found[found["kind"] == "side"]
    assert both[["n_a", "n_b"]].to_numpy().sum() > 300
    empty = segments(fills_worth(t, f.iloc[:0]))
    assert list(empty.columns) == list(found.columns)
    assert not len(empty)


@pytest.mark.parametrize("n_ticks", [0, 1, 2])
@pytest.mark.parametrize("n_fills", [0, 1, 5])
def test_next_to_nothing_says_nothing(n_ticks: int, n_fills: int) -> None:
    f = fill_frame(fills(5, seed=6, span_ns=60 * SECOND_NS)).iloc[:n_fills]
    worth = fills_worth(tick_frame(ticks(10, seed=5)).iloc[:n_ticks], f)
    found = segments(worth)
    assert list(found.columns) == list(COLUMNS)
    assert found["p_holm"].isna().all()
    assert not found["harmed"].any()
    assert turning_fills(worth.iloc[:0], np.ones((4, 3))) == 0


def test_a_single_fill_that_turns_the_sign_is_counted() -> None:
    worth = pd.DataFrame(
        {"arm": ["A", "A", "B", "B", "B"], "result": [1.0, 1.0, 9.0, -1.0, -1.0], "notional": [100.0] * 5}
    )
    sums = np.array(
        [[2.0], [200.0], [7.0], [300.0]]
    )  # 100 bps against 233 bps; without the third fill B has -100
    assert turning_fills(worth, sums) == 1
    assert turning_fills(worth.iloc[[0, 1, 3, 4]], sums) == 0
