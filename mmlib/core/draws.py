"""Random numbers inside kernels: words, uniforms, normals and exponentials from one seeded generator, and a fast exponential.

The generator is SplitMix64 with a step of its own for every stream (Steele, Lea and Flood 2014, "Fast splittable
pseudorandom number generators"): its state is one counter, so that draws do not wait for each other. Normals and
exponentials come from ziggurats of 256 layers (Marsaglia and Tsang 2000, "The ziggurat method for generating random
variables"), with the layer and the place within it from different bits of a word (Doornik 2005, "An improved ziggurat
method to generate normal random samples"). Compiled and interpreted runs agree bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mmlib.core._jit import JIT_DISABLED, jit_within
from mmlib.core._jit import jit_borrowing as jit

_LAYERS = 256
_LAYER_BITS = np.uint64(_LAYERS - 1)
_11, _12, _27, _30, _31 = (np.uint64(bits) for bits in (11, 12, 27, 30, 31))
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@jit_within
def word(rng):
    """Next 64 random bits.

    Args:
        rng: ``uint64[2]``, the counter, changed in place, and its odd step.
    """
    z = rng[0] + rng[1]
    rng[0] = z
    z = (z ^ (z >> _30)) * _MIX_1
    z = (z ^ (z >> _27)) * _MIX_2
    return z ^ (z >> _31)


if JIT_DISABLED:
    word = np.errstate(over="ignore")(word)  # words wrap around


@jit_within
def uniform(rng):
    """Next uniform inside (0, 1), a multiple of 2^-53."""
    return (np.float64(word(rng) >> _12) + 0.5) * (1.0 / 4503599627370496.0)


def _ziggurat(
    last: float, area: float, density: Callable[[float], float], inverse: Callable[[float], float]
) -> tuple[np.ndarray, np.ndarray]:
    """Right edges of the layers, ``float64[257]`` from the widest to 0, and the density at each.

    Every layer has the same area; the lowest holds the tail beyond ``last`` as well, so its edge is the width that a box of
    this area would have.
    """
    edges = [area / density(last), last]
    while len(edges) < _LAYERS:
        edges.append(inverse(density(edges[-1]) + area / edges[-1]))
    edges.append(0.0)
    return np.array(edges), np.array([density(edge) for edge in edges])


_NORMAL_LAST, _EXPONENTIAL_LAST = 3.6541528853610088, 7.69711747013104972
_NORMAL_EDGE, _NORMAL_DENSITY = _ziggurat(
    _NORMAL_LAST,
    _NORMAL_LAST * math.exp(-0.5 * _NORMAL_LAST**2)
    + math.sqrt(0.5 * math.pi) * math.erfc(_NORMAL_LAST / math.sqrt(2.0)),
    lambda x: math.exp(-0.5 * x * x),
    lambda y: math.sqrt(-2.0 * math.log(y)),
)
_EXPONENTIAL_EDGE, _EXPONENTIAL_DENSITY = _ziggurat(
    _EXPONENTIAL_LAST,
    (_EXPONENTIAL_LAST + 1.0) * math.exp(-_EXPONENTIAL_LAST),
    lambda x: math.exp(-x),
    lambda y: -math.log(y),
)


@jit
def _normal_beyond(rng, layer, x):
    """The rare part of `normal`: a value outside the part of its layer that lies under the density whole; NaN to draw anew."""
    if layer == 0:
        while True:
            past = -math.log(uniform(rng)) / _NORMAL_LAST
            if -2.0 * math.log(uniform(rng)) > past * past:
                return math.copysign(_NORMAL_LAST + past, x)
    low, high = _NORMAL_DENSITY[layer], _NORMAL_DENSITY[layer + 1]
    return x if low + uniform(rng) * (high - low) < math.exp(-0.5 * x * x) else np.nan


@jit_within
def normal(rng):
    """Next standard normal."""
    while True:
        bits = word(rng)
        layer = np.int64(bits & _LAYER_BITS)
        x = (np.float64(bits >> _11) * (1.0 / 4503599627370496.0) - 1.0) * _NORMAL_EDGE[layer]
        if abs(x) < _NORMAL_EDGE[layer + 1]:
            return x
        x = _normal_beyond(rng, layer, x)
        if x == x:
            return x


@jit
def _exponential_beyond(rng, layer, x):
    """The rare part of `exponential`; NaN to draw anew."""
    if layer == 0:
        return _EXPONENTIAL_LAST - math.log(uniform(rng))
    low, high = _EXPONENTIAL_DENSITY[layer], _EXPONENTIAL_DENSITY[layer + 1]
    return x if low + uniform(rng) * (high - low) < math.exp(-x) else np.nan


@jit_within
def exponential(rng):
    """Next exponential of mean 1, above 0."""
    while True:
        bits = word(rng)
        layer = np.int64(bits & _LAYER_BITS)
        x = (np.float64(bits >> _12) + 0.5) * (1.0 / 4503599627370496.0) * _EXPONENTIAL_EDGE[layer]
        if x < _EXPONENTIAL_EDGE[layer + 1]:
            return x
        x = _exponential_beyond(rng, layer, x)
        if x == x:
            return x


_REACH, _STEPS = 8, 64
_EXP = np.array([math.exp(k / _STEPS) for k in range(-_REACH * _STEPS, _REACH * _STEPS + 1)])


@jit_within
def fast_exp(x):
    """exp(x), its relative error below 1e-14: a table at every 64th, times the series for the rest, within (-8, 8)."""
    if not -_REACH < x < _REACH:
        return math.exp(x)
    k = int(x * _STEPS + (_REACH * _STEPS + 0.5))
    r = x - (k - _REACH * _STEPS) / _STEPS
    square = r * r
    series = (1.0 + r) + square * ((0.5 + r * (1.0 / 6.0)) + square * (1.0 / 24.0 + r * (1.0 / 120.0)))
    return _EXP[k] * series


@jit_within
def of_quantiles(quantiles, row, rng):
    """One value of the distribution whose quantiles at even probabilities from 0 to 1 stand in a row of ``float64[r, m]``."""
    position = uniform(rng) * (quantiles.shape[1] - 1)
    i = int(position)
    return quantiles[row, i] + (position - i) * (quantiles[row, i + 1] - quantiles[row, i])
