"""The bench strategy on our engine: presets, and a run over decoded rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmlib.core.queue import QUEUE_MODELS
from mmlib.dtypes import FLAG_EXCH, FLAG_LOCAL
from mmlib.exchange.latency import order_latency as latency_model
from mmlib.exchange.requests import DONE
from mmlib.exchange.venue import MAX_TICKS, NEED_ROWS, NEED_TICKS, REPORTS_FULL, grow_venue, new_venue
from mmlib.strategy.grid import GRID, SIGHTING, SLOTS, grow_quoter, new_quoter, quote_grid

PRESETS: Mapping[str, Mapping[str, float]] = {
    "grid": {"levels": 20, "interval_ticks": 10, "half_spread_ticks": 20, "skew": 1.0},
    "touch": {"levels": 3, "interval_ticks": 1, "half_spread_ticks": 0, "skew": 0.0},
}
STEP_NS = 100_000_000
_CHUNK_ROWS = 65_536
_SIGHTINGS = 65_536


def first_event_ns(rows: np.ndarray) -> int:
    """Time of the first event, on whichever clock comes first; 0 for none. Reads no further than it must."""
    found = []
    for flag, clock in ((FLAG_EXCH, "exch_ts_ns"), (FLAG_LOCAL, "local_ts_ns")):
        for start in range(0, len(rows), _CHUNK_ROWS):
            part = rows[start : start + _CHUNK_ROWS]
            has = (part["flags"] & flag) != 0
            if has.any():
                found.append(int(part[clock][has.argmax()]))
                break
    return min(found, default=0)


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
    chunk_rows: int = _CHUNK_ROWS,
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
    venue = new_venue(
        _capacity(rows[:chunk_rows]),
        SLOTS,
        latency_model(entry_ns, response_ns, order_latency),
        lot_size=lot_size,
        queue_model=QUEUE_MODELS[queue_model],
        queue_exponent=queue_exponent,
    )
    grid = np.zeros(1, GRID)
    for name, value in (PRESETS[preset] if isinstance(preset, str) else preset).items():
        grid[name] = value
    grid["tick_size"], grid["order_qty"], grid["max_position"] = tick_size, order_qty, max_position
    grid["step_ns"] = step_ns
    quoter = new_quoter(venue, grid, first_event_ns(rows))
    seen, out = np.zeros(_SIGHTINGS, SIGHTING), []
    start, i, j, why = 0, 0, 0, NEED_ROWS
    while why != DONE:
        chunk = rows[start : start + chunk_rows].view()
        chunk.flags.writeable = False
        final = start + chunk_rows >= len(rows)
        i, j, why = quote_grid(quoter, chunk, i, j, final, seen)
        count = int(quoter.grid[0]["n_sightings"])
        out.append(seen[:count].copy())
        quoter.grid["n_sightings"] = 0
        if why == REPORTS_FULL and count == 0:
            reports = np.concatenate([quoter.venue.reports, np.zeros_like(quoter.venue.reports)])
            quoter = quoter._replace(venue=quoter.venue._replace(reports=reports))
        elif why == NEED_TICKS:
            wider = _capacity(chunk, 2 * len(quoter.slot_at))
            quoter = grow_quoter(quoter, grow_venue(quoter.venue, wider))
        elif why == NEED_ROWS:
            used = min(i, j)
            start, i, j = start + used, i - used, j - used
            chunk_rows = 2 * chunk_rows if used == 0 else chunk_rows
    return np.concatenate(out), int(quoter.grid[0]["n_requests"])


def _capacity(rows: np.ndarray, at_least: int = 1024) -> int:
    ticks = rows["price_ticks"]
    largest = int(ticks[ticks < MAX_TICKS].max(initial=0))
    return min(max(largest + largest // 8 + 1024, at_least), MAX_TICKS)
