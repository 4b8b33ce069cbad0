"""The safety monitor: what it says minute by minute is what the evaluator finds afterwards, and it forgets when told to."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.config.load import shipped_dir
from mmlib.gates.evaluate import find_runs
from mmlib.gates.spec import GateBook, load_gates
from mmlib.rollout.budget import HARM
from mmlib.rollout.experiment import effect_frame
from mmlib.rollout.monitor import SLIPPAGE, SafetyMonitor, watch
from mmlib.rollout.safety import harm_series
from mmlib.rollout.synthetic import as_sums
from tests.test_rollout_stage import START

MINUTE = 60_000_000_000
BOOK: GateBook = load_gates(shipped_dir("params").parent)


def monitor(planned: int = 24, config: str = "one") -> SafetyMonitor:
    return SafetyMonitor(BOOK.step("ab_10"), planned, config)


def taker(value: float, symbol: str = "X") -> dict[str, dict[str, float]]:
    return {"taker_share_pct": {symbol: value}}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([5.0, 9.0, 9.5, 12.0, float("nan")]), min_size=1, max_size=60),
    st.lists(st.integers(0, 59), max_size=8, unique=True),
)
def test_it_fires_where_the_evaluator_does(values: list[float], lost: list[int]) -> None:
    kept = [(k, v) for k, v in enumerate(values) if k not in lost]
    gate = next(g for g in BOOK.step("ab_10") if g.metric == "taker_share_pct")
    watcher, fired = monitor(), None
    for k, value in kept:
        fired = fired or watcher.update(k * MINUTE, taker(value))
    ts = np.array([k * MINUTE for k, _ in kept], np.int64)
    runs, _ = find_runs(gate, ts, np.array([v for _, v in kept], np.float64))
    first = next((run for run in runs if run.fired_ns is not None), None)
    if first is None:
        assert fired is None
        return
    assert fired is not None
    assert (fired.since_ns, fired.fired_ns) == (first.start_ns, first.fired_ns)
    upto = [v for k, v in kept if first.start_ns <= k * MINUTE <= (first.fired_ns or 0) and not np.isnan(v)]
    assert fired.value == max(upto)
    assert fired.gate == "ab.safety.taker_share"
    assert fired.threshold == "<= 9 %"


def test_ten_minutes_fire_and_nine_do_not() -> None:
    short, full = monitor(), monitor()
    for k in range(10):
        assert short.update(k * MINUTE, taker(10.0)) is None
    for k in range(11):
        found = full.update(k * MINUTE, taker(10.0))
    assert found is not None
    assert found.window == "1970-01-01T00:00:00Z/1970-01-01T00:10:00Z"
    assert full.update(60 * MINUTE, taker(1.0)) is found, "the first violation stays"


def test_symbols_do_not_add_up() -> None:
    watcher = monitor()
    for k in range(30):
        assert watcher.update(k * MINUTE, taker(12.0, symbol="X" if k % 20 < 10 else "Y")) is None


def test_another_configuration_resets_all_counters() -> None:
    watcher = monitor()
    for hour in range(12):
        watcher.close_bucket({SLIPPAGE: (0.0, 1.0, 1e-4 + 1e-6 * (hour % 3), 1.0)})
    for k in range(9):
        watcher.update(k * MINUTE, taker(12.0))
    assert not watcher.configure("one")
    assert watcher.configure("two")
    assert watcher.close_bucket({SLIPPAGE: (0.0, 1.0, 1e-4, 1.0)}) == {SLIPPAGE: -np.inf}, (
        "the buckets of the old configuration are forgotten"
    )
    for k in range(9, 19):
        assert watcher.update(k * MINUTE, taker(12.0)) is None
    found = watcher.update(19 * MINUTE, taker(12.0))
    assert found is not None
    assert found.config_sha256 == "two"


@pytest.mark.parametrize("seed", range(4))
def test_harm_is_what_the_offline_series_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hours = START + pd.to_timedelta(np.arange(24), unit="h")
    sums = as_sums(rng.normal(1.2, 1.0, 24))
    slippage = effect_frame(hours, sums, HARM, 24, 1e4)
    closing = {SLIPPAGE: pd.DataFrame({"bucket": hours, **{str(k): row for k, row in enumerate(sums)}})}
    minutes = pd.Series(START + pd.to_timedelta(np.arange(24 * 60), unit="min"))
    gate = next(g for g in BOOK.step("ab_10") if g.metric == SLIPPAGE)
    runs, _ = find_runs(gate, *harm_series(slippage, minutes, 3600)["all symbols"])
    first = next((run for run in runs if run.fired_ns is not None), None)
    nothing = dict.fromkeys((gate.metric for gate in BOOK.step("ab_10") if gate.kind == "sustained"), np.nan)
    found = watch(monitor(), pd.DataFrame({"ts": minutes, "symbol": "X", **nothing}), closing)
    assert (found is None) == (first is None)
    if found is not None and first is not None:
        assert found.fired_ns == first.fired_ns
        assert found.group == "all symbols"
