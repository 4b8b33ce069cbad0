"""Prep figure: the flags a run needs."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from mmlib.figures import tables, theme


def flags(frame: pd.DataFrame) -> go.Figure:
    """Required flags with the value found and the value expected.

    Args:
        frame: name, value, expected, ok (bool); one row a flag.
    """
    title = "Required flags"
    if frame.empty:
        return theme.no_data(title, "no flag was checked")
    words = ["PASS" if ok else "FAIL" for ok in frame["ok"]]
    columns = [("status", "Status"), ("name", "Flag"), ("value", "Value"), ("expected", "Expected")]
    alt = f"Table of {len(frame)} required flags, {words.count('PASS')} of which are as expected."
    return tables.status_table(frame.assign(status=words), columns, words, title=title, alt=alt)
