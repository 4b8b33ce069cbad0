"""Latency figures: percentiles a stage, and a metric minute by minute."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mmlib.figures import theme


def stage_bars(percentiles: pd.DataFrame, limits: Mapping[str, float] | None = None) -> go.Figure:
    """Percentiles of each pipeline stage as bars on a logarithmic axis, with the limits as marks.

    Args:
        percentiles: stage, p50_ms, p95_ms, p99_ms, optionally symbol; one row a bar group.
        limits: stage -> limit of its 95th percentile, ms.
    """
    title = "Latency of each stage"
    if theme.lacking(percentiles, ["stage", "p50_ms", "p95_ms", "p99_ms"]):
        return theme.no_data(title)
    limits = limits or {}
    stages = [theme.escape(stage) for stage in percentiles["stage"]]
    symbols = [theme.escape(s) for s in percentiles["symbol"]] if "symbol" in percentiles.columns else []
    x = [symbols, stages] if len(set(symbols)) > 1 else stages
    slowest = percentiles.sort_values("p95_ms", na_position="first").iloc[-1]
    fig = theme.figure(
        title,
        x="Stage",
        y=theme.axis("Latency", "ms, logarithmic"),
        alt=f"Bars of the 50th, 95th and 99th percentile of each pipeline stage; the highest "
        f"95th percentile is {theme.number(slowest['p95_ms'])} ms in {theme.escape(slowest['stage'])}.",
        barmode="group",
    )
    for colour, name in zip(theme.PALETTE, ("p50_ms", "p95_ms", "p99_ms"), strict=False):
        fig.add_bar(
            x=x,
            y=percentiles[name].to_numpy(),
            name=name.removesuffix("_ms"),
            marker_color=colour,
            hovertemplate="%{y:.4g} ms",
        )
    marks = [limits.get(str(stage), np.nan) for stage in percentiles["stage"]]
    if np.isfinite(marks).any():
        marker = {"symbol": "line-ew-open", "size": 26, "color": theme.LIMIT, "line": {"width": 2}}
        fig.add_scatter(
            x=x, y=marks, mode="markers", name="limit of p95", marker=marker, hovertemplate="%{y} ms"
        )
    fig.update_yaxes(type="log", dtick=1, exponentformat="none")
    return fig


def minute_lines(
    minutes: pd.DataFrame, metric: str, limit: float | None = None, unit: str | None = None
) -> go.Figure:
    """One metric over time, one line a symbol and arm, with its limit.

    Args:
        minutes: a column of times, the metric, optionally symbol and arm; missing minutes are NaN and show
            as gaps.
        metric: column to draw.
        limit: value of the gate, drawn as a dotted line.
        unit: axis title below the metric's name; the metric's own unit when left out.
    """
    name, unit = theme.label(metric, minute=True), theme.unit_of(metric) if unit is None else unit
    title = f"{name} by minute"
    if theme.lacking(minutes, [metric]):
        return theme.no_data(title)
    values = minutes[metric]
    low, high = theme.number(values.min()), theme.number(values.max())
    alt = f"Line of {name.lower()} by minute, from {low} to {high} {unit}"
    alt += f", against a limit of {theme.number(limit)} {unit}".rstrip() + "." if limit is not None else "."
    fig = theme.figure(title, x="Time [UTC]", y=unit or name, alt=alt)
    add_lines(fig, minutes, metric)
    if limit is not None:
        theme.limit_line(fig, limit, f"limit {theme.number(limit)}")
    return fig


def add_lines(
    fig: go.Figure, frame: pd.DataFrame, metric: str, *, row: int | None = None, legend: bool = True
) -> None:
    """Add the lines of one metric to a figure or to one row of it, whose axis is then one of dates."""
    when = theme.time_column(frame)
    for name, style, rows in theme.series(frame):
        x, y = theme.thin(theme.milliseconds(rows[when]), rows[metric].to_numpy(dtype=float))
        line = go.Scatter(
            x=x,
            y=y,
            mode=theme.line_mode(y),
            marker={"size": 3},
            name=name or theme.label(metric),
            line=style,
            connectgaps=False,
            legendgroup=name,
            showlegend=legend and bool(name),
        )
        fig.add_trace(line) if row is None else fig.add_trace(line, row=row, col=1)
    fig.update_xaxes(type="date")
