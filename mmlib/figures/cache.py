"""Market data cache figures."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from mmlib.figures import latency


def hit_ratio(minutes: pd.DataFrame, limit: float | None = None) -> go.Figure:
    """Share of ticks answered from the cache, minute by minute, against the gate's limit.

    Args:
        minutes: a column of times, hit_ratio (0..1), optionally symbol and arm.
        limit: the least ratio the gate accepts.
    """
    fig = latency.minute_lines(minutes, "hit_ratio", limit)
    if len(fig.data):
        fig.update_yaxes(range=[0, 1.02])
    return fig
