"""The result of all symbols together against the loss budget: the replayed session, the running one and its feeds agree."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mmlib.config.load import shipped_dir
from mmlib.dtypes import FILL, TICK
from mmlib.engine.account import account_firings
from mmlib.engine.realtime.stops import StopCriteria
from mmlib.engine.watch import fill_frame, tick_frame
from mmlib.gates.evaluate import evaluate_series
from mmlib.gates.spec import load_gates
from mmlib.metrics.latency import account, minute_series

START, S = 1_736_899_200_000_000_000, 1_000_000_000
GATE = load_gates(shipped_dir("params").parent).get("soak.stop.loss").model_copy(update={"limit": -30.0})


def session(seed: int, drift: float) -> tuple[np.ndarray, np.ndarray]:
    """Forty minutes of ticks every ten seconds on a falling market, and a fill every minute or so."""
    rng = np.random.default_rng(seed)
    ticks, fills = np.zeros(240, TICK), np.zeros(40, FILL)
    ticks["ts_ns"] = START + np.arange(240) * 10 * S
    ticks["mid"] = 100.0 + np.cumsum(rng.normal(drift, 0.02, 240))
    ticks["cache_hit"] = 1
    at = np.sort(rng.choice(230, 40, replace=False))
    fills["ts_ns"], fills["mid_at_fill"] = ticks["ts_ns"][at] + 3, ticks["mid"][at]
    fills["side"], fills["qty"], fills["fee"] = rng.choice([1, 1, -1], 40), 1.0, 0.01
    fills["price"] = ticks["mid"][at] - fills["side"] * 0.01
    fills["mid_at_quote"] = ticks["mid"][at]
    held = np.concatenate([[0.0], np.cumsum(fills["side"] * fills["qty"])])
    ticks["inventory"] = held[np.searchsorted(fills["ts_ns"], ticks["ts_ns"], side="right")]
    return ticks, fills


def naive(records: dict[str, tuple[np.ndarray, np.ndarray]]) -> list[float]:
    """Cash and position marked to the last mid, at the end of each minute."""
    found = []
    for minute in range(40):
        end, total = START + (minute + 1) * 60 * S, 0.0
        for ticks, fills in records.values():
            mid = ticks["mid"][ticks["ts_ns"] < end][-1]
            for row in fills[fills["ts_ns"] < end]:
                total += float(row["side"] * row["qty"] * (mid - row["price"]) - row["fee"])
        found.append(total)
    return found


@pytest.mark.parametrize(("drift", "fires"), [(-0.02, True), (0.02, False)])
def test_it_fires_where_the_sum_over_symbols_does(drift: float, fires: bool) -> None:
    records = {"X": session(1, drift), "Y": session(2, drift)}
    values = naive(records)
    ts = START + np.arange(40, dtype=np.int64) * 60 * S
    expected = evaluate_series(GATE, ts, np.array(values), span_s=1e6)
    assert (expected.status == "FAIL") is fires
    assert not fires or min(naive({"X": records["X"]})) > min(values), "one symbol alone loses less"
    found = account_firings([GATE], records, ("A",))
    assert len(found) == fires
    running = StopCriteria([GATE], ("A",))
    stopped: list[tuple[int, str]] = []

    class Session:
        def stop(self, reason: str) -> None:
            stopped.append((now, reason))

    rows = [(int(row["ts_ns"]), name, kind, row) for name, pair in records.items()
            for kind, part in zip("tf", pair, strict=True) for row in part]  # fmt: skip
    for now, name, kind, row in sorted(rows, key=lambda one: one[:3]):
        (running.on_tick if kind == "t" else _fill(running))(name, np.array([row]), {})
        running.on_second(Session(), now)  # type: ignore[arg-type]
        if stopped:
            break
    assert bool(stopped) is fires
    if fires:
        first = next(k for k in range(1, 40) if values[k] < -30.0 and values[k - 1] < -30.0)
        assert found[0].minute_ns == ts[first]
        assert found[0].value == pytest.approx(values[first])
        assert (found[0].symbol, found[0].gate) == ("all symbols", "soak.stop.loss")
        assert stopped[0][0] - (ts[first] + 60 * S) <= 10 * S
        assert "all symbols, arm A" in stopped[0][1]


def _fill(criteria: StopCriteria):
    return lambda name, rows, _errors: criteria.on_fill(name, rows)


def test_the_minute_series_holds_the_same_result_in_every_symbols_row() -> None:
    records = {"X": session(3, -0.01), "Y": session(4, 0.01)}
    frames = [(tick_frame(t, name, ("A",)), fill_frame(f, name, ("A",))) for name, (t, f) in records.items()]
    minutes = minute_series(*(pd.concat(part, ignore_index=True) for part in zip(*frames, strict=True)))
    for _, rows in minutes.groupby("symbol"):
        np.testing.assert_allclose(rows["pnl"], naive(records), atol=1e-9)
    np.testing.assert_allclose(account(minutes, "pnl")["pnl"], naive(records), atol=1e-9)
