"""Source URIs, their parameters and latency tables."""

from __future__ import annotations

import subprocess
import sys
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from mmlib._io import UserError
from mmlib.market.latency import lognormal_ms, measured_ms
from mmlib.market.opening import open_source
from mmlib.market.source import parse_uri


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("simulated", ("simulated", "")),
        ("recording:a/b.gz", ("recording", "a/b.gz")),
        ("recording:c:d", ("recording", "c:d")),
        ("live:binanceusdm", ("live", "binanceusdm")),
        ("feeds:dir", ("feeds", "dir")),
    ],
)
def test_uris(uri: str, expected: tuple[str, str]) -> None:
    assert parse_uri(uri) == expected


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("simulatd", "did you mean 'simulated'"),
        ("recordings:x", "did you mean 'recording'"),
        ("recording:", "expected recording:PATH"),
        ("simulated:7", "takes no argument"),
        ("", "unknown kind"),
        ("https://x", "unknown kind"),
    ],
)
def test_bad_uris(uri: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        parse_uri(uri)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "says"), [("live:binanceusdm", "cannot be read twice"), ("feeds:x", "no market")]
)
def test_kinds_that_are_no_market_here(uri: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        open_source(uri, "BTCUSDT")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"tiles": 2}, "tiles"),
        ({"latency": {"feed_median_ms": -1.0}}, "latency.feed_median_ms"),
        ({"latency": {"feed_sigma": float("nan")}}, "latency.feed_sigma"),
        ({"latency": {"base_latency_ms": float("inf")}}, "latency.base_latency_ms"),
        ({"instruments": {"BTCUSDT": (0.0, 1.0)}}, "instruments.BTCUSDT.tick_size"),
        ({"instruments": {"BTCUSDT": (0.1, float("inf"))}}, "instruments.BTCUSDT.lot_size"),
    ],
)
def test_bad_parameters_are_named(more: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        open_source("simulated", "BTCUSDT", **more)


def test_parsing_a_uri_imports_nothing_heavy() -> None:
    code = "import sys, mmlib.market.source as s; s.parse_uri('simulated'); print({'numba', 'pandas'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


def test_lognormal_table_has_the_quantiles_of_its_model() -> None:
    table = lognormal_ms(5.0, 0.5)
    assert table.shape == (1001,) and np.isfinite(table).all() and (np.diff(table) > 0).all()
    for q in (0.05, 0.5, 0.95, 0.999):
        assert table[round(q * 1000)] == pytest.approx(5.0 * np.exp(0.5 * NormalDist().inv_cdf(q)))
    assert lognormal_ms(0.0, 0.5).max() == 0.0
    assert lognormal_ms(3.0, 0.0).tolist() == [3.0] * 1001


def test_measured_table_has_the_extremes_and_the_median() -> None:
    table = measured_ms(np.array([4_000_000, 1_000_000, 9_000_000]))
    assert (table[0], table[500], table[1000]) == (1.0, 4.0, 9.0)
