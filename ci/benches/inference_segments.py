"""Section of ``ci/bench inference``: a one-sided loss planted among eight segments, and eight segments without an effect."""

from __future__ import annotations

from typing import Any

import numpy as np
from report import at_most, bar

from mmlib.inference.rates import rate_of
from mmlib.inference.segments import holm, segment_effect
from mmlib.rollout.segments import ALPHA

STAGES, SEED = 1000, 20250115
FILLS, STRETCHES = 300, 60
BUYS_BPS, SELLS_BPS = -14.0, 2.5
NOISE_BPS = 15.0
"""Scale of a fill's own t5 noise; with what a stretch of the market adds, a standard deviation of 20 bps (the demo's: 9)."""
PARTS = (2, 4, 2)
"""Segments of side, hours and symbol."""


def stage(rng: np.random.Generator, buys_bps: float, sells_bps: float) -> np.ndarray:
    """Which of eight segments are called harmed, ``bool[8]``, buys first; ``FILLS`` fills of each arm."""
    n = 2 * FILLS
    treated, labels = np.arange(n) % 2 == 1, [rng.integers(0, parts, n) for parts in PARTS]
    cluster, market = rng.integers(0, STRETCHES, n), rng.normal(0.0, 5.0, STRETCHES)
    planted = np.where(treated, np.where(labels[0] == 0, buys_bps, sells_bps), 0.0)
    bps = planted + market[cluster] + rng.standard_t(5, n) * NOISE_BPS
    result, notional = bps * 1e-2, np.full(n, 100.0)
    p = [
        segment_effect(*(column[label == k] for column in (treated, cluster, result, notional))).p_value
        for label, parts in zip(labels, PARTS, strict=True)
        for k in range(parts)
    ]
    return np.asarray(holm(np.array(p)) < ALPHA)


def segments() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How often the planted loss is found, and how often any segment is accused where none is harmed."""
    rng = np.random.default_rng(SEED)
    planted = np.array([stage(rng, BUYS_BPS, SELLS_BPS) for _ in range(STAGES)])
    nothing = np.array([stage(rng, 0.0, 0.0) for _ in range(2 * STAGES)])
    found, false = rate_of(planted[:, 0]), rate_of(nothing.any(axis=1))
    figures = {
        "fills an arm": FILLS,
        "buys -14, sells +2.5 bps: buys found": found.percent(),
        "no effect: any of eight accused": false.percent(),
    }
    return figures, [
        bar("one-sided loss found within 300 fills [%]", found.percent()["rate"], 80.0),
        at_most("eight segments without an effect: any false alarm [%]", false.percent()["rate"], 5.0),
    ]
