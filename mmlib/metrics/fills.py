"""The fills of a dataset: what its intervals need of them, by symbol and arm, and what its ticks are asked for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from mmlib._io import UserError
from mmlib.feeds.reader import Feed, read_feeds
from mmlib.metrics.farm import Farm, Progress
from mmlib.metrics.grid import SECOND_NS
from mmlib.metrics.ledger import Deals
from mmlib.metrics.slices import Pair
from mmlib.metrics.ticks import convert_files

HORIZONS_S = (1, 5, 30, 60)
"""Of the markouts."""


class Fills(NamedTuple):
    """Fills of one symbol and arm in time order, and ``float64[f]``, NaN where unknown."""

    deals: Deals
    queue_ahead_qty: np.ndarray
    latency_ms: np.ndarray

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Fills:
        """The rows of a feed frame."""
        return cls(Deals.of(frame), *(frame[name].to_numpy(np.float64) for name in cls._fields[1:]))

    def take(self, rows: np.ndarray) -> Fills:
        """Those of ``int64[k]`` rows."""
        return Fills(self.deals.take(rows), self.queue_ahead_qty[rows], self.latency_ms[rows])

    @property
    def asked_ns(self) -> np.ndarray:
        """Times at which the mid must be known for them, ``int64[n]`` rising, ns."""
        ts_ns = self.deals.ts_ns
        return np.unique(np.concatenate([ts_ns - 1, *(ts_ns + h * SECOND_NS for h in HORIZONS_S)]))


@dataclass(frozen=True)
class Traded:
    """What is held of the fills of a range.

    Attributes:
        feed: as it was read; of its frame only the times.
        by_pair: fills of each symbol and arm. asked_ns: see ``Fills.asked_ns``.
    """

    feed: Feed
    by_pair: Mapping[Pair, Fills]
    asked_ns: Mapping[Pair, np.ndarray]


def read_fills(
    directory: Path,
    start: datetime | None,
    end: datetime | None,
    home: Path,
    quarantine_dir: Path | None,
    farm: Farm,
    progress: Progress | None,
) -> Traded:
    """The fills of ``[start, end)``, whose files the farm converts where the cache in ``home`` does not hold them.

    Raises:
        UserError: as ``feeds.reader.read_feeds``, or the cache does not give back what was written.
    """
    convert_files(directory, "fills", start, end, home, farm, progress)
    try:
        feed = read_feeds(
            directory, "fills", start=start, end=end, quarantine_dir=quarantine_dir, cache_dir=home
        )
    except (OSError, pa.ArrowException) as exc:
        raise UserError(f"{home}: {exc}; expected a cache that gives back what was written") from exc
    every = Fills.of(feed.frame)
    rows: Any = feed.frame.groupby(["symbol", "arm"], observed=True).indices
    by_pair = {(str(symbol), str(arm)): every.take(some) for (symbol, arm), some in rows.items()}
    asked_ns = {pair: some.asked_ns for pair, some in by_pair.items()}
    return Traded(replace(feed, frame=feed.frame[["ts"]]), by_pair, asked_ns)
