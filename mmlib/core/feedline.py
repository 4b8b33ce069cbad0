"""Lines of a feed to columns, from bytes: the fast path for lines that are as their schema wants them.

Any order of keys is read, further keys with plain values are passed over, and what may be missing may be missing. A line
that is anything else is set aside for the full parser, which alone decides whether it is bad; so this one only has to be
sure of what it accepts.

Oracle: the careful reader, in tests/test_feeds_damage.py and tests/test_core_likelines.py.
"""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import jit_borrowing, jit_within
from mmlib.core.decimals import BEFORE
from mmlib.core.fieldvalue import KEY_BYTES, absent, has_key, key_bits, literal, take
from mmlib.core.jsonline import skip_blanks
from mmlib.core.likelines import LINES, like_lines
from mmlib.core.number import number
from mmlib.core.words import FAIL, text_end

_QUOTE, _COMMA, _COLON, _OPEN, _CLOSE, _RETURN, _BREAK = 34, 44, 58, 123, 125, 13, 10


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


@jit_borrowing
def _pass_over(buf, at):
    """Place behind the plain value at ``at``, FAIL for a list, an object or anything else."""
    if buf[at] == _QUOTE:
        end = text_end(buf, at + 1)
        return end + 1 if end >= 0 else FAIL
    end = literal(buf, at)
    if end >= 0:
        return end
    _, end = number(buf, at)
    return end


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
            absent(fields, field, columns, row)
    return True


@jit_borrowing
def _object(buf, at, fields, texts, columns, row):
    """Take the object whose brace is at ``at`` as a row; the place behind it, or FAIL."""
    n_fields = len(fields.length)
    seen = np.int64(0)
    place, others = 0, 0
    fields.keys[0] = 0  # until it is known which keys the line has
    at = skip_blanks(buf, at + 1)
    while True:
        field = fields.order[place] if place < n_fields else 0
        if has_key(buf, at, fields, field, key_bits(fields, field)):
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
            at = take(buf, at, fields, field, texts, columns, row)
        else:
            others += 1
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
    fields.keys[0] = place if others == 0 else 0
    return at + 1


@jit_within
def _one_line(buf, at, fields, texts, columns, row):
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
    at, lines, rows, odd, most = 0, 0, 0, 0, 1
    while at < n:
        if fields.keys[0] > 0 and at >= BEFORE:
            most = min(most, len(columns.line) - rows)
            alike, at = like_lines(buf, at, n, most, fields, texts, columns, rows)
            for line in range(alike):
                columns.line[rows + line] = lines + line
            lines += alike
            rows += alike
            most = min(2 * most, LINES) if alike == most else 1
            if alike > 0:
                continue
        start = skip_blanks(buf, at)
        end = FAIL
        if buf[start] == _OPEN:
            end = _one_line(buf, start, fields, texts, columns, rows)
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
