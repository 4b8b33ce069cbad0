"""A share, rate or ratio without a denominator is NO_DATA in every gate that reads it; nothing passes on no data."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmlib.dtypes import Status
from mmlib.gates.dataset import dataset_measurements
from mmlib.gates.evaluate import Measurement, evaluate, evaluate_grouped
from mmlib.gates.share import evaluate_share, share
from mmlib.gates.spec import Gate, load_gates
from mmlib.metrics.dataset import build_dataset
from mmlib.metrics.latency import minute_series
from mmlib.metrics.money import decompose
from tests.make_feeds import fill_frame, fills, tick_frame, ticks

ROOT = Path(__file__).resolve().parents[1]
GATES = list(load_gates(ROOT))
TRADED = {"taker_share_pct", "slippage_bps", "net_bps", "delta_slippage_bps", "delta_net_bps"}
OF_TICKS = {
    "hit_ratio",
    "deadline_miss_pct",
    "fetch_md_p95_ms",
    "tick_total_p95_ms",
    "guard_hard_pct",
    "errors_per_min",
}


def sustained(metrics: set[str]) -> list[Gate]:
    return [gate for gate in GATES if gate.kind == "sustained" and gate.metric in metrics]


def status_of(gate: Gate, series: pd.DataFrame) -> Status:
    series = series[series["arm"] == "A"]
    ts = series["ts"].astype("int64").to_numpy()
    groups: dict[str, Any] = {"BTCUSDT": (ts, series[gate.metric].to_numpy(np.float64))}
    return evaluate_grouped(gate, groups, span_s=1e6).status


@pytest.fixture(scope="module")
def quiet() -> pd.DataFrame:
    """Three hours of ticks without a fill."""
    return minute_series(tick_frame(ticks(3 * 3600, seed=1)), fill_frame(fills(0, seed=1)))


@pytest.mark.parametrize(
    "gate", sustained(TRADED & {"taker_share_pct", "slippage_bps", "net_bps"}), ids=lambda gate: gate.id
)
def test_nothing_traded_is_no_data(gate: Gate, quiet: pd.DataFrame) -> None:
    assert status_of(gate, quiet) is Status.NO_DATA


@pytest.mark.parametrize("gate", sustained(OF_TICKS), ids=lambda gate: gate.id)
def test_minutes_without_ticks_are_no_data(gate: Gate, quiet: pd.DataFrame) -> None:
    silent = quiet.assign(**{gate.metric: np.where(quiet["n_ticks"] < 0, 0.0, np.nan)})
    assert status_of(gate, silent) is Status.NO_DATA


@pytest.mark.parametrize("gate", [one for one in GATES if one.kind == "threshold"], ids=lambda gate: gate.id)
@pytest.mark.parametrize(
    "found", [Measurement(None, 0), Measurement(float("nan"), 100), Measurement(0.0, 0)], ids=str
)
def test_a_threshold_without_a_number_or_samples_is_no_data(gate: Gate, found: Measurement) -> None:
    assert evaluate(gate, found).status is Status.NO_DATA


@pytest.mark.parametrize("gate", [one for one in GATES if one.unit in ("%", "1")], ids=lambda gate: gate.id)
def test_a_share_of_nothing_is_no_data(gate: Gate) -> None:
    assert evaluate_share(gate, share(0, 0)).status is Status.NO_DATA


def test_the_money_of_no_fills_is_unknown() -> None:
    money = decompose(tick_frame(ticks(600, seed=2)), fill_frame(fills(0, seed=2)))
    assert money[["taker_share_pct", "slippage_bps", "net_bps"]].isna().all(axis=None)


def test_a_dataset_of_nothing_is_no_data(tmp_path: Path) -> None:
    day = (datetime(2025, 1, 15, tzinfo=UTC), datetime(2025, 1, 16, tzinfo=UTC))
    summary = build_dataset(tmp_path, start=day[0], end=day[1]).summary
    for gate in GATES:
        if gate.step == "dataset":
            assert evaluate(gate, dataset_measurements(summary)[gate.metric]).status is Status.NO_DATA
