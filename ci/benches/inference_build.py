"""Section of ``ci/bench inference``: how often an unchanged build fails, and whether a slower one does.

The noise model, with figures measured on 2026-11-22 on two cores (Intel Xeon) shared by seven busy users: 24 processes of eight
passes over five simulated minutes of two symbols (3,000 ticks a pass), and 8 such processes of an earlier kernel.

- tick: lognormal, log sd 0.16 (``emit``), whole nanoseconds around 130 ns; autocorrelation within a pass as given (measured:
  0.02 to 0.08 of the logarithms, 0.03 to 0.17 of exceeding the p95; 0.2 is taken for the power)
- pass: one in eight was disturbed, by a third on average (exponential), never the other way round
- run: log sd 0.008 from process to process; one process in eight had another memory layout, 3.5 percent slower
- drift: a random walk from run to run, log sd 0.004 a run, about three percent over the sixty runs of a validation
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from report import at_most, bar
from scipy.special import ndtri

from mmlib.baseline.build import this_build
from mmlib.baseline.rounds import PASSES, ROUNDS, measure_rounds
from mmlib.baseline.validate import ALPHA, CLOCK_STEP_MS
from mmlib.config.models import Config
from mmlib.dtypes import STAGES, Status
from mmlib.inference.rates import rate_of
from mmlib.inference.rounds import paired_ratio

SERIES, SEED = 1000, 20250115
LEVEL_MS, TICK_SD = 130e-6, 0.16
DISTURBED, BY = 1 / 8, 1 / 3
RUN_SD, LAYOUT, LAYOUT_BY, DRIFT_SD = 0.008, 1 / 8, 0.035, 0.004
TICKS, PHIS = (1_000, 100_000, 10_000_000), (0.0, 0.6, 0.9)
POWER_PHIS = (0.6, 0.2)
LIMITS = {**dict.fromkeys(STAGES, 1.03), "tick_total": 1.10}
FLOOR_MS = 1e-4
REAL_ROUNDS, REAL_PASSES = 10, 4


def runs(rng: np.random.Generator, ticks: int, phi: float, drift: np.ndarray) -> np.ndarray:
    """p95 of the runs of a series, float64[series, rounds], milliseconds: of each run's least disturbed pass.

    The p95 of n independent ticks is the quantile at a Beta variate; with autocorrelation n counts for n (1 - phi) / (1 + phi).
    """
    shape = (*drift.shape, PASSES)
    n = max(ticks / (ROUNDS * PASSES) * (1 - phi) / (1 + phi), 1.0)
    k = max(math.ceil(0.95 * n), 1.0)
    tick = TICK_SD * ndtri(rng.beta(k, max(n - k + 1.0, 0.05), shape))
    disturbed = np.where(rng.random(shape) < DISTURBED, np.log1p(rng.exponential(BY, shape)), 0.0)
    run = rng.normal(0.0, RUN_SD, drift.shape) + np.where(
        rng.random(drift.shape) < LAYOUT, math.log1p(LAYOUT_BY), 0.0
    )
    least = (tick + disturbed).min(axis=-1) + run + drift
    return np.asarray(np.round(LEVEL_MS * np.exp(least) * 1e6) * 1e-6)


def validations(ticks: int, phi: float, grown: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Over SERIES validations: did the one stage that grew (or any, where none did) FAIL; did the bare ratio say so."""
    rng = np.random.default_rng(seed)
    names = list(LIMITS) if grown == 1.0 else ["emit"]
    failed, point = np.zeros(SERIES, bool), np.zeros(SERIES, bool)
    for name in names:
        drift = np.cumsum(rng.normal(0.0, DRIFT_SD, (SERIES, 2 * ROUNDS)), axis=1)
        first = rng.integers(0, 2, (SERIES, ROUNDS))
        place = 2 * np.arange(ROUNDS) + first
        base = runs(rng, ticks, phi, np.take_along_axis(drift, place, 1))
        cand = grown * runs(rng, ticks, phi, np.take_along_axis(drift, 2 * np.arange(ROUNDS) + 1 - first, 1))
        for i in range(SERIES):
            found = paired_ratio(
                base[i], cand[i], limit=LIMITS[name], alpha=ALPHA / len(LIMITS), floor_ms=FLOOR_MS,
                step_ms=CLOCK_STEP_MS,
            )  # fmt: skip
            failed[i] |= found.status is Status.FAIL
            point[i] |= cand[i, 0] / base[i, 0] > LIMITS[name]  # one run of each, as the bare rule compares
    return failed, point


def unchanged_build() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """False failures at any number of ticks, found regressions at a hundred thousand, and one validation of real runs."""
    figures: dict[str, Any] = {
        "validations": SERIES,
        "rounds": ROUNDS,
        "passes": PASSES,
        "false_fail_pct": {},
    }
    bars = []
    for ticks in TICKS:
        for phi in PHIS:
            failed, point = validations(ticks, phi, 1.0, SEED)
            shown = {"interval": rate_of(failed).percent(), "point rule": rate_of(point).percent()}
            figures["false_fail_pct"][f"{ticks} ticks, phi {phi}"] = shown
    worst = max(one["interval"]["rate"] for one in figures["false_fail_pct"].values())
    bars.append(at_most("unchanged build: false FAIL at any number of ticks [%]", worst, 1.0))
    for phi in POWER_PHIS:
        found = rate_of(validations(100_000, phi, 1.06, SEED + 1)[0]).percent()
        figures[f"grown by 6 %, 100000 ticks, phi {phi}"] = found
    bars.append(bar("a stage 6 % slower at 100 k ticks FAILs [%]", found["rate"], 95.0))
    figures["real"], held = real()
    return figures, [*bars, held]


def real() -> tuple[dict[str, Any], dict[str, Any]]:
    """The running build against itself, really measured."""
    config = Config.model_validate({"pipeline": {"tick_interval_ms": 200}, "trace": {"sample_rate": 1.0}})
    spec = {
        "uri": "simulated", "symbols": ["BTCUSDT"], "arms": ["A"], "duration_s": 120.0, "offset_s": 0.0,
        "start_ns": 1_736_899_200_000_000_000, "seed": 7,
    }  # fmt: skip
    session = {"spec": spec, "config": config.model_dump(mode="json")}
    build = this_build()
    base, cand = measure_rounds(
        build, build, sessions=(session, session), rounds=REAL_ROUNDS, passes=REAL_PASSES, seed=SEED
    )
    found = {
        name: paired_ratio(
            base.runs[name], cand.runs[name], limit=limit, alpha=ALPHA / len(LIMITS), floor_ms=FLOOR_MS,
            step_ms=CLOCK_STEP_MS,
        )
        for name, limit in LIMITS.items()
    }  # fmt: skip
    spread = {
        name: round(float(np.std(np.log([*base.runs[name], *cand.runs[name]]))), 4)
        for name in ("queue_aware", "emit")
    }
    figures = {
        "rounds": REAL_ROUNDS,
        "ticks_a_side": base.n_ticks,
        "log_sd_between_runs": spread,
        "statuses": {name: str(one.status) for name, one in found.items()},
        "emit": found["emit"].reason,
    }
    fails = sum(one.status is Status.FAIL for one in found.values())
    return figures, at_most("real runs of one build: stages that FAIL", fails, 0)
