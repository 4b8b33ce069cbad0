"""The one sign convention of money in reports: earnings positive, costs negative; net is their sum.

Metrics keep costs positive (``slippage_bps`` and the like are costs by name), and so do gates on a cost, whose titles say cost.
"""

from __future__ import annotations

import pandas as pd

COSTS = frozenset({"slippage_bps", "quote_travel_bps", "fees_bps", "slippage_cost", "travel_cost", "fees"})
"""Columns and metrics that are positive where they cost."""

SIGNS = "Earnings are positive and costs negative; a gate on a cost, named so, reads the cost."
"""What every report with money says, once."""


def shown(metric: str, value: float) -> float:
    """A value of a metric, as reports show it."""
    return 0.0 - value if metric in COSTS else value


def shown_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame with its costs as reports show them."""
    return frame.assign(**{name: 0.0 - frame[name] for name in frame.columns if name in COSTS})
