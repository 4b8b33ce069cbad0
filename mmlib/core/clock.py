"""Times of the feeds in raw bytes: RFC 3339 text and integers of any unit to nanoseconds since 1970.

Oracle: ``feeds.timestamps.to_ns``, in tests/test_core_feedline.py.
"""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import item, jit_borrowing
from mmlib.core.words import FAIL, digits, integer, word_of

_QUOTE, _DASH, _COLON, _DOT, _PLUS = 34, 45, 58, 46, 43
_S = 1_000_000_000
_DAY_NS = 86_400 * _S
_FIRST_NS, _END_NS = 946_684_800 * _S, 9_214_646_400 * _S  # the years 2000 to 2261
_TENS = np.array([10**k for k in range(10)], np.int64)


@jit_borrowing
def _two(buf, at):
    """Value of the two digits at ``at``, FAIL when they are none."""
    first = np.int64(item(buf, at)) - 48
    second = np.int64(item(buf, at + 1)) - 48
    if 0 <= first <= 9 and 0 <= second <= 9:
        return first * 10 + second
    return np.int64(FAIL)


@jit_borrowing
def _days(year, month, day):
    """Days since 1970 of a date of the Gregorian calendar up to 2261, FAIL where there is none such.

    Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
    """
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    longest = 31
    if month == 4 or month == 6 or month == 9 or month == 11:
        longest = 30
    elif month == 2:
        longest = 29 if leap else 28
    if not (1970 <= year <= 2261 and 1 <= month <= 12 and 1 <= day <= longest):
        return np.int64(FAIL)
    shifted = year - 1 if month <= 2 else year
    era_year = shifted % 400
    of_year = (153 * (month + (9 if month <= 2 else -3)) + 2) // 5 + day - 1
    of_era = era_year * 365 + era_year // 4 - era_year // 100 + of_year
    return shifted // 400 * 146097 + of_era - 719468


@jit_borrowing
def _minute_ns(buf, at, memo):
    """The minute whose date, hour and minute stand at ``at``, FAIL for none; ``memo`` holds the last one's bytes and value."""
    first, last = word_of(buf, at, 8), word_of(buf, at + 8, 8)
    if memo[0] == first and memo[1] == last:
        return np.int64(memo[2])
    century, year = _two(buf, at), _two(buf, at + 2)
    month, day = _two(buf, at + 5), _two(buf, at + 8)
    hour, minute = _two(buf, at + 11), _two(buf, at + 14)
    if (
        century < 0
        or year < 0
        or month < 0
        or day < 0
        or item(buf, at + 4) != _DASH
        or item(buf, at + 7) != _DASH
    ):
        return np.int64(FAIL)
    mark = item(buf, at + 10)
    if not (mark == 84 or mark == 116 or mark == 32) or item(buf, at + 13) != _COLON:  # T, t, space
        return np.int64(FAIL)
    days = _days(century * 100 + year, month, day)
    if days <= 0 or not (0 <= hour <= 23 and 0 <= minute <= 59):
        return np.int64(FAIL)
    ns = days * _DAY_NS + (hour * 60 + minute) * 60 * _S
    memo[0], memo[1], memo[2] = first, last, np.uint64(ns)
    return ns


@jit_borrowing
def _zone_ns(buf, at):
    """What to take off for the zone at ``at``, and the place behind it, or FAIL."""
    mark = item(buf, at)
    if mark == 90 or mark == 122:  # Z, z
        return np.int64(0), at + 1
    hours, minutes = _two(buf, at + 1), _two(buf, at + 4)
    if (mark != _PLUS and mark != _DASH) or item(buf, at + 3) != _COLON:
        return np.int64(0), FAIL
    if not (0 <= hours <= 23 and 0 <= minutes <= 59):
        return np.int64(0), FAIL
    offset = (hours * 60 + minutes) * 60 * _S
    return (offset if mark == _PLUS else -offset), at + 6


@jit_borrowing
def _text_ns(buf, at, memo):
    """Time of the RFC 3339 text behind the quote at ``at``, and the place behind its closing quote, or FAIL."""
    at += 1
    ns = _minute_ns(buf, at, memo)
    second = _two(buf, at + 17)
    if ns < 0 or item(buf, at + 16) != _COLON or not (0 <= second <= 59):
        return np.int64(0), FAIL
    ns += second * _S
    at += 19
    if item(buf, at) == _DOT:
        value, n = digits(buf, at + 1)
        at += 1 + n
        if n == 8:
            last = np.int64(item(buf, at)) - 48
            if 0 <= last <= 9:
                value = value * 10 + last
                n = 9
                at += 1
        if n == 0:
            return np.int64(0), FAIL
        ns += value * _TENS[9 - n]
    offset, at = _zone_ns(buf, at)
    if at < 0 or item(buf, at) != _QUOTE:
        return np.int64(0), FAIL
    return ns - offset, at + 1


@jit_borrowing
def _whole_ns(value):
    """Nanoseconds of an integer whose unit its magnitude tells: below the year 5138 in s, ms, us, otherwise ns."""
    if value < 100_000_000_000:
        return min(value, _END_NS // _S) * _S
    if value < 100_000_000_000_000:
        return min(value, _END_NS // 1_000_000) * 1_000_000
    if value < 100_000_000_000_000_000:
        return min(value, _END_NS // 1_000) * 1_000
    return value


@jit_borrowing
def time_ns(buf, at, memo):
    """Nanoseconds of the time at ``at`` and the place behind it, FAIL where a full parser has to look.

    Args:
        buf: uint8[], with ``words.SLACK`` bytes behind the last line. at: where the value begins.
        memo: uint64[3], zeros at first; remembers the last minute.
    """
    if item(buf, at) == _QUOTE:
        ns, at = _text_ns(buf, at, memo)
    else:
        value, end = integer(buf, at)
        if end < 0 and 48 <= item(buf, at) <= 57:
            value, end = _nineteen(buf, at)
        ns, at = _whole_ns(value), end
    if at < 0 or ns < _FIRST_NS or ns >= _END_NS:
        return np.int64(0), FAIL
    return ns, at


@jit_borrowing
def _nineteen(buf, at):
    """The integer of exactly 19 digits at ``at`` that an int64 holds, and the place behind it, or FAIL."""
    first, n = digits(buf, at)
    second, m = digits(buf, at + 8)
    third, k = digits(buf, at + 16)
    after = item(buf, at + 19)
    if n != 8 or m != 8 or k != 3 or first >= 92_000_000 or after == _DOT or after == 69 or after == 101:
        return np.int64(0), FAIL
    return (first * 100_000_000 + second) * 1000 + third, at + 19
