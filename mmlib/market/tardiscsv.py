"""Rows of Tardis CSV files: whole blocks through pyarrow, and line by line where a block holds anything else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from mmlib._io import UserError
from mmlib.core.columns import LARGEST
from mmlib.dtypes import FLAG_BUY, FLAG_SELL
from mmlib.market.lines import Lines, Quarantine

BOOK, TRADES = "incremental_book_L2", "trades"
_COMMON = ("exchange", "symbol", "timestamp", "local_timestamp")
HEADS = {
    BOOK: (*_COMMON, "is_snapshot", "side", "price", "amount"),
    TRADES: (*_COMMON, "id", "side", "price", "amount"),
}
"""The header of each kind of file."""

ROW = np.dtype(
    [
        ("exch_us", "i8"),
        ("local_us", "i8"),
        ("price", "f8"),
        ("amount", "f8"),
        ("side", "u1"),  # FLAG_BUY, FLAG_SELL, or 0 for a trade without a known side
        ("snapshot", "u1"),
    ]
)

_EARLIEST_US, _LATEST_US = 1_000_000_000_000_000, 4_000_000_000_000_000  # 2001 to 2096
_SIDES = {"bid": FLAG_BUY, "buy": FLAG_BUY, "ask": FLAG_SELL, "sell": FLAG_SELL, "unknown": 0}
_TRUTH = {"true": 1, "false": 0}
_TYPES = {
    **dict.fromkeys(("symbol", "side", "is_snapshot"), pa.string()),
    **dict.fromkeys(("timestamp", "local_timestamp"), pa.int64()),
    **dict.fromkeys(("price", "amount"), pa.float64()),
}


@dataclass
class Table:
    """Rows of one kind of file, and what was met on the way."""

    rows: np.ndarray  # ROW[n]
    quarantines: list[Quarantine] = field(default_factory=list)
    found: set[str] = field(default_factory=set)
    lines: int = 0
    other_symbols: int = 0
    truncated: bool = False


def kind_of(path: Path) -> str:
    """What a file holds, by its header.

    Raises:
        UserError: another header.
    """
    head = next(iter(Lines(path)), b"").strip().decode("utf-8", "replace")
    for kind, columns in HEADS.items():
        if head == ",".join(columns):
            return kind
    raise UserError(f"{path}:1: another header; expected {','.join(HEADS[BOOK])}")


def read_rows(files: Sequence[Path], kind: str, symbol: str) -> Table:
    """Rows of one symbol in the order of the files; those that cannot be used are in quarantine."""
    table = Table(np.zeros(0, ROW))
    parts = []
    for path in files:
        lines, quarantine, number = Lines(path), Quarantine(path), 0
        table.quarantines.append(quarantine)
        for block in lines.blocks():
            skip = block.index(b"\n") + 1 if number == 0 else 0
            body, number = block[skip:], number + (skip > 0)
            parts.append(_block(body, number, kind, symbol, table, quarantine))
            number += body.count(b"\n")
        if lines.torn:
            quarantine.add(number + 1, "cut off", lines.torn)
        table.lines += number
        table.truncated |= lines.truncated
    if parts:
        table.rows = np.concatenate(parts)
    return table


def _block(
    body: bytes, number: int, kind: str, symbol: str, table: Table, quarantine: Quarantine
) -> np.ndarray:
    """Rows of whole lines, of which ``number`` came before."""
    try:
        rows = _fast(body, kind, symbol, table) if body else np.zeros(0, ROW)
    except (pa.ArrowException, ValueError, KeyError):
        return _careful(body, number, kind, symbol, table, quarantine)
    return rows


def _fast(body: bytes, kind: str, symbol: str, table: Table) -> np.ndarray:
    """All lines at once.

    Raises:
        ValueError, KeyError, ArrowException: at least one line is not as it should be; nothing was counted.
    """
    names = HEADS[kind]
    columns = [name for name in names if name in _TYPES]
    found = csv.read_csv(
        pa.BufferReader(body),
        read_options=csv.ReadOptions(column_names=list(names), use_threads=False, block_size=len(body) + 1),
        parse_options=csv.ParseOptions(quote_char=False),
        convert_options=csv.ConvertOptions(
            column_types=_TYPES, include_columns=columns, strings_can_be_null=False, null_values=[]
        ),
    )
    if found.num_rows != body.count(b"\n"):
        raise ValueError("blank lines")
    rows = np.zeros(found.num_rows, ROW)
    rows["exch_us"], rows["local_us"] = found["timestamp"].to_numpy(), found["local_timestamp"].to_numpy()
    rows["price"], rows["amount"] = found["price"].to_numpy(), found["amount"].to_numpy()
    rows["side"] = _coded(found["side"], _SIDES)
    if kind == BOOK:
        rows["snapshot"] = _coded(found["is_snapshot"], _TRUTH)
    if not _fine(rows, kind).all():
        raise ValueError("numbers")
    symbols = pc.utf8_upper(found["symbol"]).combine_chunks().dictionary_encode()
    words = symbols.dictionary.to_pylist()
    mine = np.array([word == symbol for word in words], bool)[symbols.indices.to_numpy()]
    table.found.update(words)
    table.other_symbols += int((~mine).sum())
    return np.asarray(rows[mine])


def _coded(column: pa.ChunkedArray, codes: dict[str, int]) -> np.ndarray:
    """Words as their codes; a KeyError for another word."""
    encoded = column.combine_chunks().dictionary_encode()
    return np.array([codes[word] for word in encoded.dictionary.to_pylist()], np.uint8)[
        encoded.indices.to_numpy()
    ]


def _fine(rows: np.ndarray, kind: str) -> np.ndarray:
    """Which rows can be."""
    fine = np.ones(len(rows), bool)
    for clock in ("exch_us", "local_us"):
        fine &= (rows[clock] >= _EARLIEST_US) & (rows[clock] <= _LATEST_US)
    with np.errstate(invalid="ignore"):
        fine &= (rows["price"] > 0.0) & (rows["price"] < LARGEST) & (rows["amount"] < LARGEST)
        return np.asarray(
            fine & ((rows["amount"] >= 0.0) & (rows["side"] != 0) if kind == BOOK else rows["amount"] > 0.0)
        )


def _careful(
    body: bytes, number: int, kind: str, symbol: str, table: Table, quarantine: Quarantine
) -> np.ndarray:
    """One line after the other; those that cannot be used are kept aside with the reason."""
    out = []
    for at, raw in enumerate(body.split(b"\n")[:-1], number + 1):
        if not raw.strip():
            continue
        try:
            name, row = _parse(raw.strip(), kind)
        except ValueError as exc:
            quarantine.add(at, str(exc) if isinstance(exc, _BadRow) else "not the columns expected", raw)
            continue
        table.found.add(name)
        if name == symbol:
            out.append(row)
        else:
            table.other_symbols += 1
    return np.array(out, ROW) if out else np.zeros(0, ROW)


class _BadRow(ValueError):
    """The row cannot be used; the message is the reason."""


def _parse(raw: bytes, kind: str) -> tuple[str, tuple[float, ...]]:
    cells = dict(zip(HEADS[kind], raw.decode().split(","), strict=True))
    side, snapshot = _SIDES.get(cells["side"]), _TRUTH.get(cells.get("is_snapshot", "false"))
    if side is None or (side == 0 and kind == BOOK):
        raise _BadRow("the side is not bid or ask" if kind == BOOK else "the side is not buy or sell")
    if snapshot is None:
        raise _BadRow("is_snapshot is not true or false")
    row = (
        int(cells["timestamp"]),
        int(cells["local_timestamp"]),
        float(cells["price"]),
        float(cells["amount"]),
        side,
        snapshot,
    )
    if not all(_EARLIEST_US <= time <= _LATEST_US for time in row[:2]):
        raise _BadRow("a time outside 2001 to 2096")
    least = 0.0 if kind == BOOK else math.nextafter(0.0, 1.0)
    if not (0.0 < row[2] < LARGEST and least <= row[3] < LARGEST):
        raise _BadRow("a price or amount is not a positive number in range")
    return cells["symbol"].upper(), row
