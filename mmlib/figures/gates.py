"""Gate figure: how far each result lies from its limit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mmlib.figures import theme

_OPS = {">=": "≥", "<=": "≤", "==": "="}


def margins(results: pd.DataFrame) -> go.Figure:
    """Distance of each gate's value from its limit, as a share of the larger of the two; good values point right.

    Args:
        results: id, status, value, op, limit, optionally title, unit, sense and for_s; the fields of gate results. Only
            PASS and FAIL with a value get a bar; the others keep their row and their status in words. A gate that
            passed although its worst value crossed the limit (not for long enough) points left.
    """
    title = "Margin of each gate"
    if results.empty:
        return theme.no_data(title, "no gate was evaluated")
    rows = results.iloc[::-1]
    value = pd.to_numeric(rows["value"], errors="coerce").to_numpy(dtype=float)
    limit = pd.to_numeric(rows["limit"], errors="coerce").to_numpy(dtype=float)
    side = rows["status"].map({"PASS": 1.0, "FAIL": -1.0}).to_numpy(dtype=float, copy=True)
    stop = (_column(rows, "sense", "require") == "stop").to_numpy()
    op = rows["op"].astype(str).to_numpy()
    lasting = pd.to_numeric(_column(rows, "for_s", "0"), errors="coerce").fillna(0.0).to_numpy(dtype=float)
    rules = zip(value.tolist(), op.tolist(), limit.tolist(), stop.tolist(), strict=True)
    crossed = np.array([_crossed(*rule) for rule in rules], dtype=np.bool_)
    side[crossed & (side > 0)] = -1.0
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
        wide=True,
    )
    fig.add_bar(
        orientation="h",
        x=margin,
        y=_names(rows),
        text=[
            _words(*row)
            for row in zip(rows["status"], value, op, limit, _units(rows), stop, lasting, strict=True)
        ],
        textposition=["inside" if abs(m) > 60 else "outside" for m in margin],
        marker_color=[theme.STATUS_COLOURS.get(str(s), theme.INK) for s in rows["status"]],
        hoverinfo="text",
        cliponaxis=False,
    )
    fig.update_xaxes(range=[-105 if (margin < 0).any() else 0, 105])
    return fig


def _column(rows: pd.DataFrame, name: str, missing: str) -> pd.Series:
    """A column as text, the same word everywhere when it is absent."""
    return rows[name].astype(str) if name in rows.columns else pd.Series(missing, index=rows.index)


def _names(rows: pd.DataFrame) -> list[str]:
    """Titles of the gates; the id where a title is missing or stands twice."""
    titles = _column(rows, "title", "")
    clear = (titles != "") & ~titles.duplicated(keep=False)
    return [theme.escape(name) for name in titles.where(clear, rows["id"].astype(str))]


def _crossed(value: float, op: str, limit: float, stop: bool) -> bool:
    """Whether a value lies on the wrong side of its limit; a missing one does not."""
    holds = {">=": value >= limit, "<=": value <= limit, ">": value > limit, "<": value < limit}.get(
        op, value == limit
    )
    return bool(np.isfinite(value)) and holds == stop


def _words(status: object, value: float, op: str, limit: float, unit: str, stop: bool, lasting: float) -> str:
    """Status, value and what is asked for: ``PASS: 0.851 (≥ 0.7)``, ``PASS: 0 % (not > 5 % for 10 min)``."""
    span = f"{lasting / 60:g} min" if lasting < 3600 else f"{lasting / 3600:g} h"
    tail = "" if lasting <= 0 else f" for {span}" if stop else f", missed under {span}"
    unit = f" {unit}" if unit else ""
    asked = f"{'not ' if stop else ''}{_OPS.get(op, op)} {theme.number(limit)}{unit}{tail}"
    return theme.escape(f"{status}: {theme.number(value)}{unit} ({asked})")


def _units(rows: pd.DataFrame) -> list[str]:
    """Units as a reader wants them: ``1`` and ``bool`` are none."""
    words = {"1": "", "bool": "", "1/min": "a minute"}
    return [words.get(unit, unit) for unit in _column(rows, "unit", "")]
