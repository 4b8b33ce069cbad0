"""One process of a warm-up: compiles or loads a family's kernels, and says how far it is, a JSON object a line."""

from __future__ import annotations

import json
import sys
from typing import Any

from mmlib.core import compiling
from mmlib.workflow.kernelfamilies import build


class Missing(Exception):
    """A kernel would have to be compiled."""


def _say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _count(kernel: str, done: bool) -> None:
    if not done:
        from mmlib.core.kernel import Kernel

        _say(begun=kernel, made=len([one for one in Kernel.made if one.__module__.startswith("mmlib.")]))
    else:
        _say(done=kernel)


def _refuse(kernel: str, done: bool) -> None:
    raise Missing(kernel)


def main(family: str, *, check: bool) -> int:
    """Build a family, or with ``check`` end at the first kernel that is missing; exit code 1 then."""
    compiling.LISTENERS.append(_refuse if check else _count)
    try:
        build(family)
    except Missing as exc:
        _say(missing=str(exc))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], check="--check" in sys.argv[2:]))
