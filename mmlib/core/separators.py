"""Where the fields of a line end: the places of its commas and of its line break, sixty-four bytes at a time.

While they are looked for, the memory of the lines behind is fetched; then each field begins where a comma says so, and whether
the one before really ends there is looked at when it was read: a comma within a text is thus found out.

Source: G. Langdale and D. Lemire, "Parsing Gigabytes of JSON per Second" (The VLDB Journal, 2019), its first stage.
Oracle: ``plain_separators``.
"""

from __future__ import annotations

import sys

import numpy as np

from mmlib.core._jit import JIT_DISABLED, equal_bytes, jit_borrowing, jit_within, low_zeros, ones, prefetch
from mmlib.core.words import FAIL, SLACK

MOST = 128
"""Separators of a line that are told."""
ROOM = MOST + 2 * 64
"""Length of the array that takes them."""
_COMMA, _BREAK = 44, 10
_AT_ONCE = 8
_AHEAD = 2048  # bytes, of some lines
_0, _1 = np.uint64(0), np.uint64(1)


@jit_borrowing
def plain_separators(buf, at, places):
    """Write the places of the commas from ``at`` on and of the line break behind them (int64) into ``places``; their number.

    FAIL when there are more than ``MOST``. ``places`` has ``ROOM``, and what stands behind the number is void; ``buf`` is
    uint8[] with ``words.SLACK`` bytes behind its last line.
    """
    n = 0
    while n < MOST:
        if buf[at] == _COMMA or buf[at] == _BREAK:
            places[n] = at
            n += 1
            if buf[at] == _BREAK:
                return n
        at += 1
    return FAIL


@jit_within
def _word_separators(buf, at, places):
    n = 0
    while n <= MOST:
        breaks = equal_bytes(buf, at, _BREAK)
        both = equal_bytes(buf, at, _COMMA) | breaks
        prefetch(buf, at + _AHEAD)
        if breaks != _0:
            both &= breaks ^ (breaks - _1)  # up to the first line break
        count = ones(both)
        place = n
        n += count
        for k in range(_AT_ONCE):  # without asking whether there are so many: that is guessed wrong too often
            places[place + k] = at + low_zeros(both)
            both &= both - _1
        while both != _0:
            place += 1
            places[place + _AT_ONCE - 1] = at + low_zeros(both)
            both &= both - _1
        if breaks != _0:
            return n if n <= MOST else FAIL
        at += 64
    return FAIL


separators = plain_separators if JIT_DISABLED or sys.byteorder == "big" else _word_separators

assert SLACK >= 64
