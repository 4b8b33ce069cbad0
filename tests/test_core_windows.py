"""Sustained windows against a brute-force reading of the same rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmlib.core import windows
from tests import naive_gates

points = st.lists(
    st.tuples(st.sampled_from([1, 1, 1, 2, 3]), st.sampled_from([None, False, True, True, True])), max_size=40
)


def _series(steps: list[tuple[int, bool | None]]) -> list[tuple[int, bool | None]]:
    at = np.cumsum([s for s, _ in steps]).tolist()
    return [(int(t), bad) for t, (_, bad) in zip(at, steps, strict=True)]


def _marks(series: list[tuple[int, bool | None]]) -> tuple[np.ndarray, np.ndarray]:
    ts = np.array([t for t, _ in series], dtype=np.int64)
    return ts, np.array([-1 if v is None else int(v) for _, v in series], dtype=np.int8)


@settings(max_examples=300, deadline=None)
@given(points, st.integers(0, 8))
@example([(1, True), (1, None), (1, True), (1, True)], 3)
@example([(1, True), (2, True), (3, True)], 2)
@example([(1, None), (1, None)], 0)
def test_runs_and_gaps_match_the_naive_reading(steps: list[tuple[int, bool | None]], duration: int) -> None:
    series = _series(steps)
    ref_runs, ref_gaps = naive_gates.sustained(series, 1, duration)
    ts, marks = _marks(series)
    rows, gaps = windows.sustained_runs(ts, marks, 1, duration)
    got = [(int(ts[a]), int(ts[b]), None if c < 0 else int(ts[c])) for a, b, c in rows.tolist()]
    assert (got, gaps) == (ref_runs, ref_gaps)


@settings(max_examples=150, deadline=None)
@given(points, st.integers(0, 8))
def test_fed_point_by_point_it_fires_at_the_same_points(
    steps: list[tuple[int, bool | None]], duration: int
) -> None:
    series = _series(steps)
    ts, marks = _marks(series)
    rows, _ = windows.sustained_runs(ts, marks, 1, duration)
    state, was, fired_at = windows.new_state(), False, []
    for t, mark in zip(ts.tolist(), marks.tolist(), strict=True):
        before = state[windows.ACTIVE_SINCE]
        now = windows.advance(state, t, mark, 1, duration)
        if now and (not was or state[windows.ACTIVE_SINCE] != before):
            fired_at.append(t)
        was = now
    assert fired_at == [int(ts[c]) for _, _, c in rows.tolist() if c >= 0]


def test_no_points() -> None:
    rows, gaps = windows.sustained_runs(np.array([], dtype=np.int64), np.array([], dtype=np.int8), 1, 0)
    assert rows.shape == (0, 3)
    assert gaps == 0


@pytest.mark.parametrize("times", [[2, 1], [1, 1]])
def test_times_that_do_not_rise_are_refused(times: list[int]) -> None:
    with pytest.raises(ValueError, match="strictly rising"):
        windows.sustained_runs(np.array(times), np.array([0, 0], dtype=np.int8), 1, 0)


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        windows.sustained_runs(np.array([1, 2]), np.array([0], dtype=np.int8), 1, 0)
