"""Latency tables: quantiles at even probabilities, from measured values or from a named model."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from mmlib.market.source import QUANTILES, FeedLatency

_TAIL_FROM = 0.99


def lognormal_ms(median_ms: float, sigma: float) -> np.ndarray:
    """Quantiles of a lognormal latency.

    The two ends, which would be 0 and infinite, are the quantiles a twentieth of a step inside.

    Args:
        median_ms: median, 0 or more.
        sigma: standard deviation of the logarithm.

    Returns:
        ``float64[1001]``, ms, not decreasing.
    """
    return lognormal_at(median_ms, sigma, _probabilities())


def heavy_tailed_ms(median_ms: float, sigma: float) -> np.ndarray:
    """Quantiles of a latency that is lognormal up to its 99th percentile and Pareto (index 2) beyond.

    Args, Returns: as for `lognormal_ms`.
    """
    at = _probabilities()
    tail = lognormal_at(median_ms, sigma, np.array([_TAIL_FROM])) * np.sqrt((1.0 - _TAIL_FROM) / (1.0 - at))
    return np.where(at > _TAIL_FROM, tail, lognormal_at(median_ms, sigma, at))


def lognormal_at(median: float, sigma: float, probabilities: np.ndarray) -> np.ndarray:
    """Quantiles of a lognormal distribution at ``float64[n]`` probabilities inside (0, 1)."""
    normal = NormalDist()
    return np.asarray(median * np.exp(sigma * np.array([normal.inv_cdf(q) for q in probabilities])))


def _probabilities() -> np.ndarray:
    """Even probabilities, the ends a twentieth of a step inside."""
    inside = 0.05 / (QUANTILES - 1)
    return np.clip(np.linspace(0.0, 1.0, QUANTILES), inside, 1.0 - inside)


def measured_ms(latency_ns: np.ndarray) -> np.ndarray:
    """Quantiles of measured latencies.

    Args:
        latency_ns: ``int64[n]``, n >= 1.

    Returns:
        ``float64[1001]``, ms.
    """
    return np.quantile(latency_ns.astype(np.float64) * 1e-6, np.linspace(0.0, 1.0, QUANTILES))


def refresh_model(feed: FeedLatency, why: str) -> tuple[np.ndarray, str]:
    """Table and label of a modelled refresh: a feed latency there and back.

    Args:
        feed: the model.
        why: reason for which nothing measured is used, for the label.
    """
    label = (
        f"model: twice a lognormal feed latency, median {feed.median_ms:g} ms, sigma {feed.sigma:g} ({why})"
    )
    return 2.0 * lognormal_ms(feed.median_ms, feed.sigma), label
