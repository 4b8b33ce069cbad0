"""Noise that real hours have, drawn without an effect: what error rates of a rollout are measured under.

Each function gives sums of hours as ``experiment.effect_sums`` does, ``float64[4, stages, n]``; an hour's effect has mean 0 and
a standard deviation of about 1 bps. Where the noise is skewed, its long tail is on the side that a bound does not see coming.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mmlib.rollout.synthetic import as_sums, minutes_of

Noise = Callable[[np.random.Generator, int, int], np.ndarray]
STOPS_AT = 0.6
MISSING = 0.2


def red(rng: np.random.Generator, stages: int, hours: int, phi: float) -> np.ndarray:
    """AR(1) by hour, ``float64[stages, hours]``, standard deviation 1."""
    from scipy.signal import lfilter

    noise = rng.standard_normal((stages, hours))
    noise[:, 1:] *= np.sqrt(1.0 - phi**2)
    return np.asarray(lfilter([1.0], [1.0, -phi], noise, axis=1))


def lognormal(rng: np.random.Generator, stages: int, hours: int, sigma: float = 1.0) -> np.ndarray:
    """Minus a centred lognormal: many small gains, few large losses; skewness -6.2 at sigma 1."""
    level = np.exp(sigma**2 / 2)
    spread = level * np.sqrt(np.expm1(sigma**2))
    return np.asarray((level - np.exp(sigma * rng.standard_normal((stages, hours)))) / spread)


def rare_losses(rng: np.random.Generator, stages: int, hours: int) -> np.ndarray:
    """95 % of the hours gain 0.25, 5 % lose 4.75 bps; no stage that met none of them can tell."""
    return np.where(rng.random((stages, hours)) < 0.05, -4.75, 0.25)


def _clustered(rng: np.random.Generator, stages: int, hours: int) -> np.ndarray:
    volatility = 0.7 * red(rng, stages, hours, 0.9)
    return np.asarray(rng.standard_normal((stages, hours)) * np.exp(volatility - 0.49))


def _regimes(rng: np.random.Generator, stages: int, hours: int) -> np.ndarray:
    """Calm hours and hours five times as wild, twenty hours at a stretch."""
    turns = np.cumsum(rng.random((stages, hours)) < 0.05, axis=1) + rng.integers(0, 2, (stages, 1))
    return np.asarray(rng.standard_normal((stages, hours)) * np.where(turns % 2, 5.0, 1.0) / np.sqrt(13.0))


def _season(rng: np.random.Generator, stages: int, hours: int) -> np.ndarray:
    phase = 2.0 * np.pi * (np.arange(hours) / 24.0 + rng.random((stages, 1)))
    return np.asarray(rng.standard_normal((stages, hours)) + np.sin(phase))


def _unequal(rng: np.random.Generator, stages: int, hours: int) -> np.ndarray:
    """Arms of their own noise, B's three times A's."""
    a, b = (rng.standard_normal((stages, hours)) * sd / 1e4 for sd in (0.316, 0.949))
    one = np.ones((stages, hours))
    return np.stack([a, one, b, one])


def _busy(rng: np.random.Generator, stages: int, hours: int) -> np.ndarray:
    """Notional of both arms varies thirty-fold and correlates -0.8 with the hour's net, whose sum is zero on average."""
    z = rng.standard_normal((stages, hours))
    notional = np.exp(0.85 * z)
    net = -0.8 * z + 0.6 * rng.standard_normal((stages, hours))
    net = net + 0.8 * 0.85  # E[notional net] = 0
    zero = np.zeros((stages, hours))
    return np.stack([zero, notional, net * notional / 1e4, notional])


def _missing(rng: np.random.Generator, stages: int, hours: int) -> np.ndarray:
    kept = np.sort(
        np.argsort(rng.random((stages, hours)), axis=1)[:, : round((1.0 - MISSING) * hours)], axis=1
    )
    return as_sums(np.take_along_axis(rng.standard_normal((stages, hours)), kept, axis=1))


def _of(draw: Callable[..., np.ndarray], *rest: float) -> Noise:
    return lambda rng, stages, hours: as_sums(draw(rng, stages, hours, *rest))


def _within(phi: float) -> Noise:
    def draw(rng: np.random.Generator, stages: int, hours: int) -> np.ndarray:
        minutes = minutes_of(stages, hours, phi, rng)
        return as_sums(minutes.reshape(stages, hours, -1).mean(axis=2))

    return draw


NOISES: Mapping[str, Noise] = {
    "normal": _of(lambda rng, *shape: rng.standard_normal(shape)),
    "t3": _of(lambda rng, *shape: rng.standard_t(3, shape) / np.sqrt(3.0)),
    "φ 0.3 within hours": _within(0.3),
    "φ 0.6 within hours": _within(0.6),
    "φ 0.8 within hours": _within(0.8),
    "hourly AR 0.3": _of(red, 0.3),
    "hourly AR 0.6": _of(red, 0.6),
    "volatility clustering": _of(_clustered),
    "regimes x 5": _of(_regimes),
    "unequal variances": _unequal,
    "daily season": _of(_season),
    "lognormal skew": _of(lognormal),
    "notional follows net": _busy,
    "20 % of hours missing": _missing,
    "one arm stops early": lambda rng, stages, hours: as_sums(
        rng.standard_normal((stages, round(STOPS_AT * hours)))
    ),
}
"""By name; ``rare_losses`` is apart, since no bound can see it."""
