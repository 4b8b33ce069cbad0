"""What stands beside the verdict: HAC and bootstrap intervals, covariate adjustment, binomial intervals of rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from arch.bootstrap import StationaryBootstrap, optimal_block_length
from scipy import stats
from scipy.signal import lfilter
from statsmodels.regression.linear_model import OLS

from mmlib.inference.blocks import block_length, bootstrap_means
from mmlib.inference.covariate import cuped
from mmlib.inference.rates import binomial_rate, rate_of
from mmlib.inference.sensitivity import block_bootstrap, hac


def ar1(n: int, phi: float, seed: int = 0) -> np.ndarray:
    return np.asarray(lfilter([1.0], [1.0, -phi], np.random.default_rng(seed).normal(size=n)))


def test_hac_is_newey_and_west_written_out() -> None:
    x = ar1(60, 0.5)
    found = hac(x)
    n, d = len(x), x - x.mean()
    lags = math.floor(4 * (n / 100) ** (2 / 9))
    variance = d @ d / n + 2 * sum((1 - k / (lags + 1)) * (d[k:] @ d[:-k]) / n for k in range(1, lags + 1))
    half = stats.t.ppf(0.975, n - 1) * math.sqrt(variance / n * n / (n - 1))
    assert (found.lower, found.upper) == pytest.approx((x.mean() - half, x.mean() + half))
    assert found.setting == f"{lags} lags"


@pytest.mark.parametrize(("n", "phi"), [(8, 0.0), (24, 0.9), (60, 0.5), (577, -0.3)])
def test_both_are_what_statsmodels_and_arch_say(n: int, phi: float) -> None:
    x = ar1(n, phi, seed=n)
    found, lags = hac(x, alpha=0.1), math.floor(4 * (n / 100) ** (2 / 9))
    options = {"maxlags": lags, "use_correction": True}
    fit = OLS(x, np.ones((n, 1))).fit(cov_type="HAC", cov_kwds=options, use_t=True)
    np.testing.assert_allclose([found.lower, found.upper], fit.conf_int(0.1)[0])
    with np.errstate(all="ignore"):
        length = float(optimal_block_length(x)["stationary"].iloc[0])
    assert block_length(x) == pytest.approx(length, nan_ok=True)
    peer = StationaryBootstrap(3, x, seed=np.random.default_rng(7))
    want = peer.apply(lambda sample: np.array([sample.mean()]), 50)[:, 0]
    np.testing.assert_allclose(bootstrap_means(x, 3, 50, np.random.default_rng(7)), want)


def test_both_widen_where_neighbours_agree() -> None:
    loose, tied = ar1(200, 0.0, seed=4), ar1(200, 0.7, seed=4)
    for method in (hac, block_bootstrap):
        widths = []
        for x in (loose, tied):
            found = method(x)
            plain = 2 * 1.96 * x.std(ddof=1) / math.sqrt(len(x))
            widths.append((found.upper - found.lower) / plain)
            assert found.lower < x.mean() < found.upper
        assert widths[1] > 1.3 * widths[0]


def test_the_bootstrap_repeats_itself_and_says_when_there_is_too_little() -> None:
    x = ar1(40, 0.3)
    assert block_bootstrap(x, seed=1) == block_bootstrap(x, seed=1)
    assert block_bootstrap(x, seed=1) != block_bootstrap(x, seed=2)
    for method in (hac, block_bootstrap):
        assert math.isnan(method(x[:7]).lower)
        assert "at least 8 needed" in method(x[:7]).setting
        assert math.isnan(method(np.empty(0)).mean)
    assert block_bootstrap(np.ones(20)).lower == 1.0


def test_cuped_takes_out_what_a_regression_explains() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(5.0, 2.0, 300)
    y = 0.4 + 0.8 * x + rng.normal(0, 1.0, 300)
    found = cuped(y, x)
    assert found is not None
    fit = OLS(y, np.column_stack([np.ones(300), x])).fit()
    assert found.theta == pytest.approx(fit.params[1])
    assert found.reduction == pytest.approx(fit.rsquared)
    np.testing.assert_allclose(found.values - y.mean(), fit.resid, atol=1e-9)
    assert found.values.mean() == pytest.approx(y.mean())


def test_cuped_leaves_alone_what_it_cannot_help() -> None:
    y = np.arange(20.0)
    assert cuped(y, np.full(20, 3.0)) is None
    assert cuped(y[:7], y[:7]) is None
    with pytest.raises(ValueError, match="finite"):
        cuped(y, np.where(y == 3, np.nan, y))
    with pytest.raises(ValueError, match="one length"):
        cuped(y, y[:-1])


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (3, 1000), (17, 40)])
def test_rates_have_the_exact_interval(hits: int, n: int) -> None:
    found = binomial_rate(hits, n)
    want = stats.binomtest(hits, n).proportion_ci(method="exact")
    assert (found.lower, found.upper) == pytest.approx((want.low, want.high))
    assert rate_of(np.arange(n) < hits) == found


def test_rates_without_trials_are_unknown_and_nonsense_is_refused() -> None:
    assert math.isnan(rate_of(np.empty(0, bool)).rate)
    with pytest.raises(ValueError, match="expected 0 to n"):
        binomial_rate(3, 2)
