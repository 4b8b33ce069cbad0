"""Dataset figures: which intervals are covered and kept, and one column as a heat map."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mmlib.figures import theme


def coverage(intervals: pd.DataFrame) -> go.Figure:
    """Coverage of each interval, with the filtered ones in another colour and their reason on hovering.

    Args:
        intervals: a column of interval starts, coverage (0..1), optionally symbol, arm, and ``reason``
            (empty or missing when the interval was kept).
    """
    title = "Coverage of the dataset's intervals"
    if theme.lacking(intervals, ["coverage"]):
        return theme.no_data(title)
    reasons = (
        intervals["reason"].fillna("") if "reason" in intervals.columns else pd.Series("", intervals.index)
    )
    filtered = reasons != ""
    when = theme.time_column(intervals)
    fig = theme.figure(
        title,
        x="Interval start [UTC]",
        y=theme.axis("Coverage", "share of expected ticks"),
        alt=f"Coverage of {len(intervals):,} intervals; {int(filtered.sum()):,} of them were filtered out.",
        hovermode="closest",
    )
    kinds = (("kept", ~filtered, theme.PALETTE[0], "circle"), ("filtered", filtered, theme.LIMIT, "x"))
    for name, mask, colour, mark in kinds:
        rows = intervals[mask]
        if rows.empty:
            continue
        fig.add_scatter(
            x=theme.times(rows[when]),
            y=rows["coverage"].to_numpy(dtype=float),
            mode="markers",
            name=name,
            marker={"color": colour, "symbol": mark, "size": 5},
            text=[theme.escape(reason) for reason in reasons[mask]] if name == "filtered" else None,
        )
    fig.update_yaxes(range=[0, max(1.05, float(intervals["coverage"].max()) * 1.05)])
    return fig


def heatmap(intervals: pd.DataFrame, column: str) -> go.Figure:
    """One column over time, a row a symbol and arm; gaps stay empty.

    The colours span the 1st to the 99th percentile, so that one interval out of all bounds does not make the rest alike.

    Args:
        intervals: a column of interval starts, the column to colour by, optionally symbol and arm.
        column: numeric column.
    """
    name, unit = theme.label(column), theme.unit_of(column)
    title = f"{name} by interval"
    if theme.lacking(intervals, [column]):
        return theme.no_data(title)
    when = theme.time_column(intervals)
    lines = {label or "all": rows.set_index(when)[column] for label, _, rows in theme.series(intervals)}
    table = pd.DataFrame(lines).sort_index()
    fig = theme.figure(
        title,
        x="Interval start [UTC]",
        alt=f"Heat map of {name.lower()} by interval and symbol, from "
        f"{theme.number(intervals[column].min())} to {theme.number(intervals[column].max())} {unit}.",
        height=200 + 45 * len(lines),
        hovermode="closest",
    )
    low, high = (float(np.nanquantile(table.to_numpy(dtype=float), q)) for q in (0.01, 0.99))
    fig.add_heatmap(
        x=theme.times(pd.Series(table.index)),
        y=list(table.columns),
        z=table.to_numpy(dtype=float).T,
        colorscale="Cividis",
        zmin=low,
        zmax=high if high > low else low + 1,
        colorbar={
            "title": unit,
            "tickvals": [low, high],
            "ticktext": [theme.number(low), theme.number(high)],
        },
        hoverongaps=False,
    )
    return fig
