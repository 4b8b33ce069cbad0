"""Feeds cut once by symbol and arm, for whatever is worked out for each of them."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from mmlib.metrics.grid import groups
from mmlib.metrics.ledger import Deals, Ledger, Marks, ledger_of


class Part(NamedTuple):
    """Ticks and fills of one symbol and arm, rising in ``ts``; either may be without rows."""

    symbol: str
    arm: str
    ticks: pd.DataFrame
    fills: pd.DataFrame

    def between(self, start: pd.Timestamp, end: pd.Timestamp) -> Part:
        """What lies in ``[start, end)``; no row is copied."""
        ticks, fills = (
            frame.iloc[slice(*frame["ts"].searchsorted([start, end]))] for frame in (self.ticks, self.fills)
        )
        return Part(self.symbol, self.arm, ticks, fills)

    def ledger(self) -> Ledger:
        """Its marks, position and money."""
        return ledger_of(self.symbol, self.arm, Marks.of(self.ticks), Deals.of(self.fills))


def parts(ticks: pd.DataFrame, fills: pd.DataFrame) -> list[Part]:
    """Each symbol and arm of two feed frames, sorted; rows of the same time stay in their order."""
    return [Part(symbol, arm, _in_time(t), _in_time(f)) for symbol, arm, (t, f) in groups(ticks, fills)]


def _in_time(frame: pd.DataFrame) -> pd.DataFrame:
    return frame if frame["ts"].is_monotonic_increasing else frame.sort_values("ts", kind="stable")
