"""Simulated beside actual fills: what became of the orders, and how far the fill times lie apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mmlib.figures import theme

_COLOURS = {
    "matched": theme.PALETTE[2],
    "early": theme.PALETTE[5],
    "late": theme.PALETTE[4],
    "missed": theme.PALETTE[1],
    "extra": theme.PALETTE[3],
}
_BINS = 60


def agreement(orders: pd.DataFrame, tolerance_ms: float | None = None) -> go.Figure:
    """Orders by outcome, and the distribution of the time error of those that both worlds filled.

    Args:
        orders: outcome, time_error_ms (simulated minus actual; missing where one world did not fill).
        tolerance_ms: what counts as the same time, drawn as a band.
    """
    title = "Simulated against actual fills"
    if theme.lacking(orders, ["outcome", "time_error_ms"]):
        return theme.no_data(title, "no order was filled")
    counts = orders["outcome"].astype(str).value_counts()
    names = [n for n in _COLOURS if n in counts.index] + sorted(n for n in counts.index if n not in _COLOURS)
    gaps = orders["time_error_ms"].to_numpy(dtype="float64", na_value=np.nan)
    gaps = gaps[np.isfinite(gaps)]
    words = ", ".join(f"{counts[name]} {theme.escape(name)}" for name in names)
    fig = make_subplots(rows=1, cols=2, column_widths=[0.4, 0.6], horizontal_spacing=0.14)
    fig.update_layout(
        template=theme.TEMPLATE,
        title=title,
        height=380,
        bargap=0.15,
        showlegend=False,
        meta={"alt": f"Of {len(orders)} orders filled in either world: {words}; {_spoken(gaps)}."},
    )
    fig.add_bar(
        x=[theme.escape(name) for name in names],
        y=[int(counts[name]) for name in names],
        text=[f"{100 * counts[name] / len(orders):.0f} %" for name in names],
        marker={"color": [_COLOURS.get(name, theme.INK) for name in names]},
        row=1,
        col=1,
    )
    heights, edges = np.histogram(gaps, bins=_BINS) if len(gaps) else (np.zeros(0), np.zeros(1))
    fig.add_bar(
        x=(edges[:-1] + edges[1:]) / 2,
        y=heights,
        width=np.diff(edges),
        marker={"color": theme.PALETTE[0]},
        row=1,
        col=2,
    )
    if tolerance_ms is not None and len(gaps):
        fig.add_vrect(
            x0=-tolerance_ms, x1=tolerance_ms, fillcolor=theme.GRID, line_width=0, layer="below", row=1, col=2
        )
    fig.update_xaxes(title="Outcome", row=1, col=1)
    fig.update_yaxes(title="Orders", row=1, col=1)
    fig.update_xaxes(title=theme.axis("Simulated minus actual fill time", "ms"), row=1, col=2)
    fig.update_yaxes(title="Orders", row=1, col=2)
    return fig


def _spoken(gaps: np.ndarray) -> str:
    if not len(gaps):
        return "none was filled in both, so there is no time error"
    return f"the median time error of those filled in both is {theme.number(float(np.median(gaps)))} ms"
