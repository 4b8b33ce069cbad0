"""Gate figure: how far each result lies from its limit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mmlib.figures import theme


def margins(results: pd.DataFrame) -> go.Figure:
    """Distance of each gate's value from its limit, as a share of the larger of the two; passes point right.

    Args:
        results: id, status, value, op, limit, optionally unit; the fields of gate results. Only PASS and FAIL
            with a value get a bar; the others keep their row and their status in words.
    """
    title = "Margin of each gate"
    if results.empty:
        return theme.no_data(title, "no gate was evaluated")
    rows = results.iloc[::-1]
    value = pd.to_numeric(rows["value"], errors="coerce").to_numpy(dtype=float)
    limit = pd.to_numeric(rows["limit"], errors="coerce").to_numpy(dtype=float)
    side = rows["status"].map({"PASS": 1.0, "FAIL": -1.0}).to_numpy(dtype=float)
    scale = np.maximum(np.abs(value), np.abs(limit))
    share = np.divide(np.abs(value - limit), scale, out=np.zeros_like(scale), where=scale > 0)
    margin = np.nan_to_num(side * share * 100, nan=0.0)
    passed = int((results["status"] == "PASS").sum())
    fig = theme.figure(
        title,
        x=theme.axis("Distance from the limit", "% of the larger of value and limit"),
        alt=f"Bars of the distance of {len(results)} gates from their limits; {passed} pass, "
        f"{int((results['status'] == 'FAIL').sum())} fail.",
        height=140 + 30 * len(results),
        hovermode="closest",
        showlegend=False,
    )
    units = rows["unit"] if "unit" in rows.columns else [""] * len(rows)
    texts = [
        theme.escape(f"{status}: {theme.number(v)} {op} {theme.number(bound)} {_shown(unit)}".strip())
        for status, v, op, bound, unit in zip(rows["status"], value, rows["op"], limit, units, strict=True)
    ]
    fig.add_bar(
        orientation="h",
        x=margin,
        y=[theme.escape(gate) for gate in rows["id"]],
        text=texts,
        textposition=["inside" if abs(m) > 60 else "outside" for m in margin],
        marker_color=[theme.STATUS_COLOURS.get(str(s), theme.INK) for s in rows["status"]],
        hoverinfo="text",
    )
    fig.update_xaxes(range=[-105, 105])
    return fig


def _shown(unit: object) -> str:
    """A unit as a reader wants it: ``1`` and ``bool`` are none."""
    return "" if unit in ("1", "bool") else str(unit)
