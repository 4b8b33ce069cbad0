"""What stands around the message of a line: the time before it, the frame of a combined stream, the line break."""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import jit_borrowing
from mmlib.core.columns import EARLIEST_NS, LATEST_NS
from mmlib.core.jsonline import skip_blanks
from mmlib.core.words import FAIL, digits, text_end

_STREAM = np.frombuffer(b'"stream"', np.uint8)
_DATA = np.frombuffer(b'"data"', np.uint8)


@jit_borrowing
def arrival_ns(buf, at):
    """The 19 digits at ``at`` and the space behind them, 0 when they are not so."""
    first, n = digits(buf, at)
    second, m = digits(buf, at + 8)
    third, k = digits(buf, at + 16)
    if n != 8 or m != 8 or k != 3 or buf[at + 19] != 32 or first > 40_000_000:
        return np.int64(0)
    value = (first * 100_000_000 + second) * 1000 + third
    return value if EARLIEST_NS <= value <= LATEST_NS else np.int64(0)


@jit_borrowing
def open_frame(buf, at):
    """Place of the brace of the message: the frame itself, or what a combined stream has under ``data``; FAIL for neither.

    The second value is whether the message stands in a frame.
    """
    at = skip_blanks(buf, at)
    if buf[at] != 123:
        return FAIL, False
    inner = skip_blanks(buf, at + 1)
    for i in range(len(_STREAM)):
        if buf[inner + i] != _STREAM[i]:
            return at, False
    inner = skip_blanks(buf, inner + len(_STREAM))
    if buf[inner] != 58:
        return FAIL, False
    inner = skip_blanks(buf, inner + 1)
    if buf[inner] != 34:
        return FAIL, False
    inner = text_end(buf, inner + 1)
    if inner < 0:
        return FAIL, False
    inner = skip_blanks(buf, inner + 1)
    if buf[inner] != 44:
        return FAIL, False
    inner = skip_blanks(buf, inner + 1)
    for i in range(len(_DATA)):
        if buf[inner + i] != _DATA[i]:
            return FAIL, False
    inner = skip_blanks(buf, inner + len(_DATA))
    if buf[inner] != 58:
        return FAIL, False
    inner = skip_blanks(buf, inner + 1)
    return (inner, True) if buf[inner] == 123 else (FAIL, False)


@jit_borrowing
def close_frame(buf, at, framed):
    """Place behind the line break, FAIL when anything else stands between."""
    if framed:
        at = skip_blanks(buf, at)
        if buf[at] != 125:
            return FAIL
        at += 1
    at = skip_blanks(buf, at)
    if buf[at] == 13:
        at += 1
    return at + 1 if buf[at] == 10 else FAIL
