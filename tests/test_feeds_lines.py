"""Records as JSON Lines: every drawn record against a dictionary a row written with ``json``."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.core import jsonrows
from mmlib.dtypes import FILL, STAGES, TICK
from mmlib.feeds.lines import BLOCK, LineMaker
from mmlib.feeds.schema import LIQUIDITY, SIDE_TEXT, fields
from tests.make_feeds import fills, ticks

SYMBOLS, ARMS = ("BTCUSDT", 'ÉTÉ "quoted" \\ \n'), ("A", "B")
REALS = (
    st.floats(allow_nan=True, allow_infinity=True)
    | st.floats(-1e5, 1e5)
    | st.sampled_from([-0.0, 1e308, 5e-324])
)
TIMES = st.integers(-(2**63), 2**63 - 1) | st.integers(946_684_800_000_000_000, 9_214_646_399_999_999_999)


def drawn(data: st.DataObject, dtype: np.dtype, n: int) -> np.ndarray:
    """Records whose fields are anything that the type holds."""
    rows = np.zeros(n, dtype)
    for name in dtype.names:
        if name == "_pad":
            continue
        kind, size = dtype[name].kind, dtype[name].itemsize
        if name in ("ts_ns", "scheduled_ns"):
            values = TIMES
        elif kind == "f":
            values = REALS
        elif name == "side":
            values = st.sampled_from([1, -1])
        elif name in ("arm", "liquidity"):
            values = st.integers(0, 1)
        else:
            values = st.integers(
                0 if kind == "u" else -(2 ** (8 * size - 1)), 2 ** (8 * size - (kind == "i")) - 1
            )
        rows[name] = data.draw(st.lists(values, min_size=n, max_size=n), label=name)
    return rows


def number(x: float, *, rounded: bool = False) -> float | None:
    """A number as a feed holds it."""
    if not math.isfinite(x):
        return None
    return float(np.round(x, 6)) if rounded and abs(x) < 9e8 else x


def moment(ts_ns: int) -> str:
    """RFC 3339 text by way of the calendar of the standard library."""
    seconds, ns = divmod(ts_ns, 1_000_000_000)
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{ns:09}Z"


def naive_tick(row: np.void, symbol: str) -> dict:
    return {
        "schema": 2, "ts": moment(int(row["ts_ns"])), "symbol": symbol, "arm": ARMS[row["arm"]],
        "scheduled_ts": moment(int(row["scheduled_ns"])),
        **{f"{s}_ms": number(float(row[f"{s}_ms"]), rounded=True) for s in (*STAGES, "tick_total", "modelled")},
        "cache_hit": bool(row["cache_hit"]), "cache_age_ms": number(float(row["cache_age_ms"]), rounded=True),
        "used_stale": bool(row["used_stale"]), "deadline_miss": bool(row["deadline_miss"]),
        "guard_level": int(row["guard_level"]), "breaker_open": bool(row["breaker_open"]),
        **{name: number(float(row[name])) for name in ("rss_mb", "mid", "spread_bps", "inventory")},
        "errors": int(row["errors"]),
    }  # fmt: skip


def naive_fill(row: np.void, symbol: str) -> dict:
    return {
        "schema": 2, "ts": moment(int(row["ts_ns"])), "symbol": symbol, "arm": ARMS[row["arm"]],
        "side": SIDE_TEXT[int(row["side"])], "price": number(float(row["price"])), "qty": number(float(row["qty"])),
        "liquidity": LIQUIDITY[row["liquidity"]],
        **{name: number(float(row[name]))
           for name in ("fee", "quote_price", "mid_at_quote", "mid_at_fill", "queue_ahead_qty")},
        "latency_ms": number(float(row["latency_ms"]), rounded=True),
        "order_id": int(row["order_id"]), "fill_id": int(row["fill_id"]),
    }  # fmt: skip


def parsed(view: memoryview) -> list[dict]:
    text = bytes(view).decode("utf-8")
    assert text == "" or text.endswith("}\n")
    return [json.loads(line) for line in text.splitlines()]


@settings(max_examples=60, deadline=None)
@given(
    st.data(), st.sampled_from([("ticks", TICK, naive_tick), ("fills", FILL, naive_fill)]), st.integers(0, 4)
)
def test_every_record_reads_back_as_it_is(data: st.DataObject, feed, n: int) -> None:
    kind, dtype, naive = feed
    rows = drawn(data, dtype, n)
    which = np.arange(n) % 2
    got = parsed(LineMaker(kind, SYMBOLS, ARMS, "simulated").lines(rows, which))
    expected = [naive(row, SYMBOLS[k]) for row, k in zip(rows, which, strict=True)]
    assert got == [line | {"source": "simulated"} for line in expected]
    for line in got:
        assert tuple(line) == fields(kind)
    assert parsed(LineMaker(kind, SYMBOLS, ARMS).lines(rows, which)) == expected


def test_every_date_of_the_years_the_feeds_allow_is_the_calendars() -> None:
    days = np.arange(np.datetime64("1999-12-30"), np.datetime64("2262-01-01"), dtype="M8[D]")
    rows = np.zeros(len(days), FILL)
    rows["ts_ns"] = (
        days.astype("M8[ns]").astype("i8") + np.arange(len(days)) * 7_919_000_001 % 86_400_000_000_000
    )
    rows["side"] = 1
    expected = np.datetime_as_string(rows["ts_ns"].view("M8[ns]"), unit="ns")
    text = bytes(LineMaker("fills", SYMBOLS, ARMS).lines(rows)).decode()
    assert [line[18:47] for line in text.splitlines()] == expected.tolist()


def test_many_rows_are_the_rows_one_by_one() -> None:
    for kind, rows in (("ticks", ticks(BLOCK + 3, 5, holes=True)), ("fills", fills(700, 6, holes=True))):
        maker = LineMaker(kind, SYMBOLS, ARMS)
        assert bytes(maker.lines(rows)) == b"".join(
            bytes(maker.lines(rows[k : k + 1])) for k in range(len(rows))
        )


def test_a_record_without_a_name_is_refused() -> None:
    rows = ticks(3, 1)
    rows["arm"][1] = 2
    with pytest.raises(IndexError, match="arm: 2; expected 0 to 1"):
        LineMaker("ticks", SYMBOLS, ARMS).lines(rows)
    with pytest.raises(IndexError, match="symbol: 2; expected 0 to 1"):
        LineMaker("ticks", SYMBOLS, ARMS).lines(ticks(3, 1), 2)


def test_the_widest_value_has_room() -> None:
    rows = np.zeros(8, TICK)
    rows["ts_ns"] = rows["scheduled_ns"] = -(2**63)
    for name in TICK.names:
        if TICK[name].kind == "f":
            rows[name] = -2.2250738585072014e-308
    rows["mid"] = -1.7976931348623157e308
    rows["errors"], rows["guard_level"] = 2**32 - 1, 255
    assert len(parsed(LineMaker("ticks", ["S" * 64], ["A"]).lines(rows))) == 8
    assert len('"1677-09-21T00:12:43.145224192Z"') <= jsonrows.WIDEST
