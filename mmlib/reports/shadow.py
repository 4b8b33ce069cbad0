"""shadow_report.md and visualization.md: what the shadow session measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from mmlib.market.quality import Quality
from mmlib.reports.quality import quality_table
from mmlib.reports.render import Provenance, Table, code, frame_table, render
from mmlib.reports.stages import minute_sparks, stage_bars, stage_table
from mmlib.reports.verdict import gate_table, judge

CACHE_COLUMNS = {
    "symbol": "Symbol",
    "arm": "Arm",
    "n": "Ticks",
    "hit_ratio": "Hit ratio",
    "used_stale_pct": "Stale used [%]",
    "cache_age_p50_ms": "Age p50 [ms]",
    "cache_age_p95_ms": "Age p95 [ms]",
    "deadline_miss_pct": "Deadline misses [%]",
}


def shadow_report(
    results: Iterable[Any],
    stages: pd.DataFrame,
    provenance: Provenance,
    *,
    cache: pd.DataFrame | None = None,
    quality: Mapping[str, Quality] | None = None,
    settings: Mapping[str, object] | None = None,
    runbooks: Mapping[str, str] | None = None,
) -> str:
    """The shadow report.

    Args:
        results: gate results of the step.
        stages: stage, n, p50_ms, p95_ms, p99_ms, optionally symbol and arm.
        provenance: where this comes from.
        cache: one row a symbol and arm with any of the columns of ``CACHE_COLUMNS``.
        quality: symbol -> quality block of the market data.
        settings: dotted configuration key -> value, those worth showing.
        runbooks: gate id -> what to do when it is violated.
    """
    results = list(results)
    return render(
        "shadow_report.md.j2",
        provenance,
        verdict=judge(results, runbooks),
        gates=gate_table(results),
        stages=stage_table(stages),
        cache=None if cache is None else frame_table(cache, CACHE_COLUMNS, empty="No tick was measured."),
        quality=quality_table(quality or {}),
        settings=Table(("Setting", "Value"), [(code(k), code(v)) for k, v in (settings or {}).items()]),
    )


def visualization(stages: pd.DataFrame, minutes: pd.DataFrame, provenance: Provenance) -> str:
    """The stage latencies as text bars and the minute series as sparklines.

    Args:
        stages: stage, p50_ms, p95_ms, p99_ms, optionally symbol and arm.
        minutes: minute series with any of tick_total_p95_ms, fetch_md_p95_ms, hit_ratio,
            deadline_miss_pct, rss_mb.
        provenance: where this comes from.
    """
    return render(
        "visualization.md.j2",
        provenance,
        bars=stage_bars(stages),
        sparks=minute_sparks(minutes),
        stages=stage_table(stages),
    )
