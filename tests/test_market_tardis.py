"""Tardis CSV: book and trades in the order the anchor gives them, and every kind of damage."""

from __future__ import annotations

import gzip
import os
import random
from pathlib import Path

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
)
from mmlib.market import tardiscsv
from mmlib.market.opening import open_source
from mmlib.market.source import Source

T0_US = 1_700_000_000_000_000
BOOK_HEAD = "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount"
TRADE_HEAD = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"
BOOK_NAME = "binance-futures_incremental_book_L2_2024-08-08_ABCUSDT.csv"
TRADE_NAME = BOOK_NAME.replace("incremental_book_L2", "trades")


def book(at: int, lag: int, snapshot: bool, side: str, price: float, amount: float) -> str:
    flag = "true" if snapshot else "false"
    return f"binance-futures,ABCUSDT,{T0_US + at},{T0_US + at + lag},{flag},{side},{price},{amount}"


def trade(at: int, lag: int, side: str, price: float, amount: float) -> str:
    return f"binance-futures,ABCUSDT,{T0_US + at},{T0_US + at + lag},17,{side},{price},{amount}"


BOOK = [
    book(0, 5, True, "bid", 100.0, 2),
    book(0, 5, True, "ask", 100.1, 1.5),
    book(0, 5, True, "bid", 99.9, 1),
    book(0, 5, True, "ask", 100.3, 1),
    book(1000, 40, False, "bid", 100.0, 1.5),
    book(1000, 40, False, "ask", 100.1, 0),
    book(5000, 40, True, "bid", 99.8, 4),
    book(5000, 40, True, "ask", 100.2, 4),
]
TRADES = [trade(1000, 60, "sell", 100.0, 0.5), trade(2000, 30, "buy", 100.1, 1.5)]


def save(home: Path, rows: list[str], prints: list[str] | None, suffix: str = "") -> Path:
    for name, head, lines in ((BOOK_NAME, BOOK_HEAD, rows), (TRADE_NAME, TRADE_HEAD, prints)):
        if lines is not None:
            content = "\n".join([head, *lines, ""]).encode()
            (home / (name + suffix)).write_bytes(gzip.compress(content) if suffix else content)
    return home / (BOOK_NAME + suffix)


def read(path: Path, symbol: str = "ABCUSDT", **more: object) -> tuple[Source, np.ndarray]:
    source = open_source(f"recording:{path}", symbol, **more)  # type: ignore[arg-type]
    return source, np.concatenate(list(source.chunks()))


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("directory", [True, False])
def test_book_and_trades(tmp_path: Path, suffix: str, directory: bool) -> None:
    path = save(tmp_path, BOOK, TRADES, suffix)
    source, rows = read(tmp_path if directory else path)
    assert (source.instrument.tick_size, source.instrument.lot_size) == (0.1, 0.1)
    both = FLAG_EXCH | FLAG_LOCAL
    shown = [
        (int(f) & 15, int(f) & (FLAG_BUY | FLAG_SELL), int(f) & both, int(p), float(q))
        for f, p, q in zip(rows["flags"], rows["price_ticks"], rows["qty"], strict=True)
    ]
    snapshot = [
        (KIND_CLEAR, FLAG_BUY, both, 999, 0.0),
        (KIND_SNAPSHOT, FLAG_BUY, both, 1000, 2.0),
        (KIND_SNAPSHOT, FLAG_BUY, both, 999, 1.0),
        (KIND_CLEAR, FLAG_SELL, both, 1003, 0.0),
        (KIND_SNAPSHOT, FLAG_SELL, both, 1001, 1.5),
        (KIND_SNAPSHOT, FLAG_SELL, both, 1003, 1.0),
    ]
    assert shown[:6] == snapshot
    # The trade happened with the depth rows and arrived later: first for the exchange, last for us.
    assert shown[6:9] == [
        (KIND_DEPTH, FLAG_BUY, FLAG_LOCAL, 1000, 1.5),
        (KIND_DEPTH, FLAG_SELL, FLAG_LOCAL, 1001, 0.0),
        (KIND_TRADE, FLAG_SELL, both, 1000, 0.5),
    ]
    assert shown[-4:] == [
        (KIND_CLEAR, FLAG_BUY, both, 998, 0.0),
        (KIND_SNAPSHOT, FLAG_BUY, both, 998, 4.0),
        (KIND_CLEAR, FLAG_SELL, both, 1002, 0.0),
        (KIND_SNAPSHOT, FLAG_SELL, both, 1002, 4.0),
    ]
    for flag, clock in ((FLAG_EXCH, "exch_ts_ns"), (FLAG_LOCAL, "local_ts_ns")):
        assert (np.diff(rows[clock][rows["flags"] & flag != 0]) >= 0).all()
    exch = rows[rows["flags"] & FLAG_EXCH != 0]
    at_once = exch[exch["exch_ts_ns"] == (T0_US + 1000) * 1000]
    assert int(at_once["flags"][0]) & 15 == KIND_TRADE
    assert source.quality["bad_lines"] == 0 and source.quality["events"] == 10


def test_without_trades_the_description_says_so(tmp_path: Path) -> None:
    assert "without trades" in read(save(tmp_path, BOOK, None))[0].description
    assert "without trades" not in read(save(tmp_path, BOOK, TRADES))[0].description


def random_rows(n: int) -> tuple[list[str], list[str]]:
    """Many rows with equal times, overtaking arrivals, negative latencies and a snapshot in the middle."""
    rng = random.Random(7)
    rows = [
        book(0, 3, True, side, 100 + sign * i / 10, 1 + i)
        for side, sign in (("bid", -1), ("ask", 1))
        for i in range(1, 9)
    ]
    prints = []
    at = 1000
    for i in range(n):
        at += rng.choice([0, 0, 0, 50, 1000])
        lag = rng.randrange(-40, 400)
        if i == n // 2:
            rows += [book(at, lag, True, s, p, 2) for s, p in (("bid", 99.5), ("bid", 99.4), ("ask", 100.5))]
        elif rng.random() < 0.3:
            prints.append(trade(at, lag, rng.choice(["buy", "sell"]), 100.0, rng.randrange(1, 9) / 2))
        else:
            side, sign = rng.choice([("bid", -1), ("ask", 1)])
            rows.append(
                book(
                    at,
                    lag,
                    False,
                    side,
                    round(100 + sign * rng.randrange(1, 20) / 10, 1),
                    rng.randrange(0, 9) / 2,
                )
            )
    return rows, prints


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif("NUMBA_BOUNDSCHECK" in os.environ, reason="hftbacktest itself reads beyond an array")
def test_rows_are_those_of_the_anchor(tmp_path: Path) -> None:
    converter = pytest.importorskip("hftbacktest.data.utils.tardis")
    path = save(tmp_path, *random_rows(3000))
    theirs = converter.convert(
        [str(tmp_path / TRADE_NAME), str(path)], buffer_size=20_000, ss_buffer_size=1000
    )
    np.savez(tmp_path / "theirs.npz", data=theirs)
    sizes = {"ABCUSDT": (0.1, 0.5)}
    expected = read(tmp_path / "theirs.npz", instruments=sizes)[1]
    assert read(path, instruments=sizes)[1].tobytes() == expected.tobytes()


BAD = {
    "a word for a price": book(900, 5, False, "bid", "cheap", 1),  # type: ignore[arg-type]
    "a negative amount": book(900, 5, False, "bid", 100.0, -1),
    "no such side": book(900, 5, False, "mid", 100.0, 1),
    "a column less": "binance-futures,ABCUSDT,1,2,false,bid,100.0",
    "a time of another age": book(-T0_US, 5, False, "bid", 100.0, 1),
    "a word for truth": book(900, 5, False, "bid", 100.0, 1).replace("false", "no"),
    "NaN": book(900, 5, False, "bid", "nan", 1),  # type: ignore[arg-type]
    "binary": "\x00\x01,\x02",
    "a quote": book(900, 5, False, '"bid', 100.0, 1),
}


@pytest.mark.parametrize("why", BAD)
def test_a_bad_line_costs_itself_and_is_kept(tmp_path: Path, why: str) -> None:
    clean = read(save(tmp_path, BOOK, TRADES))[1]
    source, rows = read(
        save(tmp_path, [*BOOK[:4], BAD[why], *BOOK[4:]], TRADES), quarantine_dir=tmp_path / "q"
    )
    assert rows.tobytes() == clean.tobytes()
    assert (source.quality["bad_lines"], source.quality["lines"]) == (1, 9 + 1 + 3)
    kept = (tmp_path / "q" / f"{BOOK_NAME}.quarantine.jsonl").read_text()
    assert '"line":6' in kept


def test_a_trade_without_a_known_side_is_counted(tmp_path: Path) -> None:
    source, _ = read(save(tmp_path, BOOK, [*TRADES, trade(3000, 5, "unknown", 100.0, 1)]))
    assert (source.quality["trades_without_side"], source.quality["bad_lines"]) == (1, 0)


def test_lines_one_by_one_give_what_blocks_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path, *random_rows(500))
    whole = read(path)[1]

    def refuse(*args: object) -> np.ndarray:
        raise ValueError

    monkeypatch.setattr(tardiscsv, "_fast", refuse)
    assert read(path)[1].tobytes() == whole.tobytes()


def test_other_symbols_of_a_file_are_counted(tmp_path: Path) -> None:
    path = save(tmp_path, [*BOOK, BOOK[4].replace("ABCUSDT", "XYZUSDT")], TRADES)
    assert read(path)[0].quality["other_symbols"] == 1
    with pytest.raises(UserError, match=r"symbol DEFUSDT is not in it; found ABCUSDT, XYZUSDT"):
        read(path, "DEFUSDT")


def test_what_is_no_book(tmp_path: Path) -> None:
    save(tmp_path, BOOK, TRADES)
    with pytest.raises(UserError, match="a trades file; expected the incremental_book_L2 file"):
        read(tmp_path / TRADE_NAME)
    with pytest.raises(UserError, match="no incremental_book_L2 file of XYZUSDT"):
        read(tmp_path, "XYZUSDT")
    (tmp_path / BOOK_NAME).write_text("exchange,symbol,timestamp,local_timestamp,bid,ask\n")
    with pytest.raises(UserError, match=":1: another header"):
        read(tmp_path / BOOK_NAME)
    (tmp_path / BOOK_NAME).write_text(BOOK_HEAD + "\n")
    with pytest.raises(UserError, match="none of its 1 lines"):
        read(tmp_path / BOOK_NAME)


def test_a_file_cut_in_the_middle_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = save(tmp_path, random_rows(3000)[0], None, ".gz")
    whole = len(read(path, instruments={"ABCUSDT": (0.1, 0.5)})[1])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source, rows = read(path, instruments={"ABCUSDT": (0.1, 0.5)})
    assert source.quality["truncated"] == 1 and 0.3 * whole < len(rows) < 0.7 * whole
