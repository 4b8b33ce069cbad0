"""The simulated market: reproducible, never crossed, the same however it is cut, and of plausible size."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmlib._io import UserError
from mmlib.core import flowladder
from mmlib.dtypes import EVENT, FLAG_BUY, FLAG_EXCH, FLAG_LOCAL, FLAG_SELL, KIND_CLEAR, KIND_TRADE, Grade
from mmlib.market.flowmodel import BUILT_IN
from mmlib.market.opening import open_source
from mmlib.market.simulated import REGIMES, SimulatedSource, SimulatedStream
from mmlib.market.source import CHUNK_ROWS, Source
from tests import naive_market as naive

SECOND = 1_000_000_000
BOTH = FLAG_EXCH | FLAG_LOCAL


def stream(source: Source, start: int | None = None, end: int | None = None) -> np.ndarray:
    return np.concatenate([np.zeros(0, EVENT), *source.chunks(start, end)])


def simulated(symbol: str, **options: Any) -> SimulatedSource:
    source = open_source("simulated", symbol, **options)
    assert isinstance(source, SimulatedSource)
    return source


def run_on(current: SimulatedStream, rows: int, lengths: list[int]) -> np.ndarray:
    """At least ``rows`` rows of a stream, in calls of the given lengths in turn."""
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < rows:
        out = np.zeros(lengths[len(parts) % len(lengths)], EVENT)
        parts.append(out[: current.fill(out)])
    return np.concatenate(parts)


def minutes(source: Source, count: float) -> np.ndarray:
    return stream(source, end=source.start_ns + int(count * 60 * SECOND))


def test_same_seed_same_stream_and_every_part_of_the_name_matters() -> None:
    one = minutes(open_source("simulated", "BTCUSDT", seed=3), 5)
    assert one.tobytes() == minutes(open_source("simulated", "btcusdt", seed=3), 5).tobytes()
    others = [
        minutes(open_source("simulated", "BTCUSDT", seed=4), 5),
        minutes(open_source("simulated", "BTCUSDT", seed=3, start_ns=1_700_000_000 * SECOND), 5),
        minutes(open_source("simulated", "ETHUSDT", seed=3), 5),
    ]
    assert len({other.tobytes() for other in [one, *others]}) == 4


@pytest.mark.parametrize("sizes", [[64], [65, 1000, 64], [4096]])
def test_the_stream_does_not_depend_on_how_it_is_cut(sizes: list[int]) -> None:
    cut = run_on(simulated("ETHUSDT", seed=9).stream(), 3000, sizes)[:3000]
    whole = run_on(simulated("ETHUSDT", seed=9).stream(), 3000, [1 << 14])[:3000]
    assert cut.tobytes() == whole.tobytes()


def test_a_stream_goes_on_from_its_saved_state_bit_for_bit(tmp_path: Path) -> None:
    source = simulated("ETHUSDT", seed=9)
    first = source.stream()
    run_on(first, 2000, [700])
    first.params["vol_per_sqrt_s"] *= 3.0  # an incident under way is part of the state
    first.latency_ms *= 10.0
    np.savez(tmp_path / "state.npz", **first.state())
    expected = run_on(first, 3000, [700])
    second = source.stream()
    with np.load(tmp_path / "state.npz") as saved:
        second.restore(saved)
    assert run_on(second, 3000, [512])[:3000].tobytes() == expected[:3000].tobytes()


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    current = simulated("ETHUSDT", seed=9).stream()
    before = current.state()
    for name, wrong in (("lots", before["lots"][:, :4]), ("keys", before["keys"].astype("f8"))):
        with pytest.raises(UserError, match=name):
            current.restore(before | {"exch": before["rng"] + 1, name: wrong})
    with pytest.raises(UserError, match="counts: nothing"):
        current.restore({name: value for name, value in before.items() if name != "counts"})
    assert all(current.state()[name].tobytes() == value.tobytes() for name, value in before.items())


def test_calls_end_after_the_time_asked_for_so_that_incidents_have_exact_bounds() -> None:
    source = simulated("BTCUSDT", seed=4)
    whole = run_on(source.stream(), 4000, [1 << 14])
    until = source.start_ns + 60 * SECOND
    current, out = source.stream(), np.zeros(1 << 14, EVENT)
    n = current.fill(out, until)
    assert out[:n].tobytes() == whole[:n].tobytes()
    late = np.unique(out["exch_ts_ns"][:n][out["exch_ts_ns"][:n] >= until])
    assert len(late) == 1 and late[0] == current.exch_ns
    assert current.fill(out, until) == 0
    current.params["rate_per_s"] *= 20.0
    n = current.fill(out, until + 5 * SECOND)
    assert len(np.unique(out["exch_ts_ns"][:n])) > 5 * 20 * 10


def test_a_window_is_the_stream_from_there_on_after_a_picture_of_the_book() -> None:
    source = open_source("simulated", "BTCUSDT", seed=5)
    whole = minutes(source, 10)
    start = source.start_ns + 7 * 60 * SECOND + 123
    window = stream(source, start, source.start_ns + 600 * SECOND)
    tail = whole[whole["local_ts_ns"] >= start]
    opening, rest = window[: len(window) - len(tail)], window[len(window) - len(tail) :]
    assert rest.tobytes() == tail.tobytes()
    assert opening["flags"][0] & 15 == KIND_CLEAR
    assert naive.book_before(opening, start + 1) == naive.book_before(whole, start)
    for clock in ("exch_ts_ns", "local_ts_ns"):
        assert (np.diff(window[clock]) >= 0).all()
    assert (opening["local_ts_ns"] == start).all()


def test_a_window_far_inside_keeps_its_book_across_chunks() -> None:
    source = open_source("simulated", "BTCUSDT", seed=5, market={"rate_per_s": 2000.0})
    start = source.start_ns + 200 * SECOND
    first = next(source.chunks(start))
    whole = np.concatenate(list(source.chunks(end_ns=start)))
    assert len(whole) > CHUNK_ROWS
    assert naive.book_before(first, start + 1) == naive.book_before(whole, start)


def test_windows_outside_give_nothing() -> None:
    source = open_source("simulated", "BTCUSDT")
    assert list(source.chunks(end_ns=source.start_ns)) == []
    assert list(source.chunks(source.start_ns + 5, source.start_ns + 5)) == []
    assert source.quality == {"rows": 0}
    assert len(minutes(source, 1)) == source.quality["rows"]


@pytest.mark.parametrize("regime", sorted(REGIMES))
@pytest.mark.parametrize("symbol", ["BTCUSDT", "XYZ-PERP"])
def test_the_book_is_never_crossed_or_empty(symbol: str, regime: str) -> None:
    source = open_source("simulated", symbol, seed=11, market={"regime": regime, "rate_per_s": 50.0})
    rows = minutes(source, 3)
    assert (rows["flags"] & BOTH == BOTH).all()
    assert (rows["qty"] >= 0.0).all()
    for clock in ("exch_ts_ns", "local_ts_ns"):
        assert (np.diff(rows[clock]) >= 0).all()
    assert (rows["local_ts_ns"] >= rows["exch_ts_ns"]).all()
    book = naive.Book()
    opening = int((rows["exch_ts_ns"] == source.start_ns).sum())
    for n, row in enumerate(rows):
        if int(row["flags"]) & 15 == KIND_TRADE:
            passive = FLAG_BUY if row["flags"] & FLAG_SELL else FLAG_SELL
            assert book.best[passive] == row["price_ticks"]
            assert row["qty"] <= book.levels[passive][int(row["price_ticks"])] * (1 + 1e-12)
        book.apply(row)
        if n >= opening:
            bid, ask = book.best[FLAG_BUY], book.best[FLAG_SELL]
            assert bid is not None and ask is not None and bid < ask
    assert max(len(book.levels[FLAG_BUY]), len(book.levels[FLAG_SELL])) <= flowladder.DEPTH


def short_moves(regime: str, days: int) -> tuple[np.ndarray, np.ndarray]:
    """Relative moves of the efficient price over stretches of about a minute, and their lengths in days."""
    source = simulated("ETHUSDT", seed=2, market={"regime": regime, "rate_per_s": 1.0})
    current, out = source.stream(), np.zeros(200, EVENT)
    times, centres = [], []
    while not times or times[-1] - source.start_ns < days * 86_400 * SECOND:
        current.fill(out)
        times.append(int(current.flow_state["exch_ns"][0]))
        centres.append(float(current.flow_state["efficient_ticks"][0]))
    return np.diff(np.log(centres)), np.diff(times) / (86_400.0 * SECOND)


def test_daily_volatility_is_the_one_of_the_regime_and_clusters() -> None:
    for regime, about in (("calm", 0.3), ("normal", 0.3), ("stressed", 0.5)):
        moves, lengths = short_moves(regime, 10)
        asked = BUILT_IN.vol_bps * 1e-4 * np.sqrt(86_400.0) * REGIMES[regime]["vol"]
        assert np.sqrt((moves**2).sum() / lengths.sum()) == pytest.approx(asked, rel=about)
        if regime != "calm":
            size = np.abs(moves) / np.sqrt(lengths)
            assert np.corrcoef(size[:-2], size[2:])[0, 1] > 0.1  # two minutes apart, no message in common


@pytest.mark.parametrize("rate", [5.0, 20.0, 200.0])
def test_the_message_rate_is_near_the_one_asked_for(rate: float) -> None:
    source = open_source("simulated", "BTCUSDT", seed=1, market={"rate_per_s": rate, "regime": "calm"})
    rows = minutes(source, 20)
    span_s = (rows["exch_ts_ns"][-1] - source.start_ns) / 1e9
    assert len(np.unique(rows["exch_ts_ns"])) / span_s == pytest.approx(rate, rel=0.4)


_INTERPRETED = """
import hashlib, numpy as np
from mmlib.dtypes import EVENT
from mmlib.market.opening import open_source
source = open_source("simulated", "BTCUSDT", seed=6)
current, out = source.stream(), np.zeros(1500, EVENT)
print(hashlib.sha256(out[: current.fill(out)].tobytes()).hexdigest())
"""


def test_compiled_and_interpreted_runs_agree_bit_for_bit() -> None:
    source = simulated("BTCUSDT", seed=6)
    current, out = source.stream(), np.zeros(1500, EVENT)
    compiled = hashlib.sha256(out[: current.fill(out)].tobytes()).hexdigest()
    env = dict(os.environ, NUMBA_DISABLE_JIT="1")
    shown = subprocess.run(
        [sys.executable, "-W", "error", "-c", _INTERPRETED],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == compiled


def test_what_it_says_of_itself() -> None:
    latency = {"feed_median_ms": 4.0, "feed_sigma": 0.3, "entry_ms": 10.0}
    source = open_source("simulated", "BTCUSDT", latency=latency)
    assert (source.grade, source.sha256, source.end_ns) == (Grade.SIMULATED, "", None)
    assert source.refresh_ms.shape == (1001,)
    assert source.refresh_ms[500] == pytest.approx(8.0)
    assert (np.diff(source.refresh_ms) > 0.0).all()
    assert "model" in source.refresh_label and "4 ms" in source.refresh_label
    assert (source.instrument.tick_size, source.instrument.lot_size) == (0.1, 0.001)
    declared = open_source("simulated", "BTCUSDT", instruments={"btcusdt": (0.5, 0.01)})
    assert (declared.instrument.tick_size, declared.instrument.lot_size) == (0.5, 0.01)


def test_quantities_are_whole_lots() -> None:
    source = open_source("simulated", "ETHUSDT", seed=1)
    lots = minutes(source, 5)["qty"] / source.instrument.lot_size
    assert np.abs(lots - np.rint(lots)).max() < 1e-6


def test_feed_latency_follows_the_table() -> None:
    source = open_source("simulated", "BTCUSDT", seed=1, latency={"feed_median_ms": 5.0, "feed_sigma": 0.5})
    rows = minutes(source, 60)
    first = np.flatnonzero(np.diff(rows["exch_ts_ns"], prepend=0))[1:]
    delay_ms = (rows["local_ts_ns"] - rows["exch_ts_ns"])[first] / 1e6
    assert np.median(delay_ms) == pytest.approx(5.0, rel=0.1)


@pytest.mark.parametrize(
    ("market", "place"),
    [
        ({"regime": "wild"}, "market.regime"),
        ({"rate_per_s": 0.0}, "market.rate_per_s"),
        ({"rate_per_s": float("nan")}, "market.rate_per_s"),
        ({"rate": 5.0}, "market.rate"),
    ],
)
def test_bad_market_parameters_are_named(market: dict[str, object], place: str) -> None:
    with pytest.raises(UserError, match=place):
        open_source("simulated", "BTCUSDT", market=market)


@pytest.mark.parametrize("symbol", ["", "  ", "../x", "A" * 40, "BTC USDT"])
def test_bad_symbols_are_refused(symbol: str) -> None:
    with pytest.raises(UserError, match="symbol"):
        open_source("simulated", symbol)


def test_chunks_are_bounded_and_end_where_messages_end() -> None:
    source = open_source("simulated", "BTCUSDT", market={"rate_per_s": 1000.0})
    chunks = source.chunks()
    parts = [next(chunks) for _ in range(3)]
    assert all(0 < len(part) <= CHUNK_ROWS for part in parts)
    assert all(a["exch_ts_ns"][-1] < b["exch_ts_ns"][0] for a, b in pairwise(parts))
