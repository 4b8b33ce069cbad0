"""One block of a sweep: some settings of the grid strategy in one pass over rows in a file, and the money of each by bucket."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from mmlib.dtypes import EVENT, FLAG_LOCAL
from mmlib.engine.grids import STEP_NS, GridsRun, capacity_for, first_event_ns
from mmlib.exchange.ladder import empty_ladder
from mmlib.exchange.midpath import mids_at_steps
from mmlib.exchange.venue import MAX_TICKS

HORIZONS_S = (1, 5, 30, 60)
"""Of the markouts."""
_HEADER_BYTES = 512


@dataclass(frozen=True)
class Market:
    """Rows to sweep over, and how orders fare there.

    Attributes:
        rows: a file of EVENT[n] in processing order, as ``numpy.save`` writes it.
        tick_size: quote currency. lot_size: base units.
        queue_model, queue_exponent, entry_ns, response_ns, partial_fills: see ``exchange.venue.new_accounts``.
        bucket_ns: what the money is added up over.
    """

    rows: str
    tick_size: float
    lot_size: float
    bucket_ns: int
    queue_model: str = "log"
    queue_exponent: float = 1.0
    entry_ns: int = 10_000_000
    response_ns: int = 10_000_000
    partial_fills: bool = False


@dataclass(frozen=True)
class MidPath:
    """The mid price as it is seen here: ``mids[k]`` (quote currency) at ``start_ns + (k + 1) STEP_NS``."""

    start_ns: int
    mids: np.ndarray

    @property
    def end_ns(self) -> int:
        """Time of the last one."""
        return self.start_ns + len(self.mids) * STEP_NS

    def at(self, ts_ns: np.ndarray) -> np.ndarray:
        """The latest mid at or before each time, NaN after the end."""
        place = (ts_ns - self.start_ns) // STEP_NS - 1
        found = self.mids[np.clip(place, 0, len(self.mids) - 1)]
        return np.where(ts_ns <= self.end_ns, found, np.nan)


def open_rows(path: str) -> np.ndarray:
    """The rows, mapped."""
    rows: np.ndarray = np.load(path, mmap_mode="r")
    return rows


def mid_path(path: str, tick_size: float) -> MidPath:
    """The mid price over the rows of a file; one that is missing is the one before (or, at the start, the first)."""
    return _mid_path(path, tick_size, Path(path).stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _mid_path(path: str, tick_size: float, written_ns: int) -> MidPath:
    rows = open_rows(path)
    start_ns = first_event_ns(rows)
    tail = rows[-65_536:]
    last_ns = int(tail["local_ts_ns"][tail["flags"] & FLAG_LOCAL != 0].max(initial=start_ns + STEP_NS))
    mids = np.empty(max((last_ns - start_ns) // STEP_NS, 1))
    seen = rows.view()
    seen.flags.writeable = False
    largest = max((capacity_for(rows[k : k + 1_000_000]) for k in range(0, len(rows), 1_000_000)), default=0)
    prices = empty_ladder(min(largest, MAX_TICKS), np.uint8)
    _, n, _ = mids_at_steps(prices, seen, 0, start_ns + STEP_NS, STEP_NS, mids)
    mids[n:] = np.nan
    known = np.flatnonzero(np.isfinite(mids))
    if len(known):
        place = np.maximum(np.searchsorted(known, np.arange(len(mids)), side="right") - 1, 0)
        mids = mids[known[place]]
    return MidPath(start_ns, mids * tick_size)


class _Ledger:
    """Adds up fills by account and bucket."""

    def __init__(self, count: int, market: Market, path: MidPath) -> None:
        self._count, self._market, self._path = count, market, path
        self._buckets = max(-(-(path.end_ns - path.start_ns) // market.bucket_ns), 1)
        self._cash, self._moved, self._traded = np.zeros((3, count * self._buckets))
        self._maker = np.zeros(count, np.int64)
        self._markout, self._marked = np.zeros((2, len(HORIZONS_S), count))

    def __call__(self, seen: np.ndarray) -> None:
        account, exch_ns = seen["account"], seen["exch_ns"]
        signed = seen["qty"] * seen["side"]
        price = seen["price_ticks"] * self._market.tick_size
        value = seen["qty"] * price
        bucket = np.clip((exch_ns - self._path.start_ns) // self._market.bucket_ns, 0, self._buckets - 1)
        place = account * self._buckets + bucket
        for total, what in ((self._cash, -signed * price), (self._moved, signed), (self._traded, value)):
            total += np.bincount(place, what, len(total))
        self._maker += np.bincount(account, seen["maker"], self._count).astype(np.int64)
        for k, horizon_s in enumerate(HORIZONS_S):
            later = self._path.at(exch_ns + horizon_s * 1_000_000_000)
            known = np.isfinite(later)
            gain = signed[known] * (later[known] - price[known])
            self._markout[k] += np.bincount(account[known], gain, self._count)
            self._marked[k] += np.bincount(account[known], value[known], self._count)

    def result(self, grids: np.ndarray) -> dict[str, np.ndarray]:
        """Arrays [K] and [K, buckets]; see ``run_block``."""
        cash, moved, traded = (
            total.reshape(self._count, -1) for total in (self._cash, self._moved, self._traded)
        )
        ends = self._path.start_ns + np.arange(1, self._buckets + 1) * self._market.bucket_ns
        mids = self._path.at(np.minimum(ends, self._path.end_ns))
        position = moved.cumsum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            # a setting's fees are all at one rate unless it takes, which post-only quotes never do
            fees = traded * np.nan_to_num(grids["fees"] / grids["traded"])[:, None]
            markouts = 1e4 * self._markout / self._marked
        equity = cash.cumsum(axis=1) + position * mids - fees.cumsum(axis=1)
        return {
            "pnl": np.diff(equity, axis=1, prepend=0.0),
            "traded": traded,
            "position": position,
            "fills": grids["n_fills"].copy(),
            "requests": grids["n_requests"].copy(),
            "maker_fills": self._maker,
            "fees": grids["fees"].copy(),
            **{f"markout_{h}s_bps": markouts[k] for k, h in enumerate(HORIZONS_S)},
        }


def run_block(task: tuple[Market, np.ndarray]) -> dict[str, np.ndarray]:
    """Run SETTING[K] in one pass.

    Returns:
        pnl, traded (quote currency, by bucket of exchange time) and position (base units, at its end), float64[K, buckets];
        money is marked at the mid as it is seen here. fills, requests, maker_fills, fees (quote currency, costs positive) and
        markout_1s_bps ... markout_60s_bps (ratios of sums: gain over notional of the fills whose horizon is known), [K].
    """
    market, settings = task
    rows = open_rows(market.rows)
    path = mid_path(market.rows, market.tick_size)
    run = GridsRun(
        settings,
        tick_size=market.tick_size,
        lot_size=market.lot_size,
        start_ns=path.start_ns,
        capacity_ticks=capacity_for(rows[:65_536]),
        queue_model=market.queue_model,
        queue_exponent=market.queue_exponent,
        entry_ns=market.entry_ns,
        response_ns=market.response_ns,
        partial_fills=market.partial_fills,
    )
    ledger = _Ledger(len(settings), market, path)
    run.over(rows, ledger)
    return ledger.result(run.grids)


def write_rows(chunks: Iterable[np.ndarray], target: Path) -> int:
    """Write EVENT chunks into one file that ``open_rows`` maps, row by row; returns how many there are."""
    count = 0
    unfinished = target.with_suffix(".part")
    with unfinished.open("wb") as stream:
        stream.write(bytes(_HEADER_BYTES))
        for chunk in chunks:
            stream.write(np.ascontiguousarray(chunk).data)
            count += len(chunk)
        header = io.BytesIO()
        described = {"descr": EVENT.descr, "fortran_order": False, "shape": (count,)}
        np.lib.format.write_array_header_1_0(header, described)
        text = header.getvalue()
        body = text[10:].rstrip(b" \n") + b" " * (_HEADER_BYTES - 11 - len(text[10:].rstrip(b" \n"))) + b"\n"
        stream.seek(0)
        stream.write(text[:8] + (_HEADER_BYTES - 10).to_bytes(2, "little") + body)
    unfinished.replace(target)
    return count
