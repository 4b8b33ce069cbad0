"""One value of a feed's line to its place in the columns: what a field looks like, and what becomes of it.

Oracle: the careful reader, in tests/test_feeds_damage.py and tests/test_core_likelines.py.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np

from mmlib.core._jit import JIT_DISABLED, item, jit_borrowing, jit_within, same_bytes
from mmlib.core.clock import time_ns
from mmlib.core.number import number
from mmlib.core.textcodes import text_code
from mmlib.core.words import FAIL, integer, text_end, word_of

TIME, TEXT, ID, FLAG, COUNT, NUMBER = range(6)
"""Roles of a field; see ``Columns`` for what they become."""
NAT = np.iinfo(np.int64).min
KEY_BYTES = 32

_QUOTE, _N = 34, 110
_TRUE, _FALSE, _NULL = (np.uint64(int.from_bytes(word, "little")) for word in (b"true", b"false", b"null"))
_BITS = 63  # text codes that a mask can name


class Fields(NamedTuple):
    """What each of k fields looks like.

    Attributes:
        key: uint8[k * KEY_BYTES], the bytes of ``"name":``. length: int64[k], how many they are.
        role, slot: int64[k], what it is and which row of its table in ``Columns`` it has.
        optional: bool[k], may be null or absent. low, high: float64[k], both allowed.
        names: int64[k], bits of the text codes that are allowed, 0 for any.
        order: int64[k], which field the k-th key of a line was when last seen.
        keys: int64[1], how many keys the line had that was last seen, 0 where there were others as well.
        places: int64[likelines.room(k)], decimals: see ``decimals.Decimals``; scratch of lines that are alike.
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
    keys: Any
    places: Any
    decimals: Any


class Columns(NamedTuple):
    """Rows of a block, one table a storage, a row a field.

    Attributes:
        whole: int64[., n], times in ns (NAT when absent), counts, codes of texts (-1 when absent).
        real: float64[., n], NaN when absent.
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


@jit_within
def key_bits(fields, field):
    """What ``has_key`` wants to be told of a field."""
    return (np.uint64(1) << np.uint64(fields.length[field])) - np.uint64(1)


@jit_borrowing
def _plain_has_key(buf, at, fields, field, bits):
    same = True
    for i in range(fields.length[field]):
        same = same and buf[at + i] == fields.key[KEY_BYTES * field + i]
    return same


@jit_within
def _whole_has_key(buf, at, fields, field, bits):
    return same_bytes(buf, at, fields.key, KEY_BYTES * field) & bits == bits


has_key = _plain_has_key if JIT_DISABLED or sys.byteorder == "big" else _whole_has_key
"""Whether the key of a field, quotes and colon included, stands at ``at``; bits: see ``key_bits``."""


@jit_within
def literal(buf, at):
    """Place behind ``true``, ``false`` or ``null`` at ``at``, or FAIL."""
    four = word_of(buf, at, 4)
    if four == _TRUE or four == _NULL:
        return at + 4
    return at + 5 if word_of(buf, at, 5) == _FALSE else FAIL


@jit_borrowing
def _text_value(buf, at, fields, field, texts, columns, row):
    """Take a text or an id; the place behind it, or FAIL."""
    slot = fields.slot[field]
    if fields.role[field] == ID and item(buf, at) != _QUOTE:
        _, end = integer(buf, at)
        columns.span[2 * slot, row] = at
        columns.span[2 * slot + 1, row] = end
        return end
    if item(buf, at) != _QUOTE:
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
def absent(fields, field, columns, row):
    """Note that a field has no value."""
    role, slot = fields.role[field], fields.slot[field]
    if role == NUMBER:
        columns.real[slot, row] = np.nan
    elif role == TIME:
        columns.whole[slot, row] = NAT
    elif role == TEXT:
        columns.whole[slot, row] = -1
    elif role == ID:
        columns.span[2 * slot, row] = -1
        columns.span[2 * slot + 1, row] = -1


@jit_within
def take_number(buf, at, fields, field, columns, row):
    """Take a number, or nothing where it may be absent; the place behind it, or FAIL."""
    if item(buf, at) == _N:
        end = literal(buf, at)
        if end < 0 or not fields.optional[field]:
            return FAIL
        columns.real[fields.slot[field], row] = np.nan
        return end
    value, end = number(buf, at)
    if not (fields.low[field] <= value <= fields.high[field]):
        return FAIL
    columns.real[fields.slot[field], row] = value
    return end


@jit_within
def take(buf, at, fields, field, texts, columns, row):
    """Take the value of a field at ``at``; the place behind it, or FAIL."""
    role, slot = fields.role[field], fields.slot[field]
    if role == NUMBER:
        return take_number(buf, at, fields, field, columns, row)
    if buf[at] == _N:
        end = literal(buf, at)
        if end < 0 or not fields.optional[field]:
            return FAIL
        absent(fields, field, columns, row)
        return end
    if role == FLAG:
        yes, no = word_of(buf, at, 4) == _TRUE, word_of(buf, at, 5) == _FALSE
        columns.flag[slot, row] = yes
        return at + 5 - yes if yes or no else FAIL
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
