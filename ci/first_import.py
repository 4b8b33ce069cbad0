"""Import once what the notebooks import, so that its bytecode is there: of what is used, a fifth of what is installed.

Two of these at once, one of them with ``--reversed``, begin at both ends, and each passes over what the other has compiled.
"""

from __future__ import annotations

import importlib
import sys
import time
from contextlib import suppress

_TOLD_S = 2.0


def main(backwards: bool) -> None:
    """Import everything; say every two seconds how far that is."""
    sys.dont_write_bytecode = False  # whatever the environment says: to write it is the purpose
    from mmlib._io import shipped_dir
    from mmlib.workflow import ahead

    ours = ["mmlib.workflow.verbs", "mmlib.workflow.sidebyside", "mmlib.workflow.site"]
    names = dict.fromkeys([*ours, *ahead.LATER, *ahead.STATISTICS])
    for notebook in sorted(shipped_dir("notebooks").glob("0*.ipynb")):
        names |= dict.fromkeys(ahead.imported(notebook))
    told = time.monotonic()
    for k, name in enumerate(reversed(names) if backwards else names):
        if not backwards and time.monotonic() - told > _TOLD_S:
            told = time.monotonic()
            print(f"    module {k} of {len(names)}", file=sys.stderr, flush=True)
        with suppress(Exception):  # its notebook will say what is wrong
            importlib.import_module(name)


if __name__ == "__main__":
    main("--reversed" in sys.argv)
