"""Numbers as the shortest decimal text that reads back as the same float64, written as bytes.

Source: R. Giulietti, "The Schubfach way to render doubles" (2020): the interval that rounds to the number is scaled by a power
of ten, and holds at most two multiples of ten and four integers worth looking at. Oracle: Python's ``repr``.
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from mmlib.core._jit import JIT_DISABLED, high_product
from mmlib.core._jit import jit_borrowing as jit

LONGEST = 24
"""Bytes that a number takes at most, such as ``-2.2250738585072014e-308``."""

_MIN_POWER, _MAX_POWER = -292, 324
_SCIENTIFIC = 16  # from this many digits before the point on; likewise behind three zeros after it
_FIXED = 1e15  # below, six decimals are exact and shortest: fifteen digits always read back
_DOT, _MINUS, _PLUS, _ZERO, _E = 46, 45, 43, 48, 101
_0, _1, _2, _4, _10, _40 = (np.uint64(k) for k in (0, 1, 2, 4, 10, 40))


def _leading_bits(power: int) -> int:
    """The first 128 bits of ``10**power``, rounded up where they are not all."""
    if power >= 0:
        value = 10**power
        shift = value.bit_length() - 128
        return value << -shift if shift < 0 else -(-value >> shift)
    value = 10**-power
    return -(-(1 << (127 + value.bit_length())) // value)


_BITS = [_leading_bits(power) for power in range(_MIN_POWER, _MAX_POWER + 1)]
_HIGH = np.array([bits >> 64 for bits in _BITS], np.uint64)
_LOW = np.array([bits & (2**64 - 1) for bits in _BITS], np.uint64)


@jit
def _scaled(at, c):
    """``c`` times the power of ten in row ``at``: its integer part, the lowest bit set where there is more."""
    low = high_product(_LOW[at], c)
    middle = _HIGH[at] * c + low
    whole = high_product(_HIGH[at], c)
    if middle < low:
        whole += _1
    return whole | _1 if middle > _1 else whole


@jit
def _schubfach(x):
    """Digits and exponent of the shortest decimal nearest to a positive finite ``x``; digits may end in zeros."""
    bits = np.float64(x).view(np.uint64)
    fraction = np.int64(bits & np.uint64(0xFFFFFFFFFFFFF))
    field = np.int64(bits >> np.uint64(52))
    c = fraction if field == 0 else fraction + 2**52
    q = (field if field > 0 else 1) - 1075
    if -53 < q <= 0 and (c >> -q) << -q == c:
        return c >> -q, 0
    closer = fraction == 0 and field > 1  # the number below stands half as far
    k = (q * 1262611 - (524031 if closer else 0)) >> 22
    h = np.uint64(q + ((-k * 1741647) >> 19) + 1)
    at = -k - _MIN_POWER
    four = np.uint64(4 * c)
    low = _scaled(at, (four - (_1 if closer else _2)) << h)
    here = _scaled(at, four << h)
    high = _scaled(at, (four + _2) << h)
    if c & 1:  # the ends of the interval round away from an odd number
        low += _1
        high -= _1
    s = here >> _2
    if s >= _10:
        tens = s // _10
        below = low <= _40 * tens
        above = _40 * tens + _40 <= high
        if below != above:
            return np.int64(tens) + (1 if above else 0), k + 1
    below = low <= _4 * s
    above = _4 * s + _4 <= high
    if below != above:
        return np.int64(s) + (1 if above else 0), k
    middle = _4 * s + _2
    up = here > middle or (here == middle and s & _1 == _1)
    return np.int64(s) + (1 if up else 0), k


def _from_repr(x):
    """The same where nothing is compiled, by way of Python's ``repr``."""
    parts = Decimal(repr(float(x))).as_tuple()
    return int("".join(map(str, parts.digits))), int(parts.exponent)


shortest = _from_repr if JIT_DISABLED else _schubfach


@jit
def digit_count(value):
    """Decimal digits of an ``int64`` >= 0; 1 for 0."""
    n = 1
    while value >= 10:
        value //= 10
        n += 1
    return n


@jit
def write_digits(buf, at, value, n):
    """Write the last ``n`` digits of an ``int64`` >= 0, zeros in front; returns the place behind them."""
    for i in range(at + n - 1, at - 1, -1):
        buf[i] = _ZERO + value % 10
        value //= 10
    return at + n


@jit
def write_integer(buf, at, value):
    """Write an ``int64``; returns the place behind it."""
    if value < 0:
        buf[at] = _MINUS
        at += 1
        if value == -(2**63):  # has no positive counterpart
            at = write_digits(buf, at, np.int64(922337203685477580), 18)
            buf[at] = _ZERO + 8
            return at + 1
        value = -value
    return write_digits(buf, at, value, digit_count(value))


@jit
def write_number(buf, at, x):
    """Write a finite ``float64`` as Python's ``repr`` does; returns the place behind it."""
    if np.signbit(x):
        buf[at] = _MINUS
        at += 1
        x = -x
    if x == 0.0:
        return _plain(buf, at, 0, 1, 1)
    digits, exponent = shortest(x)
    while digits % 10 == 0:
        digits //= 10
        exponent += 1
    n = digit_count(digits)
    point = n + exponent  # digits before the point
    if -4 < point <= _SCIENTIFIC:
        return _plain(buf, at, digits, n, point)
    at = write_digits(buf, at, digits // 10 ** (n - 1), 1)
    if n > 1:
        buf[at] = _DOT
        at = write_digits(buf, at + 1, digits, n - 1)
    buf[at] = _E
    buf[at + 1] = _MINUS if point < 1 else _PLUS
    size = abs(point - 1)
    return write_digits(buf, at + 2, size, max(digit_count(size), 2))


@jit
def _plain(buf, at, digits, n, point):
    """Write ``n`` digits with the point after ``point`` of them, at least one digit on both sides of it."""
    if point <= 0:
        buf[at] = _ZERO
        buf[at + 1] = _DOT
        at = write_digits(buf, at + 2, np.int64(0), -point)
        return write_digits(buf, at, digits, n)
    if n <= point:
        at = write_digits(buf, at, digits, n)
        at = write_digits(buf, at, np.int64(0), point - n)
        buf[at] = _DOT
        buf[at + 1] = _ZERO
        return at + 2
    behind = np.int64(10) ** (n - point)
    at = write_digits(buf, at, digits // behind, point)
    buf[at] = _DOT
    return write_digits(buf, at + 1, digits % behind, n - point)


@jit
def write_micros(buf, at, x):
    """Write a finite ``float64`` rounded to six decimals, half to even, without trailing zeros; the place behind it.

    From a milliard on, where six decimals are no longer exact, it is written whole.
    """
    scaled = np.rint(abs(x) * 1e6)
    if not scaled < _FIXED:
        return write_number(buf, at, x)
    value = np.int64(scaled)
    if x < 0.0 and value > 0:
        buf[at] = _MINUS
        at += 1
    behind = value % 1_000_000
    whole = value // 1_000_000
    at = write_digits(buf, at, whole, digit_count(whole))
    buf[at] = _DOT
    at = write_digits(buf, at + 1, behind, 6)
    n = 1
    while n < 6 and buf[at - 1] == _ZERO:
        at -= 1
        n += 1
    return at
