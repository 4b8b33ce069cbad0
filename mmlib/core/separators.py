"""Where the fields of lines end: the places of commas and line breaks, sixty-four bytes at a time.

Then each field begins where a separator says so, and whether the one before really ends there is looked at when it is read: a
comma within a text is thus found out.

Source: G. Langdale and D. Lemire, "Parsing Gigabytes of JSON per Second" (The VLDB Journal, 2019), its first stage.
Oracle: ``plain_separators``.
"""

from __future__ import annotations

import sys

import numpy as np

from mmlib.core._jit import JIT_DISABLED, equal_bytes, jit_borrowing, jit_within, low_zeros, ones
from mmlib.core.words import SLACK

SPARE = 2 * 64
"""How much longer than the wanted number the array has to be that takes the places."""
_COMMA, _BREAK = 44, 10
_AT_ONCE = 4
_AHEAD = 24576
_0, _1 = np.uint64(0), np.uint64(1)


@jit_borrowing
def plain_separators(buf, at, end, wanted, places):
    """Write the places (int64) of the first ``wanted`` commas and line breaks from ``at`` on into ``places``.

    Args:
        buf: uint8[end + words.SLACK]; the slack is 0. places: int64[wanted + SPARE]; what stands behind the number is void.

    Returns:
        How many there are, ``wanted`` at most.
    """
    n = 0
    while n < wanted and at < end:
        if buf[at] == _COMMA or buf[at] == _BREAK:
            places[n] = at
            n += 1
        at += 1
    return n


@jit_within
def _word_separators(buf, at, end, wanted, places):
    n = 0
    while n < wanted and at < end:
        both = equal_bytes(buf, at, _COMMA) | equal_bytes(buf, at, _BREAK)
        place = n
        n += ones(both)
        for k in range(_AT_ONCE):  # without asking whether there are so many: that is guessed wrong too often
            places[place + k] = at + low_zeros(both)
            both &= both - _1
        while both != _0:
            place += 1
            places[place + _AT_ONCE - 1] = at + low_zeros(both)
            both &= both - _1
        at += 64
    return min(n, wanted)


separators = plain_separators if JIT_DISABLED or sys.byteorder == "big" else _word_separators

assert SLACK >= 64
