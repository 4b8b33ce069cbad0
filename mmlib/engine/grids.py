"""Runs grids of quotes over decoded rows: many settings on one book in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from mmlib.core.queue import QUEUE_MODELS
from mmlib.dtypes import FLAG_EXCH, FLAG_LOCAL
from mmlib.exchange.requests import DONE
from mmlib.exchange.venue import MAX_TICKS, NEED_ROWS, NEED_TICKS, REPORTS_FULL, new_accounts, new_venue
from mmlib.strategy.grid import NEED_ROOM, quote_grids
from mmlib.strategy.gridstate import SETTING, SIGHTING, grow_desk, make_room, more_reports, new_desk

STEP_NS = 100_000_000
CHUNK_ROWS = 65_536
_SIGHTINGS = 65_536
_SLOTS = 64  # an account, at first

OnFills = Callable[[np.ndarray], None]
"""Takes SIGHTING[k], a view that is overwritten afterwards."""


def first_event_ns(rows: np.ndarray) -> int:
    """Time of the first event, on whichever clock comes first; 0 for none. Reads no further than it must."""
    found = []
    for flag, clock in ((FLAG_EXCH, "exch_ts_ns"), (FLAG_LOCAL, "local_ts_ns")):
        for start in range(0, len(rows), CHUNK_ROWS):
            part = rows[start : start + CHUNK_ROWS]
            has = (part["flags"] & flag) != 0
            if has.any():
                found.append(int(part[clock][has.argmax()]))
                break
    return min(found, default=0)


def settings_of(values: Iterable[Mapping[str, float]]) -> np.ndarray:
    """SETTING rows of mappings; what one does not name is 0."""
    rows = list(values)
    out = np.zeros(len(rows), SETTING)
    for row, one in zip(out, rows, strict=True):
        for name, value in one.items():
            row[name] = value
    return out


class GridsRun:
    """K grids over chunks of rows. Between two calls of ``advance`` it can be pickled, and goes on from there."""

    def __init__(
        self,
        settings: np.ndarray,
        *,
        tick_size: float,
        lot_size: float,
        start_ns: int,
        capacity_ticks: int,
        queue_model: str | Sequence[str],
        queue_exponent: float | Sequence[float],
        entry_ns: int | Sequence[int] = 10_000_000,
        response_ns: int | Sequence[int] = 10_000_000,
        order_latency: np.ndarray | Sequence[np.ndarray | None] | None = None,
        partial_fills: bool | Sequence[bool] = False,
        step_ns: int = STEP_NS,
    ) -> None:
        models = [queue_model] if isinstance(queue_model, str) else list(queue_model)
        accounts, tables = new_accounts(
            len(settings),
            queue_model=[QUEUE_MODELS[name] for name in models],
            queue_exponent=queue_exponent,
            entry_ns=entry_ns,
            response_ns=response_ns,
            order_latency=order_latency,
            partial_fills=partial_fills,
        )
        venue = new_venue(capacity_ticks, _SLOTS * len(settings), accounts, tables, lot_size=lot_size)
        self._desk = new_desk(venue, settings, tick_size, step_ns, start_ns)
        self._seen = np.zeros(_SIGHTINGS, SIGHTING)

    @property
    def grids(self) -> np.ndarray:
        """GRID[K], position, money and counts so far."""
        return self._desk.grids

    @property
    def best_ticks(self) -> tuple[int, int]:
        """Best bid and ask as they are seen here now."""
        bid, ask = self._desk.prices.top[:2].tolist()
        return bid, ask

    def advance(
        self, chunk: np.ndarray, at: tuple[int, int], final: bool, on_fills: OnFills
    ) -> tuple[int, int, bool]:
        """Process rows from ``at`` (exchange, local view) on; where it stopped for want of rows, and whether all is done."""
        rows = chunk.view()
        rows.flags.writeable = False
        i, j = at
        while True:
            i, j, why = quote_grids(self._desk, rows, i, j, final, self._seen)
            count = int(self._desk.run[0]["n_sightings"])
            if count:
                on_fills(self._seen[:count])
                self._desk.run["n_sightings"] = 0
            if why in (NEED_ROWS, DONE):
                return i, j, why == DONE
            if why == REPORTS_FULL:
                self._desk = more_reports(self._desk)
            elif why == NEED_TICKS:
                capacity = max(2 * len(self._desk.venue.bid_head), capacity_for(rows))
                self._desk = grow_desk(self._desk, min(capacity, MAX_TICKS))
            elif why == NEED_ROOM:
                self._desk = make_room(self._desk)
            elif count == 0:  # SETTLE: reports of one step are more than the output holds
                self._seen = np.zeros(2 * len(self._seen), SIGHTING)

    def over(self, rows: np.ndarray, on_fills: OnFills, chunk_rows: int = CHUNK_ROWS) -> None:
        """Process EVENT rows (a memory map will do) to the end."""
        start, at, done = 0, (0, 0), False
        while not done:
            chunk = rows[start : start + chunk_rows]
            i, j, done = self.advance(chunk, at, start + chunk_rows >= len(rows), on_fills)
            used = min(i, j)
            start, at = start + used, (i - used, j - used)
            chunk_rows = 2 * chunk_rows if used == 0 else chunk_rows


def capacity_for(rows: np.ndarray) -> int:
    """Price ticks that a book of these rows needs, and some."""
    ticks = rows["price_ticks"]
    largest = int(ticks[ticks < MAX_TICKS].max(initial=0))
    return min(largest + largest // 8 + 1024, MAX_TICKS)
