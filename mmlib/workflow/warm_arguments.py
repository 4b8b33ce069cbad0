"""The arguments of ``finishline warm``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

KERNELS = {
    "feeds": 10, "session": 3, "recording": 3, "orders": 3, "sweep": 2, "live": 6, "exchange": 3, "market": 1,
}  # fmt: skip
"""Families of kernels, the dearest first, and how many Python calls in each, by types of arguments; a test counts them."""
FAMILIES = tuple(KERNELS)
"""``kernelfamilies`` builds them."""
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
