"""A careless maker loses to those who know, on the simulator as on the recordings; a wider one trades less."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmlib.engine.touchmaker import maker_fills
from mmlib.market.observe import conflate_rows
from mmlib.market.opening import open_source
from mmlib.market.source import Source

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
RECORDINGS = [
    ("binance_usdm_btcusdt_20240808.gz", "BTCUSDT"),
    ("binance_spot_ethusdt_20240809.gz", "ETHUSDT"),
]
MARKETS: list[dict[str, object]] = [{}, {"preset": "btcusdt_perp"}, {"preset": "ethusdt_spot"}]
PUBLISHED_MS = {"btcusdt_perp": 50.0, "ethusdt_spot": 100.0}  # as in their recordings


def rows_of(source: Source, market: dict[str, object], hours: float) -> np.ndarray:
    """Some hours of a market, depth published as where it was recorded."""
    rows = np.concatenate(list(source.chunks(end_ns=source.start_ns + int(hours * 3600e9))))
    return conflate_rows(rows, PUBLISHED_MS.get(str(market.get("preset")), 0.0))


def standard_error(values: pd.Series) -> float:
    """Of the mean, from the means of twenty stretches, since neighbouring fills are not independent."""
    means = [part.mean() for part in np.array_split(values.dropna().to_numpy(), 20)]
    return float(np.std(means, ddof=1) / np.sqrt(len(means)))


@pytest.mark.parametrize("market", MARKETS, ids=["built-in", "btcusdt_perp", "ethusdt_spot"])
def test_joining_the_touch_earns_half_a_spread_and_loses_more_within_five_seconds(
    market: dict[str, object],
) -> None:
    source = open_source("simulated", "BTCUSDT", seed=17, market=market)
    fills = maker_fills(rows_of(source, market, 1.0 if market else 6.0), source.instrument)
    assert len(fills) > 200
    earned, later = fills["half_spread_bps"], fills["markout_5s_bps"]
    assert earned.mean() > 0.0
    assert later.mean() < -3.0 * standard_error(later)
    assert earned.mean() - later.mean() > earned.mean()  # adverse selection takes more than was earned


@pytest.mark.parametrize("market", MARKETS[:2], ids=["built-in", "btcusdt_perp"])
def test_a_wider_maker_fills_less_and_earns_more_a_fill(market: dict[str, object]) -> None:
    source = open_source("simulated", "BTCUSDT", seed=17, market=market)
    rows = rows_of(source, market, 1.0 if market else 6.0)
    made = [maker_fills(rows, source.instrument, half_spread_bps=bps) for bps in (0.0, 1.0, 2.5)]
    assert len(made[0]) > 1.2 * len(made[1]) > 1.2 * 1.2 * len(made[2]) > 0
    earned = [fills["half_spread_bps"].mean() for fills in made]
    assert earned[0] < earned[1] < earned[2]


def test_a_place_behind_the_queue_fills_less() -> None:
    market: dict[str, object] = {"preset": "btcusdt_perp"}
    source = open_source("simulated", "BTCUSDT", seed=17, market=market)
    rows = rows_of(source, market, 0.5)
    behind, among = (maker_fills(rows, source.instrument, queue_model=name) for name in ("risk", "log"))
    assert 0 < len(behind) < len(among)
    assert (
        behind["markout_1s_bps"].mean() < among["markout_1s_bps"].mean()
    )  # the last in the queue are run over


@pytest.mark.parametrize(("name", "symbol"), RECORDINGS)
def test_recordings_show_the_same(name: str, symbol: str) -> None:
    if not (DATA / name).is_file():
        pytest.skip("no recordings beside the checkout")
    source = open_source(f"recording:{DATA / name}", symbol)
    fills = maker_fills(np.concatenate(list(source.chunks())), source.instrument)
    assert len(fills) > 50
    assert fills["half_spread_bps"].mean() > 0.0
    assert fills["markout_5s_bps"].mean() < 0.0
