"""The bench strategy on our engine: presets, and a run of one of them over decoded rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmlib.engine.grids import CHUNK_ROWS, STEP_NS, GridsRun, capacity_for, first_event_ns, settings_of
from mmlib.strategy.gridstate import SIGHTING

PRESETS: Mapping[str, Mapping[str, float]] = {
    "grid": {"levels": 20, "interval_ticks": 10, "half_spread_ticks": 20, "skew": 1.0},
    "touch": {"levels": 3, "interval_ticks": 1, "half_spread_ticks": 0, "skew": 0.0},
}


def run_grid(
    rows: np.ndarray,
    preset: str | Mapping[str, float],
    *,
    tick_size: float,
    lot_size: float,
    order_qty: float,
    max_position: float,
    queue_model: str,
    queue_exponent: float,
    entry_ns: int = 10_000_000,
    response_ns: int = 10_000_000,
    order_latency: np.ndarray | None = None,
    step_ns: int = STEP_NS,
    chunk_rows: int = CHUNK_ROWS,
) -> tuple[np.ndarray, int]:
    """Run a preset over EVENT rows (a memory map will do) and return what it saw filled.

    Args:
        rows: EVENT[n] in processing order.
        preset: a name of ``PRESETS``, or such values; the rest as for ``replay_orders``.
        order_qty: base units; max_position: base units.
        step_ns: local time between two steps.
        chunk_rows: rows handed to the kernel at a time.

    Returns:
        SIGHTING[k] in order of arrival, and the number of requests sent.
    """
    values = PRESETS[preset] if isinstance(preset, str) else preset
    run = GridsRun(
        settings_of([{**values, "order_qty": order_qty, "max_position": max_position}]),
        tick_size=tick_size,
        lot_size=lot_size,
        start_ns=first_event_ns(rows),
        capacity_ticks=capacity_for(rows[:chunk_rows]),
        queue_model=queue_model,
        queue_exponent=queue_exponent,
        entry_ns=entry_ns,
        response_ns=response_ns,
        order_latency=order_latency,
        step_ns=step_ns,
    )
    out = [np.zeros(0, SIGHTING)]
    run.over(rows, lambda seen: out.append(seen.copy()), chunk_rows)
    return np.concatenate(out), int(run.grids[0]["n_requests"])
