"""The state of a running session in one small file, rewritten every second, for whoever looks from another process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # both bring numba, and `watch` asks for no more than the name of the file
    from mmlib.core.histogram import Histogram
    from mmlib.engine.realtime.loop import LiveLoop

SUFFIX = ".session.json"
_RECENT = 5


class StatusFile:
    """Observer that keeps ``<feeds>.session.json``; it goes with the session.

    Args:
        path: the file.
        gates: what is watched: rows of gate, series, value, limit and margin; asked for every second.
    """

    def __init__(self, path: Path, gates: Any = None) -> None:
        from mmlib.core.histogram import Histogram

        self.path = path
        self._new = Histogram
        self._gates = gates
        self._ticks: dict[str, Histogram] = {}
        self._last: dict[str, dict[str, Any]] = {}

    def on_tick(self, symbol: str, rows: np.ndarray, errors: dict[str, int]) -> None:
        """See `loop.Observer`."""
        histogram = self._ticks.setdefault(symbol, self._new())
        histogram.add(rows["tick_total_ms"][:1])
        row = rows[0]
        self._last[symbol] = {
            "mid": None if np.isnan(row["mid"]) else float(row["mid"]),
            "inventory": [float(value) for value in rows["inventory"]],
            "guard_level": int(row["guard_level"]),
            "breaker_open": bool(row["breaker_open"]),
        }

    def on_fill(self, symbol: str, fills: np.ndarray) -> None:
        """See `loop.Observer`."""

    def on_second(self, session: LiveLoop, now_ns: int) -> None:
        """See `loop.Observer`."""
        symbols = {}
        for symbol, ledger in session.ledger.symbols.items():
            stream = session.feed.streams[symbol] if session.feed else None
            symbols[symbol] = {
                **self._last.get(symbol, {}),
                "ticks": ledger.ticks,
                "hit_ratio": ledger.hits / ledger.ticks if ledger.ticks else None,
                "deadline_misses": ledger.deadline_misses,
                "tick_p95_ms": _p95(self._ticks.get(symbol)),
                "fills": ledger.fills.total(),
                "errors": ledger.errors.total(),
                "synced": bool(stream and stream.synced),
            }
        payload = {
            "pid": os.getpid(),
            "at_ns": now_ns,
            "exchange": session.plan.venue.name,
            "address": session.plan.venue.rest,
            "arms": list(session.plan.arms),
            "connected": bool(session.feed and session.feed.connected.is_set()),
            "frames": int(session.feed.counts["frames"]) if session.feed else 0,
            "rss_mb": session.rss_mb,
            "share": _share(session),
            "symbols": symbols,
            "gates": self._gates() if self._gates else [],
            "recent_errors": list(session.ledger.recent)[-_RECENT:],
        }
        beside = self.path.with_suffix(".tmp")  # no sync: it is worth nothing after a crash
        beside.write_text(json.dumps(payload))
        beside.replace(self.path)

    def close(self) -> None:
        """The session is over."""
        self.path.unlink(missing_ok=True)


def _p95(histogram: Histogram | None) -> float | None:
    return None if histogram is None or not histogram.n else histogram.quantile(0.95)


def _share(session: LiveLoop) -> float:
    """How much of the session is done, by its slowest symbol."""
    spans = [session.last_ns[s] - session.first_ns[s] for s in session.bots if s in session.last_ns]
    return min(spans) / session.plan.duration_ns if len(spans) == len(session.bots) else 0.0
