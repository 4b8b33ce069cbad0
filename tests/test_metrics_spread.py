"""Many symbols and arms as a few lines, against plain loops."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pandas as pd

from mmlib.metrics.spread import COLUMNS, spread

HOUR = pd.date_range("2025-01-15", periods=60, freq="min", tz="UTC")


def minutes() -> pd.DataFrame:
    """Five symbols and arms; a minute that nobody knows, and one that never knows anything."""
    rng = np.random.default_rng(7)
    parts = []
    for symbol, arm in (("B", "A"), ("B", "B"), ("A", "A"), ("A", "B"), ("C", "A")):
        values = rng.normal(size=len(HOUR))
        values[rng.random(len(HOUR)) < 0.2] = np.nan
        values[11] = np.nan
        if symbol == "C":
            values[:] = np.nan
        parts.append(
            pd.DataFrame({"ts": HOUR, "symbol": symbol, "arm": arm, "net_bps": values, "rss_mb": -values})
        )
    return pd.concat(parts, ignore_index=True)


def test_each_line_is_what_plain_loops_find() -> None:
    frame = minutes()
    found = spread(frame, {"net_bps": False, "rss_mb": True, "absent": True})
    assert list(found["metric"].unique()) == ["net_bps", "rss_mb"]
    for metric, worst in (("net_bps", frame["net_bps"].idxmin()), ("rss_mb", frame["rss_mb"].idxmax())):
        lines = found[found["metric"] == metric].set_index("ts")
        who = frame.loc[worst, ["symbol", "arm"]].tolist()
        assert set(lines["who"]) == {" arm ".join(who)}
        assert set(lines["n"]) == {4}
        own = frame[(frame["symbol"] == who[0]) & (frame["arm"] == who[1])].set_index("ts")[metric]
        np.testing.assert_array_equal(lines["furthest"], own)
        for at in HOUR:
            known = [v for v in frame.loc[frame["ts"] == at, metric] if not math.isnan(v)]
            want = [min(known), statistics.median(known), max(known)] if known else [math.nan] * 3
            np.testing.assert_allclose(lines.loc[at, ["lowest", "middle", "highest"]].tolist(), want)


def test_nothing_known_is_no_line() -> None:
    for frame in (minutes().iloc[:0], minutes().assign(net_bps=np.nan), pd.DataFrame()):
        assert list(spread(frame, {"net_bps": False}).columns) == COLUMNS
        assert spread(frame, {"net_bps": False}).empty
