"""Stages that never happened: B minus A drawn from a known process, judged by the gates that judge real stages.

The process is an AR(1) by minute whose autocorrelation at five minutes, the interval of the dataset, is φ: 0.6 and 0.8
are what five-minute points of real arms look like (at 0.6 an interval over raw points alarms on half of all stages
without an effect). Hourly means of it still correlate, by 0.10 and 0.25 from one hour to the next.
It is scaled so that hourly means have a standard deviation of 1 bps. Net and slippage
are drawn apart; taker share, deadline misses and ticks are not drawn, their gates take no part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mmlib.dtypes import Status
from mmlib.gates.evaluate import Measurement, evaluate_comparison, violates
from mmlib.gates.spec import Gate
from mmlib.gates.sustained import fires
from mmlib.inference.pooled import PooledSequence
from mmlib.rollout.budget import GAIN, HARM
from mmlib.rollout.experiment import bounded

HOUR = 60  # minutes
_LAG = 5  # minutes at which the autocorrelation is φ
_NS = 60_000_000_000
PHIS = (0.0, 0.6, 0.8)


@dataclass(frozen=True)
class Outcomes:
    """What the rules said of each stage, ``bool[stages]``.

    ``rollback`` and ``literal_rollback`` fired at any minute. ``promote`` is the acceptance gate at the end of the stage,
    ``promote_at_any_look`` at the end or at any minute before (with the gate's minimum of buckets); ``literal_promote`` is
    the point rule at the end, ``literal_promote_at_any_look`` at any full hour.
    """

    rollback: np.ndarray
    literal_rollback: np.ndarray
    promote: np.ndarray
    promote_at_any_look: np.ndarray
    literal_promote: np.ndarray
    literal_promote_at_any_look: np.ndarray

    @property
    def n(self) -> int:
        """How many stages."""
        return len(self.rollback)


def minutes_of(stages: int, hours: int, phi: float, rng: np.random.Generator) -> np.ndarray:
    """``float64[stages, hours·60]`` minutes of the process, mean 0, hourly means of standard deviation 1."""
    from scipy.signal import lfilter

    if not 0.0 <= phi < 1.0:
        raise ValueError(f"phi {phi}: expected at least 0 and below 1")
    step = phi ** (1.0 / _LAG) if phi > 0 else 0.0
    noise = rng.standard_normal((stages, hours * HOUR))
    noise[:, 1:] *= np.sqrt(1.0 - step**2)
    series = lfilter([1.0], [1.0, -step], noise, axis=1)
    lags = np.arange(1, HOUR)
    variance = (HOUR + 2.0 * float(((HOUR - lags) * step**lags).sum())) / HOUR**2
    return np.asarray(series / np.sqrt(variance))


def draw_stages(
    book: Mapping[str, Gate],
    *,
    stages: int,
    hours: int,
    phi: float,
    seed: int,
    net_bps: float = 0.0,
    slippage_bps: float = 0.0,
) -> Outcomes:
    """Draw stages with known effects (zero: A/A) and judge them.

    Args:
        book: gates of a stage by id.
        stages, hours: how many, how long.
        phi: autocorrelation at five minutes.
        seed: of the draw.
        net_bps, slippage_bps: true B minus A.
    """
    rng = np.random.default_rng(seed)
    slippage = minutes_of(stages, hours, phi, rng) + slippage_bps
    net = minutes_of(stages, hours, phi, rng) + net_bps
    return judge_minutes(book, net, slippage)


def judge_minutes(book: Mapping[str, Gate], net: np.ndarray, slippage: np.ndarray) -> Outcomes:
    """Judge stages given as ``float64[stages, minutes]`` of B minus A [bps], whole hours of them."""
    stages, minutes = slippage.shape
    hours = minutes // HOUR
    ts = np.arange(minutes, dtype=np.int64) * _NS
    by_hour = [series.reshape(stages, hours, HOUR).mean(axis=2) for series in (net, slippage)]
    guard = book["ab.safety.slippage"]
    known = np.arange(minutes) // HOUR - 1
    return Outcomes(
        fires(guard, ts, harm_known(as_sums(by_hour[1]), hours, known)),
        fires(guard, ts, _trailing_mean(slippage)),
        *acceptance(book["ab.accept.net"], as_sums(by_hour[0]), hours),
    )


def as_sums(buckets: np.ndarray) -> np.ndarray:
    """``float64[4, ..., n]`` sums of hours that trade one unit an arm, of which B earns ``buckets`` more."""
    x = np.asarray(buckets, np.float64)
    one = np.ones(x.shape)
    return np.stack([np.zeros(x.shape), one, x / 1e4, one])


def harm_known(sums: np.ndarray, planned: int, known: np.ndarray) -> np.ndarray:
    """Lower bound on the effect of ``float64[4, stages, n]`` sums as it is known at each minute.

    Args:
        sums: of each hour, ``experiment.effect_sums``.
        planned: length of the stage in hours.
        known: ``int64[minutes]``, the last hour complete by then, negative before the first.
    """
    lower = bounded(sums, HARM, planned).lower
    return np.where(known >= 0, lower[:, np.maximum(known, 0)], np.nan)


def acceptance(
    gate: Gate, sums: np.ndarray, planned: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Promoted at the end, at any look; by the point rule at the end, at any full hour: ``bool[stages]`` each.

    Args:
        gate: the comparison on net.
        sums: ``float64[4, stages, n]`` of each hour.
        planned: length of the stage in hours.
    """
    found = bounded(sums, GAIN, planned)
    accepted = accepts(gate, found)
    point = ~violates(gate, found.mean)
    early, point_early = (np.asarray(marks.any(axis=1)) for marks in (accepted, point))
    return accepted[:, -1], early, point[:, -1], point_early


def accepts(gate: Gate, found: PooledSequence) -> np.ndarray:
    """Where the gate on net passes, ``bool[stages, n]``, as ``evaluate_comparison`` decides it."""
    accepted = np.zeros(found.mean.shape, bool)
    plausible = (found.mean >= gate.limit) & (found.lower > (gate.bound or 0.0))
    plausible[:, : gate.min_n - 1] = False
    for stage, hour in np.argwhere(plausible):
        m = Measurement(float(found.mean[stage, hour]), int(hour) + 1, span_s=(int(hour) + 1) * 3600.0)
        result = evaluate_comparison(
            gate, m, float(found.lower[stage, hour]), float(found.upper[stage, hour])
        )
        accepted[stage, hour] = result.status is Status.PASS
    return accepted


def _trailing_mean(minutes: np.ndarray) -> np.ndarray:
    """Mean of the minutes of the trailing hour, as far as there are any: what the literal rule reads."""
    return np.asarray(trailing_sum(minutes, HOUR) / np.minimum(np.arange(1, minutes.shape[1] + 1), HOUR))


def trailing_sum(values: np.ndarray, width: int) -> np.ndarray:
    """Sum of each value and the ``width - 1`` before it along the last axis, as far as there are any."""
    total = np.cumsum(values, axis=-1)
    total[..., width:] -= total[..., :-width].copy()
    return np.asarray(total)
