"""JSON numbers in raw bytes to the nearest float64, as Python's ``float`` reads them.

Source: D. Lemire, "Number Parsing at a Gigabyte per Second" (Software: Practice and Experience, 2021), after M. Eisel: the
decimal mantissa times a 128-bit power of five. Between 5^-27 and 5^55 its result is proven exact, and here it is used up to
5^22 only. What is written in more digits than 18, or with a larger exponent, makes it return ``FAIL``: the caller then takes a
full parser.

Oracle: ``float``, in tests/test_core_feedline.py.
"""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import JIT_DISABLED, high_product, high_zeros, jit_borrowing, jit_within
from mmlib.core.words import FAIL, digits

_MINUS, _PLUS, _DOT, _ZERO = 45, 43, 46, 48
_LEAST, _MOST = -27, 22  # powers of ten
EXACT = np.int64(2**53)
"""A quotient of an integer up to it and of a power of ten up to 10^22 is the nearest float64."""
_TENS = np.array([10**k for k in range(19)], np.int64)
POW10 = np.array([10.0**k for k in range(23)])
_POW2_FROM = -200
_POW2 = np.array([2.0**k for k in range(_POW2_FROM, 201)])
_1, _3, _9, _LOW9 = np.uint64(1), np.uint64(3), np.uint64(9), np.uint64(0x1FF)


def _power_of_five(q: int) -> int:
    """The 128 leading bits of 5^q: truncated where it is a whole number, rounded up where it is a fraction."""
    five = 5 ** abs(q)
    if q >= 0:
        return five << 128 >> five.bit_length()
    return (1 << ((five - 1).bit_length() + 127)) // five + 1


_FIVES = [_power_of_five(q) for q in range(_LEAST, _MOST + 1)]
_HIGH = np.array([five >> 64 for five in _FIVES], np.uint64)
_LOW = np.array([five & (2**64 - 1) for five in _FIVES], np.uint64)


@jit_borrowing
def scaled(value, q):
    """``value * 10**q`` rounded to the nearest float64, for 0 < value < 10^18 and q within the table."""
    shift = high_zeros(np.uint64(value))
    word = np.uint64(value) << np.uint64(shift)
    high = high_product(word, _HIGH[q - _LEAST])
    low = word * _HIGH[q - _LEAST]
    if high & _LOW9 == _LOW9:
        more = high_product(word, _LOW[q - _LEAST])
        low = low + more
        if low < more:
            high = high + _1
    upper = high >> np.uint64(63)
    mantissa = high >> (upper + _9)
    if low <= _1 and -4 <= q <= 23 and mantissa & _3 == _1 and mantissa << (upper + _9) == high:
        mantissa = mantissa & ~_1  # half way between two: to the even one
    mantissa = (mantissa + (mantissa & _1)) >> _1
    power = ((217706 * q) >> 16) + 63 + np.int64(upper) - shift - 52
    return np.float64(np.int64(mantissa)) * _POW2[power - _POW2_FROM]


@jit_borrowing
def _more_digits(buf, at, value):
    """``value`` followed by the digits at ``at``, and the place behind them; FAIL when it grows beyond 18 digits."""
    while True:
        part, n = digits(buf, at)
        if value >= _TENS[18 - n]:
            return value, FAIL
        value = value * _TENS[n] + part
        at += n
        if n < 8:
            return value, at


@jit_borrowing
def _exponent(buf, at):
    """The exponent whose ``e`` stands at ``at``, and the place behind it, or FAIL."""
    at += 1
    negative = buf[at] == _MINUS
    if negative or buf[at] == _PLUS:
        at += 1
    value, n = digits(buf, at)
    if n == 0 or n > 3:
        return np.int64(0), FAIL
    return -value if negative else value, at + n


@jit_within
def _word_number(buf, at):
    negative = buf[at] == _MINUS
    if negative:
        at += 1
    start = at
    value, n = digits(buf, at)
    point = at + n
    if n > 0 and buf[point] == _DOT and not (buf[at] == _ZERO and n > 1):
        part, k = digits(buf, point + 1)
        after = buf[point + 1 + k]
        if 0 < k < 8 and after != 101 and after != 69:  # at most 15 digits: one division is exact
            result = np.float64(value * _TENS[k] + part) / POW10[k]
            return (-result if negative else result), point + 1 + k
    value, at = _more_digits(buf, at, np.int64(0))
    if at <= start or (buf[start] == _ZERO and at - start > 1):
        return 0.0, FAIL
    q = np.int64(0)
    if buf[at] == _DOT:
        point = at + 1
        value, at = _more_digits(buf, point, value)
        if at <= point:
            return 0.0, FAIL
        q = np.int64(point - at)
    if buf[at] == 101 or buf[at] == 69:  # e, E
        power, at = _exponent(buf, at)
        if at < 0:
            return 0.0, FAIL
        q += power
    if value == 0:
        result = 0.0
    elif value < EXACT and -22 <= q <= 22:
        result = np.float64(value) / POW10[-q] if q < 0 else np.float64(value) * POW10[q]
    elif _LEAST <= q <= _MOST:
        result = scaled(value, q)
    else:
        return 0.0, FAIL
    return -result if negative else result, at


def plain_number(buf: np.ndarray, at: int) -> tuple[float, int]:
    """The same by Python's ``float``, for where nothing is compiled."""
    end = at
    while chr(buf[end]) in "+-.0123456789eE":
        end += 1
    text = bytes(buf[at:end])
    whole = text.lstrip(b"-").split(b".")[0].lower().split(b"e")[0]
    bad = text[:1] == b"+" or text[:2] == b"--" or not whole or (whole[:1] == b"0" and len(whole) > 1)
    if bad or b".e" in text.lower() or text[-1:] == b".":
        return 0.0, FAIL
    try:
        value = float(text)
    except ValueError:
        return 0.0, FAIL
    return (value, end) if np.isfinite(value) else (0.0, FAIL)


number = plain_number if JIT_DISABLED else _word_number
"""Value of the JSON number at ``at`` and the place behind it, FAIL where a full parser has to look."""
