"""What a sweep found: how money answers to each setting, and to two of them together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mmlib.figures import theme

_BINS = 12


def response_curves(table: pd.DataFrame, keys: list[str], value: str = "net_bps") -> go.Figure:
    """One panel a key: every setting as a point, and the median over settings of like value as a line.

    Args:
        table: one row a setting; ``keys`` and ``value`` are columns.
    """
    title = "Response to each setting"
    if not keys or theme.lacking(table, [value]):
        return theme.no_data(title, "no setting traded")
    fig = make_subplots(
        rows=1, cols=len(keys), shared_yaxes=True, subplot_titles=[theme.escape(k) for k in keys]
    )
    best = table.iloc[int(np.nanargmax(table[value].to_numpy()))]
    chosen = ", ".join(f"{theme.escape(key)} {theme.number(float(best[key]))}" for key in keys)
    fig.update_layout(
        template=theme.TEMPLATE,
        title=title,
        height=380,
        showlegend=False,
        meta={
            "alt": f"{len(table)} settings; the highest {value}, {theme.number(float(best[value]))}, at {chosen}."
        },
    )
    for place, key in enumerate(keys, start=1):
        curve = _medians(table, key, value)
        fig.add_scatter(x=table[key], y=table[value], mode="markers", row=1, col=place,
                        marker={"color": theme.PALETTE[0], "size": 4, "opacity": 0.5})  # fmt: skip
        fig.add_scatter(
            x=curve.index, y=curve, mode="lines", row=1, col=place, line={"color": theme.PALETTE[1]}
        )
        fig.update_xaxes(title=theme.escape(key), row=1, col=place)
    fig.update_yaxes(title=theme.axis(value.removesuffix("_bps"), "bps"), row=1, col=1)
    return fig


def _medians(table: pd.DataFrame, key: str, value: str) -> pd.Series:
    """Median of ``value`` by value of ``key``, or by bins of it where it takes many."""
    if table[key].nunique() <= _BINS:
        return table.groupby(key)[value].median()
    edges = np.linspace(table[key].min(), table[key].max(), _BINS + 1)
    place = np.clip(np.searchsorted(edges, table[key], side="right") - 1, 0, _BINS - 1)
    grouped = table.groupby(place)
    return pd.Series(grouped[value].median().to_numpy(), index=grouped[key].median().to_numpy())


def heat_map(table: pd.DataFrame, first: str, second: str, value: str = "net_bps") -> go.Figure:
    """Median of ``value`` over two keys; the other settings vary within a cell."""
    title = "Two settings together"
    if theme.lacking(table, [value]):
        return theme.no_data(title, "no setting traded")
    binned = table.assign(**{name: _binned(table[name]) for name in (first, second)})
    cells = binned.pivot_table(index=second, columns=first, values=value, aggfunc="median")
    low, high = (theme.number(float(v)) for v in (np.nanmin(cells), np.nanmax(cells)))
    alt = f"Median {value} over {theme.escape(first)} and {theme.escape(second)}: {low} to {high}."
    fig = theme.figure(title, alt=alt, x=theme.escape(first), y=theme.escape(second))
    reach = float(np.nanmax(np.abs(cells))) or 1.0
    fig.add_heatmap(
        x=cells.columns, y=cells.index, z=cells, colorscale="RdBu", zmin=-reach, zmax=reach,
        colorbar={"title": theme.axis(value.removesuffix("_bps"), "bps")},
    )  # fmt: skip
    return fig


def _binned(values: pd.Series) -> pd.Series:
    if values.nunique() <= 2 * _BINS:
        return values
    edges = np.linspace(values.min(), values.max(), _BINS + 1)
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, _BINS - 1)
    return pd.Series((0.5 * (edges[1:] + edges[:-1]))[place], index=values.index)
