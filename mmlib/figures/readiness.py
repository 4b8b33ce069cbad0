"""Readiness figure: the acceptance rows with their status."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from mmlib.figures import tables, theme


def table(rows: pd.DataFrame) -> go.Figure:
    """The acceptance table, status in words and colour.

    Args:
        rows: gate, requirement, status, optionally why and grade; one row an acceptance gate.
    """
    title = "Acceptance gates"
    if rows.empty:
        return theme.no_data(title, "no step has run")
    headings = {
        "status": "Status",
        "gate": "Gate",
        "requirement": "Requirement",
        "why": "Why",
        "grade": "Evidence",
    }
    columns = [(name, heading) for name, heading in headings.items() if name in rows.columns]
    passed = int((rows["status"] == "PASS").sum())
    alt = f"Table of {len(rows)} acceptance gates, {passed} of which pass."
    return tables.status_table(rows, columns, [str(s) for s in rows["status"]], title=title, alt=alt)
