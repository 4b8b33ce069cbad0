"""Many symbols and arms as a few lines: the lowest, the middle and the highest of them, and the one that went furthest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

COLUMNS = ["ts", "metric", "lowest", "middle", "highest", "furthest", "who", "n"]


def spread(minutes: pd.DataFrame, high_is_bad: Mapping[str, bool]) -> pd.DataFrame:
    """Metrics of a minute series over all symbols and arms.

    Args:
        minutes: ts, symbol, arm and the metrics, see ``metrics.latency.minute_series``.
        high_is_bad: metric -> whether its high values are the bad ones; metrics that are absent or never known are left out.

    Returns:
        ts, metric, lowest, middle (the median), highest; furthest, the values of that symbol and arm whose worst minute was the
        worst of all, and who that is; n, of how many. One row a metric and minute, NaN where nothing is known.
    """
    found = []
    for metric, high in high_is_bad.items():
        if metric not in minutes.columns or not minutes[metric].notna().any():
            continue
        wide = minutes.pivot_table(
            index="ts", columns=["symbol", "arm"], values=metric, observed=True, dropna=False
        )
        worst = wide.max() if high else -wide.min()
        at = int(np.nanargmax(worst.to_numpy()))
        values = {
            "ts": wide.index,
            "metric": metric,
            "lowest": wide.min(axis=1).to_numpy(),
            "middle": wide.median(axis=1).to_numpy(),
            "highest": wide.max(axis=1).to_numpy(),
            "furthest": wide.iloc[:, at].to_numpy(),
            "who": " arm ".join(map(str, wide.columns[at])),
            "n": int(wide.notna().any().sum()),
        }
        found.append(pd.DataFrame(values))
    if not found:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat(found, ignore_index=True)
