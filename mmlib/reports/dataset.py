"""calib_summary_*.md: what the calibration dataset holds, what was filtered out, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from mmlib.reports.render import Provenance, Table, code, frame_table, num, render
from mmlib.reports.signs import SIGNS, shown_frame
from mmlib.reports.verdict import gate_table, judge

SHOWN = (
    *("coverage", "hit_ratio", "fetch_md_p95_ms", "tick_total_p95_ms", "deadline_miss_pct", "errors"),
    *("spread_bps", "volatility_bps", "n_fills", "notional"),
    *(
        "gross_bps",
        "quote_travel_bps",
        "fees_bps",
        "inventory_bps",
        "net_bps",
        "slippage_bps",
        "taker_share_pct",
    ),
)
"""Columns of the dataset that the summary shows; the files hold all of them."""


def calib_summary(
    results: Iterable[Any],
    intervals: pd.DataFrame,
    summary: Mapping[str, Any],
    provenance: Provenance,
    *,
    files: Mapping[str, str] | None = None,
    quarantined: int = 0,
    runbooks: Mapping[str, str] | None = None,
) -> str:
    """The dataset summary.

    Args:
        results: gate results of the step.
        intervals: one row an interval: symbol, optionally arm, metrics, ``reason`` (empty when the interval was kept).
        summary: name -> number or text, the acceptance numbers first.
        provenance: where this comes from.
        files: dataset file below the workspace -> SHA-256.
        quarantined: lines of the feeds that could not be read.
        runbooks: gate id -> what to do when it is violated.
    """
    results = list(results)
    kept, reasons = _split(intervals)
    rows = [
        (code(name), _plain(value))
        for name, value in summary.items()
        if not isinstance(value, Mapping | list)
    ]
    return render(
        "calib_summary.md.j2",
        provenance,
        verdict=judge(results, runbooks),
        gates=gate_table(results),
        total=len(intervals),
        kept=len(kept),
        reasons=reasons,
        columns=_columns(shown_frame(kept)),
        signs=SIGNS,
        summary=Table(("What", "Value"), rows, "No summary was handed in."),
        files=Table(("File", "SHA-256"), [(code(k), code(v)) for k, v in (files or {}).items()]),
        quarantined=quarantined,
    )


def _split(intervals: pd.DataFrame) -> tuple[pd.DataFrame, Table]:
    """Kept intervals, and a table of reasons with their counts."""
    empty = "No interval was filtered out."
    if "reason" not in intervals.columns:
        return intervals, Table(("Reason", "Intervals>"), [], empty)
    reasons = intervals["reason"].fillna("").astype(str)
    counts = reasons[reasons != ""].value_counts()
    rows = [(str(reason), int(count)) for reason, count in counts.items()]
    return intervals[reasons == ""], Table(("Reason", "Intervals>"), rows, empty)


def _columns(kept: pd.DataFrame) -> Table:
    """Range of the main metrics over the kept intervals, a row a symbol, arm and metric."""
    metrics = [name for name in SHOWN if name in kept.columns]
    keys = [name for name in ("symbol", "arm") if name in kept.columns]
    rows = []
    for values, part in kept.groupby(keys, observed=True) if keys else [(("all",), kept)]:
        for name in metrics:
            known = part[name].dropna()
            numbers = [known.min(), known.median(), known.max()] if len(known) else [None] * 3
            rows.append((" ".join(str(v) for v in values), name, len(known), *numbers))
    frame = pd.DataFrame(rows, columns=["who", "metric", "n", "low", "mid", "high"])
    headings = {
        "who": "Symbol",
        "metric": "Metric",
        "n": "n",
        "low": "Lowest",
        "mid": "Median",
        "high": "Highest",
    }
    return frame_table(frame, headings, empty="No interval was kept.", as_code=("metric",))


def _plain(value: Any) -> Any:
    return num(value) if isinstance(value, float) else value
