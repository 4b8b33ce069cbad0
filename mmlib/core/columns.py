"""Where raw messages are decoded to: segments of rows, and the columns of the rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mmlib.core.jsonline import N_CELLS
from mmlib.core.shapes import Shapes, new_shapes

EARLIEST_NS, LATEST_NS = 1_000_000_000_000_000_000, 4_000_000_000_000_000_000  # 2001 to 2096
LARGEST = 4e10  # of prices and quantities: 1e-8 of it still counts in int64
NAME_BYTES = 24

SEGMENT = np.dtype(
    [
        ("exch_ns", "i8"),
        ("local_ns", "i8"),
        ("line", "i8"),  # of the file, counted from 1
        ("count", "i4"),  # rows
        ("flags", "u1"),  # kind and side
        ("suspect", "u1"),  # a number in its message may be out of range, or crossed
        ("only", "u1"),  # FLAG_EXCH or FLAG_LOCAL: for one processor, 0: for both
        ("_pad", "u1"),
        (
            "last_update",
            "i8",
        ),  # sequence number up to which a depth update reaches, id of a trade, 0 for none
    ]
)
"""Rows of one kind, side and time; a message is one segment or more."""

DECODE = np.dtype(
    [
        ("at", "i8"),  # next byte of the block
        ("lines", "i8"),
        ("segments", "i8"),
        ("rows", "i8"),
        ("events", "i8"),
        ("ignored", "i8"),
        ("other_symbols", "i8"),
        ("time_backwards", "i8"),
        ("sequence_gaps", "i8"),  # depth updates that do not follow on the one before
        ("lost_updates", "i8"),  # sequence numbers missing before them
        ("first_gap_ns", "i8"),  # exchange time of the first of these updates, 0 for none
        ("old_updates", "i8"),  # depth updates that the book was past already, not used
        ("trades", "i8"),
        ("last_trade", "i8"),  # largest trade id so far, 0 for none
        ("trades_behind", "i8"),  # trades whose id is not beyond it: doubled, or late
        ("last_local_ns", "i8"),
        ("last_exch_ns", "i8"),
        ("last_update", "i8"),
        ("last_update_ns", "i8"),  # exchange time of the last depth update
        ("has_update", "i8"),  # 0 no sequence number yet, 1 of a depth update, 2 of a snapshot
        ("found", "i8"),  # whether our symbol was met
    ]
)
"""Where the decoder is, and what it counted."""


class Columns(NamedTuple):
    """Where messages are decoded to.

    Attributes:
        segments: SEGMENT[m].
        price, qty: float64[n], quote currency and base units.
        cells: int64[N_CELLS + 1, 3], scratch of the scanner.
        symbol: uint8[], the symbol wanted.
        others: uint8[k, 1 + NAME_BYTES], length and text of other symbols met; length 0 ends the list.
        shapes: lines of no use, known again.
    """

    segments: Any
    price: Any
    qty: Any
    cells: Any
    symbol: Any
    others: Any
    shapes: Shapes


def new_columns(symbol: str) -> Columns:
    """Columns without room for anything yet."""
    return Columns(
        np.empty(0, SEGMENT),
        np.empty(0),
        np.empty(0),
        np.zeros((N_CELLS + 1, 3), np.int64),
        np.frombuffer(symbol.encode(), np.uint8),
        np.zeros((64, 1 + NAME_BYTES), np.uint8),
        new_shapes(),
    )


def with_room(columns: Columns, state: np.void, block_bytes: int) -> Columns:
    """The same columns with room for whatever a further block can hold: a level takes 5 bytes or more, a segment 10."""
    rows, segments = int(state["rows"]), int(state["segments"])
    need_rows, need_segments = rows + block_bytes // 4 + 16, segments + block_bytes // 10 + 16
    if need_rows > len(columns.price):
        columns = columns._replace(
            price=_grown(columns.price, rows, need_rows), qty=_grown(columns.qty, rows, need_rows)
        )
    if need_segments > len(columns.segments):
        columns = columns._replace(segments=_grown(columns.segments, segments, need_segments))
    return columns


def _grown(column: np.ndarray, used: int, need: int) -> np.ndarray:
    larger = np.empty(2 * need, column.dtype)  # pages never touched cost no memory
    larger[:used] = column[:used]
    return larger
