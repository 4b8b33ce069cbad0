"""Calibration figure: every trial by what it did to slippage and net, and what the choices kept of it on unseen hours."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from mmlib.figures import theme


def search(trials: pd.DataFrame, choices: pd.DataFrame) -> go.Figure:
    """Trials of the last fold on their train hours, and the choices of all folds, train and unseen.

    Args:
        trials: fold, net_bps, slippage_bps, keeps_gates, shipped.
        choices: fold, stretch (train, unseen), net_bps, net_se, slippage_bps, slippage_se.
    """
    title = "Trials: effect on net against effect on slippage"
    if theme.lacking(trials, ["net_bps", "slippage_bps"]):
        return theme.no_data(title, "no trial was made")
    last = trials[trials["fold"] == trials["fold"].max()]
    kept = last["keeps_gates"].astype(bool)
    fig = theme.figure(
        title,
        x="Slippage, B - A [bps]",
        y="Net, B - A [bps]",
        alt=f"{len(last)} trials, {int(kept.sum())} of which kept the safety gates; the highest net effect among "
        f"those is {theme.number(last.loc[kept, 'net_bps'].max())} bps.",
        height=460,
        hovermode="closest",
    )
    for name, part, colour in (
        ("keeps the gates", last[kept], theme.PALETTE[0]),
        ("does not", last[~kept], theme.PALETTE[6]),
        ("as shipped", last[last["shipped"].astype(bool)], theme.PALETTE[3]),
    ):
        marker = {"size": 12 if name == "as shipped" else 6, "color": colour}
        fig.add_scatter(x=part["slippage_bps"], y=part["net_bps"], mode="markers", name=name, marker=marker)
    for stretch, symbol in (("train", "diamond-open"), ("unseen", "diamond")):
        part = choices[choices["stretch"] == stretch]
        fig.add_scatter(
            x=part["slippage_bps"],
            y=part["net_bps"],
            error_x={"type": "data", "array": part["slippage_se"]},
            error_y={"type": "data", "array": part["net_se"]},
            mode="markers+text",
            text=[f"fold {fold + 1}" for fold in part["fold"]],
            textposition="top center",
            name=f"choices on {stretch} hours",
            marker={"size": 12, "symbol": symbol, "color": theme.PALETTE[1]},
        )
    fig.add_vline(x=0, line={"color": theme.INK, "width": 1})
    fig.add_hline(y=0, line={"color": theme.INK, "width": 1})
    return fig
