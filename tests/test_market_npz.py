"""Recordings that hftbacktest converted: the same rows as our own reader makes, and every kind of damage."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mmlib._io import UserError
from mmlib.dtypes import FLAG_BUY, FLAG_EXCH, FLAG_LOCAL, FLAG_SELL, KIND_CLEAR, KIND_DEPTH, KIND_TRADE
from mmlib.market.opening import open_source
from mmlib.market.source import Source

THEIRS = np.dtype(
    [
        *(("ev", "u8"), ("exch_ts", "i8"), ("local_ts", "i8"), ("px", "f8"), ("qty", "f8")),
        *(("order_id", "u8"), ("ival", "i8"), ("fval", "f8")),
    ]
)
EXCH, LOCAL, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
BOTH = EXCH | LOCAL
T0 = 1_700_000_000_000_000_000
USDM = "binance_usdm_btcusdt_20240808.gz"


def rows_of(*rows: tuple[int, int, int, float, float]) -> np.ndarray:
    """Their rows from (ev, exch ns after T0, local ns after T0, px, qty)."""
    out = np.zeros(len(rows), THEIRS)
    for i, (ev, exch, local, px, qty) in enumerate(rows):
        out[i] = (ev, T0 + exch, T0 + local, px, qty, 0, 0, 0.0)
    return out


GOOD = rows_of(
    (BOTH | 3, 0, 5, 0.0, 0.0),
    (BOTH | BUY | 4, 0, 5, 100.0, 2.0),
    (BOTH | SELL | 4, 0, 5, 100.1, 1.5),
    (EXCH | BUY | 1, 10, 30, 99.9, 1.0),
    (BOTH | SELL | 2, 20, 25, 100.0, 0.5),
    (LOCAL | BUY | 1, 10, 30, 99.9, 1.0),
    (BOTH | BUY | 1, 40, 45, 100.0, 0.0),
    (BOTH | BUY | 3, 50, 55, 99.9, 0.0),
)


def save(path: Path, rows: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, rows)
    else:
        np.savez_compressed(path, data=rows)
    return path


def read(path: Path, **more: object) -> tuple[Source, np.ndarray]:
    source = open_source(f"recording:{path}", "ABCUSDT", **more)  # type: ignore[arg-type]
    return source, np.concatenate(list(source.chunks()))


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
def test_rows_as_they_stand(tmp_path: Path, name: str) -> None:
    source, rows = read(save(tmp_path / name, GOOD))
    assert (source.instrument.tick_size, source.instrument.lot_size) == (0.1, 0.1)
    both = FLAG_EXCH | FLAG_LOCAL
    expected = [
        both | KIND_CLEAR,
        both | FLAG_BUY | 4,
        both | FLAG_SELL | 4,
        FLAG_EXCH | FLAG_BUY | KIND_DEPTH,
        both | FLAG_SELL | KIND_TRADE,
        FLAG_LOCAL | FLAG_BUY | KIND_DEPTH,
        both | FLAG_BUY | KIND_DEPTH,
        both | FLAG_BUY | KIND_CLEAR,
    ]
    assert rows["flags"].tolist() == expected
    assert rows["price_ticks"].tolist() == [0, 1000, 1001, 999, 1000, 999, 1000, 999]
    assert (rows["exch_ts_ns"] - T0).tolist() == [0, 0, 0, 10, 20, 10, 40, 50]
    assert (rows["local_ts_ns"] - T0).tolist() == [5, 5, 5, 30, 25, 30, 45, 55]
    assert rows["qty"].tolist() == [0.0, 2.0, 1.5, 1.0, 0.5, 1.0, 0.0, 0.0]
    assert source.quality["bad_lines"] == source.quality["ignored"] == 0
    assert source.quality["split_rows"] == 1


def test_what_both_processors_pass_over_is_counted(tmp_path: Path) -> None:
    more = rows_of(
        (BOTH | BUY | 5, 60, 65, 100.0, 1.0),
        (BOTH | BUY | 103, 60, 65, 100.0, 1.0),
        (BUY | 1, 60, 65, 100.0, 1.0),
        (BOTH | 2, 60, 65, 100.0, 1.0),
    )
    source, rows = read(save(tmp_path / "a.npz", np.concatenate([GOOD, more])))
    assert len(rows) == len(GOOD)
    assert (source.quality["ignored"], source.quality["trades_without_side"]) == (3, 1)


BAD = {
    "a price of nothing": (BOTH | BUY | 1, 60, 65, 0.0, 1.0),
    "NaN": (BOTH | BUY | 1, 60, 65, np.nan, 1.0),
    "a negative quantity": (BOTH | BUY | 1, 60, 65, 100.0, -1.0),
    "an endless quantity": (BOTH | BUY | 1, 60, 65, 100.0, np.inf),
    "a trade of nothing": (BOTH | BUY | 2, 60, 65, 100.0, 0.0),
    "a price beyond int32 ticks": (BOTH | BUY | 1, 60, 65, 3e10, 1.0),
    "a time of another age": (BOTH | BUY | 1, -T0, 65, 100.0, 1.0),
}


@pytest.mark.parametrize("why", BAD)
def test_a_bad_row_costs_itself_and_is_kept(tmp_path: Path, why: str) -> None:
    path = save(tmp_path / "a.npz", np.concatenate([GOOD, rows_of(BAD[why])]))
    sizes = {"ABCUSDT": (0.1, 0.5)}
    source, rows = read(path, quarantine_dir=tmp_path / "q", instruments=sizes)
    assert rows.tobytes() == read(save(tmp_path / "b.npz", GOOD))[1].tobytes()
    assert source.quality["bad_lines"] == 1
    assert '"line":9' in (tmp_path / "q" / "a.npz.quarantine.jsonl").read_text()


def test_rows_out_of_order_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", GOOD[::-1])
    with pytest.raises(UserError, match=r"exch_ts goes back; expected rows in processing order"):
        read(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (np.zeros((3, 6)), "holds float64 in shape"),
        (np.zeros(3, [("ev", "u8")]), "expected hftbacktest events"),
        (GOOD[:0], "none of its 0 rows"),
        (rows_of((EXCH | BUY | 1, 0, 5, 100.0, 1.0)), "no row has the local flag"),
    ],
)
def test_other_contents(tmp_path: Path, content: np.ndarray, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        read(save(tmp_path / "a.npz", content))
    assert "a.npz" in str(caught.value) and "\n" not in str(caught.value)


def test_archives_of_something_else_and_damaged_ones(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=GOOD, b=GOOD)
    with pytest.raises(UserError, match=r"holds a.npy, b.npy"):
        read(tmp_path / "two.npz")
    whole = save(tmp_path / "a.npz", GOOD).read_bytes()
    for cut in (len(whole) // 2, len(whole) - 5):
        (tmp_path / "cut.npz").write_bytes(whole[:cut])
        with pytest.raises(UserError, match=r"cut\.npz: cannot be read"):
            read(tmp_path / "cut.npz")
    plain = save(tmp_path / "a.npy", GOOD).read_bytes()
    (tmp_path / "cut.npy").write_bytes(plain[:-70])
    with pytest.raises(UserError, match=r"ends after 6 of 8 rows"):
        read(tmp_path / "cut.npy")


@pytest.mark.recording
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif("NUMBA_BOUNDSCHECK" in os.environ, reason="hftbacktest itself reads beyond an array")
def test_the_anchor_s_conversion_gives_the_rows_of_our_own_reader(shared_data: Path, tmp_path: Path) -> None:
    converter = pytest.importorskip("hftbacktest.data.utils.binancefutures")
    converter.convert(str(shared_data / USDM), str(tmp_path / "btc.npz"))
    source, theirs = read(tmp_path / "btc.npz", instruments={"ABCUSDT": (0.1, 0.001)})
    ours = open_source(f"recording:{shared_data / USDM}", "BTCUSDT", instruments={"BTCUSDT": (0.1, 0.001)})
    assert theirs.tobytes() == np.concatenate(list(ours.chunks())).tobytes()
    assert source.quality["off_tick"] == 0
