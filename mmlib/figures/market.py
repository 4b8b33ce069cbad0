"""A recorded market beside a simulated one: how far each stylised fact is off, and the distributions."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mmlib.figures import theme

_MET, _MISSED = theme.PALETTE[2], theme.PALETTE[1]
_STYLE = {"recorded": (theme.PALETTE[0], "solid"), "simulated": (theme.PALETTE[4], "dash")}
_SHARE = "Share below"
_FACT_WIDTH = 4.0  # bars end here, the number stays


def facts(table: pd.DataFrame) -> go.Figure:
    """Distance of recording and simulation for each fact, in tolerances: up to 1 is met.

    Args:
        table: group, fact, distance, met, fitted.
    """
    title = "Simulation against recording"
    if theme.lacking(table, ["distance"]):
        return theme.no_data(title)
    names = [theme.escape(f"{row.group}: {row.fact}") for row in table.itertuples()]
    known = table["distance"].notna()
    met = int(table["met"].sum())
    fig = theme.figure(
        title,
        alt=f"Of {len(table)} stylised facts {met} are within tolerance and {len(table) - met} are not.",
        x="Distance in tolerances (up to 1 is met)",
        height=120 + 24 * len(table),
        wide=True,
        showlegend=False,
        bargap=0.3,
    )
    fig.update_layout(hovermode="closest")
    fig.add_bar(
        orientation="h",
        y=names,
        x=table["distance"].clip(upper=_FACT_WIDTH).fillna(0.0),
        text=[
            ("met" if ok else "missed" if there else "not known") + f" ({theme.number(value, 2)})"
            for ok, there, value in zip(table["met"], known, table["distance"], strict=True)
        ],
        textposition="outside",
        cliponaxis=False,
        marker={"color": [_MET if ok else _MISSED for ok in table["met"]]},
    )
    fig.add_vline(x=1.0, line={"color": theme.LIMIT, "dash": "dot", "width": 1.5})
    fig.update_xaxes(range=[0.0, _FACT_WIDTH * 1.25])
    fig.update_yaxes(autorange="reversed")
    return fig


def distributions(curves: pd.DataFrame) -> go.Figure:
    """Distributions and curves of both markets, one panel each.

    Args:
        curves: panel, market (recorded, simulated), x, y; y is a share below x where the panel is a distribution.
    """
    title = "Recorded and simulated market"
    if theme.lacking(curves, ["x", "y"]):
        return theme.no_data(title)
    panels = list(dict.fromkeys(curves["panel"]))
    rows = (len(panels) + 1) // 2
    fig = make_subplots(rows=rows, cols=2, vertical_spacing=0.3 / max(rows, 1), horizontal_spacing=0.12)
    fig.update_layout(
        template=theme.TEMPLATE,
        title=title,
        height=110 + 230 * rows,
        meta={"alt": f"{len(panels)} panels, each with the recorded and the simulated curve.", "wide": True},
    )
    for k, panel in enumerate(panels):
        row, col = k // 2 + 1, k % 2 + 1
        part = curves[curves["panel"] == panel]
        for market, (colour, dash) in _STYLE.items():
            line = part[part["market"] == market]
            fig.add_scatter(
                x=line["x"],
                y=line["y"],
                name=market,
                legendgroup=market,
                showlegend=k == 0,
                mode=theme.line_mode(line["y"].to_numpy()) if len(line) < 20 else "lines",
                line={"color": colour, "dash": dash},
                row=row,
                col=col,
            )
        values = part["x"].to_numpy()
        wide = len(values) and values.min() > 0.0 and values.max() > 20.0 * values.min()
        fig.update_xaxes(title=theme.escape(panel), type="log" if wide else "linear", row=row, col=col)
        fig.update_yaxes(title=_axis(panel), row=row, col=col)
    return fig


def _axis(panel: str) -> str:
    for start, name in (
        ("Lag of trade signs", "Autocorrelation"),
        ("Horizon of volatility", "Volatility [bps/√s]"),
        ("Horizon of a touch", "Markout [bps]"),
    ):
        if panel.startswith(start):
            return name
    return _SHARE
