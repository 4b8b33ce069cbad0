"""Daily operations figure: the day on one page."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mmlib.figures import latency, theme

METRICS = {
    "tick_total_p95_ms": True,
    "hit_ratio": False,
    "deadline_miss_pct": True,
    "taker_share_pct": True,
    "net_bps": False,
    "rss_mb": True,
}
"""What is shown of a day -> whether high values are the bad ones."""

_BAND, _MIDDLE, _FURTHEST = "rgba(127,127,127,0.25)", theme.PALETTE[0], theme.PALETTE[1]


def day(
    minutes: pd.DataFrame, limits: Mapping[str, float] | None = None, spread: pd.DataFrame | None = None
) -> go.Figure:
    """Six small figures over the same day: tick time, cache, deadlines, taker share, net result, memory.

    Args:
        minutes: a column of times and the metrics, one row a symbol, arm and minute; an absent metric is
            left out.
        limits: metric -> limit to draw.
        spread: ``metrics.spread.spread`` of ``METRICS``; shown instead of a line a symbol and arm when there are more than can
            be told apart.
    """
    title = "The day, minute by minute"
    shown = [m for m in METRICS if m in minutes.columns and minutes[m].notna().any()]
    if not shown:
        return theme.no_data(title)
    many = spread if spread is not None and (spread["n"] > theme.MOST_LINES).any() else None
    heads = [theme.axis(theme.label(metric, minute=True), theme.unit_of(metric)) for metric in shown]
    if many is not None:
        who = dict(zip(many["metric"], many["who"], strict=True))
        heads = [f"{head}; {theme.escape(who[m])} furthest" for head, m in zip(heads, shown, strict=True)]
    fig = make_subplots(
        rows=len(shown), cols=1, shared_xaxes=True, vertical_spacing=0.05, subplot_titles=heads
    )
    fig.update_annotations(x=0, xanchor="left", font_size=13)
    names = ", ".join(theme.label(metric).lower() for metric in shown)
    fig.update_layout(
        template=theme.TEMPLATE,
        title=title,
        height=100 + 150 * len(shown),
        legend={"y": 1.04},
        margin={"t": 120},
        meta={"alt": f"Lines over the day of {names}."},
    )
    limits = limits or {}
    for row, metric in enumerate(shown, start=1):
        if many is None:
            latency.add_lines(fig, minutes, metric, row=row, legend=row == 1)
        else:
            _add_spread(fig, many[many["metric"] == metric], row)
        if metric in limits:
            theme.limit_line(fig, limits[metric], f"limit {theme.number(limits[metric])}", row=row, col=1)
    fig.update_xaxes(title="Time [UTC]", row=len(shown), col=1)
    return fig


def _add_spread(fig: go.Figure, rows: pd.DataFrame, row: int) -> None:
    """The band from the lowest to the highest, its middle, and the one that went furthest."""
    n, x = int(rows["n"].iloc[0]), theme.milliseconds(rows["ts"])
    lines = (
        ("lowest", "", {"width": 0}, None),
        ("highest", f"lowest to highest of {n}", {"width": 0}, "tonexty"),
        ("middle", f"middle of {n}", {"color": _MIDDLE, "width": 1.5}, None),
        ("furthest", "the one that went furthest", {"color": _FURTHEST, "width": 1}, None),
    )
    for column, name, line, fill in lines:
        trace = go.Scatter(
            x=x,
            y=rows[column].to_numpy(dtype=float),
            mode="lines",
            name=name or column,
            line=line,
            fill=fill,
            fillcolor=_BAND,
            legendgroup=column,
            showlegend=row == 1 and bool(name),
            hovertemplate="%{y:.4g}",
        )
        fig.add_trace(trace, row=row, col=1)
    fig.update_xaxes(type="date", row=row, col=1)
