"""Lines that differ from one seen before in nothing but digits, known again eight bytes at a time.

Most of a recording is messages that nobody uses here, such as best prices. One that was found to be well-formed and of no use
vouches for all that have the same length and the same bytes but for digits inside numbers; where a number begins, and in the
name of a symbol, the very digits must be the same. So no line passes that the full parser would judge otherwise.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mmlib.core._jit import JIT_DISABLED, jit_borrowing, load_word
from mmlib.core.words import other_than_digits

HEAD = 20  # bytes of the time and the space before the frame
IGNORED, OF_NO_SYMBOL, OF_OTHER = 0, 1, 2
"""What such a line comes to: a message of our symbol, or without one, to ignore; a message of another symbol."""

_SHAPES = 16
_WORDS = 64
_LONGEST = 8 * _WORDS - 16
_PATIENCE = 64  # lines that no shape fits before one of them is replaced
_EXPECTED, _EQUAL, _DIGIT = 0, 1, 2
_BYTE = np.uint64(255)


class Shapes(NamedTuple):
    """Known shapes.

    Attributes:
        length: int64[k], bytes of a line without its line break, 0 for none.
        outcome: int64[k].
        words: uint64[k, 3, n], from the frame on: the bytes, which of them must be equal, which must be a digit.
        control: int64[2], the next one to replace, and lines that no shape fitted.
    """

    length: Any
    outcome: Any
    words: Any
    control: Any


def new_shapes() -> Shapes:
    """No shapes yet."""
    return Shapes(
        np.zeros(_SHAPES, np.int64),
        np.zeros(_SHAPES, np.int64),
        np.zeros((_SHAPES, 3, _WORDS), np.uint64),
        np.zeros(2, np.int64),
    )


@jit_borrowing
def fitting_shape(buf, at, shapes):
    """The shape that the line at ``at`` has, -1 for none.

    Args:
        buf: uint8[n + SLACK], see decode.decode_block. at: where the line begins. shapes: Shapes.
    """
    room = len(buf) - at
    for k in range(_SHAPES):
        length = shapes.length[k]
        if length == 0:
            return -1
        if length < room and buf[at + length] == 10:
            words = shapes.words[k]
            wrong = np.uint64(0)
            for i in range((length - HEAD) // 8 + 1):
                word = load_word(buf, at + HEAD + 8 * i)
                wrong |= (word ^ words[_EXPECTED, i]) & words[_EQUAL, i]
                wrong |= other_than_digits(word) & words[_DIGIT, i]
            if wrong == np.uint64(0):
                return k
    return -1


@jit_borrowing
def learn_shape(buf, at, end, name_from, name_to, outcome, shapes):
    """Remember the line from ``at`` to its line break at ``end``; digits from ``name_from`` to ``name_to`` must not change."""
    length = end - at
    if length > _LONGEST:
        return
    control = shapes.control
    if shapes.length[_SHAPES - 1] != 0:
        control[1] += 1
        if control[1] % _PATIENCE != 0:
            return
    k = control[0]
    control[0] = (k + 1) % _SHAPES
    words = shapes.words[k]
    words[:] = 0
    for i in range(HEAD, length + 1):
        byte = np.uint64(buf[at + i])
        before = buf[at + i - 1]
        named = name_from <= at + i < name_to
        free = 48 <= buf[at + i] <= 57 and before != 58 and before != 32 and not named
        shift = np.uint64(8 * ((i - HEAD) % 8))
        words[_EXPECTED, (i - HEAD) // 8] |= byte << shift
        words[_DIGIT if free else _EQUAL, (i - HEAD) // 8] |= _BYTE << shift
    shapes.length[k] = length
    shapes.outcome[k] = outcome


def _no_shape(buf: Any, at: int, shapes: Shapes) -> int:
    return -1


def _learn_nothing(*args: Any) -> None:
    return None


if JIT_DISABLED:  # a short cut of the compiled form; plain Python would only trip over wrapping sums
    fitting_shape, learn_shape = _no_shape, _learn_nothing
