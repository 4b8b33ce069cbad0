"""Inference: how often verdicts are wrong where the truth is known, and how often they find what is there."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import inference_ab
import inference_build
import inference_segments
from report import bar, finish, machine

MOST_SECONDS = 300.0
REFERENCE_S = 0.8
"""Time of ten million additions of Python integers on the core that absolute limits are stated for."""
ADDITIONS = 10_000_000
Section = Callable[[], tuple[dict[str, Any], list[dict[str, Any]]]]
"""Figures and bars of one part; a section of its own lives in a module of its own and is listed below."""
SECTIONS: dict[str, Section] = {
    "aa": inference_ab.without_effect,
    "power": inference_ab.with_effect,
    "segments": inference_segments.segments,
    "unchanged_build": inference_build.unchanged_build,
}


def additions_s() -> float:
    """Time of ten million additions of Python integers, the least of three."""
    times = []
    for _ in range(3):
        start, total = time.perf_counter(), 0
        for k in range(ADDITIONS):
            total += k
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> int:
    """Run every section, print, judge."""
    result: dict[str, Any] = {"bench": "inference", "machine": machine("numpy", "scipy", "numba")}
    bars: list[dict[str, Any]] = []
    scale = max(additions_s() / REFERENCE_S, 1.0)
    result["additions_s"], result["limits_scaled_by"] = round(scale * REFERENCE_S, 3), round(scale, 2)
    began = time.perf_counter()
    for name, section in SECTIONS.items():
        start = time.perf_counter()
        figures, held = section()
        result[name] = figures | {"seconds": round(time.perf_counter() - start, 2)}
        bars += held
    took = time.perf_counter() - began
    result["seconds"] = round(took, 1)
    result["bars"] = [
        *bars,
        bar("seconds left of five minutes, scaled", round(MOST_SECONDS * scale - took, 1), 0.0),
    ]
    return finish(result)


if __name__ == "__main__":
    sys.exit(main())
