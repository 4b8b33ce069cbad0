"""One process of a warm-up: compiles or loads a family's kernels, and says how far it is, a JSON object a line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mmlib.core import compiling
from mmlib.workflow.kernelfamilies import build


class Missing(Exception):
    """A kernel would have to be compiled."""


def _say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _count(kernel: str = "", done: bool = False) -> None:
    """Kernels of this process that Python calls: how many are there, and how many of these it compiled."""
    from mmlib.core.kernel import Kernel

    made = list(Kernel.made)
    ready = sum(len(one.overloads) for one in made)
    _say(ready=ready, compiled=sum(sum(one._cache_misses.values()) for one in made), compiling=kernel)


def _refuse(kernel: str, done: bool) -> None:
    raise Missing(kernel)


def main(family: str, *, check: bool) -> int:
    """Build a family, or with ``check`` end at the first kernel that is missing; exit code 1 then."""
    from mmlib.core.kernel import Kernel

    compiling.LISTENERS.append(_refuse if check else _count)
    try:
        build(family)
    except Missing as exc:
        _say(missing=str(exc))
        return 1
    _count()
    _say(places=sorted({Path(one._cache.cache_path).name for one in Kernel.made if one.overloads}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], check="--check" in sys.argv[2:]))
