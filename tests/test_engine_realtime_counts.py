"""What a session counts: every error once, whatever the order of ticks, and the same after a checkpoint."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib import intact
from mmlib.dtypes import EVENT, FILL, TICK
from mmlib.engine.realtime.checkpoint import Checkpoint
from mmlib.engine.realtime.feedlog import FeedLog
from mmlib.engine.realtime.ledger import Ledger
from mmlib.engine.realtime.phases import COMPUTE, PHASES, PhaseTimes
from mmlib.engine.realtime.telemetry import Telemetry
from mmlib.feeds.reader import read_feeds
from mmlib.market.live import codes
from mmlib.market.live.rowbuffer import RowBuffer
from mmlib.metrics.latency import error_events

NAMES = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
START = 1_736_899_200_000_000_000


def tick_rows(errors: int, k: int = 0) -> np.ndarray:
    rows = np.zeros(2, TICK)
    rows["arm"], rows["errors"], rows["cache_hit"] = [0, 1], errors, 1
    rows["ts_ns"] = rows["scheduled_ns"] = START + k * 10**9
    return rows


steps = st.lists(
    st.one_of(
        st.tuples(st.just("error"), st.sampled_from(["", *NAMES]), st.sampled_from(list(codes.CODES)[:5])),
        st.tuples(st.just("tick"), st.sampled_from(NAMES), st.just("")),
        st.tuples(st.just("restart"), st.just(""), st.just("")),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_every_error_is_counted_once_and_strikes_whom_it_met(plan: list[tuple[str, str, str]]) -> None:
    ledger = Ledger(NAMES, ("A", "B"))
    happened: Counter[str] = Counter()
    since: dict[str, list[str]] = {
        name: [] for name in NAMES
    }  # naive: what struck each symbol since its last tick
    for what, name, code in plan:
        if what == "error":
            happened[code] += 1
            for struck in [name] if name else NAMES:
                since[struck].append(code)
            ledger.error(name, code, "")
        elif what == "tick":
            met = ledger.take_errors(name)
            assert met.struck == len(since[name])
            assert met.elsewhere >= 0
            since[name].clear()
            ledger.symbols[name].tick(met.counted, tick_rows(met.counted.total()), False)
        else:
            again = Ledger(NAMES, ("A", "B"))
            for own, one in ledger.symbols.items():
                again.symbols[own].load(json.loads(json.dumps(one.save())))
            again.load(json.loads(json.dumps(ledger.save())))
            ledger = again
    counted: Counter[str] = Counter(ledger.left())
    for one in ledger.symbols.values():
        counted += one.errors + one.pending
    assert counted == happened


def test_a_cut_connection_is_one_error_of_the_first_symbol_that_ticks() -> None:
    ledger = Ledger(NAMES, ("A",))
    ledger.symbols["ETHUSDT"].tick(ledger.take_errors("ETHUSDT").counted, tick_rows(0), False)
    ledger.error("", codes.DISCONNECT, "closed")
    other, carrier = ledger.take_errors("SOLUSDT"), ledger.take_errors("ETHUSDT")
    assert (other.counted, other.struck) == (Counter(), 1)
    assert (carrier.counted, carrier.elsewhere) == (Counter({codes.DISCONNECT: 1}), 0)


def test_ticks_of_both_arms_that_met_an_error_together_are_one_event() -> None:
    ticks = pd.DataFrame(
        {
            "symbol": ["X", "X", "X", "Y", "Y", "Y"],
            "arm": ["A", "B", "A", "A", "B", "B"],
            "ts": [1, 1, 2, 1, 2, 3],  # the last two are of a switchback: B alone
            "errors": [2, 2, 0, 1, 1, 3],
        }
    )
    assert error_events(ticks) == 2 + 1 + 1 + 3
    assert error_events(ticks[:0]) == 0


def test_feed_lines_are_those_of_the_ticks_in_their_order(tmp_path: Path) -> None:
    log = FeedLog(tmp_path, NAMES, ("A", "B"))
    for k in range(30):
        name, failed = NAMES[k % 3], k % 7 == 0
        rows = tick_rows(int(failed), k)
        log.ticks(name, rows, {codes.GAP: 1} if failed else {})
        rows["errors"] = 99  # a view of the bot's own: it must have been copied
        if k % 4 == 0:
            fill = np.zeros(1, FILL)
            fill["ts_ns"], fill["fill_id"], fill["side"] = START + k * 10**9, k, 1
            for field in ("price", "qty", "quote_price", "mid_at_quote", "mid_at_fill"):
                fill[field] = 100.0
            log.fills(name, fill)
        if k == 13:
            log.store(log.cut())
    log.store(log.cut())
    log.close()
    (path,) = tmp_path.glob("pipeline_ticks_*")
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [(one["symbol"], one["arm"]) for one in lines] == [
        (NAMES[k % 3], arm) for k in range(30) for arm in "AB"
    ]
    assert [one.get("error_codes") for one in lines[::2]] == [
        {codes.GAP: 1} if k % 7 == 0 else None for k in range(30)
    ]
    fills = read_feeds(tmp_path, "fills").frame
    assert fills["fill_id"].tolist() == [str(k) for k in range(0, 30, 4)]
    assert fills["symbol"].tolist() == [NAMES[k % 3] for k in range(0, 30, 4)]


def test_phases_add_up_without_the_wait_for_the_book() -> None:
    phases = PhaseTimes()
    assert phases.summary()[COMPUTE] == {"n": 0, "p50_ms": None, "p99_ms": None, "max_ms": None}
    stamps = tuple(
        10**6 * at for at in (0, 1, 3, 50, 51, 52, 53)
    )  # `end` took 47 ms, of which 45 were a wait
    for _ in range(100):
        phases.tick(stamps, 45 * 10**6)
    found = phases.summary()
    assert {name: found[name]["p50_ms"] for name in PHASES} == pytest.approx(
        {"rows": 1, "begin": 2, "end": 2, "note": 1, "count": 1, "observe": 1}, rel=1e-3
    )
    assert found[COMPUTE]["n"] == 100
    assert found[COMPUTE]["max_ms"] == pytest.approx(8.0, rel=1e-3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["room", "drop", "take"]), st.integers(0, 6000)), max_size=12))
def test_a_row_buffer_is_a_list_of_rows(plan: list[tuple[str, int]]) -> None:
    buffer, naive, stamp = RowBuffer(), [], 0
    for what, n in plan:
        if what == "room":
            rows = buffer.room(n)
            assert rows.dtype == EVENT
            rows["local_ts_ns"] = np.arange(stamp, stamp + n)
            naive += range(stamp, stamp + n)
            stamp += n
        elif what == "drop":
            n = min(n, len(naive))
            buffer.drop(n)
            naive = naive[n:]
        else:
            assert buffer.take()["local_ts_ns"].tolist() == naive
            naive = []
        assert len(buffer) == len(naive)
        assert buffer.rows["local_ts_ns"].tolist() == naive


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    from mmlib._io import UserError

    state = {"stats": np.arange(3.0), "control": np.arange(2)}
    whole = Checkpoint({"files": {}}, dict.fromkeys(NAMES, state)).to_bytes()
    path = tmp_path / "session.npz"
    intact.write_blob(path, whole)
    whole = path.read_bytes()
    read = Checkpoint.read(tmp_path)
    assert read is not None
    assert list(read.states) == list(NAMES)
    np.testing.assert_array_equal(read.states["SOLUSDT"]["stats"], state["stats"])
    for damaged in (whole[: len(whole) // 2], b"", b"PK\x03\x04 no archive"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"session\.npz: cannot be read"):
            Checkpoint.read(tmp_path)


def test_every_code_is_exported_from_the_first_moment_on() -> None:
    registry = Telemetry(0, NAMES, ("A",)).registry
    for name in NAMES:
        for code in codes.CODES:  # what begins at one has not increased, for Prometheus
            labels = {"symbol": name, "arm": "A", "code": code}
            assert registry.get_sample_value("mm_error_total", labels) == 0.0
