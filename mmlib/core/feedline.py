"""Lines of a feed to columns, from bytes: the fast path for lines that are as their schema wants them.

Any order of keys is read, further keys with plain values are passed over, and what may be missing may be missing. A line
that is anything else is set aside for the full parser, which alone decides whether it is bad; so this one only has to be
sure of what it accepts.

Oracle: the careful reader, in tests/test_feeds_damage.py and tests/test_core_feedline.py.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np

from mmlib.core._jit import JIT_DISABLED, jit_borrowing, jit_within, same_bytes
from mmlib.core.clock import time_ns
from mmlib.core.jsonline import skip_blanks
from mmlib.core.number import number
from mmlib.core.separators import separators
from mmlib.core.textcodes import text_code
from mmlib.core.words import FAIL, integer, text_end

TIME, TEXT, ID, FLAG, COUNT, NUMBER = range(6)
"""Roles of a field; see ``Columns`` for what they become."""
NAT = np.iinfo(np.int64).min
KEY_BYTES = 32

_QUOTE, _COMMA, _COLON, _OPEN, _CLOSE, _RETURN, _BREAK = 34, 44, 58, 123, 125, 13, 10
_NULL, _TRUE, _FALSE = 110, 116, 102
_BITS = 63  # text codes that a mask can name


class Fields(NamedTuple):
    """What each of k fields looks like.

    Attributes:
        key: uint8[k * KEY_BYTES], the bytes of ``"name":``. length: int64[k], how many they are.
        role, slot: int64[k], what it is and which row of its table in ``Columns`` it has.
        optional: bool[k], may be null or absent. low, high: float64[k], both allowed.
        names: int64[k], bits of the text codes that are allowed, 0 for any.
        order: int64[k], which field the k-th key of a line was when last seen. places: int64[separators.ROOM], scratch.
    """

    key: Any
    length: Any
    role: Any
    slot: Any
    optional: Any
    low: Any
    high: Any
    names: Any
    order: Any
    places: Any


class Columns(NamedTuple):
    """Rows of a block, one table a storage, a row a field.

    Attributes:
        whole: int64[., n], times in ns (NAT when absent), counts, codes of texts. real: float64[., n], NaN when absent.
        flag: uint8[., n]. span: int64[., n], begin and end of an id's text; begin is -1 when it is absent.
        line: int64[n], number of the row's line in the block, from 0.
        odd: int64[m, 3], lines set aside: number, begin, and how many rows stand before it.
    """

    whole: Any
    real: Any
    flag: Any
    span: Any
    line: Any
    odd: Any


@jit_borrowing
def _plain_is_key(buf, at, fields, field):
    same = True
    for i in range(fields.length[field]):
        same = same and buf[at + i] == fields.key[KEY_BYTES * field + i]
    return same


@jit_within
def _whole_is_key(buf, at, fields, field):
    needed = (np.uint64(1) << np.uint64(fields.length[field])) - np.uint64(1)
    return same_bytes(buf, at, fields.key, KEY_BYTES * field) & needed == needed


is_key = _plain_is_key if JIT_DISABLED or sys.byteorder == "big" else _whole_is_key
"""Whether the key of a field, quotes and colon included, stands at ``at``."""


@jit_borrowing
def _find_key(buf, at, fields):
    """The field whose key stands at ``at``, -1 for none of ours, and the place of its value, or FAIL."""
    if buf[at] != _QUOTE:
        return -1, FAIL
    end = text_end(buf, at + 1)
    if end < 0:
        return -1, FAIL
    found = -1
    for field in range(len(fields.length)):
        if fields.length[field] == end + 2 - at:
            same = True
            for i in range(end + 1 - at):
                same = same and buf[at + i] == fields.key[KEY_BYTES * field + i]
            if same:
                found = field
    at = skip_blanks(buf, end + 1)
    if buf[at] != _COLON:
        return -1, FAIL
    return found, skip_blanks(buf, at + 1)


@jit_within
def _literal(buf, at):
    """Place behind ``true``, ``false`` or ``null`` at ``at``, or FAIL."""
    b, c, d = buf[at + 1], buf[at + 2], buf[at + 3]
    if buf[at] == _TRUE and b == 114 and c == 117 and d == 101:
        return at + 4
    if buf[at] == _NULL and b == 117 and c == 108 and d == 108:
        return at + 4
    if buf[at] == _FALSE and b == 97 and c == 108 and d == 115 and buf[at + 4] == 101:
        return at + 5
    return FAIL


@jit_borrowing
def _pass_over(buf, at):
    """Place behind the plain value at ``at``, FAIL for a list, an object or anything else."""
    if buf[at] == _QUOTE:
        end = text_end(buf, at + 1)
        return end + 1 if end >= 0 else FAIL
    end = _literal(buf, at)
    if end >= 0:
        return end
    _, end = number(buf, at)
    return end


@jit_borrowing
def _text_value(buf, at, fields, field, texts, columns, row):
    """Take a text or an id; the place behind it, or FAIL."""
    slot = fields.slot[field]
    if fields.role[field] == ID and buf[at] != _QUOTE:
        _, end = integer(buf, at)
        columns.span[2 * slot, row] = at
        columns.span[2 * slot + 1, row] = end
        return end
    if buf[at] != _QUOTE:
        return FAIL
    end = text_end(buf, at + 1)
    if end < 0:
        return FAIL
    if fields.role[field] == ID:
        columns.span[2 * slot, row] = at + 1
        columns.span[2 * slot + 1, row] = end
        return end + 1
    if end - at - 1 < fields.low[field]:
        return FAIL
    code = text_code(buf, at + 1, end, texts)
    names = fields.names[field]
    if code < 0 or (names != 0 and (code >= _BITS or (names >> code) & 1 == 0)):
        return FAIL
    columns.whole[slot, row] = code
    return end + 1


@jit_within
def _absent(fields, field, columns, row):
    """Note that a field has no value."""
    role, slot = fields.role[field], fields.slot[field]
    if role == NUMBER:
        columns.real[slot, row] = np.nan
    elif role == TIME:
        columns.whole[slot, row] = NAT
    elif role == ID:
        columns.span[2 * slot, row] = -1
        columns.span[2 * slot + 1, row] = -1


@jit_within
def _take(buf, at, fields, field, texts, columns, row):
    """Take the value of a field at ``at``; the place behind it, or FAIL."""
    role, slot = fields.role[field], fields.slot[field]
    if buf[at] == _NULL:
        end = _literal(buf, at)
        if end < 0 or not fields.optional[field]:
            return FAIL
        _absent(fields, field, columns, row)
        return end
    if role == NUMBER:
        value, at = number(buf, at)
        if not (fields.low[field] <= value <= fields.high[field]):
            return FAIL
        columns.real[slot, row] = value
        return at
    if role == FLAG:
        end = _literal(buf, at)
        columns.flag[slot, row] = end == at + 4
        return end
    if role == TIME:
        value, at = time_ns(buf, at, texts.memo)
        columns.whole[slot, row] = value
        return at
    if role == COUNT:
        value, at = integer(buf, at)
        if not (fields.low[field] <= value <= fields.high[field]):
            return FAIL
        columns.whole[slot, row] = value
        return at
    return _text_value(buf, at, fields, field, texts, columns, row)


@jit_within
def _complete(fields, seen, columns, row):
    """Note that the fields that were not seen (a mask) have no value; whether all of them may be absent."""
    n_fields = len(fields.length)
    if seen == (np.int64(1) << n_fields) - 1:
        return True
    for field in range(n_fields):
        if not seen >> field & 1:
            if not fields.optional[field]:
                return False
            _absent(fields, field, columns, row)
    return True


@jit_within
def _as_before(buf, at, fields, texts, columns, row):
    """Take the object whose brace is at ``at``, if it has the keys of the one before, as a row; the place of its line break.

    FAIL when anything is otherwise, which says nothing about the line.
    """
    places = fields.places
    n = separators(buf, at, places)
    if n < 0 or n > len(fields.length):
        return FAIL
    seen = np.int64(0)
    at += 1
    for place in range(n):
        field = fields.order[place]
        at = skip_blanks(buf, at)
        if seen >> field & 1 or not is_key(buf, at, fields, field):
            return FAIL
        seen |= np.int64(1) << field
        end = _take(buf, skip_blanks(buf, at + fields.length[field]), fields, field, texts, columns, row)
        if end < 0:
            return FAIL
        end = skip_blanks(buf, end)
        if place == n - 1:
            if buf[end] != _CLOSE:
                return FAIL
            end += 1
            if buf[end] == _RETURN:
                end += 1
        if end != places[place]:
            return FAIL
        at = places[place] + 1
    return places[n - 1] if _complete(fields, seen, columns, row) else FAIL


@jit_borrowing
def _object(buf, at, fields, texts, columns, row):
    """Take the object whose brace is at ``at`` as a row; the place behind it, or FAIL."""
    n_fields = len(fields.length)
    seen = np.int64(0)
    place = 0
    at = skip_blanks(buf, at + 1)
    while True:
        field = fields.order[place] if place < n_fields else 0
        if is_key(buf, at, fields, field):
            at = skip_blanks(buf, at + fields.length[field])
        else:
            field, at = _find_key(buf, at, fields)
            if at < 0:
                return FAIL
        if field >= 0:
            if seen >> field & 1:
                return FAIL
            seen |= np.int64(1) << field
            if place < n_fields:
                fields.order[place] = field
            place += 1
            at = _take(buf, at, fields, field, texts, columns, row)
        else:
            at = _pass_over(buf, at)
        if at < 0:
            return FAIL
        at = skip_blanks(buf, at)
        if buf[at] == _CLOSE:
            break
        if buf[at] != _COMMA:
            return FAIL
        at = skip_blanks(buf, at + 1)
    if not _complete(fields, seen, columns, row):
        return FAIL
    return at + 1


@jit_within
def _other_line(buf, at, fields, texts, columns, row):
    """Take the object whose brace is at ``at``, whatever keys it has, as a row; the place of its line break, or FAIL."""
    end = _object(buf, at, fields, texts, columns, row)
    if end < 0:
        return FAIL
    end = skip_blanks(buf, end)
    if buf[end] == _RETURN:
        end += 1
    return end if buf[end] == _BREAK else FAIL


@jit_borrowing
def decode_lines(buf, n, fields, texts, columns):
    """Take the lines of a block.

    Args:
        buf: uint8[n + SLACK], whole lines, the last of its ``n`` bytes is a line break; the slack is 0.
        fields, texts: what is read, and the texts met so far. columns: with room for every row.

    Returns:
        Numbers of lines, of rows, and of odd lines (blank ones are neither); FAIL instead of the first when there are more
        odd lines than room for them.
    """
    at, lines, rows, odd = 0, 0, 0, 0
    while at < n:
        start = skip_blanks(buf, at)
        end = FAIL
        if buf[start] == _OPEN:
            end = _as_before(buf, start, fields, texts, columns, rows)
            if end < 0:
                end = _other_line(buf, start, fields, texts, columns, rows)
        if end >= 0:
            columns.line[rows] = lines
            rows += 1
        else:
            end = start
            while buf[end] != _BREAK:
                end += 1
            if end > start:
                if odd == len(columns.odd):
                    return FAIL, rows, odd
                columns.odd[odd, 0] = lines
                columns.odd[odd, 1] = at
                columns.odd[odd, 2] = rows
                odd += 1
        at = end + 1
        lines += 1
    return lines, rows, odd


@jit_borrowing
def gather(buf, begin, end, out):
    """Write the texts from ``begin[k]`` to ``end[k]`` (int64) behind each other into ``out`` (uint8)."""
    at = 0
    for k in range(len(begin)):
        for i in range(begin[k], end[k]):
            out[at] = buf[i]
            at += 1


@jit_borrowing
def watch(ts_ns, group, n, first_ns, last_ns):
    """Count rows by group, note their first and last time, and return how many were not later than the one before them.

    Args:
        ts_ns, group: int64[rows]. n, first_ns, last_ns: int64[groups], of the rows so far, updated.
    """
    found = 0
    for k in range(len(ts_ns)):
        g = group[k]
        if n[g] > 0 and ts_ns[k] <= last_ns[g]:
            found += 1
        if n[g] == 0 or ts_ns[k] > last_ns[g]:
            last_ns[g] = ts_ns[k]
        if n[g] == 0 or ts_ns[k] < first_ns[g]:
            first_ns[g] = ts_ns[k]
        n[g] += 1
    return found
