"""Brute-force references for histograms, sustained windows and confidence sequences."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np


def quantile_of_sorted(values: np.ndarray, q: float) -> float:
    """Smallest value whose share of values at or below is at least ``q``, in exact arithmetic."""
    rank = max(math.ceil(Fraction(q).limit_denominator(10**6) * len(values)), 1)
    return float(values[rank - 1])


def sustained(
    points: list[tuple[int, bool | None]], interval: int, duration: int
) -> tuple[list[tuple[int, int, int | None]], int]:
    """Runs (start, last violating, fired or None) and gaps, by looking at every pair of present points.

    ``points`` are (time, violating or None for missing). A run is a maximal stretch of present violating
    points no two neighbours of which are over two intervals apart; it fires at its first point ``duration``
    after its start.
    """
    present = [(t, v) for t, v in points if v is not None]
    pieces: list[list[tuple[int, bool]]] = []
    for k, point in enumerate(present):
        if k == 0 or point[0] - present[k - 1][0] > 2 * interval:
            pieces.append([])
        pieces[-1].append(point)
    runs: list[tuple[int, int, int | None]] = []
    for piece in pieces:
        for i, (start, bad) in enumerate(piece):
            if not bad or (i > 0 and piece[i - 1][1]):
                continue
            times = []
            for t, v in piece[i:]:
                if not v:
                    break
                times.append(t)
            fired = next((t for t in times if t - start >= duration), None)
            runs.append((start, times[-1], fired))
    return runs, max(len(pieces) - 1, 0)


def confidence_sequence(x: list[float], alpha: float, rho: float) -> list[tuple[float, float]]:
    """Theorem 2.2, recomputed from scratch after every value."""
    bounds = []
    for t in range(2, len(x) + 1):
        seen = x[:t]
        mean = sum(seen) / t
        sigma = math.sqrt(sum((v - mean) ** 2 for v in seen) / (t - 1))
        inside = 2 * (t * rho**2 + 1) / (t**2 * rho**2) * math.log(math.sqrt(t * rho**2 + 1) / alpha)
        bounds.append((mean - sigma * math.sqrt(inside), mean + sigma * math.sqrt(inside)))
    return bounds


def t_e_value(x: list[float], g: float, side: str) -> float:
    """The anytime-valid t-test's e-value by integrating both priors over a grid: effect N(0, g), scale 1/σ."""
    data = np.array(x)
    n = len(data)
    scale = float(np.sqrt(np.mean(data**2)))
    logs = np.linspace(-4.0, 4.0, 4001)  # of sigma over its rough size
    sigma = scale * np.exp(logs)
    ends = {"two": (-12.0, 12.0), "lower": (0.0, 12.0), "upper": (-12.0, 0.0)}[side]
    effects = np.linspace(*ends, 4801) * math.sqrt(g)
    prior = np.exp(-(effects**2) / (2 * g)) / math.sqrt(2 * math.pi * g) * (1.0 if side == "two" else 2.0)
    # n log densities depend on the data through their sum and sum of squares
    s1, s2 = float(data.sum()), float((data**2).sum())
    null = -n * logs - s2 / (2 * sigma**2)
    top = float(null.max())
    below = np.trapezoid(np.exp(null - top), logs)
    inner = np.array(
        [
            np.trapezoid(prior * np.exp(effects * s1 / s - n * effects**2 / 2 + at - top), effects)
            for s, at in zip(sigma, null, strict=True)
        ]
    )
    return float(np.trapezoid(inner, logs) / below)
