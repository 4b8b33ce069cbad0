"""The arguments of ``finishline warm``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

FAMILIES = ("feeds", "session", "recording", "orders", "live")
"""Families of kernels, the dearest first; ``kernelfamilies`` builds them."""
DEMO = ("feeds", "session")
"""Those that ``finishline run --all --profile demo`` needs."""


def add_warm(verbs: Any, verb: Callable[..., Any]) -> None:
    """``finishline warm``."""
    warm = verb(
        verbs,
        "warm",
        "compile all kernels that are missing, once on this machine",
        "finishline warm\n  finishline warm demo\n  finishline warm --check",
    )
    warm.add_argument(
        "family", nargs="*", metavar="FAMILY", help=f"only these: demo, or some of {', '.join(FAMILIES)}"
    )
    warm.add_argument("--check", action="store_true", help="compile nothing; exit 1 when a kernel is missing")
    warm.add_argument("--json", action="store_true", help="print the result as JSON")
