"""Inference: how often verdicts are wrong where the truth is known, and how often they find what is there."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import inference_ab
import inference_build
from report import bar, finish, machine

MOST_SECONDS = 120.0
Section = Callable[[], tuple[dict[str, Any], list[dict[str, Any]]]]
"""Figures and bars of one part; a section of its own lives in a module of its own and is listed below."""
SECTIONS: dict[str, Section] = {
    "aa": inference_ab.without_effect,
    "power": inference_ab.with_effect,
    "unchanged_build": inference_build.unchanged_build,
}


def main() -> int:
    """Run every section, print, judge."""
    result: dict[str, Any] = {"bench": "inference", "machine": machine("numpy", "scipy", "numba")}
    bars: list[dict[str, Any]] = []
    began = time.perf_counter()
    for name, section in SECTIONS.items():
        start = time.perf_counter()
        figures, held = section()
        result[name] = figures | {"seconds": round(time.perf_counter() - start, 2)}
        bars += held
    took = time.perf_counter() - began
    result["seconds"] = round(took, 1)
    result["bars"] = [*bars, bar("seconds left of two minutes", round(MOST_SECONDS - took, 1), 0.0)]
    return finish(result)


if __name__ == "__main__":
    sys.exit(main())
