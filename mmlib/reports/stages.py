"""Tables and text drawings of stage latencies and minute series, shared by several reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mmlib.reports.bars import bar, sparkline
from mmlib.reports.render import Table, frame_table, num

STAGE_COLUMNS = {
    "symbol": "Symbol",
    "arm": "Arm",
    "stage": "Stage",
    "n": "Ticks",
    "p50_ms": "p50 [ms]",
    "p95_ms": "p95 [ms]",
    "p99_ms": "p99 [ms]",
}

MINUTE_METRICS = {
    "tick_total_p95_ms": "tick total p95 [ms]",
    "fetch_md_p95_ms": "fetch p95 [ms]",
    "hit_ratio": "cache hit ratio",
    "deadline_miss_pct": "deadline misses [%]",
    "rss_mb": "memory [MB]",
}


def stage_table(stages: pd.DataFrame) -> Table:
    """Percentiles of each stage as a table."""
    return frame_table(stages, STAGE_COLUMNS, empty="No tick was measured.")


def stage_bars(stages: pd.DataFrame) -> list[tuple[str, str]]:
    """Bars of the percentiles of each stage: (heading, block of text).

    One block a percentile; every bar of a block is to the scale of its longest.
    """
    blocks = []
    for column in ("p50_ms", "p95_ms", "p99_ms"):
        if column not in stages.columns or not stages[column].notna().any():
            continue
        full = float(stages[column].max())
        names = [_name(row) for row in stages.to_dict("records")]
        width = max(len(name) for name in names)
        lines = [
            f"{name:<{width}} {bar(float(value), full):<32} {num(value)} ms"
            for name, value in zip(names, stages[column], strict=True)
        ]
        blocks.append((f"{column.removesuffix('_ms')} (longest bar: {num(full)} ms)", "\n".join(lines)))
    return blocks


def minute_sparks(minutes: pd.DataFrame, metrics: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """Sparklines of minute metrics: (heading, block of text), one line a symbol and arm."""
    blocks = []
    for column, heading in (metrics or MINUTE_METRICS).items():
        if column not in minutes.columns or not minutes[column].notna().any():
            continue
        keys = [name for name in ("symbol", "arm") if name in minutes.columns]
        groups = minutes.groupby(keys, observed=True) if keys else [((), minutes)]
        lines = []
        for values, rows in groups:
            name = " ".join(str(v) for v in values) or "all"
            seen = rows[column].dropna()
            if len(seen):
                line = sparkline(rows[column].tolist())
                lines.append(f"{name:<14} {line}  {num(seen.min())} to {num(seen.max())}")
        blocks.append((heading, "\n".join(lines)))
    return blocks


def _name(row: Mapping[Any, Any]) -> str:
    return " ".join(str(row[key]) for key in ("symbol", "arm", "stage") if key in row)
