"""A user's own orders replayed by the kernels against a naive exchange, on hostile random streams."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib._io import UserError
from mmlib.core._jit import JIT_DISABLED
from mmlib.dtypes import (
    EVENT,
    FLAG_BUY,
    FLAG_EXCH,
    FLAG_LOCAL,
    FLAG_SELL,
    KIND_CLEAR,
    KIND_DEPTH,
    KIND_SNAPSHOT,
    KIND_TRADE,
    ORDER_ROW,
    Action,
    OrderKind,
    TimeInForce,
)
from mmlib.engine.orders import replay_orders
from tests.naive_venue import NaiveVenue, Own, Row, Told, naive_replay

MODELS = ["risk", "log", "log2", "power", "power2", "power3"]
KINDS = {"depth": KIND_DEPTH, "trade": KIND_TRADE, "clear": KIND_CLEAR}
START, LOT, TICK = 1000, 0.5, 0.25
EXAMPLES = 15 if JIT_DISABLED else 60

market = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1, 1, 2, 3, 60]),  # equal timestamps, and gaps
        st.sampled_from(["depth"] * 9 + ["trade"] * 4 + ["clear"]),
        st.sampled_from([1, -1]),
        st.integers(10, 29),  # both sides over the same ticks: crossed books
        st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.0, 7.0]),
        st.integers(0, 40),  # how late it arrives: rows overtake one another on the local clock
    ),
    min_size=1,
    max_size=120,
)
requests = st.lists(
    st.tuples(
        st.integers(0, 160),
        st.sampled_from([1, -1]),
        st.integers(8, 31),
        st.sampled_from(["GTC", "GTC", "GTX", "GTX", "IOC", "FOK", "MARKET"]),
        st.sampled_from([0.5, 1.0, 2.5, 6.0]),
        st.integers(-5, 60),  # cancelled after; before it is sent for a negative number
        st.one_of(  # replaced after, at another price, by another quantity
            st.none(), st.tuples(st.integers(0, 60), st.integers(8, 31), st.sampled_from([0.5, 1.0, 6.0]))
        ),
    ),
    max_size=14,
)


def stream(drawn: list) -> list[Row]:
    now, rows = START, []
    for step, kind, side, tick, qty, late in drawn:
        now += step
        both = kind == "clear" and qty == 0.0
        if kind == "trade" and qty == 0.0:
            qty = 1.0
        rows.append(Row(now, now + late, kind, 0 if both else side, tick, qty))
    return rows


def events(rows: list[Row], seed: int = 0) -> np.ndarray:
    out = np.zeros(len(rows), EVENT)
    for k, (event, row) in enumerate(zip(out, rows, strict=True)):
        kind = KIND_SNAPSHOT if row.kind == "depth" and (k + seed) % 5 == 0 else KINDS[row.kind]
        side = {1: FLAG_BUY, -1: FLAG_SELL, 0: 0}[row.side]
        event["flags"] = kind | side | FLAG_EXCH * row.at_exchange | FLAG_LOCAL * row.at_local
        event["exch_ts_ns"], event["local_ts_ns"] = row.exch_ns, row.local_ns
        event["price_ticks"], event["qty"] = row.tick, row.qty
    return out


def split(rows: list[Row]) -> list[Row]:
    """Rows in an order that serves both clocks: what is overtaken stands twice."""
    latest, out = -1, []
    for row in rows:
        if row.local_ns >= latest:
            latest = row.local_ns
            out.append(row)
        else:
            out.append(Row(**{**row.__dict__, "at_local": False}))
    again = sorted((r for r in out if not r.at_local), key=lambda r: r.local_ns)
    for row in again:
        place = next((k for k, r in enumerate(out) if r.at_local and r.local_ns > row.local_ns), len(out))
        out.insert(place, Row(**{**row.__dict__, "at_local": True, "at_exchange": False}))
    return out


def commands(drawn: list) -> list:
    out = []
    for i, (delay, side, tick, tif, qty, hold, *change) in enumerate(drawn, start=1):
        order = Own(100 - i, side, tick, qty, tif)
        out.append((START + delay, "new", order))
        if hold < 40:
            out.append((START + delay + hold, "cancel", order))
        for after, new_tick, new_qty in filter(None, change):
            out.append((START + delay + after, ("replace", new_tick, new_qty), order))
    return sorted(out, key=lambda c: c[0])


def order_rows(sent: list) -> np.ndarray:
    out = np.zeros(len(sent), ORDER_ROW)
    for row, (ns, what, o) in zip(out, sent, strict=True):
        row["ts_ns"], row["order_id"], row["side"], row["qty"] = ns, o.id, o.side, o.qty
        row["action"] = {"new": Action.NEW, "cancel": Action.CANCEL}.get(what, Action.REPLACE)
        row["price_ticks"] = o.tick
        if isinstance(what, tuple):
            row["price_ticks"], row["qty"] = what[1:]
        row["kind"] = OrderKind.MARKET if o.tif == "MARKET" else OrderKind.LIMIT
        row["tif"] = TimeInForce.GTC if o.tif == "MARKET" else TimeInForce[o.tif]
    return out


def ours(rows: list[Row], sent: list, model: str, chunk: int = 1000, **changes) -> tuple[np.ndarray, object]:
    feed = events(split(rows), chunk)
    end = np.zeros(1, EVENT)  # long after everything, so that every request is served
    end["exch_ts_ns"] = end["local_ts_ns"] = START + 10_000
    end["flags"] = KIND_TRADE | FLAG_EXCH | FLAG_LOCAL
    feed = np.concatenate([feed, end])
    chunks = [feed[k : k + chunk] for k in range(0, len(feed), chunk)]
    options = {"tick_size": TICK, "lot_size": LOT, "queue_model": model, "queue_exponent": 3.0, "entry_ns": 2,
               "response_ns": 3, "maker_bps": -0.5, "taker_bps": 7.0} | changes  # fmt: skip
    return replay_orders(chunks, order_rows(sent), **options)


def fills_of(told: list[Told]) -> list[tuple]:
    return sorted(
        (t.exch_ns, t.at_ns, t.id, t.tick * TICK, t.qty, 0 if t.maker else 1)
        for t in told
        if t.what == "fill"
    )


def rows_of(fills: np.ndarray) -> list[tuple]:
    names = ["exch_ts_ns", "local_ts_ns", "order_id", "price", "qty", "liquidity"]
    return sorted(tuple(f[n].item() for n in names) for f in fills)


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(drawn=market, asked=requests, chunk=st.integers(1, 50))
def test_fills_equal_the_naive_exchange(model, partial, drawn, asked, chunk) -> None:
    rows, sent = stream(drawn), commands(asked)
    venue = NaiveVenue(model, 3.0, LOT, lambda ns: 3, partial)
    told = naive_replay(venue, rows, commands(asked), lambda ns: 2)
    fills, counts = ours(rows, sent, model, chunk, partial_fills=partial)
    assert rows_of(fills) == fills_of(told)
    named = defaultdict(int)
    for t in told:
        named[t.what] += 1
    assert (counts.accepted, counts.expired, counts.canceled) == (
        named["ack"],
        named["expired"],
        named["canceled"],
    )
    assert (counts.late_cancels, counts.resting) == (named["rejected"], len(venue.resting))


@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(drawn=market, asked=requests, model=st.sampled_from(MODELS))
def test_partial_fills_conserve_quantity(drawn, asked, model) -> None:
    """An order gives away no more than it has, a trade no more than it brought, a level no more than it holds."""
    rows, sent = stream(drawn), commands([one[:6] for one in asked])
    fills, _ = ours(rows, sent, model, partial_fills=True)
    wanted = {o.id: o.qty for _, what, o in sent if what == "new"}
    limits = {o.id: (o.side, o.tick * TICK) for _, what, o in sent if what == "new" and o.tif != "MARKET"}
    got = defaultdict(float)
    for f in fills:
        assert f["qty"] > 0.0
        got[int(f["order_id"])] += float(f["qty"])
        if int(f["order_id"]) in limits:
            side, limit = limits[int(f["order_id"])]
            assert side * (limit - f["price"]) >= 0.0
    assert all(got[i] <= wanted[i] + 1e-9 for i in got)
    traded = defaultdict(float)
    quoted = set()
    for row in rows:
        if row.kind == "trade":
            traded[row.exch_ns, row.tick * TICK] += row.qty
        elif row.kind == "depth":
            quoted.add(row.exch_ns)
    made = defaultdict(float)
    crossed = {(r.exch_ns, r.tick * TICK) for r in rows if r.kind == "trade"}
    for f in fills[fills["liquidity"] == 0]:
        ns, price = int(f["exch_ts_ns"]), float(f["price"])
        through = any(t == ns and p != price for t, p in crossed) or ns in quoted
        if not through:
            made[ns, price] += float(f["qty"])
    assert all(made[key] <= traded[key] + 1e-9 for key in made)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    drawn=market,
    asked=requests,
    steps=st.lists(
        st.tuples(st.integers(1, 40), st.integers(0, 9), st.integers(0, 9), st.booleans()),
        min_size=1,
        max_size=6,
    ),
)
def test_latency_is_interpolated_and_can_refuse(drawn, asked, steps) -> None:
    table, now = [], START - 20
    for step, there, back, refused in steps:
        now += step + 20  # answers of one row come before requests of the next
        table.append((now, 0 if refused else now + there, now + there + back))
    if any(refused for *_, refused in steps):
        table = [row for row in table if row[1] > 0] or [(START, START + 1, START + 2)]

    def between(x, column, start, end):
        before = [r for r in table if r[column] <= x]
        after = [r for r in table if r[column] > x]
        if not before or not after:
            r = (after or before)[0 if after else -1]
            return r[end] - r[start]
        a, b = before[-1], after[0]
        slope = ((b[end] - b[start]) - (a[end] - a[start])) / (b[column] - a[column])
        return int(slope * (x - a[column])) + a[end] - a[start]

    rows, sent = stream(drawn), commands(asked)
    venue = NaiveVenue("log", 3.0, LOT, lambda ns: between(ns, 1, 1, 2), False)
    told = naive_replay(venue, rows, commands(asked), lambda ns: between(ns, 0, 0, 1))
    fills, _ = ours(rows, sent, "log", order_latency=np.array(table, np.int64))
    assert rows_of(fills) == fills_of(told)


def test_a_refused_request_never_arrives() -> None:
    rows = stream([(0, "depth", -1, 20, 5.0, 0), (1, "depth", -1, 20, 4.0, 0)])
    sent = commands([(5, 1, 25, "IOC", 1.0, 99)])
    table = np.array([[START, 0, START + 4], [START + 90, START + 95, START + 99]], np.int64)
    fills, counts = ours(rows, sent, "risk", order_latency=table)
    assert len(fills) == 0 and counts.refused == 1


def test_fee_queue_and_prices_beyond_the_first_chunk() -> None:
    rows = stream(
        [
            (0, "depth", 1, 20, 3.0, 0),
            (50, "depth", -1, 900_000, 1.0, 0),
            (1, "depth", 1, 20, 2.0, 0),
            (5, "trade", -1, 20, 9.0, 0),
        ]
    )
    fills, counts = ours(
        rows, commands([(10, 1, 20, "GTX", 1.0, 99), (20, 1, 21, "GTC", 1.0, 99)]), "risk", 1
    )
    assert [f["queue_ahead_at_entry"] for f in fills] == [0.0, 3.0]
    assert fills["fee"] == pytest.approx(-0.5e-4 * fills["price"] * fills["qty"])
    assert counts.out_of_range == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"side": 0}, "side"),
        ({"qty": 0.0}, "lot size"),
        ({"qty": np.nan}, "lot size"),
        ({"price_ticks": -3}, "price"),
        ({"tif": 9}, "time in force"),
        ({"order_id": 98}, "twice"),
    ],
)
def test_requests_that_cannot_be_sent_are_refused(change, words) -> None:
    orders = order_rows(commands([(0, 1, 20, "GTC", 1.0, 99), (1, 1, 20, "GTC", 1.0, 99)]))
    for name, value in change.items():
        orders[0][name] = value
    with pytest.raises(UserError, match=words):
        replay_orders([], orders, tick_size=TICK, lot_size=LOT, queue_model="log", queue_exponent=1.0, entry_ns=0,
                      response_ns=0, maker_bps=0.0, taker_bps=0.0)  # fmt: skip


def test_a_cancel_of_an_unknown_order_is_refused() -> None:
    orders = order_rows(commands([(0, 1, 20, "GTC", 1.0, 3)]))
    orders["order_id"][1] = 7
    with pytest.raises(UserError, match="order 7"):
        replay_orders([], orders, tick_size=TICK, lot_size=LOT, queue_model="log", queue_exponent=1.0, entry_ns=0,
                      response_ns=0, maker_bps=0.0, taker_bps=0.0)  # fmt: skip


@pytest.mark.parametrize(("traded", "filled"), [(1.0, 0), (1.2, 0), (1.25, 1), (1.5, 1), (2.0, 1)])
@pytest.mark.parametrize("model", MODELS)
def test_half_a_lot_past_the_queue_fills(model, traded, filled) -> None:
    rows = stream(
        [(0, "depth", 1, 20, 1.0, 0), (0, "depth", -1, 22, 1.0, 0), (10, "trade", -1, 20, traded, 0)]
    )
    fills, _ = ours(rows, commands([(2, 1, 20, "GTC", 1.0, 99)]), model)
    assert len(fills) == filled
