"""What the process imports from which kernels are forked; importing this module is all that it does.

A module that cannot be imported is left to the notebook that asks for it, which then says why.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
from contextlib import suppress

from mmlib.workflow.ahead import NAMES_ENV
from mmlib.workflow.light import absent, light_jsonschema

_parent = os.getppid()
gc.disable()  # nothing is thrown away here
with absent("debugpy"):  # no debugger is ever attached to a kernel that runs a notebook by itself
    import ipykernel.debugger
    import ipykernel.ipkernel
    import ipykernel.zmqshell  # noqa: F401
with light_jsonschema():
    for _name in os.environ.get(NAMES_ENV, "").split():
        if os.getppid() != _parent:  # it met bad input: nobody waits any more, but for the end of our output
            os._exit(0)
        with suppress(Exception):
            importlib.import_module(_name)
if "mmlib.core.histogram" in sys.modules:  # numba reads its libraries when it loads the first kernel
    sys.modules["mmlib.core.histogram"].Histogram([1.0])
gc.enable()
gc.freeze()  # what is there stays: looking at it again would copy its pages into every kernel
atexit.register(gc.unfreeze)
