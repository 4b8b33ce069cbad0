"""No pauses and no growth that a session did not choose: garbage and free memory are seen to between ticks."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mmlib._heap import give_back

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

    Otherwise each second livelier than all before (its frames, and the block they are written as) would leave the process
    larger for good.
    """
    gc.collect()
    give_back()
