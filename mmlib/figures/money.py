"""Money figures: equity over time, where the result came from, and what the market did after a fill."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from mmlib.figures import latency, theme

PARTS = (
    ("gross_bps", "gross", 1),
    ("quote_travel_bps", "quote travel", -1),
    ("fees_bps", "fees", -1),
    ("inventory_bps", "inventory", 1),
)
"""Column, name, and sign with which it enters the net result."""


def equity(curve: pd.DataFrame) -> go.Figure:
    """Marked-to-market result since the start, one line a symbol and arm.

    Args:
        curve: a column of times, ``equity`` in quote currency, optionally symbol and arm.
    """
    title = "Equity, marked to the mid"
    if theme.lacking(curve, ["equity"]):
        return theme.no_data(title)
    values = curve["equity"]
    fig = theme.figure(
        title,
        x="Time [UTC]",
        y="quote currency, since the start",
        alt=f"Line of the marked-to-market equity, between {theme.number(values.min())} and "
        f"{theme.number(values.max())} in quote currency.",
    )
    latency.add_lines(fig, curve, "equity")
    return fig


def waterfall(decomposition: pd.DataFrame) -> go.Figure:
    """Gross edge less quote travel less fees plus inventory result gives net, a panel a symbol and arm; of many, a bar.

    Args:
        decomposition: gross_bps, quote_travel_bps, fees_bps, inventory_bps, net_bps, optionally symbol and arm.
            Slippage and fees are costs when positive, so they enter with the sign turned.
    """
    title = "Where the result came from"
    columns = [*(column for column, _, _ in PARTS), "net_bps"]
    if theme.lacking(decomposition, columns):
        return theme.no_data(title, "no fills")
    names, steps, values, measures = [], [], [], []
    for name, _, rows in theme.series(decomposition.dropna(subset=["net_bps"])):
        row = rows.iloc[0]
        names += [name or "all"] * 5
        steps += [part for _, part, _ in PARTS] + ["net"]
        values += [sign * float(row[column]) for column, _, sign in PARTS] + [float(row["net_bps"])]
        measures += ["absolute", "relative", "relative", "relative", "total"]
    nets = decomposition["net_bps"].dropna()
    if len(nets) > theme.MOST_LINES:
        return _stacked(title, decomposition.dropna(subset=["net_bps"]))
    fig = theme.figure(
        title,
        y="bps of traded notional",
        alt=f"Waterfall from gross edge through quote travel, fees and inventory to the net result, "
        f"{', '.join(theme.number(v) for v in nets)} bps.",
        showlegend=False,
        hovermode="closest",
        wide=len(nets) > 2,
    )
    fig.add_waterfall(
        x=[names, steps],
        y=values,
        measure=measures,
        text=[theme.number(v) if abs(v) >= 0.005 else "0" for v in values],
        textangle=0,
        hovertemplate="%{y:.4f} bps<extra></extra>",
        increasing={"marker": {"color": theme.PALETTE[2]}},
        decreasing={"marker": {"color": theme.PALETTE[1]}},
        totals={"marker": {"color": theme.PALETTE[0]}},
        connector={"line": {"color": theme.INK, "width": 1}},
    )
    return fig


def _stacked(title: str, decomposition: pd.DataFrame) -> go.Figure:
    """The parts of the result of many symbols and arms, a bar each, the worst on top, with its net as a mark."""
    rows = decomposition.sort_values("net_bps", ascending=False)
    keys = [name for name in ("symbol", "arm") if name in rows.columns]
    names = [theme.escape(", arm ".join(map(str, key))) for key in rows[keys].to_numpy()]
    worst, best = rows["net_bps"].iloc[-1], rows["net_bps"].iloc[0]
    fig = theme.figure(
        title,
        x="bps of traded notional",
        alt=f"Bars of gross edge, quote travel, fees and inventory of {len(rows)} symbols and arms, and their net, from "
        f"{theme.number(worst)} bps of {names[-1]} to {theme.number(best)} bps of {names[0]}.",
        height=160 + 22 * len(rows),
        barmode="relative",
        hovermode="y unified",
    )
    for colour, (column, part, sign) in zip(theme.PALETTE[1:], PARTS, strict=False):
        values = sign * rows[column].to_numpy(dtype=float)
        bar = {"name": part, "marker_color": colour, "hovertemplate": "%{x:.4f} bps"}
        fig.add_bar(x=values, y=names, orientation="h", **bar)
    fig.add_scatter(
        x=rows["net_bps"].to_numpy(dtype=float),
        y=names,
        mode="markers",
        name="net",
        marker={
            "symbol": "diamond",
            "size": 9,
            "color": theme.PALETTE[0],
            "line": {"width": 1, "color": "white"},
        },
        hovertemplate="%{x:.4f} bps",
    )
    return fig


def markouts(frame: pd.DataFrame) -> go.Figure:
    """Mean markout at each horizon with its standard error, one line a symbol and arm.

    Args:
        frame: horizon_s, markout_bps, optionally stderr_bps, n, symbol and arm; one row a point.
    """
    title = "Markout after our fills"
    if theme.lacking(frame, ["horizon_s", "markout_bps"]):
        return theme.no_data(title, "no fills")
    fig = theme.figure(
        title,
        x=theme.axis("Time after the fill", "s"),
        y="bps, positive is ours",
        alt=f"Mean markout by horizon, from {theme.number(frame['markout_bps'].min())} to "
        f"{theme.number(frame['markout_bps'].max())} bps.",
    )
    for name, style, rows in theme.series(frame.sort_values("horizon_s")):
        counts = [f"{int(n):,} fills" for n in rows["n"]] if "n" in rows.columns else None
        fig.add_scatter(
            x=rows["horizon_s"].to_numpy(),
            y=rows["markout_bps"].to_numpy(),
            mode="lines+markers",
            name=name or "markout",
            line=style,
            text=counts,
            error_y={"type": "data", "array": rows["stderr_bps"].to_numpy()}
            if "stderr_bps" in rows.columns
            else None,
        )
    fig.add_hline(y=0, line={"color": theme.INK, "width": 1})
    return fig
