"""The generator behind the simulated market: its words, and that its samples have the distributions that they claim."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mmlib.core import draws
from mmlib.core._jit import JIT_DISABLED, jit

MANY = 20_000 if JIT_DISABLED else 2_000_000


@jit
def _fill(sample, rng, out):
    for i in range(len(out)):
        out[i] = sample(rng)


def sampled(name: str, n: int = MANY, seed: int = 7) -> np.ndarray:
    out = np.empty(n)
    _fill(getattr(draws, name), np.array([seed, 0x9E3779B97F4A7C15], np.uint64), out)
    return out


def splitmix(state: int) -> tuple[int, int]:
    """State and word after one step of SplitMix64, in Python's integers."""
    mask = 2**64 - 1
    state = (state + 0x9E3779B97F4A7C15) & mask
    z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return state, z ^ (z >> 31)


def test_words_are_those_of_splitmix64() -> None:
    rng = np.array([1234567, 0x9E3779B97F4A7C15], np.uint64)
    words, state = [], 1234567
    for _ in range(100):
        words.append(int(draws.word(rng)))
        state, expected = splitmix(state)
        assert words[-1] == expected
    # as published with the generator for this seed
    assert words[:3] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


CLAIMS = {"uniform": stats.uniform(), "normal": stats.norm(), "exponential": stats.expon()}


@pytest.mark.parametrize("name", CLAIMS)
def test_samples_have_the_distribution_of_scipy(name: str) -> None:
    values, law = sampled(name), CLAIMS[name]
    assert stats.kstest(values, law.cdf).pvalue > 1e-4
    cells = np.histogram(law.cdf(values), 256, (0.0, 1.0))[
        0
    ]  # layers would show in cells of equal probability
    assert stats.chisquare(cells).pvalue > 1e-4
    mean, variance, skew, excess = (float(v) for v in law.stats("mvsk"))
    assert values.mean() == pytest.approx(mean, abs=5.0 * math.sqrt(variance / MANY))
    spread = math.sqrt((excess + 2.0) / MANY)
    assert values.var() == pytest.approx(variance, rel=5.0 * spread)
    if not JIT_DISABLED:
        assert stats.skew(values) == pytest.approx(skew, abs=0.03)
        assert stats.kurtosis(values) == pytest.approx(excess, abs=0.3)
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 5.0 / math.sqrt(MANY)


@pytest.mark.parametrize(
    ("name", "beyond"), [("normal", 3.6541528853610088), ("exponential", 7.69711747013105)]
)
def test_the_tail_beyond_the_layers_is_as_heavy_and_shaped_as_it_should_be(name: str, beyond: float) -> None:
    values, law = sampled(name), CLAIMS[name]
    tail = values[np.abs(values) > beyond]
    share = (2.0 if name == "normal" else 1.0) * law.sf(beyond)
    assert stats.binomtest(len(tail), MANY, share).pvalue > 1e-4
    if not JIT_DISABLED:
        assert stats.kstest(1.0 - law.sf(np.abs(tail)) / law.sf(beyond), "uniform").pvalue > 1e-4


def test_no_sample_stands_on_a_bound() -> None:
    rng = np.zeros(2, np.uint64)  # every word is 0
    assert draws.uniform(rng) == 2.0**-53
    assert draws.exponential(rng) > 0.0
    assert sampled("uniform").max() < 1.0


def test_the_fast_exponential_is_exp() -> None:
    x = np.concatenate(
        [np.linspace(-9.0, 9.0, 4001), np.array([0.0, -8.0, 8.0, -700.0, 1.0 / 128.0, -1.0 / 128.0])]
    )
    got = np.array([draws.fast_exp(v) for v in x])
    assert np.abs(got / np.array([math.exp(v) for v in x]) - 1.0).max() < 1e-14
    assert draws.fast_exp(0.0) == 1.0
    assert draws.fast_exp(-1e9) == 0.0
