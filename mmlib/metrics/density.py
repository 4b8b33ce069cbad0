"""How often each latency occurred, over time: what a heat map of a soak is drawn from."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmlib.metrics.grid import ns, utc

LOWEST_MS = 1e-3  # a microsecond; what is faster counts there


def latency_density(
    ticks: pd.DataFrame, column: str = "tick_total_ms", *, time_bins: int = 240, latency_bins: int = 60
) -> pd.DataFrame:
    """Ticks by time and latency, the latency in logarithmic steps.

    Args:
        ticks: feed frame.
        column: a latency [ms]; NaN is left out.
        time_bins, latency_bins: how many steps between the smallest and the largest.

    Returns:
        ts (start of the step, UTC), latency_ms (geometric middle of the step), n: every step, also without ticks.
    """
    values = ticks[column].to_numpy(np.float64)
    known = np.isfinite(values)
    if not known.any():
        return pd.DataFrame({"ts": utc(np.empty(0)), "latency_ms": np.empty(0), "n": np.empty(0, np.int64)})
    ts, log = ns(ticks["ts"])[known], np.log10(np.maximum(values[known], LOWEST_MS))
    time_edges = np.linspace(ts.min(), ts.max() + 1, time_bins + 1).astype(np.int64)
    edges = np.linspace(log.min(), log.max() + 1e-9, latency_bins + 1)
    rows = np.clip(np.searchsorted(time_edges, ts, side="right") - 1, 0, time_bins - 1)
    steps = np.clip(np.searchsorted(edges, log, side="right") - 1, 0, latency_bins - 1)
    counts = np.bincount(rows * latency_bins + steps, minlength=time_bins * latency_bins)
    row, step = np.divmod(np.arange(len(counts)), latency_bins)
    middles = 10 ** ((edges[:-1] + edges[1:]) / 2)
    return pd.DataFrame({"ts": utc(time_edges[row]), "latency_ms": middles[step], "n": counts})
