"""The jitted book, queue models and exchange against brute-force references, on hostile random streams."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.core import book as core_book
from mmlib.core import emit, replay, state
from mmlib.core.queue import QUEUE_MODELS
from mmlib.dtypes import (
    EVENT,
    FILL,
    FLAG_BUY,
    FLAG_EXCH,
    FLAG_LOCAL,
    FLAG_SELL,
    KIND_CLEAR,
    KIND_DEPTH,
    KIND_TRADE,
)
from tests.naive_book import NaiveBook
from tests.naive_exchange import NaiveExchange, Order

TICKS = 40
KINDS = {"depth": KIND_DEPTH, "trade": KIND_TRADE, "clear": KIND_CLEAR}
SIDES = {1: FLAG_BUY, -1: FLAG_SELL, 0: 0}

rows_strategy = st.lists(
    st.tuples(
        st.integers(0, 3),  # time step, zero included: equal timestamps
        st.sampled_from(["depth"] * 8 + ["trade"] * 4 + ["clear"]),
        st.sampled_from([1, -1]),
        st.integers(10, 29),  # both sides over the same ticks: crossed books
        st.sampled_from([0.0, 0.0, 1.0, 2.0, 0.5, 7.0]),
    ),
    min_size=1,
    max_size=120,
)
commands_strategy = st.lists(
    st.tuples(
        st.integers(0, 150), st.sampled_from([1, -1]), st.integers(8, 31), st.booleans(), st.integers(0, 60)
    ),
    max_size=10,
)


@settings(max_examples=150, deadline=None)
@given(rows=rows_strategy, both=st.booleans())
def test_book_equals_naive(rows, both) -> None:
    ours, naive = core_book.empty_book(TICKS), NaiveBook()
    for step, kind, side, tick, qty in rows:
        if kind == "clear":
            if both and step == 0:
                core_book.clear_all(ours)
                naive.clear_all()
            else:
                (core_book.clear_bids if side > 0 else core_book.clear_asks)(ours, tick)
                (naive.clear_bids if side > 0 else naive.clear_asks)(tick)
        elif side > 0:
            assert core_book.set_bid(ours, tick, qty) == naive.set_bid(tick, qty)
        else:
            assert core_book.set_ask(ours, tick, qty) == naive.set_ask(tick, qty)
        assert (ours.top[core_book.BEST_BID], ours.top[core_book.BEST_ASK]) == (
            naive.best_bid,
            naive.best_ask,
        )
    assert {t: q for t, q in enumerate(ours.bid_qty) if q} == naive.bids
    assert {t: q for t, q in enumerate(ours.ask_qty) if q} == naive.asks


def one_arm(model: str, exponent: float, entry: int, response: int) -> tuple[state.Market, state.Arms]:
    params = np.zeros(1, state.PARAMS)
    params["tick_size"], params["lot_size"] = 1.0, 0.5
    params["queue_model"], params["queue_exponent"] = QUEUE_MODELS[model], exponent
    params["entry_ns"], params["response_ns"], params["taker_window_s"] = entry, response, 3600.0
    return state.new_market(TICKS, np.array([1.0]), 0), state.new_arms(params)


def events_of(rows: list, latency: int) -> np.ndarray:
    events = np.zeros(len(rows), EVENT)
    for event, (exch_ns, _, kind, side, tick, qty) in zip(events, rows, strict=True):
        event["exch_ts_ns"], event["local_ts_ns"] = exch_ns, exch_ns + latency
        event["price_ticks"], event["qty"] = tick, qty
        event["flags"] = KINDS[kind] | SIDES[side] | FLAG_EXCH | FLAG_LOCAL
    return events


def drive(
    market: state.Market, arms: state.Arms, events: np.ndarray, commands: list, chunk: int
) -> np.ndarray:
    """Feed events in chunks of ``chunk`` rows and send the commands at their local times."""
    fills = np.zeros(4096, FILL)
    control = market.control[0]
    pos = 0
    held = events[:0]
    todo = [*commands, (2**61, None, None)]
    for at_ns, what, arg in todo:
        while True:
            final = pos >= len(events)
            code = replay.advance(market, arms, held, final, at_ns, at_ns, fills)
            if code != replay.NEED_EVENTS:
                break
            used = int(min(control["exch_cursor"], control["local_cursor"]))
            held = np.concatenate([held[used:], events[pos : pos + chunk]])
            pos += chunk
            control["exch_cursor"] -= used
            control["local_cursor"] -= used
        if what == "new":
            tif = state.IOC if arg.ioc else state.GTX
            arms.state[0]["next_order_id"] = arg.id
            emit._submit(arms, 0, at_ns, arg.side, arg.tick, arg.qty, tif, 0.0)
        elif what == "cancel":
            for slot in range(state.SLOTS):
                order = arms.orders[0, slot]
                if order["order_id"] == arg and order["local"] != state.FREE:
                    emit._send(arms, 0, at_ns, arg, slot, state.CANCEL)
    return fills[: control["n_fills"]]


@pytest.mark.parametrize("model", ["risk", "log", "log2", "power", "power2", "power3"])
@settings(max_examples=60, deadline=None)
@given(rows=rows_strategy, orders=commands_strategy, chunk=st.integers(1, 50), latency=st.integers(0, 5))
def test_fills_equal_naive_exchange(model, rows, orders, chunk, latency) -> None:
    now = 1000
    stream = []
    for step, kind, side, tick, qty in rows:
        now += step
        stream.append((now, now + latency, kind, side, tick, qty))
    commands = []
    for i, (delay, side, tick, ioc, hold) in enumerate(orders[:8], start=1):
        order = Order(i, side, tick, 1.0, ioc)
        commands.append((1000 + delay, "new", order))
        if hold < 30:
            commands.append((1000 + delay + hold, "cancel", i))
    commands.sort(key=lambda c: c[0])
    entry, response = 2, 3
    expected = NaiveExchange(model, 3.0, 0.5, entry, response).run(stream, commands)
    commands = [
        (ns, what, Order(a.id, a.side, a.tick, 1.0, a.ioc) if isinstance(a, Order) else a)
        for ns, what, a in commands
    ]
    market, arms = one_arm(model, 3.0, entry, response)
    fills = drive(market, arms, events_of(stream, latency), commands, chunk)
    got = [(int(f["ts_ns"]), int(f["order_id"]), round(f["price"])) for f in fills]
    assert sorted(got) == sorted(expected)
    signed = sum(float(f["side"] * f["qty"]) for f in fills)
    assert arms.state[0]["position"] == pytest.approx(signed), "every fill reaches the local position"


def test_chunking_does_not_change_fills() -> None:
    rng = np.random.default_rng(5)
    rows = [
        (1000 + i // 2, 0, "trade" if rng.random() < 0.3 else "depth", int(rng.choice([1, -1])), int(rng.integers(10, 30)),
         float(rng.choice([0.0, 1.0, 3.0])))
        for i in range(400)
    ]  # fmt: skip
    commands = [
        (1000 + 10 * i, "new", Order(i, 1 if i % 2 else -1, 18 + i % 5, 1.0, False)) for i in range(1, 8)
    ]
    results = []
    for chunk in (1, 7, 400):
        market, arms = one_arm("log", 3.0, 2, 3)
        results.append(drive(market, arms, events_of(rows, 4), commands, chunk).tobytes())
    assert results[0] == results[1] == results[2]
    assert len(results[0]) > 0


@pytest.mark.parametrize(
    ("side", "limit", "moved_to", "filled_at"),
    [(1, 20, 25, None), (1, 20, 20, 20), (1, 20, 18, 18), (-1, 20, 15, None), (-1, 20, 20, 20), (-1, 20, 22, 22)],
)  # fmt: skip
def test_an_ioc_order_fills_within_its_limit_or_expires(side, limit, moved_to, filled_at) -> None:
    """The rule of every exchange: never worse than the limit; the market moves while the order is under way."""
    rows = [
        (1000, 1000, "depth", -side, limit, 5.0),
        (1001, 1001, "depth", -side, limit, 0.0),
        (1001, 1001, "depth", -side, moved_to, 5.0),
        (1050, 1050, "depth", side, 5 if side > 0 else 35, 1.0),
    ]
    market, arms = one_arm("risk", 1.0, 2, 3)
    fills = drive(market, arms, events_of(rows, 0), [(1000, "new", Order(1, side, limit, 1.0, True))], 50)
    assert [round(fill["price"]) for fill in fills] == ([] if filled_at is None else [filled_at])
    assert (arms.orders[0]["local"] == state.FREE).all(), "an expired order frees its slot"
