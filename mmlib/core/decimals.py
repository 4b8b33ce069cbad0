"""Decimal numbers of several lines at once: three words of text each, worked on in all lines at the same time.

The loop is free of branches, so that it is compiled to vector instructions: a word is a lane. What is not of the usual form
(an exponent, many digits, no number at all) is told to be doubtful; somebody else reads it.

Source: the digits of a word are added up by three multiplications, as in ``words``; the point is taken out before.
Oracle: ``float``, in tests/test_core_decimals.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mmlib.core._jit import high_zeros, item, jit_within
from mmlib.core.number import EXACT, POW10, scaled
from mmlib.core.words import word_of

BEFORE = 24
"""Bytes before the end of a number that are looked at."""
AT_ONCE = 32
"""Numbers that are worked on at the same time, at most."""
_SHORT, _LONGEST = 16, 19  # bytes; 18 digits and a point
_MINUS, _ZERO = 45, 48
_READ, _EXACT, _DOUBTFUL = 0, 1, 2
_LOW, _MIDDLE, _HIGH, _LENGTH, _LEAD, _NEGATIVE = range(0, 6 * AT_ONCE, AT_ONCE)


class Decimals(NamedTuple):
    """Texts of numbers, and what became of them.

    Attributes:
        text: uint64[6 * AT_ONCE], of each number the 24 bytes before its end in three words, the last ones first; then how
            many bytes it has without a sign, the first of them, and 1 where it is negative.
        digits, behind, state: int64[AT_ONCE], its value without the point, the number of digits behind the point, and whether
            it was read, has more digits than a float64 holds exactly, or is doubtful.
    """

    text: Any
    digits: Any
    behind: Any
    state: Any


def new_decimals() -> Decimals:
    """Room for ``AT_ONCE`` numbers."""
    return Decimals(np.zeros(6 * AT_ONCE, np.uint64), *np.zeros((3, AT_ONCE), np.int64))


def _every_byte(value: int) -> np.uint64:
    return np.uint64(int.from_bytes(bytes([value]) * 8, "little"))


_ZEROS, _POINTS, _BELOW, _HIGHEST = (_every_byte(value) for value in (0x30, 0x30 ^ 0x2E, 0x7F, 0x80))
_TO_HIGHEST, _PAIRS, _QUADS = _every_byte(0x76), np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
_BY_10, _BY_100, _BY_10K = np.uint64(2561), np.uint64(6553601), np.uint64(42949672960001)
_0, _1, _8, _16, _32, _56 = (np.uint64(bits) for bits in (0, 1, 8, 16, 32, 56))
_ALL, _10_8 = ~_0, np.uint64(100_000_000)


@jit_within
def note_decimal(buf, at, end, decimals, k):
    """Note the text from ``at`` to ``end`` as number ``k``; ``end`` is ``BEFORE`` or more. How many bytes it has."""
    text = decimals.text
    negative = item(buf, at) == _MINUS
    at += negative
    text[_LOW + k] = word_of(buf, end - 8, 8)
    text[_MIDDLE + k] = word_of(buf, end - 16, 8)
    text[_HIGH + k] = word_of(buf, end - 24, 8)
    text[_LENGTH + k] = np.uint64(end - at)
    text[_LEAD + k] = np.uint64(item(buf, at))
    text[_NEGATIVE + k] = np.uint64(negative)
    return end - at


@jit_within
def _digits(word, n, most):
    """The last ``n`` bytes of a word, or the last ``most``, less ``0``; the others are 0."""
    mask = _ALL << np.uint64(64 - 8 * min(n, most)) if n > 0 else _0
    return (word ^ _ZEROS) & mask


@jit_within
def _points(word):
    """The highest bit of each byte that is a point."""
    other = word ^ _POINTS
    return ~(((other & _BELOW) + _BELOW) | other | _BELOW)


@jit_within
def _behind(point):
    """Mask of the bytes behind a point."""
    return ~((point << _1) - _1)


@jit_within
def _without(mask, word, before):
    """A word without the byte before those of the mask; what stands before it moves up, and ``before`` fills the room."""
    return (word & mask) | (((word << _8) | (before >> _56)) & ~mask)


@jit_within
def _value(word):
    """Value of eight digits."""
    word = ((word * _BY_10) >> _8) & _PAIRS
    word = ((word * _BY_100) >> _16) & _QUADS
    return (word * _BY_10K) >> _32


@jit_within
def _read(decimals, real, least, most, is_long):
    """Read all numbers, those of 16 bytes or less unless ``is_long``; how many were not."""
    text, others = decimals.text, np.int64(0)
    for k in range(len(real)):
        length = np.int64(text[_LENGTH + k])
        low, middle = _digits(text[_LOW + k], length, 8), _digits(text[_MIDDLE + k], length - 8, 8)
        high = _digits(text[_HIGH + k], length - 16, _LONGEST - 16) if is_long else _0
        in_low, in_middle, in_high = _points(low), _points(middle), _points(high) if is_long else _0
        n_points = np.int64(in_low != _0) + np.int64(in_middle != _0) + np.int64(in_high != _0)
        mask_low = _behind(in_low) if in_low != _0 else _ALL
        mask_middle = _behind(in_middle) if in_middle != _0 else (_0 if in_low != _0 else _ALL)
        mask_high = _behind(in_high) if in_high != _0 else (_0 if n_points > 0 else _ALL)
        low, middle = _without(mask_low, low, middle), _without(mask_middle, middle, high)
        high = _without(mask_high, high, _0) if is_long else _0
        n_behind = np.int64(0)
        if in_low != _0:
            n_behind = high_zeros(in_low) >> 3
        elif in_middle != _0:
            n_behind = 8 + (high_zeros(in_middle) >> 3)
        elif in_high != _0:
            n_behind = 16 + (high_zeros(in_high) >> 3)
        n_whole = length - n_points - n_behind
        digits = np.int64(_value(middle) * _10_8 + _value(low))
        if is_long:
            digits += np.int64(_value(high)) * np.int64(10**16)
        wrong = (low + _TO_HIGHEST) | low | (middle + _TO_HIGHEST) | middle | (high + _TO_HIGHEST) | high
        doubtful = (
            wrong & _HIGHEST != _0
            or n_points > 1  # words with a point; two points within a word leave one that is no digit
            or length > (_LONGEST if is_long else _SHORT)
            or n_whole < 1
            or (n_points == 1 and n_behind == 0)
            or (text[_LEAD + k] == _ZERO and n_whole > 1)
        )
        value = np.float64(digits) / POW10[n_behind]  # of two exact numbers, so that it is the nearest one
        value = -value if text[_NEGATIVE + k] != _0 else value
        inexact = is_long and digits > EXACT
        doubtful = doubtful or (not inexact and not (least <= value <= most))
        real[k] = value
        if is_long:
            decimals.digits[k] = digits
            decimals.behind[k] = n_behind
        decimals.state[k] = _DOUBTFUL if doubtful else np.int64(inexact)
        others += doubtful or inexact
    return others


@jit_within
def read_decimals(decimals, real, least, most, longest):
    """Values of the numbers into ``real`` (float64[n]), and whether they all could be read.

    Args:
        least, most: all others are doubtful. longest: bytes of the longest one.
    """
    if longest <= _SHORT:
        return _read(decimals, real, least, most, False) == 0
    if _read(decimals, real, least, most, True) == 0:
        return True
    good = True
    for k in range(len(real)):
        if decimals.state[k] == _EXACT:
            value = scaled(decimals.digits[k], -decimals.behind[k])
            real[k] = -value if decimals.text[_NEGATIVE + k] != _0 else value
            decimals.state[k] = _READ if least <= real[k] <= most else _DOUBTFUL
        good &= decimals.state[k] == _READ
    return good


@jit_within
def is_doubtful(decimals, k):
    """Whether number ``k`` has to be read otherwise."""
    return decimals.state[k] != _READ
