"""Daily operations figure: the day on one page."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mmlib.figures import latency, theme

METRICS = ("tick_total_p95_ms", "hit_ratio", "deadline_miss_pct", "taker_share_pct", "net_bps", "rss_mb")


def day(minutes: pd.DataFrame, limits: Mapping[str, float] | None = None) -> go.Figure:
    """Six small figures over the same day: tick time, cache, deadlines, taker share, net result, memory.

    Args:
        minutes: a column of times and the metrics, one row a symbol, arm and minute; an absent metric is
            left out.
        limits: metric -> limit to draw.
    """
    title = "The day, minute by minute"
    shown = [m for m in METRICS if m in minutes.columns and minutes[m].notna().any()]
    if not shown:
        return theme.no_data(title)
    limits = limits or {}
    fig = make_subplots(
        rows=len(shown),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.05,
        subplot_titles=[theme.label(metric, minute=True) for metric in shown],
    )
    names = ", ".join(theme.label(metric).lower() for metric in shown)
    fig.update_layout(
        template=theme.TEMPLATE,
        title=title,
        height=100 + 150 * len(shown),
        legend={"y": 1.04},
        margin={"t": 120},
        meta={"alt": f"Lines over the day of {names}."},
    )
    for row, metric in enumerate(shown, start=1):
        latency.add_lines(fig, minutes, metric, row=row, legend=row == 1)
        fig.update_yaxes(title=theme.axis("", theme.unit_of(metric)).strip(), row=row, col=1)
        if metric in limits:
            theme.limit_line(fig, limits[metric], f"limit {theme.number(limits[metric])}", row=row, col=1)
    fig.update_xaxes(title="Time [UTC]", row=len(shown), col=1)
    return fig
