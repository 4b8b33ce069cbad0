"""No pauses and no growth that a session did not choose: garbage and free memory are seen to between ticks."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

_SWITCH_S = 0.0002
"""After so long a thread that waits for the interpreter gets it; Python's own 5 ms would be a tick's whole budget."""


@contextmanager
def steady() -> Iterator[None]:
    """Within, nothing is collected but by `tidy`; what there is already is left out of it. Undone at the end."""
    collecting, switch_s = gc.isenabled(), sys.getswitchinterval()
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(switch_s)
        if collecting:
            gc.enable()
        gc.unfreeze()


def tidy() -> None:
    """Collect what became garbage since `steady` began, and give memory back; call it where nothing is due.

    What a lively second takes (its frames, and the block they are written as) is freed in pieces, and the allocator would keep
    every one of them: each second livelier than all before would leave the process larger for good.
    """
    gc.collect()
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """``malloc_trim(keep_bytes)`` of the C library; None where it has none (it is glibc's)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim.argtypes = [ctypes.c_size_t]
    return trim
