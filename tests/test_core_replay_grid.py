"""The grid strategy in the kernels against a loop that takes the earliest of four sources at each turn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.core._jit import JIT_DISABLED
from mmlib.engine.bench import PRESETS, run_grid
from mmlib.exchange.latency import entry_latency_ns, response_latency_ns
from mmlib.exchange.venue import new_accounts
from tests.naive_grid import NaiveGrid
from tests.naive_venue import NaiveVenue, Row
from tests.test_core_replay_orders import LOT, MODELS, events, market, split, stream

EXAMPLES = 15 if JIT_DISABLED else 80
SHAPES = [
    {"levels": 3, "interval_ticks": 1, "half_spread_ticks": 0, "skew": 0.0},
    {"levels": 2, "interval_ticks": 3, "half_spread_ticks": 1, "skew": 1.0},
]


def whole(drawn: list) -> list[Row]:
    """Rows that end with a clear: a view that stays crossed with the exchange's book would be quoted on for ever."""
    rows = split(stream(drawn))
    end = max(max(r.exch_ns, r.local_ns) for r in rows) + 1
    return [*rows, Row(end, end, "clear", 0, 0, 0.0)]


def run(
    feed: np.ndarray, shape: dict, model: str, entry: int, response: int, step: int, chunk: int, most: float
) -> list:
    seen, _ = run_grid(
        feed,
        shape,
        tick_size=1.0,
        lot_size=LOT,
        order_qty=0.5,
        max_position=most,
        queue_model=model,
        queue_exponent=2.0,
        entry_ns=entry,
        response_ns=response,
        step_ns=step,
        chunk_rows=chunk,
    )
    return sorted(
        (s["exch_ns"].item(), s["seen_ns"].item(), int(s["side"]), int(s["price_ticks"]), float(s["qty"]))
        for s in seen
    )


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=EXAMPLES, deadline=None)
@given(
    drawn=market,
    model=st.sampled_from(MODELS),
    entry=st.integers(0, 12),
    response=st.integers(0, 12),
    step=st.integers(1, 9),
    chunk=st.integers(1, 60),
    most=st.sampled_from([0.5, 2.0, 50.0]),
)
def test_fills_equal_the_four_source_loop(shape, drawn, model, entry, response, step, chunk, most) -> None:
    rows = whole(drawn)
    venue = NaiveVenue(model, 2.0, LOT, lambda ns: response, False)
    expected = NaiveGrid(venue, rows, entry, step, shape, 0.5, most).run()
    assert run(events(rows), shape, model, entry, response, step, chunk, most) == sorted(expected)


def busy_market(n: int, seed: int) -> list:
    """A two-sided market that moves and trades, so that there are fills."""
    rng = np.random.default_rng(seed)
    mid, drawn = 60, [(0, "depth", 1, 59, 2.0, 0), (0, "depth", -1, 61, 2.0, 0)]
    for _ in range(n):
        mid = int(np.clip(mid + rng.choice([-1, 0, 0, 0, 1]), 20, 100))
        side = int(rng.choice([1, -1]))
        kind = "trade" if rng.random() < 0.3 else "depth"
        tick = mid + side if kind == "trade" else mid - side * int(rng.integers(1, 6))
        drawn.append(
            (
                int(rng.integers(0, 3)),
                kind,
                side,
                tick,
                float(rng.choice([0.0, 1.0, 2.0, 3.0])),
                int(rng.integers(0, 5)),
            )
        )
    return drawn


@pytest.mark.parametrize("shape", [*SHAPES, *PRESETS.values()])
def test_a_busy_market_fills_alike(shape) -> None:
    rows = whole(busy_market(300 if JIT_DISABLED else 1500, 3))
    venue = NaiveVenue("log", 2.0, LOT, lambda ns: 4, False)
    shape = {name: int(value) if name != "skew" else value for name, value in shape.items()}
    expected = sorted(NaiveGrid(venue, rows, 3, 7, shape, 0.5, 3.0).run())
    found = run(events(rows), shape, "log", 3, 4, 7, 100, 3.0)
    assert found == expected
    assert len(found) > 10 or shape["levels"] == 20


def test_chunks_do_not_matter() -> None:
    feed = events(whole(busy_market(300, 8)))
    runs = [run(feed, SHAPES[0], "power3", 3, 4, 7, chunk, 3.0) for chunk in (1, 13, 10_000)]
    assert runs[0] == runs[1] == runs[2]
    assert runs[0]


def test_interpolation_matches_hand_computed_values() -> None:
    table = np.array([[100, 110, 130], [200, 230, 240], [300, 0, 350], [400, 410, 430]], np.int64)
    accounts, tables = new_accounts(1, queue_model=0, queue_exponent=1.0, order_latency=table)
    asked = [50, 100, 150, 199, 200, 250, 399, 400, 900]
    #                before: first row's; 10..30 over 100; refused between rows with 0: 40..50 and 50..30
    assert [int(entry_latency_ns(accounts[0], tables, np.int64(x))) for x in asked] == [
        10,
        10,
        20,
        29,
        -40,
        -45,
        -31,
        10,
        10,
    ]
    accounts, tables = new_accounts(1, queue_model=0, queue_exponent=1.0, entry_ns=5, response_ns=6)
    assert int(response_latency_ns(accounts[0], tables, np.int64(9))) == 6


def test_a_clock_that_begins_beyond_the_first_chunk_sets_the_steps() -> None:
    """The steps count from the first event on either clock, which need not be among the first few rows."""
    drawn = [(0, "depth", 1, 10, 0.0, 4)] + [(0, "depth", 1, 10, 0.0, 1)] * 11
    drawn += [(2, "depth", 1, 10, 0.5, 0), (0, "depth", -1, 11, 0.5, 0), (1, "depth", 1, 10, 0.0, 0)]
    drawn += [(0, "depth", 1, 10, 0.0, 0)] * 2 + [(0, "depth", 1, 11, 0.5, 0)]
    rows = whole(drawn)
    shape = {"levels": 3, "interval_ticks": 1, "half_spread_ticks": 0, "skew": 0.0}
    venue = NaiveVenue("risk", 2.0, LOT, lambda ns: 0, False)
    expected = NaiveGrid(venue, rows, 0, 2, shape, 0.5, 0.5).run()
    assert expected
    assert run(events(rows), shape, "risk", 0, 0, 2, 1, 0.5) == sorted(expected)
