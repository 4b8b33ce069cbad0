"""The latency histogram against the raw values it counted."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.core import histogram as hist
from mmlib.core._jit import JIT_DISABLED, jit
from mmlib.core.histogram import Histogram
from tests.naive_gates import quantile_of_sorted


@jit
def quick_index(value_ms, table):  # type: ignore[no-untyped-def]
    """The one of the hot loops, called by itself."""
    return hist.quick_index(value_ms, table)


values_ms = st.lists(st.floats(min_value=1e-6, max_value=1e6), max_size=60)


def test_quantiles_stay_within_the_promised_error_over_twelve_decades() -> None:
    raw = 10.0 ** np.random.default_rng(3).uniform(-6, 6, 20_000)
    h = Histogram(raw)
    for q in (0.0, 0.001, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0):
        want = quantile_of_sorted(np.sort(raw), q)
        assert abs(h.quantile(q) - want) <= hist.RELATIVE_ERROR * want


@settings(max_examples=60, deadline=None)
@given(values_ms.filter(len), st.fractions(0, 1))
def test_any_quantile_of_any_sample_is_within_the_error(sample: list[float], q: Fraction) -> None:
    want = quantile_of_sorted(np.sort(sample), float(q))
    assert abs(Histogram(sample).quantile(float(q)) - want) <= hist.RELATIVE_ERROR * want


@settings(max_examples=60, deadline=None)
@given(values_ms, values_ms, values_ms)
def test_merging_is_associative_and_the_same_as_counting_together(
    a: list[float], b: list[float], c: list[float]
) -> None:
    ha, hb, hc = Histogram(a), Histogram(b), Histogram(c)
    together = Histogram(a + b + c)
    assert (ha + hb) + hc == ha + (hb + hc) == (hc + ha) + hb == together
    assert together.n == len(a) + len(b) + len(c)


def test_merge_leaves_its_arguments_alone() -> None:
    a, b = Histogram([1.0]), Histogram([2.0])
    merged = a.merge(b)
    merged.add([3.0])
    assert (a.n, b.n, merged.n) == (1, 1, 3)


def test_the_table_finds_the_bucket_of_the_logarithm_on_both_sides_of_every_edge() -> None:
    table = hist.bucket_table()
    edges = table.edge[1:-1][:: 7 if JIT_DISABLED else 1]
    steps = [edges]
    for towards in (0.0, np.inf):
        steps += [np.nextafter(edges, towards), np.nextafter(np.nextafter(edges, towards), towards)]
    others = 10.0 ** np.random.default_rng(4).uniform(-7, 7, 5_000)
    odd = [0.0, -0.0, -1.0, np.nan, np.inf, -np.inf, 5e-324, hist.MIN_MS, hist.MAX_MS, 1e300]
    values = np.concatenate([*steps, others, odd])
    assert [quick_index(value, table) for value in values] == [hist.bucket_index(value) for value in values]


def test_edges_fall_into_neighbouring_buckets() -> None:
    assert hist.bucket_index(0.0) == 0
    assert hist.bucket_index(np.nextafter(hist.MIN_MS, 0)) == 0
    assert hist.bucket_index(hist.MIN_MS) == 1
    assert hist.bucket_index(hist.MAX_MS) == hist.N_LOG
    assert hist.bucket_index(1e300) == hist.N_LOG
    assert Histogram([0.0, 0.0, 1.0]).quantile(0.5) == 0.0


def test_what_is_no_duration_is_rejected_and_counted() -> None:
    h = Histogram()
    assert h.add(np.array([np.nan, np.inf, -np.inf, -1e-9, 5.0])) == 4
    assert (h.n, h.rejected) == (1, 4)
    assert h.quantile(0.5) == pytest.approx(5.0, rel=hist.RELATIVE_ERROR)


def test_empty_has_no_quantile() -> None:
    assert np.isnan(Histogram().quantile(0.95))
    assert np.isnan(Histogram([np.nan]).p(95))


@pytest.mark.parametrize("q", [-0.01, 1.01, float("nan")])
def test_quantile_outside_its_range_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match=r"expected a number in 0\.\.1"):
        Histogram([1.0]).quantile(q)


def test_rank_does_not_slip_by_rounding() -> None:
    for n in range(1, 400):
        for percent in range(1, 100):
            assert hist.rank(percent / 100, n) == -(-percent * n // 100)


def test_bucket_values_are_what_quantiles_report() -> None:
    table = hist.bucket_values()
    for index in (0, 1, 777, hist.N_LOG):
        counts = np.zeros(hist.SIZE, dtype=np.int64)
        counts[index] = 1
        assert hist.quantile(counts, 0.5) == pytest.approx(table[index], rel=1e-9)


def test_read_only_and_strided_input() -> None:
    raw = np.arange(1.0, 11.0)
    raw.flags.writeable = False
    assert Histogram(raw[::2]).n == 5


def test_json_round_trip() -> None:
    h = Histogram([0.0, 1.0, 1.0, 35.0, np.nan])
    assert Histogram.from_dict(json.loads(json.dumps(h.to_dict(), allow_nan=False))) == h
    assert Histogram.from_dict(Histogram().to_dict()) == Histogram()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": 1.002}, "gamma"),
        ({"schema": 2}, "schema"),
        ({"n": 7}, "add up to n"),
        ({"count": [-1, 2]}, "positive"),
        ({"count": [1.0, 1.0]}, "whole numbers"),
        ({"count": [True, True]}, "whole numbers"),
        ({"count": [2**63, 1]}, "below 2"),
        ({"index": [5, 5]}, "rising"),
        ({"index": [-1, 5]}, "rising"),
        ({"index": [0, 10**9]}, "rising"),
        ({"index": [0]}, "1 indices but 2 counts"),
        ({"rejected": -1}, "rejected"),
    ],
)
def test_edited_dictionaries_are_refused(change: dict[str, object], message: str) -> None:
    payload = Histogram([0.0, 1.0]).to_dict() | change
    with pytest.raises(ValueError, match=message):
        Histogram.from_dict(payload)


def test_not_a_mapping_is_refused() -> None:
    with pytest.raises(ValueError, match="a histogram is a mapping"):
        Histogram.from_dict([1, 2])
