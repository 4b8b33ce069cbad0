"""A table as a figure, for rows that carry a status."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from mmlib.figures import theme


def status_table(
    frame: pd.DataFrame, columns: Sequence[tuple[str, str]], status: Sequence[str], *, title: str, alt: str
) -> go.Figure:
    """Rows as text, the first column marked with the colour of its status.

    Args:
        frame: one row a line.
        columns: (column, heading) in order.
        status: status of each row, which colours its first cell.
    """
    cells = [["–" if pd.isna(v) else theme.escape(v) for v in frame[name]] for name, _ in columns]
    marks = [theme.STATUS_COLOURS.get(str(s), theme.INK) for s in status]
    fig = theme.figure(title, alt=alt, height=130 + 30 * len(frame), margin={"l": 5, "r": 5, "t": 60, "b": 5})
    fig.add_table(
        header={
            "values": [f"<b>{theme.escape(heading)}</b>" for _, heading in columns],
            "align": "left",
            "fill": {"color": theme.GRID},
            "line": {"color": theme.GRID},
        },
        cells={
            "values": cells,
            "align": "left",
            "height": 28,
            "fill": {"color": [theme.CLEAR]},
            "line": {"color": theme.GRID},
            "font": {"color": [marks, *([theme.INK] * (len(columns) - 1))]},
        },
    )
    return fig
