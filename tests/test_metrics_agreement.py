"""Fill agreement against a loop over orders; its report and its figure."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.dtypes import Grade
from mmlib.figures.agreement import agreement as draw
from mmlib.metrics.agreement import Agreement, compare_fills
from mmlib.reports.agreement import agreement_report
from mmlib.reports.render import Provenance

T0 = 1_700_000_000_000_000_000
MS = 1_000_000
SPAN = (T0, T0 + 1000 * MS)

fills = st.lists(
    st.tuples(
        st.integers(0, 1000),
        st.sampled_from("abcdx"),
        st.sampled_from([99.0, 100.0, 101.5]),
        st.integers(1, 4),
    ),
    max_size=12,
)


def frame(rows: list[tuple[int, str, float, int]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "exch_ts_ns": np.array([T0 + at * MS for at, *_ in rows], np.int64),
            "order_id": [name for _, name, *_ in rows],
            "side": np.array([1 if name in "ab" else -1 for _, name, *_ in rows], np.int64),
            "price": np.array([price for *_, price, _ in rows], float),
            "qty": np.array([float(qty) for *_, qty in rows], float),
        }
    ).astype({"order_id": "object"})


def naive(
    ours: list[tuple[int, str, float, int]], theirs: list[tuple[int, str, float, int]], tolerance_ms: float
) -> dict[str, tuple[str, float, float]]:
    """Outcome, time error and price error of each order, one at a time."""
    found = {}
    for name in "abcd":
        a, b = ([row for row in rows if row[1] == name] for rows in (ours, theirs))
        if not a and not b:
            continue
        if not (a and b):
            found[name] = ("extra" if a else "missed", np.nan, np.nan)
            continue
        gap = float(min(row[0] for row in a) - min(row[0] for row in b))
        pa, pb = (sum(r[2] * r[3] for r in rows) / sum(r[3] for r in rows) for rows in (a, b))
        side = 1 if name in "ab" else -1
        outcome = "matched" if abs(gap) <= tolerance_ms else "early" if gap < 0 else "late"
        found[name] = (outcome, gap, side * (pa - pb) / pb * 1e4)
    return found


def compare(ours: list[tuple[int, str, float, int]], theirs: list[tuple[int, str, float, int]]) -> Agreement:
    return compare_fills(frame(ours), frame(theirs), ["a", "b", "c", "d"], tolerance_ms=50.0, span_ns=SPAN)


@settings(max_examples=150, deadline=None)
@given(fills, fills)
def test_agreement_is_the_loop_over_orders(
    ours: list[tuple[int, str, float, int]], theirs: list[tuple[int, str, float, int]]
) -> None:
    ours = [row for row in ours if row[1] != "x"]  # the engine fills only what was sent
    got = compare(ours, theirs)
    expected = naive(ours, theirs, 50.0)
    assert got.orders["order_id"].tolist() == sorted(expected)
    for row in got.orders.itertuples():
        outcome, gap, error = expected[str(row.order_id)]
        assert row.outcome == outcome
        assert row.time_error_ms == pytest.approx(gap, nan_ok=True)
        assert row.price_error_bps == pytest.approx(error, nan_ok=True)
    assert got.unknown == sum(row[1] == "x" for row in theirs)
    assert got.outcomes["orders"].sum() == len(expected)


def test_what_cannot_be_judged_is_counted_and_left_out() -> None:
    got = compare([(10, "a", 100.0, 1)], [(2000, "a", 100.0, 1), (20, "x", 100.0, 1)])
    assert got.orders["outcome"].tolist() == ["extra"]
    assert (got.outside, got.unknown) == (1, 1)


def test_recall_and_precision() -> None:
    row = (10, "a", 100.0, 1)
    got = compare(
        [row, (10, "b", 100.0, 1), (10, "c", 99.0, 1)], [row, (500, "b", 100.0, 1), (9, "d", 99.0, 1)]
    )
    assert got.orders["outcome"].tolist() == ["matched", "early", "extra", "missed"]
    assert (got.recall, got.precision) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    nothing = compare([], [])
    assert np.isnan(nothing.recall) and np.isnan(nothing.precision) and nothing.orders.empty


def test_nanoseconds_are_not_lost() -> None:
    late, early = frame([(0, "a", 100.0, 1)]), frame([(0, "a", 100.0, 1), (0, "b", 100.0, 1)])
    late["exch_ts_ns"] += 3
    got = compare_fills(late, early, ["a", "b"], tolerance_ms=0.0, span_ns=SPAN)
    assert got.orders["time_error_ms"].tolist()[0] == 3e-6


PROVENANCE = Provenance("finishline replay x", Grade.RECORDING, "x.gz")


def test_report_says_how_many_of_each() -> None:
    got = compare([(10, "a", 100.0, 1), (10, "b", 101.5, 1)], [(20, "a", 100.0, 1), (20, "d", 1.0, 2)])
    text = agreement_report(got, PROVENANCE, {"late_cancels": 3})
    assert "3 orders were filled" in text and "The simulation filled 50 % of the orders" in text
    assert "| extra | only the simulation filled it | 1 |" in text
    assert "| late cancels | 3 |" in text
    assert "lie outside" not in text


def test_report_without_any_fill() -> None:
    text = agreement_report(compare([], []), PROVENANCE, {})
    assert "No order was filled" in text and "nan" not in text.lower()


def test_figure_draws_outcomes_and_errors() -> None:
    got = compare([(10, "a", 100.0, 1), (10, "b", 101.5, 1)], [(20, "a", 100.0, 1), (20, "d", 99.0, 2)])
    before = got.orders.copy()
    fig = draw(got.orders, 50.0)
    pd.testing.assert_frame_equal(got.orders, before)
    assert list(fig.data[0].x) == ["matched", "missed", "extra"]
    assert list(fig.data[0].y) == [1, 1, 1]
    assert sum(fig.data[1].y) == 1
    assert "1 matched" in fig.layout.meta["alt"] and "-10 ms" in fig.layout.meta["alt"]
    json.loads(fig.to_json())


def test_figure_of_nothing_and_of_one_world_only() -> None:
    assert "No data" in draw(compare([], []).orders).layout.annotations[0].text
    alone = draw(compare([(10, "a", 100.0, 1)], []).orders, 50.0)
    assert "no time error" in alone.layout.meta["alt"]


def test_figure_escapes_what_it_is_given() -> None:
    orders = compare([(10, "a", 100.0, 1)], []).orders.assign(outcome="<img src=x>")
    assert "<img" not in json.dumps(draw(orders).to_plotly_json(), default=str)
