"""Text and digits in raw bytes, eight at a time.

Each function has a plain form, one byte at a time: it runs where nothing is compiled, and it is the oracle of the other.
They may look at several bytes from any place of a line, so a buffer has ``SLACK`` bytes behind its last line.

Source: the bit tricks are those of Hacker's Delight (a zero byte in a word) and of parsing eight digits by multiplication.
"""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import JIT_DISABLED, item, jit_borrowing, jit_within, load_word, low_zeros

SLACK = 64
FAIL = -1
_QUOTE, _DOT = 34, 46
_MAX_DIGITS = 18


def _every_byte(value: int) -> np.uint64:
    return np.uint64(int.from_bytes(bytes([value]) * 8, "little"))


_ONES, _HIGH, _NIBBLES = _every_byte(0x01), _every_byte(0x80), _every_byte(0x0F)
_QUOTES, _SLASHES, _SPACES = _every_byte(0x22), _every_byte(0x5C), _every_byte(0x20)
_UPPER, _ZEROS, _SIXES = _every_byte(0xF0), _every_byte(0x30), _every_byte(0x06)
_PAIRS, _QUADS = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
_BY_10, _BY_100, _BY_10K = np.uint64(2561), np.uint64(6553601), np.uint64(42949672960001)
_8, _16, _32, _64 = np.uint64(8), np.uint64(16), np.uint64(32), np.uint64(64)
_0 = np.uint64(0)
_TENS = np.array([10**k for k in range(19)], np.int64)
_POW10 = np.array([10.0**k for k in range(19)])
_EXACT = 2**53  # a quotient of integers below it and powers of ten up to 1e22 is the nearest float64
_ENDS_TEXT = np.array([c < 32 or c > 127 or c in b'"\\' for c in range(256)])


@jit_borrowing
def plain_text_end(buf, at):
    """Place of the quote that ends the text beginning at ``at``, FAIL when it holds anything but plain ASCII."""
    while not _ENDS_TEXT[buf[at]]:
        at += 1
    return at if buf[at] == _QUOTE else FAIL


@jit_within
def _text_hits(word):
    """High bits of the bytes that end a text; those above the lowest one may be wrong."""
    quotes = word ^ _QUOTES
    slashes = word ^ _SLASHES
    hits = ((quotes - _ONES) & ~quotes) | ((slashes - _ONES) & ~slashes) | ((word - _SPACES) & ~word) | word
    return hits & _HIGH


@jit_within
def _word_text_end(buf, at):
    hits = _text_hits(load_word(buf, at))
    while hits == _0:
        at = at + 8
        hits = _text_hits(load_word(buf, at))
    at = at + (low_zeros(hits) >> 3)
    return at if item(buf, at) == _QUOTE else FAIL


@jit_borrowing
def plain_digits(buf, at):
    """Up to eight digits from ``at`` on: their value and how many they are."""
    value = np.int64(0)
    n = 0
    while n < 8 and 48 <= buf[at + n] <= 57:
        value = value * 10 + np.int64(buf[at + n]) - 48
        n += 1
    return value, n


@jit_within
def other_than_digits(word):
    """A word whose bytes are zero where those of ``word`` are digits, up to the first one that is none at all."""
    return ((word & _UPPER) ^ _ZEROS) | (((word + _SIXES) & _UPPER) ^ _ZEROS)


@jit_within
def _word_digits(buf, at):
    word = load_word(buf, at)
    n = low_zeros(other_than_digits(word)) >> 3
    if n == 0:
        return np.int64(0), n
    word = (word & _NIBBLES) << (_64 - (np.uint64(n) << np.uint64(3)))
    word = ((word * _BY_10) >> _8) & _PAIRS
    word = ((word * _BY_100) >> _16) & _QUADS
    return np.int64((word * _BY_10K) >> _32), n


text_end = plain_text_end if JIT_DISABLED else _word_text_end
digits = plain_digits if JIT_DISABLED else _word_digits


@jit_borrowing
def plain_word_of(buf, at, n):
    """The ``n`` (at most eight) bytes at ``at`` as a word, the first one lowest."""
    word = np.uint64(0)
    for i in range(n):
        word |= np.uint64(buf[at + i]) << np.uint64(8 * i)
    return word


@jit_borrowing
def _word_word_of(buf, at, n):
    word = load_word(buf, at)
    return word if n == 8 else word & ((np.uint64(1) << np.uint64(8 * n)) - np.uint64(1))


word_of = plain_word_of if JIT_DISABLED else _word_word_of


@jit_borrowing
def integer(buf, at):
    """Value of the JSON integer at ``at`` and the place behind it, FAIL when it is none, or longer than 18 digits."""
    value, n = digits(buf, at)
    end = at + n
    if n == 8:
        more, n = digits(buf, end)
        value = value * _TENS[n] + more
        end += n
        if n == 8:
            more, n = digits(buf, end)
            if n > _MAX_DIGITS - 16:
                return value, FAIL
            value = value * _TENS[n] + more
            end += n
    if end == at or (item(buf, at) == 48 and end - at > 1):
        return value, FAIL
    after = item(buf, end)
    if after == _DOT or after == 69 or after == 101:  # a fraction or an exponent
        return value, FAIL
    return value, end


@jit_borrowing
def plain_decimal(buf, at):
    """Number written as quoted decimal at ``at`` and the place behind its closing quote.

    FAIL when it is written otherwise, or too long for the exact quotient that makes it equal to Python's ``float``.
    """
    if buf[at] != _QUOTE:
        return 0.0, FAIL
    at += 1
    start = at
    dot = -1
    value = np.int64(0)
    while True:
        if 48 <= buf[at] <= 57:
            if at - start >= _MAX_DIGITS:
                return 0.0, FAIL
            value = value * 10 + np.int64(buf[at]) - 48
        elif buf[at] == _DOT and dot < 0 and at > start:
            dot = at
        else:
            break
        at += 1
    if buf[at] != _QUOTE or at == start or dot == at - 1 or value > _EXACT:
        return 0.0, FAIL
    if dot < 0:
        return np.float64(value), at + 1
    return np.float64(value) / _POW10[at - dot - 1], at + 1


@jit_borrowing
def _word_decimal(buf, at):
    whole, n = digits(buf, at + 1)
    dot = at + 1 + n
    if n > 0 and buf[at] == _QUOTE and buf[dot] == _DOT:
        part, k = digits(buf, dot + 1)
        end = dot + 1 + k
        value = whole * _TENS[k] + part
        if k > 0 and buf[end] == _QUOTE and value <= _EXACT:
            return np.float64(value) / _POW10[k], end + 1
    return plain_decimal(buf, at)


decimal = plain_decimal if JIT_DISABLED else _word_decimal
