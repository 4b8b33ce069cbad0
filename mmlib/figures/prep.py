"""Prep figure: the flags a run needs."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from mmlib.figures import tables, theme


def flags(frame: pd.DataFrame) -> go.Figure:
    """Required flags with the value found and the value expected; checks that came out alike are one row.

    Args:
        frame: name, value, expected, ok (bool); one row a check.
    """
    title = "Required flags"
    if frame.empty:
        return theme.no_data(title, "no flag was checked")
    frame = frame.astype({"value": str}).drop_duplicates(ignore_index=True)
    frame["value"] = frame["value"].replace({"True": "true", "False": "false"})
    words = ["PASS" if ok else "FAIL" for ok in frame["ok"]]
    columns = [("status", "Status"), ("name", "Flag"), ("value", "Value"), ("expected", "Expected")]
    alt = f"Table of {len(frame)} required flags, {words.count('PASS')} of which are as expected."
    return tables.status_table(frame.assign(status=words), columns, words, title=title, alt=alt)
