"""Many accounts in one pass fare as each alone does, whatever their latency, queue model and orders; resumed, too."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.core._jit import JIT_DISABLED
from mmlib.engine.grids import GridsRun, capacity_for, first_event_ns, settings_of
from mmlib.engine.orders import AccountOrders, OrdersReplay, replay_accounts
from tests.naive_grid import NaiveGrid
from tests.naive_venue import NaiveVenue, naive_replay
from tests.test_core_replay_grid import busy_market, whole
from tests.test_core_replay_orders import (
    LOT,
    MODELS,
    START,
    TICK,
    commands,
    events,
    fills_of,
    market,
    order_rows,
    requests,
    rows_of,
    split,
    stream,
)

EXAMPLES = 5 if JIT_DISABLED else 20
MANY = [1, 2, 7, 64] if JIT_DISABLED else [1, 2, 7, 64, 512]
TABLE = np.array(
    [[START, START + 1, START + 9], [START + 60, 0, START + 75], [START + 90, START + 99, START + 99]]
)
GRID_LATENCIES = [(0, 0), (3, 4), (20, 1), (2, 33)]


def account(k: int, asked: list) -> AccountOrders:
    """The k-th of many: models, latencies and partial fills in turns, requests from another place of the list."""
    turned = asked[k % (len(asked) + 1) :] + asked[: k % (len(asked) + 1)]
    table = TABLE if k % 5 == 4 else None
    return AccountOrders(
        order_rows(commands(turned[: 3 + k % 4])),
        MODELS[k % 6],
        1.0 + k % 3,
        k % 7,
        k % 11,
        -0.5,
        7.0,
        table,
        k % 2 == 1,
    )


def chunks_of(drawn: list, size: int) -> list[np.ndarray]:
    feed = events(split(stream(drawn)))
    return [feed[k : k + size] for k in range(0, len(feed), size)]


def outcome(result: tuple) -> tuple:
    fills, counts = result
    return fills.tobytes(), replace(counts, rows=0)


@pytest.mark.parametrize("many", MANY)
@settings(max_examples=EXAMPLES, deadline=None)
@given(drawn=market, asked=requests, size=st.integers(1, 50))
def test_orders_of_many_accounts_fill_as_those_of_each_alone(many, drawn, asked, size) -> None:
    accounts = [account(k, asked) for k in range(many)]
    chunks = chunks_of(drawn, size)
    together = replay_accounts(chunks, accounts, tick_size=TICK, lot_size=LOT)
    for k in range(0, many, max(many // 16, 1)):
        [alone] = replay_accounts(chunks, [accounts[k]], tick_size=TICK, lot_size=LOT)
        assert outcome(together[k]) == outcome(alone)


@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(drawn=market, asked=requests, partial=st.lists(st.booleans(), min_size=5, max_size=5))
def test_many_accounts_fill_as_the_naive_exchange_fills_each(drawn, asked, partial) -> None:
    accounts, expected = [], []
    for k, shares in enumerate(partial):
        accounts.append(replace(account(k, asked), entry_ns=k, order_latency=None, partial_fills=shares))
        turned = asked[k % (len(asked) + 1) :] + asked[: k % (len(asked) + 1)]
        venue = NaiveVenue(MODELS[k % 6], 1.0 + k % 3, LOT, lambda ns, k=k: k % 11, shares)
        sent = commands(turned[: 3 + k % 4])
        expected.append(fills_of(naive_replay(venue, stream(drawn), sent, lambda ns, k=k: k)))
    feed = events(split(stream(drawn)))
    end = feed[-1:].copy()  # long after everything, so that every request is served
    end["exch_ts_ns"] = end["local_ts_ns"] = START + 10_000
    end["flags"], end["qty"], end["price_ticks"] = 0xC2, 0.0, 0
    found = replay_accounts([feed, end], accounts, tick_size=TICK, lot_size=LOT)
    assert [rows_of(fills) for fills, _ in found] == expected


@settings(max_examples=EXAMPLES, deadline=None)
@given(drawn=market, asked=requests, size=st.integers(1, 50), stops=st.sets(st.integers(0, 60), max_size=5))
def test_orders_go_on_from_a_checkpoint_anywhere(drawn, asked, size, stops) -> None:
    accounts = [account(k, asked) for k in range(6)]
    chunks = chunks_of(drawn, size)
    expected = replay_accounts(chunks, accounts, tick_size=TICK, lot_size=LOT)
    run = OrdersReplay(accounts, tick_size=TICK, lot_size=LOT)
    end_ns = int(chunks[-1]["local_ts_ns"][chunks[-1]["flags"] & 0x40 != 0].max(initial=0))
    end_ns = max([end_ns, *(int(c["local_ts_ns"][c["flags"] & 0x40 != 0].max(initial=0)) for c in chunks)])
    for k, chunk in enumerate(chunks):
        if k in stops:
            run = pickle.loads(pickle.dumps(run))
        run.feed(chunk, k + 1 == len(chunks), end_ns)
    assert [outcome(one) for one in run.results()] == [outcome(one) for one in expected]


def grid_values(k: int) -> dict:
    """The k-th of many settings."""
    return {
        "levels": 1 + k % 4,
        "interval_ticks": 1 + k % 3,
        "half_spread_ticks": k % 5,
        "skew": [0.0, 1.0, 0.3][k % 3],
        "order_qty": [0.5, 2.0, 4.0, 0.5, 7.0][k % 5],
        "max_position": [0.5, 2.0, 50.0][k % 3],
    }


def grids_run(
    feed: np.ndarray, which: range | list[int], chunk: int = 1000, stop: int = 0
) -> list[list[tuple]]:
    """Fills of each of these settings; ``stop``: chunks between two checkpoints, 0 for none."""
    latency = [GRID_LATENCIES[k % 4] for k in which]
    run = GridsRun(
        settings_of([grid_values(k) for k in which]),
        tick_size=1.0,
        lot_size=LOT,
        start_ns=first_event_ns(feed),
        capacity_ticks=capacity_for(feed),
        queue_model=[MODELS[k % 6] for k in which],
        queue_exponent=[1.0 + k % 3 for k in which],
        entry_ns=[entry for entry, _ in latency],
        response_ns=[response for _, response in latency],
        partial_fills=[k % 2 == 1 for k in which],
        step_ns=7,
    )
    out: list[list[tuple]] = [[] for _ in which]

    def note(seen: np.ndarray) -> None:
        for s in seen:
            row = s["exch_ns"], s["seen_ns"], s["side"], s["price_ticks"], s["qty"]
            out[s["account"]].append(tuple(value.item() for value in row))

    start, at, done, count = 0, (0, 0), False, 0
    while not done:
        part = feed[start : start + chunk]
        i, j, done = run.advance(part, at, start + chunk >= len(feed), note)
        used = min(i, j)
        chunk = 2 * chunk if used == 0 else chunk
        start, at, count = start + used, (i - used, j - used), count + 1
        if stop and count % stop == 0:
            run = pickle.loads(pickle.dumps(run))
    return out


@pytest.mark.parametrize("many", MANY)
def test_grids_of_many_accounts_fill_as_each_alone(many) -> None:
    feed = events(whole(busy_market(300, many)))
    together = grids_run(feed, range(many))
    assert any(together)
    for k in range(0, many, max(many // 16, 1)):
        assert together[k] == grids_run(feed, [k])[0]


def test_grids_of_many_accounts_fill_as_the_naive_loop_fills_each() -> None:
    rows = whole(busy_market(200, 11))
    together = grids_run(events(rows), range(12), chunk=50)
    for k in range(12):
        entry, response = GRID_LATENCIES[k % 4]
        venue = NaiveVenue(
            MODELS[k % 6], 1.0 + k % 3, LOT, lambda ns, response=response: response, k % 2 == 1
        )
        shape = grid_values(k)
        naive = NaiveGrid(venue, rows, entry, 7, shape, shape["order_qty"], shape["max_position"])
        assert sorted(together[k]) == sorted(naive.run())


@pytest.mark.parametrize("stop", [1, 3])
def test_grids_go_on_from_a_checkpoint_anywhere(stop) -> None:
    feed = events(whole(busy_market(300, 5)))
    assert grids_run(feed, range(7), chunk=11, stop=stop) == grids_run(feed, range(7))
