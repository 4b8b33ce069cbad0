"""Columns as JSON Lines: a row a line, every column behind its own constant text.

Oracle: ``json`` and the naive lines in tests/test_core_jsonrows.py.
"""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import jit_borrowing as jit
from mmlib.core.shortest import LONGEST, write_digits, write_integer, write_micros, write_number

TIME, TEXT, FLAG, INTEGER, NUMBER, MILLIS = 0, 1, 2, 3, 4, 5
"""What a column holds: nanoseconds since 1970 written as RFC 3339, a place in a table of texts, false or true, a whole number,
a number in full, a number rounded to six decimals. NaN and infinities are null."""
WIDEST = max(LONGEST, 32)
"""Bytes that a value takes at most, apart from texts."""

_DAY_NS = 86_400_000_000_000
_DAYS_TO_1970 = 719_468  # from 0000-03-01
_NULL = np.frombuffer(b"null", np.uint8)
_TRUE = np.frombuffer(b"true", np.uint8)
_FALSE = np.frombuffer(b"false", np.uint8)
_QUOTE, _DASH, _COLON, _DOT, _T, _Z, _BREAK, _CLOSE = 34, 45, 58, 46, 84, 90, 10, 125


@jit
def _copy(buf, at, text, start, end):
    for i in range(start, end):
        buf[at] = text[i]
        at += 1
    return at


@jit
def _write_date(buf, at, day):
    """Write the UTC date of a day counted from 1970. Source: H. Hinnant, "chrono-compatible low-level date algorithms"."""
    shifted = day + _DAYS_TO_1970
    era = shifted // 146_097
    of_era = shifted - era * 146_097
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153  # from March
    at = write_digits(buf, at, year + 400 * era + (1 if month >= 10 else 0), 4)
    buf[at] = _DASH
    at = write_digits(buf, at + 1, month + 3 if month < 10 else month - 9, 2)
    buf[at] = _DASH
    return write_digits(buf, at + 1, of_year - (153 * month + 2) // 5 + 1, 2)


@jit
def _write_time(buf, at, ts_ns):
    """Write quoted RFC 3339 text with nanoseconds and ``Z``."""
    day = ts_ns // _DAY_NS
    rest = ts_ns - day * _DAY_NS
    second = rest // 1_000_000_000
    buf[at] = _QUOTE
    at = _write_date(buf, at + 1, day)
    buf[at] = _T
    at = write_digits(buf, at + 1, second // 3600, 2)
    buf[at] = _COLON
    at = write_digits(buf, at + 1, second // 60 % 60, 2)
    buf[at] = _COLON
    at = write_digits(buf, at + 1, second % 60, 2)
    buf[at] = _DOT
    at = write_digits(buf, at + 1, rest - second * 1_000_000_000, 9)
    buf[at] = _Z
    buf[at + 1] = _QUOTE
    return at + 2


@jit
def write_rows(kinds, heads, head_ends, texts, text_ends, whole, real, buf):
    """Write rows as lines and return how many bytes they take.

    Args:
        kinds: ``uint8[c]``, TIME to MILLIS.
        heads: ``uint8[]``, what stands before each value, one behind the other; ``head_ends``: ``int64[c]``, their ends.
        texts: ``uint8[]``, the values that a TEXT column may have, as JSON; ``text_ends``: ``int64[t]``, their ends.
        whole: ``int64[c, n]``, values of every column but the last two kinds.
        real: ``float64[c, n]``, values of columns of the last two kinds.
        buf: ``uint8[]``, with room for n lines of ``len(heads)`` and ``WIDEST`` (or the longest text) for each column.
    """
    at = 0
    for row in range(whole.shape[1]):
        head = 0
        for column in range(len(kinds)):
            at = _copy(buf, at, heads, head, head_ends[column])
            head = head_ends[column]
            kind = kinds[column]
            if kind == NUMBER or kind == MILLIS:
                x = real[column, row]
                if not np.isfinite(x):
                    at = _copy(buf, at, _NULL, 0, 4)
                elif kind == MILLIS:
                    at = write_micros(buf, at, x)
                else:
                    at = write_number(buf, at, x)
                continue
            value = whole[column, row]
            if kind == TIME:
                at = _write_time(buf, at, value)
            elif kind == TEXT:
                at = _copy(buf, at, texts, text_ends[value - 1] if value > 0 else 0, text_ends[value])
            elif kind == FLAG:
                at = _copy(buf, at, _TRUE, 0, 4) if value != 0 else _copy(buf, at, _FALSE, 0, 5)
            else:
                at = write_integer(buf, at, value)
        buf[at] = _CLOSE
        buf[at + 1] = _BREAK
        at += 2
    return at
