"""A desk's own orders and fills as CSV: read with the place of every mistake, written the same way."""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd

from mmlib._expansion import FREE_BYTES
from mmlib._io import UserError, regular, write_atomic
from mmlib.dtypes import ORDER_ROW, Action, Liquidity, OrderKind, TimeInForce

ORDER_COLUMNS = ("ts_ns", "action", "order_id", "side", "price", "qty", "time_in_force")
FILL_COLUMNS = (
    *("exch_ts_ns", "local_ts_ns", "order_id", "side", "price", "qty", "liquidity", "fee"),
    "queue_ahead_at_entry",
)
ACTUAL_COLUMNS = ("exch_ts_ns", "order_id", "side", "price", "qty")
_SIDES = {"buy": 1, "sell": -1}
_TIMES_IN_FORCE = {"gtc": 0, "gtx": 1, "ioc": 2, "fok": 3, "": 0}
_SIDE_NAMES = {1: "buy", -1: "sell"}
_LIQUIDITY = {Liquidity.MAKER: "maker", Liquidity.TAKER: "taker"}
_EARLIEST_NS, _LATEST_NS = 1_000_000_000_000_000_000, 4_000_000_000_000_000_000
_ON_GRID = 1e-6  # of a step


@dataclass(frozen=True)
class Orders:
    """Requests of a bot.

    Attributes:
        rows: ORDER_ROW[n] in order of the file; ``order_id`` is the place in ``names``.
        names: order ids as the file writes them.
    """

    rows: np.ndarray
    names: tuple[str, ...]


class _Cells:
    """One line of a file: its cells by column, and how to complain about them."""

    def __init__(self, path: Path, line: int, cells: dict[str, str]) -> None:
        self.path, self.line, self.cells = path, line, cells

    def refuse(self, column: str, expected: str) -> NoReturn:
        """Say which cell is wrong and what was expected there."""
        raise UserError(
            f"{self.path}:{self.line}: column {column}: {self.cells[column]!r}; expected {expected}"
        )

    def time_ns(self, column: str) -> int:
        """A time in whole nanoseconds."""
        text = self.cells[column]
        value = int(text) if text.isdecimal() and text.isascii() else 0
        if not _EARLIEST_NS <= value <= _LATEST_NS:
            self.refuse(column, "nanoseconds since 1970, such as 1723161255030314667")
        return value

    def choice(self, column: str, known: dict[str, int]) -> int:
        """One of a few words, in upper or lower case."""
        found = known.get(self.cells[column].lower())
        if found is None:
            self.refuse(column, " or ".join(word or "nothing" for word in known))
        return found

    def positive(self, column: str) -> float:
        """A number above 0."""
        try:
            value = float(self.cells[column])
        except ValueError:
            value = math.nan
        if not 0.0 < value < math.inf:
            self.refuse(column, "a number above 0")
        return value

    def steps(self, column: str, step: float, what: str) -> int:
        """A number above 0 as whole multiples of ``step``."""
        scaled = self.positive(column) / step
        whole = round(scaled)
        if whole < 1 or abs(scaled - whole) > max(_ON_GRID, 4.0 * math.ulp(scaled)):
            self.refuse(column, f"a multiple of the {what} {step:g}")
        return whole


def read_orders(path: Path, tick_size: float, lot_size: float) -> Orders:
    """Read orders: ``ts_ns,action,order_id,side,price,qty,time_in_force`` under a header, in any order of columns.

    A new order without a price is a market order; a cancel needs ``ts_ns``, ``action`` and ``order_id`` only, a replace (price
    and quantity change) ``price`` and ``qty`` as well. Order ids are
    any text. ``time_in_force`` is GTC, GTX (post only), IOC or FOK, empty for GTC.

    Raises:
        UserError: the place of the first mistake and what was expected there.
    """
    names: dict[str, int] = {}
    rows: list[tuple[int, ...]] = []
    amounts: list[float] = []
    for cells in _lines(path, ORDER_COLUMNS):
        action = cells.choice("action", {action.name.lower(): action for action in Action})
        name = cells.cells["order_id"]
        if not name:
            cells.refuse("order_id", "a name or number")
        if action == Action.NEW and name in names:
            cells.refuse("order_id", "an id that was not sent as new before")
        if action != Action.NEW and name not in names:
            cells.refuse("order_id", "an order that was sent as new above")
        place = names.setdefault(name, len(names))
        at = cells.time_ns("ts_ns")
        if action == Action.CANCEL:
            rows.append((at, place, 0, action, 1, TimeInForce.GTC, OrderKind.LIMIT))
            amounts.append(0.0)
            continue
        fresh = action == Action.NEW
        side = cells.choice("side", _SIDES) if fresh else 1
        amounts.append(cells.steps("qty", lot_size, "lot size") * lot_size)
        tif = cells.choice("time_in_force", _TIMES_IN_FORCE) if fresh else TimeInForce.GTC
        kind = OrderKind.LIMIT if cells.cells["price"] or not fresh else OrderKind.MARKET
        ticks = cells.steps("price", tick_size, "tick size") if kind == OrderKind.LIMIT else 0
        if ticks >= 2**31 - 1:
            cells.refuse("price", f"less than {2**31 - 1} ticks of {tick_size:g}")
        rows.append((at, place, ticks, action, side, tif, kind))
    out = np.zeros(len(rows), ORDER_ROW)
    fields = ("ts_ns", "order_id", "price_ticks", "action", "side", "tif", "kind")
    for field, column in zip(fields, zip(*rows, strict=True), strict=False):
        out[field] = column
    out["qty"] = amounts
    return Orders(out, tuple(names))


def read_actual(path: Path) -> pd.DataFrame:
    """Read a bot's own fills: at least ``exch_ts_ns,order_id,side,price,qty`` under a header, one line a fill.

    Returns:
        exch_ts_ns (int64), order_id (text), side (1 or -1), price, qty.

    Raises:
        UserError: the place of the first mistake and what was expected there.
    """
    rows = [
        (
            cells.time_ns("exch_ts_ns"),
            cells.cells["order_id"],
            cells.choice("side", _SIDES),
            cells.positive("price"),
            cells.positive("qty"),
        )
        for cells in _lines(path, ACTUAL_COLUMNS)
    ]
    return _typed(pd.DataFrame(rows, columns=list(ACTUAL_COLUMNS)))


def fills_frame(fills: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """ORDER_FILL[n] as a frame with the columns of ``read_actual`` and the rest of ``FILL_COLUMNS``."""
    frame = pd.DataFrame({name: fills[name] for name in FILL_COLUMNS})
    frame["order_id"] = [names[i] for i in fills["order_id"]]
    frame["liquidity"] = [_LIQUIDITY[Liquidity(value)] for value in fills["liquidity"]]
    return _typed(frame)


def write_fills(path: Path, frame: pd.DataFrame) -> Path:
    """Write fills under the header ``FILL_COLUMNS``; floats with as many digits as tell them apart.

    Raises:
        UserError: the place cannot be written.
    """
    shown = frame[list(FILL_COLUMNS)].assign(side=[_SIDE_NAMES[int(side)] for side in frame["side"]])
    for name in ("price", "qty", "fee", "queue_ahead_at_entry"):
        shown[name] = [f"{value:.12g}" for value in shown[name]]
    return write_atomic(path, shown.to_csv(index=False, lineterminator="\n"))


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    kinds = {"exch_ts_ns": "int64", "side": "int64", "price": "float64", "qty": "float64"}
    return frame.astype(kinds | {"order_id": "object"})


def _lines(path: Path, needed: Sequence[str]) -> Iterator[_Cells]:
    """Lines below the header, cells stripped; blank lines and lines that begin with ``#`` are passed over."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    heading: list[str] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells) or cells[0].startswith("#"):
                continue
            if not heading:
                heading = _heading(path, reader.line_num, [cell.strip() for cell in cells], needed)
                continue
            if len(cells) != len(heading):
                raise UserError(
                    f"{path}:{reader.line_num}: {len(cells)} columns; expected {len(heading)} as in the header"
                )
            values = dict(zip(heading, (cell.strip() for cell in cells), strict=True))
            yield _Cells(path, reader.line_num, values)
    except csv.Error as exc:
        raise UserError(f"{path}:{reader.line_num}: no CSV ({exc}); expected {','.join(needed)}") from exc
    if not heading:
        raise UserError(f"{path}: nothing in it; expected the header {','.join(needed)}")


def _heading(path: Path, line: int, heading: list[str], needed: Sequence[str]) -> list[str]:
    missing = [name for name in needed if name not in heading]
    if missing:
        close = difflib.get_close_matches(missing[0], [h for h in heading if h not in needed], n=1)
        hint = f" (is {close[0]!r} meant?)" if close else ""
        raise UserError(
            f"{path}:{line}: the header lacks {', '.join(missing)}{hint}; expected {','.join(needed)}"
        )
    if len(set(heading)) != len(heading):
        raise UserError(f"{path}:{line}: the header names a column twice; expected {','.join(needed)}")
    return heading


def _text(path: Path) -> str:
    try:
        with gzip.open(regular(path)) if path.suffix == ".gz" else regular(path).open("rb") as stream:
            data = stream.read(FREE_BYTES + 1)
            if len(data) > FREE_BYTES:
                raise UserError(
                    f"{path}: more than {FREE_BYTES:,} bytes of text; expected a CSV file of orders"
                )
            return data.decode("utf-8-sig")
    except FileNotFoundError as exc:
        raise UserError(f"{path}: no such file; expected a CSV file") from exc
    except (OSError, EOFError, UnicodeDecodeError) as exc:
        raise UserError(f"{path}: cannot be read ({exc}); expected a CSV file in UTF-8") from exc
