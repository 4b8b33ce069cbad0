"""Text drawings for Markdown: bars and sparklines made from numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

EIGHTHS = " ▏▎▍▌▋▊▉█"
LEVELS = "▁▂▃▄▅▆▇█"


def bar(value: float, full: float, width: int = 32) -> str:
    """A horizontal bar: ``full`` fills ``width`` characters, finer steps by eighths; empty when not drawable.

    A positive value always shows at least the thinnest step; more than ``full`` ends in an arrow.
    """
    if not (math.isfinite(value) and math.isfinite(full)) or full <= 0 or value <= 0:
        return ""
    if value > full:
        return "█" * (width - 1) + "▶"
    steps = max(1, round(value / full * width * 8))
    return "█" * (steps // 8) + (EIGHTHS[steps % 8] if steps % 8 else "")


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """One character a value from lowest to highest; missing is a space.

    A series longer than ``width`` shows the highest value of each stretch.
    """
    series = [float(value) for value in values]
    if len(series) > width:
        cuts = [round(i * len(series) / width) for i in range(width + 1)]
        series = [_highest(series[a:b]) for a, b in itertools.pairwise(cuts)]
    seen = [value for value in series if math.isfinite(value)]
    if not seen:
        return ""
    low, high = min(seen), max(seen)
    span = high - low
    return "".join(_level(value, low, span) for value in series)


def _highest(values: Sequence[float]) -> float:
    seen = [value for value in values if math.isfinite(value)]
    return max(seen) if seen else math.nan


def _level(value: float, low: float, span: float) -> str:
    if not math.isfinite(value):
        return " "
    return LEVELS[round((value - low) / span * (len(LEVELS) - 1))] if span > 0 else LEVELS[0]
