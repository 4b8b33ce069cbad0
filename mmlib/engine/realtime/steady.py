"""No pauses that a session did not choose: garbage is collected between ticks, and no thread keeps the interpreter for long."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
    """Collect what became garbage since `steady` began; call it where nothing is due."""
    gc.collect()
