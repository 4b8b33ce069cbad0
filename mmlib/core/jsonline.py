"""A scanner for one flat JSON object in raw bytes: enough for exchange messages, and strict, so that what it accepts is JSON.

It knows strings of plain ASCII, integers of at most 18 digits, ``true`` and ``false``, and lists of ``["price","quantity"]``
pairs under the keys ``b`` and ``a``. Everything else makes it return ``FAIL``: the caller then takes a full parser.

Oracle: orjson, in tests/test_market_decode.py.
"""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import jit_borrowing, jit_within
from mmlib.core.words import FAIL, decimal, integer, text_end

TEXT, INTEGER, TRUE, FALSE, LEVELS = 1, 2, 3, 4, 5
"""What a cell holds: text from b to c, the integer b, or c levels from row b on."""
N_CELLS = 64
PU = 0
"""The cell of the key ``pu``; a key of one letter has the cell ``ord(letter) - 64``."""

_SPACE, _QUOTE, _COMMA, _COLON = 32, 34, 44, 58
_CLOSE, _LIST, _END = 125, 91, 93


@jit_within
def skip_blanks(buf, at):
    """First place at or after ``at`` that is no blank; a line ends in a line break, so there is one."""
    while buf[at] == _SPACE:
        at += 1
    return at


@jit_borrowing
def _levels(buf, at, price, qty, n):
    """Pairs of the list at ``at`` into rows from ``n`` on; number of rows and the place behind it, or FAIL."""
    at = skip_blanks(buf, at + 1)
    if buf[at] == _END:
        return n, at + 1
    while True:
        if buf[at] != _LIST:
            return n, FAIL
        price[n], at = decimal(buf, skip_blanks(buf, at + 1))
        if at < 0:
            return n, FAIL
        at = skip_blanks(buf, at)
        if buf[at] != _COMMA:
            return n, FAIL
        qty[n], at = decimal(buf, skip_blanks(buf, at + 1))
        if at < 0:
            return n, FAIL
        at = skip_blanks(buf, at)
        if buf[at] != _END:
            return n, FAIL
        n += 1
        at = skip_blanks(buf, at + 1)
        if buf[at] == _END:
            return n, at + 1
        if buf[at] != _COMMA:
            return n, FAIL
        at = skip_blanks(buf, at + 1)


@jit_borrowing
def _word(buf, at):
    """What stands at ``at``, ``true`` or ``false``, and the place behind it, or FAIL."""
    if buf[at] == 116 and buf[at + 1] == 114 and buf[at + 2] == 117 and buf[at + 3] == 101:
        return TRUE, at + 4
    if buf[at] == 102 and buf[at + 1] == 97 and buf[at + 2] == 108 and buf[at + 3] == 115:
        if buf[at + 4] == 101:
            return FALSE, at + 5
    return FALSE, FAIL


@jit_borrowing
def _key(buf, at):
    """Cell of the key at ``at`` and the place behind it: N_CELLS for a key that nobody asks for, FAIL as the place."""
    letter = np.int64(buf[at + 1])
    if buf[at] == _QUOTE and buf[at + 2] == _QUOTE and 64 < letter < 128 and letter != 92:
        return letter - 64, at + 3
    if buf[at] != _QUOTE:
        return N_CELLS, FAIL
    if letter == 112 and buf[at + 2] == 117 and buf[at + 3] == _QUOTE:
        return PU, at + 4
    end = text_end(buf, at + 1)
    length = end - at - 1
    if end < 0 or length == 4 or length == 12:  # data, bids, asks, lastUpdateId: not a flat message
        return N_CELLS, FAIL
    return N_CELLS, end + 1


@jit_borrowing
def flat_object(buf, at, cells, price, qty, n):
    """Scan the object whose opening brace is at ``at``.

    Args:
        buf: uint8[], lines that end in a line break, and ``words.SLACK`` bytes behind them.
        at: place of the brace.
        cells: int64[N_CELLS + 1, 3], what the keys hold; the last row is for keys that nobody asks for.
        price, qty: float64[], levels are written from row ``n`` on.
        n: rows in use.

    Returns:
        The place behind the closing brace or FAIL, and a bit for each cell that was written.
    """
    seen = np.int64(0)
    at = skip_blanks(buf, at + 1)
    if buf[at] == _CLOSE:
        return at + 1, seen
    while True:
        index, at = _key(buf, at)
        if at < 0:
            return FAIL, seen
        if index < N_CELLS:
            bit = np.int64(1) << index
            if seen & bit:
                return FAIL, seen
            seen |= bit
        at = skip_blanks(buf, at)
        if buf[at] != _COLON:
            return FAIL, seen
        at = skip_blanks(buf, at + 1)
        first = buf[at]
        if first == _QUOTE:
            cells[index, 0] = TEXT
            cells[index, 1] = at + 1
            at = text_end(buf, at + 1)
            cells[index, 2] = at
            if at < 0:
                return FAIL, seen
            at += 1
        elif 48 <= first <= 57:
            cells[index, 0] = INTEGER
            cells[index, 1], at = integer(buf, at)
        elif first == _LIST and (index == 33 or index == 34):  # a, b
            cells[index, 0] = LEVELS
            cells[index, 1] = n
            n, at = _levels(buf, at, price, qty, n)
            cells[index, 2] = n - cells[index, 1]
        else:
            cells[index, 0], at = _word(buf, at)
        if at < 0:
            return FAIL, seen
        at = skip_blanks(buf, at)
        if buf[at] == _CLOSE:
            return at + 1, seen
        if buf[at] != _COMMA:
            return FAIL, seen
        at = skip_blanks(buf, at + 1)
