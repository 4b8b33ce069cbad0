"""Numbers for the few texts that a feed repeats on every line: symbols, arms, sides.

Oracle: the careful reader, in tests/test_feeds_damage.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mmlib.core._jit import jit_borrowing
from mmlib.core.words import FAIL, word_of

TEXT_WORDS = 8  # a text that is remembered has at most 64 bytes
RECENT = 64
# D. Knuth's multiplicative hashing, to six bits
_FACTOR, _SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(58)


class Texts(NamedTuple):
    """Texts met: words uint64[cap, TEXT_WORDS], length int64[cap], count int64[1]; and what was met last.

    recent is int64[RECENT], zeros at first, codes by a hash of the text. memo is uint64[3], see ``time_ns``.
    """

    words: Any
    length: Any
    count: Any
    recent: Any
    memo: Any


@jit_borrowing
def _is_text(buf, at, length, texts, code):
    """Whether the text of a code is the one at ``at`` of that length."""
    same = texts.length[code] == length
    for i in range((length + 7) // 8):
        same = same and texts.words[code, i] == word_of(buf, at + 8 * i, min(length - 8 * i, 8))
    return same


@jit_borrowing
def text_code(buf, at, end, texts):
    """Number of the text from ``at`` to ``end``, a new one when it is met first; FAIL when it is too long, or one too many."""
    length = end - at
    if length > 8 * TEXT_WORDS:
        return FAIL
    place = np.int64((word_of(buf, at, min(length, 8)) * _FACTOR) >> _SHIFT)
    code, count = texts.recent[place], texts.count[0]
    if code < count and _is_text(buf, at, length, texts, code):
        return code
    code = 0
    while code < count and not _is_text(buf, at, length, texts, code):
        code += 1
    if code == count:
        if count == len(texts.length):
            return FAIL
        for i in range((length + 7) // 8):
            texts.words[count, i] = word_of(buf, at + 8 * i, min(length - 8 * i, 8))
        texts.length[count] = length
        texts.count[0] = count + 1
    texts.recent[place] = code
    return code
