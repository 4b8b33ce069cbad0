"""Brute-force reference of ``core.tickbins``: each figure of a group and interval from a list of its ticks."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from mmlib.core import tickbins as tb
from mmlib.core.histogram import bucket_index

NAN = float("nan")


def known(values: list[float]) -> list[float]:
    """Those that are no NaN."""
    return [value for value in values if not math.isnan(value)]


def counts(ticks: list[dict[str, Any]]) -> list[int]:
    """``TickBins.counts`` of an interval."""
    flags = [sum(tick["flags"][k] for tick in ticks) for k in range(4)]
    levels = [sum(tick["guard"] == level for tick in ticks) for level in (1, 2)]
    values = [len(known([tick["values"][tb.STAGES + k] for tick in ticks])) for k in (1, 2)]
    return [len(ticks), *flags, *levels, *values]


def sums(ticks: list[dict[str, Any]]) -> list[float]:
    """``TickBins.sums`` of an interval."""
    mid, spread, inventory, rss = ([tick["values"][tb.STAGES + k] for tick in ticks] for k in range(4))
    marks = [(tick["ts"], m) for tick, m in zip(ticks, mid, strict=True) if not math.isnan(m)]
    return [
        float(sum(tick["errors"] for tick in ticks)),
        math.fsum(known(spread)),
        math.fsum(known(inventory)),
        max(known(rss), default=-math.inf),
        marks[-1][1] if marks else NAN,
        math.fsum(math.log(later[1] / earlier[1]) ** 2 for earlier, later in pairwise(marks)),
        math.fsum((later[0] - earlier[0]) / 1e9 for earlier, later in pairwise(marks)),
    ]


def quantiles(ticks: list[dict[str, Any]]) -> list[list[float]]:
    """``TickBins.quantile`` of an interval, exactly: the nearest rank of what is finite and not negative."""
    rows = []
    for stage in range(tb.STAGES):
        values = sorted(v for v in (tick["values"][stage] for tick in ticks) if 0 <= v < math.inf)
        ranks = [max(math.ceil(q * len(values) - 1e-9), 1) for q in tb.QUANTILES]
        rows.append([values[rank - 1] if values else NAN for rank in ranks])
    return rows


def answer(ticks: list[dict[str, Any]], asked_ns: int) -> tuple[int, float]:
    """Time and mid of the last tick with a mid at or before a time."""
    found = tb.NEVER, NAN
    for tick in ticks:
        mid = tick["values"][tb.STAGES]
        if tick["ts"] <= asked_ns and not math.isnan(mid):
            found = tick["ts"], mid
    return found


def distances(ticks: list[dict[str, Any]]) -> dict[int, tuple[int, int]]:
    """Bucket -> number and sum [ns] of the distances of neighbouring ticks, those of equal times left out."""
    found: dict[int, tuple[int, int]] = {}
    for earlier, later in pairwise(tick["ts"] for tick in ticks):
        if later > earlier:
            bucket = int(bucket_index((later - earlier) / 1e6))
            n, total = found.get(bucket, (0, 0))
            found[bucket] = n + 1, total + later - earlier
    return found


def opening(ticks: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Times and values of the first known inventories."""
    held = [(t["ts"], v) for t in ticks if not math.isnan(v := t["values"][tb.STAGES + 2])][: tb.OPENING]
    return np.array([ts for ts, _ in held], np.int64), np.array([value for _, value in held], np.float64)
