"""The stop criteria that read all symbols together: the result of the account, minute by minute, against the loss budget.

Symbols run in processes of their own, so this is looked at when all have ended: what lies behind the first minute that
fires does not count, as with any other criterion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mmlib.dtypes import Liquidity
from mmlib.engine.watch import MINUTE_NS, Firing
from mmlib.gates.metrics import ACCOUNT_METRICS, ALL_SYMBOLS
from mmlib.gates.spec import Gate
from mmlib.gates.sustained import Monitor
from mmlib.metrics.grid import Grid
from mmlib.metrics.ledger import Deals, Marks, ledger_of
from mmlib.metrics.money import money_sums

Records = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Symbol -> ``TICK[n]`` and ``FILL[m]``."""


def account_firings(gates: Sequence[Gate], records: Records, arms: Sequence[str]) -> list[Firing]:
    """The criteria on ``pnl`` that fired, each at its first minute."""
    watched = [gate for gate in gates if gate.metric in ACCOUNT_METRICS]
    times = [part["ts_ns"] for pair in records.values() for part in pair if len(part)]
    if not watched or not times:
        return []
    grid = Grid.over(min(int(t.min()) for t in times), max(int(t.max()) for t in times), MINUTE_NS)
    fired = []
    for index, arm in enumerate(arms):
        values = _results(grid, records, index)
        own = [gate for gate in watched if gate.arm in ("", arm)]
        fired += [one for gate in own if (one := _first(gate, arm, grid.starts, values)) is not None]
    return fired


def _results(grid: Grid, records: Records, arm: int) -> np.ndarray:
    """Result of one arm since its first event at the end of each minute, ``float64[size]``; NaN where no symbol ticked."""
    total, ticked = np.zeros(grid.size), np.zeros(grid.size, np.int64)
    for symbol, pair in records.items():
        ticks, fills = (_in_time(part[part["arm"] == arm]) for part in pair)
        marks = Marks(ticks["ts_ns"], ticks["mid"], ticks["inventory"])
        sides = fills["side"] > 0, fills["liquidity"] == Liquidity.TAKER
        deals = Deals(fills["ts_ns"], *sides, *(fills[name] for name in Deals._fields[3:]))
        ledger = ledger_of(symbol, "", marks, deals)
        bins = grid.bins(ledger.ts_ns).index, grid.bins(ledger.fill_ts_ns).index
        total += np.cumsum(money_sums(ledger, *bins, size=grid.size)["pnl"])
        ticked += grid.bins(ticks["ts_ns"]).count()
    return np.where(ticked > 0, total, np.nan)


def _first(gate: Gate, arm: str, starts: np.ndarray, values: np.ndarray) -> Firing | None:
    monitor = Monitor(gate)
    for minute_ns, value in zip(starts.tolist(), values.tolist(), strict=True):
        if monitor.update(minute_ns, value):
            since = monitor.active_since_ns
            began = minute_ns if since is None else since
            return Firing(gate.id, gate.rule, gate.unit, ALL_SYMBOLS, arm, minute_ns, began, value)
    return None


def _in_time(rows: np.ndarray) -> np.ndarray:
    return rows[np.argsort(rows["ts_ns"], kind="stable")]
