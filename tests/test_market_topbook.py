"""Top-of-book and trade CSV recordings: the real set second by second, and every kind of damage."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmlib._io import UserError
from mmlib.dtypes import FLAG_BUY, FLAG_EXCH, FLAG_LOCAL, FLAG_SELL, KIND_TRADE, Grade
from mmlib.market.opening import open_source
from mmlib.market.source import Source
from tests import naive_market as naive

SET = "gemini_ethusd_20210701"
DEPTH_HEADER = "time_seconds,bid_price_bid_size,ask_price_ask_size"
TRADE_HEADER = "time_seconds,price,size,is_buyer_maker"
T0 = 1_700_000_000
SECOND = 10**9
DEPTH = [
    f"{T0},100.00_1.5,100.05_2",
    f"{T0 + 1},100.00_1.5,100.05_2",
    f"{T0 + 2},100.10_1,100.15_1",
    f"{T0 + 3},99.90_3,99.95_0.5",
    f"{T0 + 4},99.90_3,100.20_1",
]
TRADES = [f"{T0 + 1}.250,100.05,0.5,0", f"{T0 + 1}.250,100,1,1", f"{T0 + 3}.5,99.95,0.5,0"]


def save(folder: Path, depth: list[str], trades: list[str] | None = None, day: str = "2023-11-14") -> Path:
    folder.mkdir(exist_ok=True)
    for kind, header, lines in (("market-depth", DEPTH_HEADER, depth), ("trade", TRADE_HEADER, trades)):
        if lines is not None:
            path = folder / f"venue__abc-usd__{day}__{kind}.csv.gz"
            path.write_bytes(gzip.compress("\n".join([header, *lines]).encode()))
    return folder


def read(path: Path, symbol: str = "ABCUSD", **more: Any) -> Source:
    return open_source(f"recording:{path}", symbol, **more)


def rows_of(source: Source, *window: int | None) -> np.ndarray:
    return np.concatenate(list(source.chunks(*window)))


def test_each_second_leaves_its_best_prices_and_a_side_is_never_empty(tmp_path: Path) -> None:
    source = read(save(tmp_path / "set", DEPTH, TRADES))
    assert (source.instrument.tick_size, source.instrument.lot_size) == (0.05, 0.1)
    book, seen = naive.Book(), {}
    for n, row in enumerate(rows_of(source)):
        assert row["flags"] & (FLAG_EXCH | FLAG_LOCAL) == FLAG_EXCH | FLAG_LOCAL
        book.apply(row)
        if n > 0:
            bid, ask = book.best[FLAG_BUY], book.best[FLAG_SELL]
            assert bid is not None and ask is not None and bid < ask
            seen[int(row["exch_ts_ns"])] = (book.visible(FLAG_BUY), book.visible(FLAG_SELL))
    for line in DEPTH:
        time, bid_text, ask_text = line.split(",")
        for side, text in zip(seen[int(time) * SECOND], (bid_text, ask_text), strict=True):
            price, size = map(float, text.split("_"))
            assert side == [(round(price / 0.05), size)]
    assert len(book.levels[FLAG_BUY]) == len(book.levels[FLAG_SELL]) == 1


def test_trades_carry_the_aggressor_and_their_milliseconds(tmp_path: Path) -> None:
    rows = rows_of(read(save(tmp_path / "set", DEPTH, TRADES)))
    trades = rows[rows["flags"] & 15 == KIND_TRADE]
    assert [int(f) & (FLAG_BUY | FLAG_SELL) for f in trades["flags"]] == [FLAG_BUY, FLAG_SELL, FLAG_BUY]
    assert trades["exch_ts_ns"].tolist() == [T0 * SECOND + ms * 10**6 for ms in (1250, 1250, 3500)]
    assert trades["price_ticks"].tolist() == [2001, 2000, 1999]


def test_arrivals_are_modelled_seeded_in_order_and_labelled(tmp_path: Path) -> None:
    folder = save(tmp_path / "set", DEPTH, TRADES)
    latency = {"feed_median_ms": 400.0, "feed_sigma": 1.5}
    one, same, other = (read(folder, seed=seed, latency=latency) for seed in (1, 1, 2))
    rows = rows_of(one)
    assert rows.tobytes() == rows_of(same).tobytes() != rows_of(other).tobytes()
    for clock in ("exch_ts_ns", "local_ts_ns"):
        assert (np.diff(rows[clock]) >= 0).all()
    assert (rows["local_ts_ns"] > rows["exch_ts_ns"]).all()
    assert one.refresh_label.startswith("model") and "400 ms" in one.refresh_label
    assert one.refresh_ms[500] == pytest.approx(800.0)
    assert one.grade is Grade.RECORDING


BAD_DEPTH = {
    "crossed": ("100.06_1,100.05_1", "crossed"),
    "locked": ("100.05_1,100.05_1", "crossed"),
    "no bid": (",100.05_1", "one_sided"),
    "no ask size": ("100.00_1,100.05_0", "one_sided"),
    "not a number": ("100.00_1,nan_nan", "one_sided"),
    "words": ("cheap_1,dear_1", "bad_lines"),
    "a column less": ("100.00_1", "bad_lines"),
    "a part less": ("100.00,100.05", "bad_lines"),
    "endless": ("100.00_inf,100.05_1", "bad_lines"),
}


@pytest.mark.parametrize("why", BAD_DEPTH)
def test_a_bad_row_costs_itself_and_is_kept(tmp_path: Path, why: str) -> None:
    text, counter = BAD_DEPTH[why]
    good = rows_of(read(save(tmp_path / "good", DEPTH, TRADES), instruments={"ABCUSD": (0.05, 0.1)}))
    folder = save(tmp_path / "bad", [*DEPTH[:2], f"{T0 + 1},{text}", *DEPTH[2:]], TRADES)
    source = read(folder, instruments={"ABCUSD": (0.05, 0.1)}, quarantine_dir=tmp_path / "q")
    rows = rows_of(source)
    for name in ("exch_ts_ns", "qty", "price_ticks", "flags"):
        np.testing.assert_array_equal(rows[name], good[name])
    assert source.quality[counter] == source.quality["bad_lines"] == 1
    kept = [json.loads(line) for path in (tmp_path / "q").iterdir() for line in path.read_text().splitlines()]
    assert [entry["line"] for entry in kept] == [4]


@pytest.mark.parametrize(
    "trade", [f"{T0 + 1}.5,100,1,2", f"{T0 + 1}.5,100,0,1", f"{T0 + 1}.5,-1,1,1", "soon,1,1,1", "1,1,1,1"]
)
def test_a_bad_trade_is_kept_aside(tmp_path: Path, trade: str) -> None:
    source = read(save(tmp_path / "set", DEPTH, [*TRADES[:2], trade, TRADES[2]]))
    assert (source.quality["bad_lines"], source.quality["events"]) == (1, len(DEPTH) + len(TRADES))


@pytest.mark.parametrize("wild", [T0 - 500, T0 + 10**6])
def test_one_wild_time_costs_one_row(tmp_path: Path, wild: int) -> None:
    folder = save(tmp_path / "set", [*DEPTH[:3], f"{wild},100.00_1,100.05_1", *DEPTH[3:]])
    source = read(folder, quarantine_dir=tmp_path / "q")
    assert (source.quality["time_backwards"], source.quality["events"]) == (1, len(DEPTH))
    (entry,) = [
        json.loads(line) for path in (tmp_path / "q").iterdir() for line in path.read_text().splitlines()
    ]
    assert entry["line"] == 5 and "time" in entry["reason"]


def test_gaps_are_counted_and_trades_may_be_missing(tmp_path: Path) -> None:
    source = read(save(tmp_path / "set", [*DEPTH, f"{T0 + 100},100.00_1,100.05_1"]))
    assert source.quality["gaps_over_60s"] == 1
    assert "without trades" in source.description


def test_a_tick_too_coarse_for_a_row_counts_it_as_crossed(tmp_path: Path) -> None:
    source = read(save(tmp_path / "set", DEPTH), instruments={"ABCUSD": (0.1, 0.1)})
    assert source.quality["crossed"] > 0 and source.quality["off_tick"] > 0
    book = naive.Book()
    for n, row in enumerate(rows_of(source)):
        book.apply(row)
        assert n == 0 or book.best[FLAG_BUY] < book.best[FLAG_SELL]  # type: ignore[operator]


def test_a_cut_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    folder = save(
        tmp_path / "set",
        [f"{T0 + i},{100 + i % 7 / 10:.2f}_{i % 97 + 1},101.00_{i % 89 + 1}" for i in range(5000)],
    )
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = read(folder)
    assert source.quality["truncated"] == 1 and "cut off" in source.description
    assert 1000 < source.quality["events"] < 4000


def test_days_follow_each_other_and_one_depth_file_stands_for_its_day(tmp_path: Path) -> None:
    folder = save(tmp_path / "set", DEPTH, TRADES)
    save(folder, [f"{T0 + 86_400},100.00_1,100.05_1"], [f"{T0 + 86_400}.5,100,1,1"], day="2023-11-15")
    whole = read(folder)
    assert whole.quality["events"] == len(DEPTH) + len(TRADES) + 2
    day = read(
        folder / "venue__abc-usd__2023-11-15__market-depth.csv.gz", instruments={"ABCUSD": (0.05, 0.1)}
    )
    assert day.quality["events"] == 2
    assert day.sha256 != whole.sha256


def test_what_cannot_be_read_says_where_and_why(tmp_path: Path) -> None:
    folder = save(tmp_path / "set", DEPTH, TRADES)
    with pytest.raises(UserError, match="XYZUSD is not in it; found ABCUSD"):
        read(folder, "XYZUSD")
    with pytest.raises(UserError, match="no usable row"):
        read(save(tmp_path / "hollow", []))
    (tmp_path / "set" / "venue__abc-usd__2023-11-16__trade.csv.gz").write_bytes(
        gzip.compress(b"when,what\n1,2\n", mtime=0)
    )
    with pytest.raises(UserError, match=r"trade\.csv\.gz:1: another header; expected time_seconds"):
        read(folder)
    (tmp_path / "void").mkdir()
    with pytest.raises(UserError, match="no recording in it"):
        read(tmp_path / "void")


@pytest.mark.recording
def test_the_real_set_second_by_second(shared_data: Path) -> None:
    source = read(shared_data / SET, "ETHUSD")
    rows = rows_of(source)
    assert source.instrument.tick_size == 0.01
    counted = {
        name: source.quality[name]
        for name in ("lines", "events", "bad_lines", "crossed", "truncated", "gaps_over_60s")
    }
    assert counted == {
        "lines": 188_161,
        "events": 188_157,
        "bad_lines": 0,
        "crossed": 0,
        "truncated": 0,
        "gaps_over_60s": 0,
    }
    first_day = sorted((shared_data / SET).glob("*market-depth*"))[0]
    with gzip.open(first_day, "rt") as handle:
        expected = list(csv.reader(handle))[1:3001]
    book, at = naive.Book(), 0
    for time, bid_text, ask_text in expected:
        while at < len(rows) and rows["exch_ts_ns"][at] <= int(time) * SECOND:
            book.apply(rows[at])
            at += 1
        for side, text in ((FLAG_BUY, bid_text), (FLAG_SELL, ask_text)):
            price, size = map(float, text.split("_"))
            assert book.visible(side) == [(round(price * 100), size)]


@pytest.mark.recording
def test_a_window_of_the_real_set_opens_with_its_book(shared_data: Path) -> None:
    source = read(shared_data / SET, "ETHUSD")
    start = source.start_ns + 5 * 3600 * SECOND
    window = rows_of(source, start, start + 60 * SECOND)
    assert naive.book_before(window[:3], start + 1) == naive.book_before(rows_of(source, None, start), start)
    assert (window["local_ts_ns"] >= start).all() and (window["local_ts_ns"] < start + 60 * SECOND).all()
