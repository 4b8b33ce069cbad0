"""The quality block of market data as a table, the same in every report."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from mmlib.market.quality import Quality
from mmlib.reports.render import Table

_LEVELS = {"void": "fills mean nothing", "warning": "limits the result", "note": "note"}


def quality_table(quality: Mapping[str, Quality]) -> Table:
    """One row a symbol and finding, the gravest first; a symbol of nothing met has a row that says so.

    Args:
        quality: by symbol; the empty name where there is but one.
    """
    rows = []
    for symbol, block in quality.items():
        rows += [(symbol, _LEVELS[found.level], found.text, found.meaning) for found in block.findings]
        if not block.findings:
            rows.append((symbol, "good", f"{block.counts.get('rows', 0):,} rows, nothing amiss", ""))
    if list(quality) == [""]:
        return Table(("Weight", "Met", "What it means"), [row[1:] for row in rows])
    return Table(("Symbol", "Weight", "Met", "What it means"), rows, "The source counted nothing.")


def quality_frame(quality: Mapping[str, Quality]) -> pd.DataFrame:
    """The same rows as a frame, for a notebook."""
    table = quality_table(quality)
    return pd.DataFrame(
        [list(row) for row in table.rows], columns=[head.rstrip(">") for head in table.headings]
    )
