"""Raw Binance lines to columns, from bytes: the fast path for messages that look as they should.

A line is 19 digits of nanoseconds, a space and a JSON frame. ``decode_block`` stops at the first line that is anything but a
well-formed depth update, trade or message to ignore, and hands it to the caller's full parser, then goes on behind it.

Oracle: the orjson path of market/binance.py, in tests/test_market_decode.py.
"""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import jit_borrowing
from mmlib.core.columns import EARLIEST_NS, LARGEST, LATEST_NS
from mmlib.core.frame import arrival_ns, close_frame, open_frame
from mmlib.core.jsonline import FALSE, INTEGER, LEVELS, PU, TEXT, TRUE, flat_object
from mmlib.core.shapes import HEAD, IGNORED, OF_NO_SYMBOL, OF_OTHER, fitting_shape, learn_shape
from mmlib.core.words import FAIL, SLACK, decimal
from mmlib.dtypes import FLAG_BUY, FLAG_SELL, KIND_DEPTH, KIND_TRADE

_MS, _US = 1_000_000, 1_000
_USED = -1
_S, _E, _B, _A, _P, _Q, _M, _X, _T = (ord(letter) - 64 for letter in "sebapqmXT")
_SENT, _FIRST, _LAST, _ID = (ord(letter) - 64 for letter in "EUut")
_DEPTH_NAME = np.frombuffer(b"depthUpdate", np.uint8)
_TRADE_NAME = np.frombuffer(b"trade", np.uint8)
_MARKET_NAME = np.frombuffer(b"MARKET", np.uint8)


@jit_borrowing
def _same(buf, start, end, name):
    if end - start != len(name):
        return False
    for i in range(len(name)):  # noqa: SIM110
        if buf[start + i] != name[i]:
            return False
    return True


@jit_borrowing
def _is_other(buf, start, end, others):
    """Whether the text is the name of a symbol already met, and not ours."""
    for row in others:
        if row[0] == 0:
            return False
        if _same(buf, start, end, row[1 : 1 + row[0]]):
            return True
    return False


@jit_borrowing
def _time_ns(cells, seen, index):
    """A time in milliseconds or microseconds as nanoseconds, 0 when it is absent, no integer or out of range.

    From 2001 to 2096 the two units share no number.
    """
    if not seen & (np.int64(1) << index) or cells[index, 0] != INTEGER:
        return np.int64(0)
    time = cells[index, 1]
    if EARLIEST_NS // _MS <= time <= LATEST_NS // _MS:
        return time * _MS
    if EARLIEST_NS // _US <= time <= LATEST_NS // _US:
        return time * _US
    return np.int64(0)


@jit_borrowing
def _is(cells, seen, index, what):
    return (seen & (np.int64(1) << index)) != 0 and cells[index, 0] == what


@jit_borrowing
def _segment(state, columns, exch_ns, local_ns, flags, count, suspect):
    row = columns.segments[state["segments"]]
    row["exch_ns"] = exch_ns
    row["local_ns"] = local_ns
    row["line"] = state["lines"] + 1
    row["count"] = count
    row["flags"] = flags
    row["suspect"] = suspect
    row["only"] = 0
    row["last_update"] = 0
    state["segments"] += 1
    state["rows"] += count
    state["last_exch_ns"] = max(state["last_exch_ns"], exch_ns)


@jit_borrowing
def _suspect(columns, first, n_bids, n):
    """Whether a book message of ``n`` rows has a number out of range, or bids at or above its own ask."""
    bid = 0.0
    ask = np.inf
    for i in range(first, first + n):
        price = columns.price[i]
        if not (0.0 < price < LARGEST and columns.qty[i] < LARGEST):
            return True
        if columns.qty[i] > 0.0:
            if i < first + n_bids:
                bid = max(bid, price)
            else:
                ask = min(ask, price)
    return bid >= ask


@jit_borrowing
def is_old(state, last, exch_ns):
    """Whether a depth update up to ``last`` brings nothing that the book has not had; sequence numbers decide.

    Numbers that fall while time goes on have begun anew, and are none of it.
    """
    if state["has_update"] == 0 or last > state["last_update"]:
        return False
    return state["has_update"] == 2 or exch_ns <= state["last_update_ns"]


@jit_borrowing
def follow(state, before, last, exch_ns):
    """Note that a depth update was taken; ``before`` is the last sequence number of the one before it."""
    expected = state["last_update"]
    # The first update behind a snapshot may begin inside it.
    if (state["has_update"] == 1 and before != expected) or (state["has_update"] == 2 and before > expected):
        state["sequence_gaps"] += 1
        if state["first_gap_ns"] == 0:
            state["first_gap_ns"] = exch_ns
        if 0 <= expected < before:
            state["lost_updates"] += before - expected
    state["last_update"] = last
    state["last_update_ns"] = exch_ns
    state["has_update"] = 1


@jit_borrowing
def note_trade(state, row, trade_id):
    """Note the id of a trade with its segment; 0 or less is none."""
    row["last_update"] = trade_id
    if trade_id > state["last_trade"]:
        state["last_trade"] = trade_id
    elif trade_id > 0:
        state["trades_behind"] += 1


@jit_borrowing
def _depth(state, columns, seen, local_ns):
    """Take a depth update whose levels lie behind the rows in use; False when it is not as it should be."""
    cells = columns.cells
    exch_ns = _time_ns(cells, seen, _T if seen & (np.int64(1) << _T) else _SENT)
    if exch_ns == 0 or not _is(cells, seen, _LAST, INTEGER):
        return False
    if not (_is(cells, seen, _B, LEVELS) and _is(cells, seen, _A, LEVELS)) or cells[_B, 1] > cells[_A, 1]:
        return False
    if seen & (np.int64(1) << PU):
        if cells[PU, 0] != INTEGER:
            return False
        before = cells[PU, 1]
    elif _is(cells, seen, _FIRST, INTEGER):
        before = cells[_FIRST, 1] - 1
    else:
        return False
    last = cells[_LAST, 1]
    if is_old(state, last, exch_ns):
        state["old_updates"] += 1
        return True
    n_bids, n_asks = cells[_B, 2], cells[_A, 2]
    suspect = _suspect(columns, state["rows"], n_bids, n_bids + n_asks)
    _segment(state, columns, exch_ns, local_ns, KIND_DEPTH | FLAG_BUY, n_bids, suspect)
    _segment(state, columns, exch_ns, local_ns, KIND_DEPTH | FLAG_SELL, n_asks, suspect)
    columns.segments["last_update"][state["segments"] - 2 : state["segments"]] = last
    follow(state, before, last, exch_ns)
    return True


@jit_borrowing
def _trade(buf, state, columns, seen, local_ns):
    """Take a trade on the market; False when it is not one, or not as it should be."""
    cells = columns.cells
    exch_ns = _time_ns(cells, seen, _T)
    if exch_ns == 0 or not (_is(cells, seen, _P, TEXT) and _is(cells, seen, _Q, TEXT)):
        return False
    if seen & (np.int64(1) << _X):
        if cells[_X, 0] != TEXT or not _same(buf, cells[_X, 1], cells[_X, 2], _MARKET_NAME):
            return False
    if not (_is(cells, seen, _M, TRUE) or _is(cells, seen, _M, FALSE)):
        return False
    price, price_end = decimal(buf, cells[_P, 1] - 1)
    qty, qty_end = decimal(buf, cells[_Q, 1] - 1)
    if price_end < 0 or qty_end < 0 or qty <= 0.0:
        return False
    columns.price[state["rows"]] = price
    columns.qty[state["rows"]] = qty
    suspect = not (0.0 < price < LARGEST and qty < LARGEST)
    side = FLAG_SELL if cells[_M, 0] == TRUE else FLAG_BUY
    _segment(state, columns, exch_ns, local_ns, KIND_TRADE | side, 1, suspect)
    if _is(cells, seen, _ID, INTEGER):
        note_trade(state, columns.segments[state["segments"] - 1], cells[_ID, 1])
    return True


@jit_borrowing
def _message(buf, state, columns, seen, local_ns):
    """Take one message; False leaves it to the full parser. The second value is what it came to when it is of no use."""
    cells = columns.cells
    outcome = OF_NO_SYMBOL
    if seen & (np.int64(1) << _S):
        if cells[_S, 0] != TEXT:
            return False, _USED
        outcome = IGNORED
        if not _same(buf, cells[_S, 1], cells[_S, 2], columns.symbol):
            if not _is_other(buf, cells[_S, 1], cells[_S, 2], columns.others):
                return False, _USED
            return True, OF_OTHER
        state["found"] = 1
    else:
        cells[_S, 1] = 0
        cells[_S, 2] = 0
    if seen & (np.int64(1) << _E):
        if cells[_E, 0] != TEXT:
            return False, _USED
        if _same(buf, cells[_E, 1], cells[_E, 2], _DEPTH_NAME):
            taken = _depth(state, columns, seen, local_ns)
            state["events"] += taken
            return taken, _USED
        if _same(buf, cells[_E, 1], cells[_E, 2], _TRADE_NAME):
            taken = _trade(buf, state, columns, seen, local_ns)
            state["trades"] += taken
            state["events"] += taken
            return taken, _USED
    return True, outcome


@jit_borrowing
def _count(state, outcome):
    """Count a message of no use."""
    if outcome == OF_OTHER:
        state["other_symbols"] += 1
    else:
        state["ignored"] += 1


@jit_borrowing
def _parse_line(buf, at, state, columns, local_ns):
    """Take the line at ``at``; the place behind its line break, or FAIL for one that only a full parser can judge."""
    start, framed = open_frame(buf, at + HEAD)
    if start < 0:
        return FAIL
    end, seen = flat_object(buf, start, columns.cells, columns.price, columns.qty, state["rows"])
    if end < 0:
        return FAIL
    end = close_frame(buf, end, framed)
    if end < 0:
        return FAIL
    taken, outcome = _message(buf, state, columns, seen, local_ns)
    if not taken:
        return FAIL
    if outcome != _USED:
        _count(state, outcome)
        cells = columns.cells
        learn_shape(buf, at, end - 1, cells[_S, 1], cells[_S, 2], outcome, columns.shapes)
    return end


@jit_borrowing
def decode_block(buf, state, columns):
    """Decode lines from ``state["at"]`` on; stop at the end, or at the first line that only a full parser can judge.

    Args:
        buf: uint8[n + SLACK], whole lines, the last of its n bytes is a line break; the slack is 0.
        state: DECODE record.
        columns: Columns with room for the block.

    Returns:
        True at the end of the block, False with ``state["at"]`` at a line to be parsed otherwise, not yet counted.
    """
    n = len(buf) - SLACK
    at = state["at"]
    while at < n:
        if buf[at] == 10:
            at += 1
            state["lines"] += 1
            continue
        state["at"] = at
        local_ns = arrival_ns(buf, at)
        if local_ns == 0:
            return False
        shape = fitting_shape(buf, at, columns.shapes)
        if shape >= 0:
            _count(state, columns.shapes.outcome[shape])
            end = at + columns.shapes.length[shape] + 1
        else:
            end = _parse_line(buf, at, state, columns, local_ns)
            if end < 0:
                return False
        if local_ns < state["last_local_ns"]:
            state["time_backwards"] += 1
        state["last_local_ns"] = local_ns
        state["lines"] += 1
        at = end
    state["at"] = n
    return True
