"""Figures of the exploring notebook: latency over time as a heat map, and the windows in which gates would fire."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mmlib.figures import theme

CHANGES = {
    "both": ("fires either way", theme.PALETTE[1]),
    "gone": ("fires with the limit as it is, no longer with the other", theme.PALETTE[5]),
    "new": ("fires with the other limit only", theme.PALETTE[3]),
}
_FIRED = {True: ("fired", theme.PALETTE[1]), False: ("violated, not for long enough", theme.PALETTE[6])}


def density(counts: pd.DataFrame, name: str = "tick_total_ms", limit: float | None = None) -> go.Figure:
    """Latency over time: the darker, the more ticks; logarithmic in both, with the limit of a gate.

    Args:
        counts: ts, latency_ms, n (see ``metrics.density``).
        name: what was measured. limit: a gate's, ms.
    """
    label = theme.LABELS.get(name, theme.escape(name.removesuffix("_ms").replace("_", " ")))
    title = f"Latency over time: {label}"
    if theme.lacking(counts, ["n"]):
        return theme.no_data(title)
    table = counts.set_index(["latency_ms", "ts"])["n"].unstack("ts").sort_index()  # noqa: PD010  (nothing to add up)
    fig = theme.figure(
        title,
        x="Time [UTC]",
        y=theme.axis("Latency", "ms, logarithmic"),
        alt=f"Heat map of {int(counts['n'].sum()):,} ticks by time and latency, from "
        f"{theme.number(counts['latency_ms'].min())} to {theme.number(counts['latency_ms'].max())} ms.",
        height=420,
        hovermode="closest",
        wide=True,
    )
    number = np.where(table > 0, table.to_numpy(dtype=float), np.nan)
    ticks = np.arange(0, np.ceil(np.log10(np.nanmax(number))) + 1)
    fig.add_heatmap(
        x=theme.times(pd.Series(table.columns)),
        y=table.index.to_numpy(dtype=float),
        z=np.log10(number),
        customdata=number,
        colorscale="Cividis",
        hovertemplate="%{x}<br>%{y:.3g} ms<br>%{customdata:,} ticks<extra></extra>",
        colorbar={"title": "ticks", "tickvals": ticks, "ticktext": [f"{10**t:,.0f}" for t in ticks]},
        hoverongaps=False,
    )
    low, high = np.log10(table.index[0]), np.log10(table.index[-1])
    if limit is not None and limit > 0:
        high = max(high, np.log10(limit))
        fig.add_shape(
            type="line",
            xref="paper",
            x0=0,
            x1=1,
            y0=limit,
            y1=limit,
            line={"color": theme.LIMIT, "dash": "dot"},
        )
        text = {"text": f"limit {theme.number(limit)}", "font": {"color": theme.LIMIT}, "showarrow": False}
        fig.add_annotation(xref="paper", x=1, xanchor="right", y=np.log10(limit), yanchor="bottom", **text)
    room = 0.05 * (high - low) + 0.05
    fig.update_yaxes(type="log", exponentformat="none", range=[low - room, high + room])
    return fig


def windows(
    frame: pd.DataFrame, gates: pd.DataFrame, span: tuple[pd.Timestamp, pd.Timestamp] | None
) -> go.Figure:
    """The windows in which gates were violated, a row a gate; those that lasted long enough to fire in another colour.

    Args:
        frame: gate, symbol, arm, start, end, seconds, fired, worst, limit, unit; with ``change``, what another limit does.
        gates: id and title of the gates that were looked at, in order; a gate without a window keeps its row.
        span: first and last minute that was looked at.
    """
    changed = "change" in frame.columns
    title = "Windows that flip" if changed else "Windows that violate a gate"
    if gates.empty or span is None:
        return theme.no_data(title, "no sustained gate has a metric here")
    kinds = CHANGES if changed else _FIRED
    column = "change" if changed else "fired"
    titles = dict(zip(gates["id"], gates["title"].map(theme.escape), strict=True))
    counts = [f"{name}: {int((frame[column] == kind).sum())}" for kind, (name, _) in kinds.items()]
    fig = theme.figure(
        title,
        x="Time [UTC]",
        alt=f"Windows of {len(gates)} gates over time: {', '.join(counts)}.",
        height=140 + 34 * len(gates),
        hovermode="closest",
        barmode="overlay",
        showlegend=True,
        wide=True,
    )
    for kind, (name, colour) in kinds.items():
        rows = frame[frame[column] == kind]
        fig.add_bar(
            orientation="h",
            base=theme.times(rows["start"]),
            x=np.maximum(rows["seconds"].to_numpy(dtype=float), 60.0) * 1e3,
            y=[titles[gate] for gate in rows["gate"]],
            name=name,
            marker_color=colour,
            hovertext=[_told(row) for row in rows.itertuples()],
            hoverinfo="text",
        )
    fig.update_xaxes(type="date", range=theme.times(pd.Series(span)).astype(str).tolist())
    lines = list(titles.values())[::-1]
    fig.update_yaxes(
        type="category", categoryorder="array", categoryarray=lines, range=[-0.5, len(lines) - 0.5]
    )
    if frame.empty:
        fig.add_scatter(
            x=[None] * len(lines), y=lines, showlegend=False
        )  # a row each, though there is nothing in it
    return fig


def _told(row: Any) -> str:
    span = f"{row.start:%d %b %H:%M} to {row.end:%H:%M}, {row.seconds / 60:.0f} min"
    value = f"worst {theme.number(row.worst)}, limit {theme.number(row.limit)} {row.unit}"
    return theme.escape(f"{row.symbol}, arm {row.arm}: {span}; {value}")
