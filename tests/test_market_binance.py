"""Binance recordings: the real ones row by row, and every kind of damage."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmlib._io import UserError
from mmlib.dtypes import (
    FLAG_BUY,
    FLAG_EXCH,
    FLAG_LOCAL,
    FLAG_SELL,
    KIND_CLEAR,
    KIND_DEPTH,
    KIND_SNAPSHOT,
    KIND_TRADE,
    Grade,
)
from mmlib.market.opening import open_source
from mmlib.market.source import Source
from tests import naive_market as naive

T0_MS = 1_700_000_000_000
USDM, SPOT = "binance_usdm_btcusdt_20240808.gz", "binance_spot_ethusdt_20240809.gz"
SECOND = 10**9


def line(at_ms: float, data: dict[str, Any], lag_ms: float = 3.0) -> bytes:
    """One line of a recording: a combined-stream frame that arrived ``lag_ms`` after ``at_ms``."""
    local = T0_MS * 10**6 + round((at_ms + lag_ms) * 1e6)
    return b"%d %s" % (local, json.dumps({"stream": "x", "data": data}).encode())


def depth(at_ms: int, bids: list[Any], asks: list[Any], first: int = 0, last: int = 0, **more: Any) -> bytes:
    data = {
        "e": "depthUpdate",
        "E": T0_MS + at_ms,
        "s": "ABCUSDT",
        "U": first,
        "u": last,
        "b": bids,
        "a": asks,
    }
    return line(at_ms, data | more)


def trade(at_ms: int, price: str = "100.05", qty: str = "1.5", maker: bool = False, **more: Any) -> bytes:
    data = {
        "e": "trade",
        "E": T0_MS + at_ms,
        "T": T0_MS + at_ms,
        "s": "ABCUSDT",
        "p": price,
        "q": qty,
        "m": maker,
    }
    return line(at_ms, data | more)


GOOD = [
    depth(0, [["100.00", "1.5"], ["99.95", "2"]], [["100.05", "1"]], 1, 2),
    trade(10),
    depth(100, [["100.00", "0"]], [["100.10", "3"]], 3, 4),
    trade(120, "99.95", "0.5", maker=True),
]


def save(path: Path, lines: list[bytes]) -> Path:
    content = b"\n".join(lines) + b"\n"
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def read(path: Path, symbol: str = "ABCUSDT", **more: Any) -> Source:
    return open_source(f"recording:{path}", symbol, **more)


def rows_of(source: Source, *window: int | None) -> np.ndarray:
    return np.concatenate(list(source.chunks(*window)))


@pytest.mark.parametrize("name", ["good.gz", "good.txt"])
def test_a_small_recording(tmp_path: Path, name: str) -> None:
    source = read(save(tmp_path / name, GOOD))
    rows = rows_of(source)
    both = FLAG_EXCH | FLAG_LOCAL
    assert [int(f) ^ both for f in rows["flags"]] == [
        KIND_DEPTH | FLAG_BUY,
        KIND_DEPTH | FLAG_BUY,
        KIND_DEPTH | FLAG_SELL,
        KIND_TRADE | FLAG_BUY,
        KIND_DEPTH | FLAG_BUY,
        KIND_DEPTH | FLAG_SELL,
        KIND_TRADE | FLAG_SELL,
    ]
    assert (source.instrument.tick_size, source.instrument.lot_size) == (0.05, 0.1)
    assert rows["price_ticks"].tolist() == [2000, 1999, 2001, 2001, 2000, 2002, 1999]
    assert rows["qty"].tolist() == [1.5, 2.0, 1.0, 1.5, 0.0, 3.0, 0.5]
    assert source.quality["lines"] == source.quality["events"] == 4
    assert source.quality["bad_lines"] == source.quality["sequence_gaps"] == 0
    assert source.grade is Grade.RECORDING and len(source.sha256) == 64
    assert (
        source.start_ns == int(rows["local_ts_ns"][0]) and source.end_ns == int(rows["local_ts_ns"][-1]) + 1
    )
    assert source.refresh_ms == pytest.approx(np.full(1001, 6.0))
    assert source.refresh_label.startswith("drawn from the recording")


def test_the_clock_is_corrected_and_the_label_says_so(tmp_path: Path) -> None:
    early = [
        line(t, json.loads(raw[20:])["data"], lag)
        for t, lag, raw in zip((0, 10, 100, 120), (-50, -47, -50, -40), GOOD, strict=True)
    ]
    source = read(save(tmp_path / "early.gz", early))
    rows = rows_of(source)
    lag_ms = (rows["local_ts_ns"] - rows["exch_ts_ns"]) / 1e6
    assert lag_ms.tolist() == [0, 0, 0, 3, 0, 0, 10]
    assert "0.050 s" in source.refresh_label
    slower = read(tmp_path / "early.gz", latency={"base_latency_ms": 2.0})
    assert slower.refresh_ms[0] == pytest.approx(4.0)


def test_a_snapshot_clears_as_far_as_it_reaches(tmp_path: Path) -> None:
    snapshot = {
        "lastUpdateId": 9,
        "T": T0_MS + 5,
        "bids": [["99.90", "4"]],
        "asks": [["100.20", "5"], ["100.25", "1"]],
    }
    raw = b"%d %s" % ((T0_MS + 9) * 10**6, json.dumps(snapshot).encode())
    rows = rows_of(read(save(tmp_path / "s.gz", [GOOD[0], raw])))[3:]
    kinds = [
        (int(r["flags"]) & 15, int(r["flags"]) & (FLAG_BUY | FLAG_SELL), int(r["price_ticks"])) for r in rows
    ]
    assert kinds == [
        (KIND_CLEAR, FLAG_BUY, 1998),
        (KIND_SNAPSHOT, FLAG_BUY, 1998),
        (KIND_CLEAR, FLAG_SELL, 2005),
        (KIND_SNAPSHOT, FLAG_SELL, 2004),
        (KIND_SNAPSHOT, FLAG_SELL, 2005),
    ]


BAD = {
    "no time": b"hello",
    "no digits": b"17000000000000000x0 {}",
    "no JSON": b"1700000000000000000 {oops",
    "no object": b"1700000000000000000 [1, 2]",
    "a time of another age": b"0000000000000000001 {}",
    "binary": b"\x00\xff\xfe\x01 \x80",
    "no quantity": depth(50, [["100.00"]], []),
    "a word for a price": depth(50, [["cheap", "1"]], []),
    "a missing side": line(50, {"e": "depthUpdate", "E": T0_MS, "s": "ABCUSDT", "U": 1, "u": 2, "b": []}),
    "a negative quantity": depth(50, [["100.00", "-1"]], []),
    "a price that is no number": depth(50, [["NaN", "1"]], []),
    "an endless price": depth(50, [["inf", "1"]], []),
    "a price beyond int32 ticks": depth(50, [["30000000000", "1"]], []),
    "crossed": depth(50, [["100.10", "1"]], [["100.05", "1"]]),
    "a trade of nothing": trade(50, qty="0"),
    "a time in words": line(50, {"e": "trade", "T": "soon", "s": "ABCUSDT", "p": "1", "q": "1", "m": True}),
    "clocks an hour apart": line(50, json.loads(GOOD[1][20:])["data"], lag_ms=3.6e6),
    "a clock of yesterday": line(50, json.loads(GOOD[1][20:])["data"], lag_ms=-8.64e7),
}


@pytest.mark.parametrize("why", BAD)
def test_a_bad_line_costs_itself_and_is_kept(tmp_path: Path, why: str) -> None:
    clean = rows_of(read(save(tmp_path / "clean.gz", GOOD)))
    path = save(tmp_path / "bad.gz", [*GOOD[:2], BAD[why], *GOOD[2:]])
    source = read(path, quarantine_dir=tmp_path / "q")
    assert rows_of(source).tobytes() == clean.tobytes()
    assert (source.quality["lines"], source.quality["events"], source.quality["bad_lines"]) == (5, 4, 1)
    assert source.quality["crossed"] == (why == "crossed")
    kept = [
        json.loads(entry) for entry in (tmp_path / "q" / "bad.gz.quarantine.jsonl").read_text().splitlines()
    ]
    assert [(entry["file"], entry["line"]) for entry in kept] == [("bad.gz", 3)]
    assert kept[0]["reason"] and kept[0]["text"]


def test_what_is_counted_and_not_used(tmp_path: Path) -> None:
    ticker = line(20, {"u": 5, "s": "ABCUSDT", "b": "1", "B": "1", "a": "2", "A": "1"})
    other = line(30, {"e": "trade", "T": T0_MS, "s": "XYZUSDT", "p": "1", "q": "1", "m": True})
    fund = trade(40, "0", X="INSURANCE_FUND")
    late = depth(90_000, [["99.90", "1"]], [], 9, 10)
    source = read(save(tmp_path / "more.gz", [*GOOD, ticker, b"", other, fund, late]))
    expected = {
        "ignored": 1,
        "other_symbols": 1,
        "trades_off_book": 1,
        "sequence_gaps": 1,
        "gaps_over_60s": 1,
    }
    assert {name: source.quality[name] for name in expected} == expected
    assert source.quality["bad_lines"] == 0


def test_usdm_sequence_gaps_follow_pu(tmp_path: Path) -> None:
    updates = [
        depth(t, [["100.00", "1"]], [], 10 * t + 5, 10 * t + 9, pu=pu)
        for t, pu in ((0, 4), (1, 9), (2, 19), (3, 28))
    ]
    assert read(save(tmp_path / "pu.gz", updates)).quality["sequence_gaps"] == 1


def test_coin_margined_futures_count_in_contracts(tmp_path: Path) -> None:
    """COIN-M messages name the pair as well; quantities are contracts, so the lot is one of them."""
    more = {"s": "BTCUSD_PERP", "ps": "BTCUSD", "T": T0_MS}
    lines = [
        depth(0, [["61000.1", "1200"], ["61000.0", "3"]], [["61000.2", "77"]], 1, 2, pu=0, **more),
        trade(10, "61000.2", "12", X="MARKET", t=5, s="BTCUSD_PERP"),
        line(
            20, {"e": "aggTrade", "E": T0_MS, "a": 1, "f": 5, "l": 5, "p": "1", "q": "2", "m": True, **more}
        ),
        depth(30, [["61000.1", "0"]], [], 3, 4, pu=2, **(more | {"T": T0_MS + 30})),
    ]
    source = read(save(tmp_path / "coinm.gz", lines), "BTCUSD_PERP")
    rows = rows_of(source)
    assert (source.instrument.tick_size, source.instrument.lot_size) == (0.1, 1.0)
    assert rows["price_ticks"].tolist() == [610001, 610000, 610002, 610002, 610001]
    assert rows["qty"].tolist() == [1200.0, 3.0, 77.0, 12.0, 0.0]
    assert (source.quality["ignored"], source.quality["sequence_gaps"]) == (1, 0)
    assert "without trades" not in source.description
    assert "without trades" in read(save(tmp_path / "no.gz", lines[:1]), "BTCUSD_PERP").description


def test_time_going_backwards_is_counted_and_put_in_order(tmp_path: Path) -> None:
    source = read(save(tmp_path / "back.gz", [GOOD[0], GOOD[2], GOOD[1], GOOD[3]]))
    assert source.quality["time_backwards"] == 1
    assert rows_of(source).tobytes() == rows_of(read(save(tmp_path / "good.gz", GOOD))).tobytes()


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.98])
def test_a_file_cut_in_the_middle_is_read_as_far_as_it_goes(tmp_path: Path, kept: float) -> None:
    rng = np.random.default_rng(1)
    lines = [
        trade(i, f"{100 + rng.integers(0, 99) / 100:.2f}", f"{rng.integers(1, 999) / 10}")
        for i in range(4000)
    ]
    whole = save(tmp_path / "whole.gz", lines)
    cut = tmp_path / "cut.gz"
    cut.write_bytes(whole.read_bytes()[: int(kept * whole.stat().st_size)])
    instrument = {"ABCUSDT": (0.01, 0.1)}
    source = read(cut, instruments=instrument, quarantine_dir=tmp_path)
    rows, reference = rows_of(source), rows_of(read(whole, instruments=instrument))
    assert 0.8 * kept * len(reference) < len(rows) < len(reference)
    assert rows.tobytes() == reference[: len(rows)].tobytes()
    assert source.quality["truncated"] == 1
    assert "cut off" in source.description


def test_damage_inside_the_gzip_is_a_cut(tmp_path: Path) -> None:
    path = save(tmp_path / "d.gz", [trade(i) for i in range(2000)])
    raw = bytearray(path.read_bytes())
    raw[-8:] = b"\x00" * 8  # checksum and length
    path.write_bytes(bytes(raw))
    assert read(path).quality["truncated"] == 1


def test_gzip_members_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "two.gz"
    path.write_bytes(b"".join(gzip.compress(b"\n".join(part) + b"\n") for part in (GOOD[:2], GOOD[2:])))
    source = read(path)
    assert (source.quality["events"], source.quality["truncated"]) == (4, 0)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "nothing in it"),
        (b"\n\n", "nothing in it"),
        (b"not a recording\n" * 5, "none of its 5 lines"),
        (gzip.compress(b"", mtime=0), "nothing in it"),
        (gzip.compress(b"\n".join(GOOD), mtime=0)[:12], "nothing in it"),
        (
            line(0, {"u": 5, "s": "ABCUSDT", "b": "1", "B": "1", "a": "2", "A": "1"}),
            "no depth update or trade",
        ),
        (line(0, {"e": "trade", "T": T0_MS, "s": "XYZUSDT", "p": "1", "q": "1", "m": True}), "found XYZUSDT"),
        (BAD["crossed"], "every one is damaged"),
        (b"time_seconds,price\n1,2\n", "market-depth"),
    ],
)
def test_files_without_anything_to_read(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=expected) as caught:
        read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_and_a_directory_without_recordings(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "absent.gz")
    with pytest.raises(UserError, match="no recording in it"):
        read(tmp_path)


def test_windows_and_tiles(tmp_path: Path) -> None:
    path = save(tmp_path / "good.gz", GOOD)
    once, thrice = read(path), read(path, tiles=3)
    rows = rows_of(once)
    start = int(rows["local_ts_ns"][4])
    window = rows_of(once, start)
    assert window[-3:].tobytes() == rows[4:].tobytes()
    assert naive.book_before(window[:-3], start + 1) == naive.book_before(rows, start)
    assert (np.diff(window["exch_ts_ns"]) >= 0).all() and (np.diff(window["local_ts_ns"]) >= 0).all()
    assert once.end_ns is not None and thrice.end_ns is not None
    for beyond in (
        list(once.chunks(once.end_ns)),
        list(once.chunks(None, once.start_ns)),
        list(thrice.chunks(thrice.end_ns)),
    ):
        assert beyond == []

    tiled = rows_of(thrice)
    assert thrice.grade is Grade.RECORDING_TILED and "3 times" in thrice.description
    assert thrice.end_ns - once.end_ns == 2 * SECOND
    assert len(tiled) == 3 * len(rows) + 2
    second = tiled[len(rows) : 2 * len(rows) + 1]
    assert int(second["flags"][0]) & 15 == KIND_CLEAR and not int(second["flags"][0]) & (FLAG_BUY | FLAG_SELL)
    for clock in ("exch_ts_ns", "local_ts_ns"):
        assert (second[clock][1:] - rows[clock] == SECOND).all()
        assert (np.diff(tiled[clock]) >= 0).all()
    later = rows_of(thrice, start + SECOND, start + SECOND + 1)
    assert naive.book_before(later[:-2], start + SECOND + 1) == naive.book_before(rows, start)


@pytest.mark.parametrize("tiles", [0, -1])
def test_tiles_make_sense(tmp_path: Path, tiles: int) -> None:
    with pytest.raises(UserError, match="tiles"):
        read(save(tmp_path / "good.gz", GOOD), tiles=tiles)


@pytest.mark.recording
@pytest.mark.parametrize(
    ("name", "symbol", "tick", "lot"), [(USDM, "BTCUSDT", 0.1, 0.001), (SPOT, "ETHUSDT", 0.01, 1e-4)]
)
def test_real_recordings_row_by_row(
    shared_data: Path, name: str, symbol: str, tick: float, lot: float
) -> None:
    source = read(shared_data / name, symbol)
    rows = rows_of(source)
    assert (source.instrument.tick_size, source.instrument.lot_size) == (tick, lot)
    reference = naive.read_binance(shared_data / name, symbol, tick, lot)
    shift = -min(local - exch for exch, local, *_ in reference)
    assert 1.26 * SECOND < shift < 1.28 * SECOND
    local = rows[rows["flags"] & FLAG_LOCAL != 0]
    processors = np.uint8(FLAG_EXCH | FLAG_LOCAL)
    columns = (
        local["exch_ts_ns"],
        local["local_ts_ns"] - shift,
        local["flags"] & ~processors,
        local["price_ticks"],
        local["qty"],
    )
    for got, expected in zip(columns, zip(*reference, strict=True), strict=True):
        np.testing.assert_array_equal(got, expected)
    exch = rows[rows["flags"] & FLAG_EXCH != 0]
    there = naive.read_binance(shared_data / name, symbol, tick, lot, FLAG_EXCH)
    assert (np.diff(exch["exch_ts_ns"]) >= 0).all() and len(exch) == len(there)
    np.testing.assert_array_equal(np.sort(exch["qty"]), np.sort([row[4] for row in there]))
    assert source.refresh_ms[0] == 0.0 and 5.0 < source.refresh_ms[500] < 10.0


@pytest.mark.recording
def test_real_recording_counters(shared_data: Path) -> None:
    quality = read(shared_data / USDM, "BTCUSDT").quality
    expected = {
        "lines": 93_954,
        "events": 6_551 + 21_313 + 1,
        "ignored": 66_089,
        "bad_lines": 0,
        "sequence_gaps": 0,
    }
    assert {name: quality[name] for name in expected} == expected


@pytest.mark.recording
def test_a_window_of_a_real_recording_opens_with_its_book(shared_data: Path) -> None:
    source = read(shared_data / SPOT, "ETHUSDT")
    start = source.start_ns + 30 * SECOND
    rows = rows_of(source, None, start)
    opening = next(source.chunks(start))
    bids, asks = naive.book_before(opening, start + 1)
    assert (bids, asks) == naive.book_before(rows, start)
    assert len(bids) > 100 and len(asks) > 100 and bids[0][0] < asks[0][0]
