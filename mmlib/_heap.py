"""Memory of the C library that nothing uses any more, back to the system."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Give free memory back, in milliseconds; nothing happens where the C library is not glibc.

    It keeps what was freed in pieces, so that a phase that took much would leave the process larger for all that follow.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """``malloc_trim(keep_bytes)`` of the C library; None where it has none."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim.argtypes = [ctypes.c_size_t]
    return trim
