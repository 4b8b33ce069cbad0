"""A window of market replayed in memory: its ticks and fills as arrays, nothing written. For measuring and for searching."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmlib.config.models import Config
from mmlib.dtypes import FILL, TICK
from mmlib.engine.params import arm_params
from mmlib.engine.replay import replay_symbol
from mmlib.market.opening import open_source
from mmlib.market.source import Instrument, Source

_S = 1_000_000_000
WARM_UP_S = 600.0
"""Market read beyond a window's end [s]: the window counts from its first tick, for which the book must be whole."""


@dataclass(frozen=True)
class Window:
    """Market events of one symbol and what a replay needs beside them.

    ``events`` is EVENT[n]; ``start_ns`` and ``end_ns`` bound the ticks' schedule, the end is exclusive.
    """

    symbol: str
    events: np.ndarray
    instrument: Instrument
    refresh_ms: np.ndarray
    start_ns: int
    end_ns: int


def market_source(
    uri: str, symbol: str, config: Config, *, seed: int, start_ns: int = 0, offset_s: float = 0.0
) -> Source:
    """The source of one symbol as a session opens it; simulated time begins ``offset_s`` after ``start_ns``."""
    return open_source(
        uri,
        symbol,
        seed=seed,
        start_ns=start_ns + int(offset_s * _S),
        instruments={name: (rule.tick_size, rule.lot_size) for name, rule in config.instruments.items()},
        latency=config.latency.model_dump(),
        market=config.market.model_dump(),
    )


def cut_window(source: Source, start_ns: int, duration_s: float) -> Window:
    """Read the events of one window into memory (32 bytes a row)."""
    end_ns = start_ns + int(duration_s * _S)
    chunks = [np.array(chunk) for chunk in source.chunks(start_ns, end_ns + int(WARM_UP_S * _S))]
    events = np.concatenate(chunks) if chunks else np.empty(0, dtype="V1")
    return Window(source.symbol, events, source.instrument, source.refresh_ms, start_ns, end_ns)


def replay_window(
    window: Window, config: Config, arms: Sequence[str], *, seed: int, params: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Replay a window and return TICK[k] and FILL[m] of all arms, in order of time.

    Args:
        arms: as for ``arm_params``, which ``params`` (PARAMS[a]) replaces where given.
        seed: decides the refresh drawn and the ticks traced.
    """
    ticks: list[np.ndarray] = []
    fills: list[np.ndarray] = []

    def keep(some_ticks: np.ndarray, some_fills: np.ndarray, _now_ns: int) -> None:
        ticks.append(some_ticks.copy())
        fills.append(some_fills.copy())

    replay_symbol(
        [window.events] if len(window.events) else [],
        arm_params(config, window.instrument, arms) if params is None else params,
        window.refresh_ms,
        start_ns=window.start_ns,
        end_ns=window.end_ns,
        seed=seed,
        sink=keep,
    )
    return (
        np.concatenate(ticks) if ticks else np.empty(0, TICK),
        np.concatenate(fills) if fills else np.empty(0, FILL),
    )
