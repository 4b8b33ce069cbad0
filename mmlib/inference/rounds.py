"""Has a percentile grown, judged from independent runs: each run gives one number, and chance is what differs between runs.

Ticks of one run share a process, its memory layout and the host's mood; counting them as independent makes an unchanged build
fail. Here a run counts once, so that autocorrelation within runs needs no model. Two designs:

- *paired*: baseline and candidate are run in turns, in random order within a round. Of an unchanged build the two are
  exchangeable within a round, whatever the host does, so the signed ranks of their log ratios have an exact distribution; drift
  slower than a round cancels. Source: Hollander, Wolfe, Chicken, Nonparametric Statistical Methods, 3rd ed., section 3.2.
- *apart*: runs of another time. Welch's t on the runs' logarithms, with fewer effective runs where neighbours are alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from mmlib.core.histogram import RELATIVE_ERROR
from mmlib.dtypes import Status
from mmlib.inference.ratio import RatioResult

MIN_RUNS = 5
"""Fewer runs on either side decide nothing: what differs between runs would be guessed."""
_HIDDEN = math.log((1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR))


def paired_ratio(
    baseline_ms: Sequence[float],
    candidate_ms: Sequence[float],
    *,
    limit: float,
    alpha: float,
    floor_ms: float = 0.0,
    step_ms: float = 0.0,
    ticks: tuple[int, int] = (0, 0),
    most_runs: int | None = None,
) -> RatioResult:
    """Judge candidate over baseline from rounds of one run each, by signed ranks.

    Args:
        baseline_ms, candidate_ms: float64[rounds], the percentile of each run, in the order of the rounds.
        limit: 1.03 = three percent more.
        alpha: error of each side of the interval.
        floor_ms: below it both sides count as this.
        step_ms: step of the clock; what a rounding of both sides can hide widens the interval.
        ticks: values behind each side, for the record.
        most_runs: more than this the machine does not make in a reasonable time; None sets no end.

    Raises:
        ValueError: lengths differ, ``limit`` not positive, ``alpha`` not in (0, 0.5).
    """
    if len(baseline_ms) != len(candidate_ms):
        raise ValueError(f"{len(baseline_ms)} and {len(candidate_ms)} runs: expected one of each a round")
    base, cand, problem = _prepared(baseline_ms, candidate_ms, limit, alpha, floor_ms)
    n = len(base)
    if problem:
        return _undecided(problem, limit, ticks, n)
    apart = np.log(cand / base)
    walsh = walsh_averages(apart)
    centre = float(np.median(walsh))
    cut = signed_rank_cut(n, alpha)
    if cut < 1:
        fewest = math.ceil(-math.log2(alpha))
        reason = f"{n} rounds; at least {fewest} are needed at error {alpha:.3g}"
        return _undecided(reason, limit, ticks, n, centre, fewest)
    bounds = float(walsh[cut - 1]), float(walsh[-cut])
    return _judged(
        centre, bounds, _rounding(base, cand, step_ms), limit, ticks, n, "paired rounds", most_runs
    )


def apart_ratio(
    baseline_ms: Sequence[float],
    candidate_ms: Sequence[float],
    *,
    limit: float,
    alpha: float,
    floor_ms: float = 0.0,
    step_ms: float = 0.0,
    ticks: tuple[int, int] = (0, 0),
) -> RatioResult:
    """The same from runs (or long blocks of one run) of two times, by Welch's t on logarithms.

    Neighbouring runs that are alike count less: n becomes n (1 - r) / (1 + r), r their lag-one correlation with Kendall's
    correction for its bias. What differs between the two *times* and never within one of them stays unseen.
    Source: Welch, Biometrika 34 (1947); Kendall, Biometrika 41 (1954).
    """
    base, cand, problem = _prepared(baseline_ms, candidate_ms, limit, alpha, floor_ms)
    n = min(len(base), len(cand))
    if problem:
        return _undecided(problem, limit, ticks, n)
    if n < MIN_RUNS:
        reason = f"{len(base)} and {len(cand)} runs; at least {MIN_RUNS} each show what differs between runs"
        centre = float(np.log(cand).mean() - np.log(base).mean())
        return _undecided(reason, limit, ticks, n, centre, MIN_RUNS)
    (mean_b, var_b, eff_b), (mean_c, var_c, eff_c) = _level(np.log(base)), _level(np.log(cand))
    centre, square = mean_c - mean_b, var_b + var_c
    half = 0.0
    if square > 0.0:
        freedom = square**2 / (var_b**2 / (eff_b - 1.0) + var_c**2 / (eff_c - 1.0))
        half = float(stdtrit(freedom, 1.0 - alpha)) * math.sqrt(square)
    bounds = centre - half, centre + half
    return _judged(centre, bounds, _rounding(base, cand, step_ms), limit, ticks, n, "runs of two times")


def walsh_averages(values: np.ndarray) -> np.ndarray:
    """Means of all pairs, each value with itself included: float64[n (n + 1) / 2], rising."""
    i, j = np.triu_indices(len(values))
    return np.sort(0.5 * (values[i] + values[j]))


def signed_rank_cut(n: int, alpha: float) -> int:
    """The rank of the Walsh average that bounds the centre at one-sided error ``alpha``; 0 where ``n`` is too small.

    Largest c with P(T <= c - 1) <= alpha, T the signed-rank statistic of n values. Ties make the interval wider than nominal,
    never narrower. Oracle: ``scipy.stats.wilcoxon(method="exact")``.
    """
    counts = np.zeros(n * (n + 1) // 2 + 1)
    counts[0] = 1.0
    for rank in range(1, n + 1):
        counts[rank:] = counts[rank:] + counts[:-rank]
        counts *= 0.5
    return int(np.searchsorted(np.cumsum(counts), alpha * (1.0 + 1e-12), side="right"))


def _prepared(
    baseline_ms: Sequence[float], candidate_ms: Sequence[float], limit: float, alpha: float, floor_ms: float
) -> tuple[np.ndarray, np.ndarray, str]:
    """Both sides as arrays with the floor applied, and why they cannot be compared ('' when they can)."""
    if not limit > 0 or not 0 < alpha < 0.5:
        raise ValueError(f"limit {limit}, alpha {alpha}: expected limit > 0 and alpha in (0, 0.5)")
    base, cand = (np.asarray(side, dtype=np.float64) for side in (baseline_ms, candidate_ms))
    for name, side in (("baseline", base), ("candidate", cand)):
        if not len(side) or np.isnan(side).any():
            return base, cand, f"no values in a run of the {name}" if len(side) else f"no runs of the {name}"
    base, cand = np.maximum(base, floor_ms), np.maximum(cand, floor_ms)
    if min(base.min(), cand.min()) <= 0.0:
        return base, cand, "a percentile is zero; a ratio to it says nothing"
    return base, cand, ""


def _level(logs: np.ndarray) -> tuple[float, float, float]:
    """Mean of neighbouring runs, its squared standard error, and how many independent runs they are worth."""
    n = len(logs)
    variance = float(np.var(logs, ddof=1))
    around = logs - logs.mean()
    square = float(around @ around)
    r = float(around[1:] @ around[:-1]) / square if square > 0.0 else 0.0
    r = min(max(r + (1.0 + 3.0 * r) / n, 0.0), 0.9) if square > 0.0 else 0.0
    effective = max(n * (1.0 - r) / (1.0 + r), 2.0)
    return float(logs.mean()), variance / effective, effective


def _rounding(base: np.ndarray, cand: np.ndarray, step_ms: float) -> float:
    """What buckets and the clock's step can hide in a log ratio."""
    if step_ms <= 0.0:
        return _HIDDEN
    smallest = min(float(np.median(base)), float(np.median(cand)))
    return _HIDDEN + 0.5 * math.log1p(step_ms / smallest)


def _judged(
    centre: float,
    bounds: tuple[float, float],
    hidden: float,
    limit: float,
    ticks: tuple[int, int],
    n: int,
    design: str,
    most_runs: int | None = None,
) -> RatioResult:
    ratio, lower, upper = (
        math.exp(value)
        for value in (centre, min(bounds[0], centre) - hidden, max(bounds[1], centre) + hidden)
    )
    status = Status.FAIL if lower > limit else Status.PASS if upper <= limit else Status.INCONCLUSIVE
    text = f"ratio {ratio:.4f}, interval {lower:.4f} to {upper:.4f} from {n} {design}"
    more = None
    if status is Status.INCONCLUSIVE:
        more = _more(centre, bounds, hidden, math.log(limit), n)
        if more and most_runs is not None and more > most_runs:
            text += (
                f"; this machine cannot decide it: about {more} runs would, ten minutes make {most_runs}; a quieter machine, "
                "or a longer market a pass, could"
            )
            more = None
        else:
            text += (
                f"; about {more} runs would decide"
                if more
                else "; no number of runs would decide at this ratio"
            )
    point = Status.FAIL if ratio > limit else Status.PASS
    per_run = ticks[1] / n if n else 0.0
    needed = math.ceil(more * per_run) if more and per_run else None
    return RatioResult(ratio, lower, upper, limit, status, point, *ticks, needed, text, n, more)


def _more(centre: float, bounds: tuple[float, float], hidden: float, log_limit: float, n: int) -> int | None:
    """Runs at which an interval that shrinks by their root would clear the limit; None when it never would."""
    room = abs(centre - log_limit) - hidden
    half = centre - bounds[0] if centre > log_limit else bounds[1] - centre
    if room <= 0.0 or not math.isfinite(half):
        return None
    return max(math.ceil(n * (half / room) ** 2), n + 1)


def _undecided(
    reason: str,
    limit: float,
    ticks: tuple[int, int],
    n: int,
    centre: float = math.nan,
    more: int | None = None,
) -> RatioResult:
    ratio = math.exp(centre)
    empty = reason.startswith("no ")
    status = Status.NO_DATA if empty else Status.INCONCLUSIVE
    point = Status.NO_DATA if math.isnan(ratio) else Status.FAIL if ratio > limit else Status.PASS
    per_run = ticks[1] / n if n else 0.0
    needed = math.ceil(more * per_run) if more and per_run else None
    return RatioResult(ratio, math.nan, math.nan, limit, status, point, *ticks, needed, reason, n, more)
