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
    widths = [_width(heading, texts) for (_, heading), texts in zip(columns, cells, strict=True)]
    lines = _lines(cells, widths)
    marks = [theme.STATUS_COLOURS.get(str(s), theme.INK) for s in status]
    fig = theme.figure(title, alt=alt, height=110 + 28 * lines, margin={"l": 5, "r": 5, "t": 60, "b": 5})
    fig.add_table(
        columnwidth=widths,
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


def _width(heading: str, cells: Sequence[str]) -> int:
    """Relative width of a column: its longest text, within bounds that keep long ones from taking everything."""
    return min(max(8, len(heading) + 2, *(len(text) + 2 for text in cells)), 60)


def _lines(cells: Sequence[Sequence[str]], widths: Sequence[int]) -> int:
    """About how many lines of text the rows take when each column wraps at its share of about 110 letters."""
    room = [max(1, 110 * width // sum(widths)) for width in widths]
    return sum(
        max(-(-len(text) // space) for text, space in zip(row, room, strict=True))
        for row in zip(*cells, strict=True)
    )
