"""Latency of own orders: constant, or interpolated in a table of measured requests.

A negative entry latency says that the request was refused before it reached the exchange; its size is how long we take to
learn that. Source: hftbacktest 2.4 ``ConstantLatency`` and ``IntpOrderLatency``. Oracle: ``tests/naive_exchange.py``.
"""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import jit_borrowing as jit

_REQUEST, _EXCHANGE, _RESPONSE = 0, 1, 2  # columns of a table


@jit
def _between(x, x1, y1, x2, y2):
    return np.int64((np.float64(y2 - y1) / np.float64(x2 - x1)) * np.float64(x - x1)) + y1


@jit
def _seek(tables, row, last, column, ts_ns):
    """Row from ``row`` on whose stretch holds ``ts_ns``; ``last`` past its end."""
    while row < last and not (tables[row, column] <= ts_ns < tables[row + 1, column]):
        row += 1
    return row


@jit
def entry_latency_ns(account, tables, ts_ns):
    """How long a request takes; negative when it is refused.

    Args:
        account: a row of venue.ACCOUNT; it remembers the row of its table, which only goes forward.
        tables: int64[n, 3], tables of all accounts one below the other: local time of a request, its time at the exchange (0 or
            less: refused), local time of the answer.
        ts_ns: when it is sent, local clock.
    """
    first, last = account["table_first"], account["table_last"]
    if last < first:
        return account["entry_ns"]
    if ts_ns < tables[first, _REQUEST]:
        return tables[first, _EXCHANGE] - tables[first, _REQUEST]
    row = _seek(tables, account["entry_row"], last, _REQUEST, ts_ns)
    account["entry_row"] = row
    if row >= last:
        return tables[row, _EXCHANGE] - tables[row, _REQUEST]
    x1, x2 = tables[row, _REQUEST], tables[row + 1, _REQUEST]
    if tables[row, _EXCHANGE] <= 0 or tables[row + 1, _EXCHANGE] <= 0:
        return -_between(ts_ns, x1, tables[row, _RESPONSE] - x1, x2, tables[row + 1, _RESPONSE] - x2)
    return _between(ts_ns, x1, tables[row, _EXCHANGE] - x1, x2, tables[row + 1, _EXCHANGE] - x2)


@jit
def response_latency_ns(account, tables, ts_ns):
    """How long the answer to something that happened at ``ts_ns`` (exchange clock) takes; arguments as above."""
    first, last = account["table_first"], account["table_last"]
    if last < first:
        return account["response_ns"]
    if ts_ns < tables[first, _EXCHANGE]:
        return tables[first, _RESPONSE] - tables[first, _EXCHANGE]
    row = _seek(tables, account["response_row"], last, _EXCHANGE, ts_ns)
    account["response_row"] = row
    if row >= last:
        return tables[row, _RESPONSE] - tables[row, _EXCHANGE]
    x1, x2 = tables[row, _EXCHANGE], tables[row + 1, _EXCHANGE]
    return _between(ts_ns, x1, tables[row, _RESPONSE] - x1, x2, tables[row + 1, _RESPONSE] - x2)
