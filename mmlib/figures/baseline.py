"""Baseline figure: candidate over baseline with its interval, stage by stage."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mmlib.figures import theme

WIDEST = (0.5, 2.0)
"""Ratios beyond these are not drawn to scale."""


def ratios(frame: pd.DataFrame) -> go.Figure:
    """Ratio of the candidate's 95th percentile to the baseline's, with interval and limit a stage.

    An interval far wider than any limit runs out of the picture, so that the others stay readable.

    Args:
        frame: stage, ratio, low, high, limit; dimensionless, NaN where it could not be told.
    """
    title = "95th percentile, candidate over baseline"
    if theme.lacking(frame, ["stage", "ratio", "low", "high", "limit"]):
        return theme.no_data(title, "no candidate was compared")
    worst = frame.sort_values("ratio", na_position="first").iloc[-1]
    stages = [theme.escape(stage) for stage in frame["stage"]]
    fig = theme.figure(
        title,
        x="Ratio [1 = as the baseline]",
        alt=f"Ratios of {len(frame)} stages with intervals; the highest is {theme.number(worst['ratio'])} in "
        f"{theme.escape(worst['stage'])} against a limit of {theme.number(worst['limit'])}.",
        height=160 + 40 * len(frame),
        hovermode="closest",
    )
    ratio = frame["ratio"].to_numpy(dtype=float)
    interval = {
        "type": "data",
        "symmetric": False,
        "array": frame["high"].to_numpy(dtype=float) - ratio,
        "arrayminus": ratio - frame["low"].to_numpy(dtype=float),
    }
    dot = {"size": 9, "color": theme.PALETTE[0]}
    fig.add_scatter(
        x=ratio, y=stages, mode="markers", name="ratio and interval", error_x=interval, marker=dot
    )
    bar = {"symbol": "line-ns-open", "size": 18, "color": theme.LIMIT, "line": {"width": 2}}
    fig.add_scatter(
        x=frame["limit"].to_numpy(dtype=float), y=stages, mode="markers", name="limit", marker=bar
    )
    fig.add_vline(x=1, line={"color": theme.INK, "width": 1})
    fig.update_yaxes(autorange="reversed")
    ends = np.concatenate([frame[name].to_numpy(dtype=float) for name in ("low", "ratio", "high", "limit")])
    ends = ends[np.isfinite(ends)]
    if ends.max() > WIDEST[1] or ends.min() < WIDEST[0]:
        left, right = max(ends.min(), WIDEST[0]), min(ends.max(), WIDEST[1])
        room = 0.04 * (right - left)
        fig.update_xaxes(
            range=[left - room, right + room], title="Ratio [1 = as the baseline], cut at 0.5 and 2"
        )
    return fig


def trend(frame: pd.DataFrame) -> go.Figure:
    """Past measurements of each stage over its first level, with the level of each segment.

    Args:
        frame: at (UTC), stage, p95_ms, level_ms, segment.
    """
    title = "95th percentile of past measurements, relative to the first level"
    if theme.lacking(frame, ["at", "stage", "p95_ms", "level_ms"]):
        return theme.no_data(title, "no builds were measured in turns yet")
    changed = int((frame.groupby("stage")["segment"].max() > 0).sum())
    fig = theme.figure(
        title,
        y="Ratio [1 = first level]",
        alt=f"Trend of {frame['stage'].nunique()} stages over {frame['at'].nunique()} measurements; "
        f"the level of {changed} changed.",
    )
    for number, (stage, part) in enumerate(frame.groupby("stage", sort=False)):
        colour = theme.PALETTE[number % len(theme.PALETTE)]
        first = float(part["level_ms"].iloc[0])
        x = theme.times(part["at"])
        y = part["p95_ms"].to_numpy(dtype=float) / first
        level = part["level_ms"].to_numpy(dtype=float) / first
        name = theme.escape(stage)
        fig.add_scatter(x=x, y=y, mode="markers", name=name, marker={"color": colour, "size": 7})
        line = {"color": colour, "width": 1, "shape": "hv"}
        fig.add_scatter(x=x, y=level, mode="lines", line=line, showlegend=False, hoverinfo="skip")
    return fig
