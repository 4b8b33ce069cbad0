"""Lines that have the same keys in the same order, some dozens at a time and a column after the other.

All their separators are looked for first; then what a column needs stays in registers, and the processor works on several
lines at once, which no line has to wait for. As soon as a line is not like the others, only those before it are taken.

Oracle: the careful reader, in tests/test_core_likelines.py.
"""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import JIT_DISABLED, item, jit_within, prefetch
from mmlib.core.decimals import AT_ONCE, is_doubtful, note_decimal, read_decimals
from mmlib.core.fieldvalue import NUMBER, absent, has_key, key_bits, take, take_number
from mmlib.core.separators import SPARE, separators

_COMPILED = not JIT_DISABLED
LINES = AT_ONCE
"""Lines that are taken at once: few enough to stay in a processor's first cache."""
_SPACE, _COMMA, _CLOSE, _OPEN, _RETURN, _BREAK = 32, 44, 125, 123, 13, 10


def room(n_fields: int) -> int:
    """Length of ``Fields.places``."""
    return LINES + 1 + LINES * n_fields + SPARE


@jit_within
def _ends(buf, places, keys, lines):
    """Note where the last value of each line ends; how many lines, from the first on, have as many separators as keys."""
    for line in range(lines):
        end = places[LINES + (line + 1) * keys]
        if buf[end] != _BREAK or buf[places[LINES + line * keys] + 1] != _OPEN:
            return line
        if buf[end - 1] == _RETURN:
            end -= 1
        if buf[end - 1] != _CLOSE:
            return line
        places[line] = end - 1
    return lines


@jit_within
def _past_blank(buf, at):
    """The place behind the blank at ``at``, or ``at``; a line with more of them is none of ours."""
    return at + (item(buf, at) == _SPACE)


@jit_within
def _numbers(buf, place, lines, fields, columns, row):
    """``_column`` of numbers, which mostly are decimals without an exponent."""
    keys, field = fields.keys[0], fields.order[place]
    before, last, decimals = fields.places[LINES + place :], fields.places, fields.decimals
    first, length = 2 if place == 0 else 1, fields.length[field]
    mark, wanted = _COMMA if place > 0 else _BREAK, key_bits(fields, field)
    longest = np.int64(0)
    for line in range(lines):
        separator = item(before, line * keys)
        at = _past_blank(buf, separator + first)
        end = item(before, line * keys + 1) if place < keys - 1 else item(last, line)
        if item(buf, separator) != mark or not has_key(buf, at, fields, field, wanted):
            lines = line
            break
        longest = max(longest, note_decimal(buf, _past_blank(buf, at + length), end, decimals, line))
    real = columns.real[fields.slot[field], row : row + lines]
    if not read_decimals(decimals, real, fields.low[field], fields.high[field], longest):
        for line in range(lines):
            if is_doubtful(decimals, line):
                at = _past_blank(buf, _past_blank(buf, before[line * keys] + first) + length)
                end = before[line * keys + 1] if place < keys - 1 else last[line]
                if take_number(buf, at, fields, field, columns, row + line) != end:
                    return line
    return lines


@jit_within
def _column(buf, place, lines, fields, texts, columns, row):
    """Take the values of the keys at a place of the lines; of how many lines, from the first on, that was possible."""
    keys, field = fields.keys[0], fields.order[place]
    before, last = fields.places[LINES + place :], fields.places
    first, length = 2 if place == 0 else 1, fields.length[field]
    mark, wanted = _COMMA if place > 0 else _BREAK, key_bits(fields, field)
    for line in range(lines):
        separator = item(before, line * keys)
        at = _past_blank(buf, separator + first)
        end = item(before, line * keys + 1) if place < keys - 1 else item(last, line)
        if item(buf, separator) != mark or not has_key(buf, at, fields, field, wanted):
            return line
        at = _past_blank(buf, at + length)
        if take(buf, at, fields, field, texts, columns, row + line) != end:
            return line
    return lines


@jit_within
def _absent(fields, lines, columns, row):
    """Note that the fields whose keys the lines do not have are without values."""
    for field in range(len(fields.length)):
        seen = False
        for place in range(fields.keys[0]):
            seen = seen or fields.order[place] == field
        if not seen:
            for line in range(lines):
                absent(fields, field, columns, row + line)


@jit_within
def like_lines(buf, at, n, most, fields, texts, columns, row):
    """Take lines as rows from ``row`` on, as long as they have the keys of the line that ``fields`` tells of.

    Args:
        buf, n, fields, texts, columns: as for ``feedline.decode_lines``. at: place of the first line, ``BEFORE`` or more.
        most: how many lines, ``LINES`` at most; there must be room for as many rows.

    Returns:
        How many were taken, and the place of the next line.
    """
    places, keys = fields.places, fields.keys[0]
    places[LINES] = at - 1
    lines = separators(buf, at, n, most * keys, places[LINES + 1 :]) // keys
    end = places[LINES + lines * keys]
    share = (end - at) // keys + 1
    lines = _ends(buf, places, keys, lines)
    for place in range(keys):
        if lines == 0:
            break
        for near in range(end + place * share, end + (place + 1) * share, 64):
            prefetch(buf, near)  # the next lines; all at once they would have to be waited for
        if _COMPILED and fields.role[fields.order[place]] == NUMBER:
            lines = _numbers(buf, place, lines, fields, columns, row)
        else:
            lines = _column(buf, place, lines, fields, texts, columns, row)
    if keys < len(fields.length):
        _absent(fields, lines, columns, row)
    return lines, places[LINES + lines * keys] + 1
