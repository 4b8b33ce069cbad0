"""Latency of own orders: constant, or interpolated in a table of measured requests.

A negative entry latency says that the request was refused before it reached the exchange; its size is how long we take to
learn that. Source: hftbacktest 2.4 ``ConstantLatency`` and ``IntpOrderLatency``. Oracle: ``tests/naive_exchange.py``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mmlib.core._jit import jit_borrowing as jit

_REQUEST, _EXCHANGE, _RESPONSE = 0, 1, 2  # columns of the table
_ENTRY, _ANSWER = 0, 1  # cursors


class Latency(NamedTuple):
    """How long orders take.

    Attributes:
        constant_ns: int64[2], entry and response; used while the table is empty.
        table: int64[n, 3], local time of a request, its time at the exchange (0 or less: refused), local time of the answer.
        cursor: int64[2], rows reached for entry and response; both only go forward.
    """

    constant_ns: Any
    table: Any
    cursor: Any


def order_latency(entry_ns: int, response_ns: int, table: np.ndarray | None = None) -> Latency:
    """A fresh model; a table replaces the constants."""
    rows = np.zeros((0, 3), np.int64) if table is None else np.ascontiguousarray(table, np.int64)
    return Latency(np.array([entry_ns, response_ns], np.int64), rows, np.zeros(2, np.int64))


@jit
def _between(x, x1, y1, x2, y2):
    return np.int64((np.float64(y2 - y1) / np.float64(x2 - x1)) * np.float64(x - x1)) + y1


@jit
def _seek(table, cursor, which, column, ts_ns):
    """Row whose stretch holds ``ts_ns``; -1 before the first row, the last row past its end."""
    n = len(table)
    if ts_ns < table[0, column]:
        return -1
    row = cursor[which]
    while row + 1 < n and not (table[row, column] <= ts_ns < table[row + 1, column]):
        row += 1
    cursor[which] = row
    return row


@jit
def entry_latency_ns(latency, ts_ns):
    """How long a request sent at ``ts_ns`` (local clock) takes; negative when it is refused."""
    table = latency.table
    if len(table) == 0:
        return latency.constant_ns[0]
    row = _seek(table, latency.cursor, _ENTRY, _REQUEST, ts_ns)
    if row < 0:
        return table[0, _EXCHANGE] - table[0, _REQUEST]
    if row + 1 >= len(table):
        return table[row, _EXCHANGE] - table[row, _REQUEST]
    x1, x2 = table[row, _REQUEST], table[row + 1, _REQUEST]
    if table[row, _EXCHANGE] <= 0 or table[row + 1, _EXCHANGE] <= 0:
        return -_between(ts_ns, x1, table[row, _RESPONSE] - x1, x2, table[row + 1, _RESPONSE] - x2)
    return _between(ts_ns, x1, table[row, _EXCHANGE] - x1, x2, table[row + 1, _EXCHANGE] - x2)


@jit
def response_latency_ns(latency, ts_ns):
    """How long the answer to something that happened at ``ts_ns`` (exchange clock) takes."""
    table = latency.table
    if len(table) == 0:
        return latency.constant_ns[1]
    row = _seek(table, latency.cursor, _ANSWER, _EXCHANGE, ts_ns)
    if row < 0:
        return table[0, _RESPONSE] - table[0, _EXCHANGE]
    if row + 1 >= len(table):
        return table[row, _RESPONSE] - table[row, _EXCHANGE]
    x1, x2 = table[row, _EXCHANGE], table[row + 1, _EXCHANGE]
    return _between(ts_ns, x1, table[row, _RESPONSE] - x1, x2, table[row + 1, _RESPONSE] - x2)
