"""Reader of Tardis CSV: incremental_book_L2 with the trades of the same symbol beside it.

Rows carry the exchange's time and the time of arrival, both in microseconds. A snapshot is a run of rows marked as one with
the same arrival: its sides are cleared as far as it reaches, then set. At equal times trades come first, so that a trade is
not taken off a queue twice, once by itself and once by the depth row that it caused.

Source: docs.tardis.dev, downloadable CSV files. Oracle: hftbacktest 2.4 ``tardis.convert``, in tests/test_market_tardis.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from mmlib._io import UserError
from mmlib.dtypes import EVENT, FLAG_BUY, FLAG_SELL, KIND_CLEAR, KIND_DEPTH, KIND_SNAPSHOT, KIND_TRADE
from mmlib.market.events import (
    correct_clock,
    count_off_grid,
    infer_instrument,
    merge_order,
    round_half_away,
)
from mmlib.market.latency import measured_ms
from mmlib.market.lines import why_refused
from mmlib.market.recorded import ReaderOptions, Recording, count_gaps
from mmlib.market.source import Instrument
from mmlib.market.tardiscsv import BOOK, TRADES, Table, kind_of, read_rows

_MAX_TICKS = 2**31 - 1


def looks_like(directory: Path) -> bool:
    """Whether a directory holds Tardis book files."""
    return any(_is_csv(file) and BOOK in file.name for file in directory.iterdir())


def files_of(path: Path, symbol: str) -> list[Path]:
    """The book files and then the trades files that belong to a recording.

    Args:
        path: a book file, whose trades file is named alike and lies beside it, or a directory.
        symbol: decides between the files of a directory, which end in ``_<symbol>.csv[.gz]``.

    Raises:
        UserError: a directory without a book file of the symbol, or a trades file in place of a book file.
    """
    if not path.is_dir():
        if BOOK not in path.name and kind_of(path) == TRADES:
            raise UserError(f"{path}: a trades file; expected the {BOOK} file, with the trades beside it")
        beside = path.with_name(path.name.replace(BOOK, TRADES))
        return [path, beside] if beside != path and beside.is_file() else [path]
    files = sorted(file for file in path.iterdir() if _is_csv(file))
    mine = [file for file in files if file.name.split(".csv")[0].upper().endswith(f"_{symbol}")]
    book, trades = ([file for file in mine if kind in file.name] for kind in (BOOK, TRADES))
    if not book:
        named = ", ".join(file.name for file in files[:5])
        raise UserError(f"{path}: no {BOOK} file of {symbol} in it; found {named}")
    return book + trades


def _is_csv(file: Path) -> bool:
    return file.name.endswith((".csv", ".csv.gz")) and file.is_file()


def read_tardis(path: Path, options: ReaderOptions) -> Recording:
    """Read one symbol.

    Args:
        path: a book file with the trades file beside it, or a directory of both.
        options: the symbol and what else readers are told.

    Raises:
        UserError: another header, the symbol not in it, no usable row.
    """
    files = files_of(path, options.symbol)
    kinds = [kind_of(file) for file in files]
    book, trades = (
        read_rows([f for f, k in zip(files, kinds, strict=True) if k == kind], kind, options.symbol)
        for kind in (BOOK, TRADES)
    )
    quarantines = [quarantine for table in (book, trades) for quarantine in table.quarantines]
    for quarantine in quarantines:
        quarantine.save(options.quarantine_dir)
    if not len(book.rows):
        raise UserError(_nothing(path, book, options.symbol) + why_refused(*quarantines))
    prints = trades.rows[trades.rows["side"] != 0]
    prices, sizes = (np.concatenate([book.rows[c], prints[c]]) for c in ("price", "amount"))
    instrument = options.instrument or Instrument(options.symbol, *infer_instrument(prices, sizes))
    if prices.max() / instrument.tick_size > _MAX_TICKS:
        raise UserError(
            f"{path}: a price is beyond {_MAX_TICKS} ticks of {instrument.tick_size:g}; declare a larger tick"
        )
    rows = np.concatenate([_events(prints, KIND_TRADE, instrument), _book(book.rows, instrument)])
    shift_ns = correct_clock(rows, round(options.latency.base_ms * 1e6))
    events = merge_order(rows)
    label = "drawn from the recording's own feed latencies, doubled"
    if shift_ns:
        label += f" (local clock moved by {shift_ns / 1e9:.3f} s)"
    missing = "" if len(prints) else "; without trades"
    cut = "; a file is cut off, what it holds was read" if book.truncated or trades.truncated else ""
    return Recording(
        events=events,
        instrument=instrument,
        description=f"Tardis recording {path.name}, {len(files)} files{missing}{cut}",
        sha256=options.sha256_of(*files),
        refresh_ms=2.0 * measured_ms(_arrival_latency_ns(rows)),
        refresh_label=label,
        quality={
            "lines": book.lines + trades.lines,
            "events": len(book.rows) + len(prints),
            "trades": len(prints),
            "prices": len(prices),
            "clock_shift_ns": shift_ns,
            "other_symbols": book.other_symbols + trades.other_symbols,
            "trades_without_side": len(trades.rows) - len(prints),
            "rows": len(rows),
            "split_rows": len(events) - len(rows),
            "bad_lines": sum(quarantine.count for quarantine in quarantines),
            "off_tick": count_off_grid(prices, instrument.tick_size),
            "gaps_over_60s": count_gaps(rows["local_ts_ns"]),
            "truncated": int(book.truncated or trades.truncated),
        },
        quarantined={quarantine.name: quarantine.text() for quarantine in quarantines if quarantine.count},
    )


def _nothing(path: Path, book: Table, symbol: str) -> str:
    others = ", ".join(sorted(book.found - {symbol})[:10])
    if symbol in book.found or not others:
        return f"{path}: none of its {book.lines} lines can be used; expected book updates of {symbol}"
    return f"{path}: symbol {symbol} is not in it; found {others}"


def _events(rows: np.ndarray, kind: int, instrument: Instrument) -> np.ndarray:
    """EVENT rows of one kind, without processor flags."""
    out = np.zeros(len(rows), EVENT)
    out["exch_ts_ns"], out["local_ts_ns"] = rows["exch_us"] * 1000, rows["local_us"] * 1000
    out["price_ticks"] = round_half_away(rows["price"] / instrument.tick_size)
    tiny = round_half_away(rows["amount"] / instrument.lot_size) == 0.0
    out["qty"] = np.where(tiny & (kind != KIND_TRADE), 0.0, rows["amount"])
    out["flags"] = kind | rows["side"]
    return out


def _book(rows: np.ndarray, instrument: Instrument) -> np.ndarray:
    """Depth rows, and each snapshot as clear, bids, clear, asks."""
    depth = _events(rows, KIND_DEPTH, instrument)
    snapshot = rows["snapshot"] != 0
    if not snapshot.any():
        return depth
    arrival = np.diff(rows["local_us"]) != 0
    turns = np.flatnonzero((snapshot[1:] != snapshot[:-1]) | (snapshot[1:] & arrival)) + 1
    bounds = np.concatenate([[0], turns, [len(rows)]]).tolist()
    parts: list[np.ndarray] = []
    for begin, end in pairwise(bounds):
        parts += _snapshot(depth[begin:end]) if snapshot[begin] else [depth[begin:end]]
    return np.concatenate(parts)


def _snapshot(levels: np.ndarray) -> Sequence[np.ndarray]:
    """Each side that a snapshot has: a clear as far as it reaches, then its levels."""
    out: list[np.ndarray] = []
    for side, farthest in ((FLAG_BUY, np.min), (FLAG_SELL, np.max)):
        mine = levels[levels["flags"] & side != 0]
        if len(mine):
            mine["flags"] = KIND_SNAPSHOT | side
            clear = mine[:1].copy()
            clear["flags"], clear["qty"], clear["price_ticks"] = (
                KIND_CLEAR | side,
                0.0,
                farthest(mine["price_ticks"]),
            )
            out += [clear, mine]
    return out


def _arrival_latency_ns(rows: np.ndarray) -> np.ndarray:
    """Feed latency of each arrival."""
    _, first = np.unique(rows["local_ts_ns"], return_index=True)
    return np.asarray((rows["local_ts_ns"] - rows["exch_ts_ns"])[first])
