"""The one place where the paper exchange meets the exchange kernels: an account's orders on the market of a symbol.

Own orders never change the book, so every account sees the same market and none sees another's orders.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from mmlib._io import UserError
from mmlib.core.queue import QUEUE_MODELS
from mmlib.dtypes import EVENT, FLAG_BUY, FLAG_EXCH, FLAG_SELL, KIND_DEPTH, Liquidity, OrderKind, TimeInForce
from mmlib.exchange.marketpass import exchange_until
from mmlib.exchange.matching import on_cancel, on_new
from mmlib.exchange.venue import (
    ACCEPTED,
    CANCELED,
    EXPIRED,
    FILLED,
    MAX_TICKS,
    NEED_TICKS,
    REPORTS_FULL,
    grow_venue,
    new_accounts,
    new_venue,
)

__all__ = ["ACCEPTED", "CANCELED", "EXPIRED", "FILLED", "FillModel", "Matching", "Report", "warm_up"]

TIFS = {"GTC": TimeInForce.GTC, "GTX": TimeInForce.GTX, "IOC": TimeInForce.IOC, "FOK": TimeInForce.FOK}
_SLOTS = 256
_REPORTS = 4096
_ROOM = 2
_LATER_ROWS = 65_536  # rows that wait at most for an account without orders
_NEVER_NS = 2**62


@dataclass(frozen=True)
class FillModel:
    """How an account's orders reach the market and queue there.

    Attributes:
        queue_model, queue_exponent: where a cancellation in the queue is assumed.
        partial_fills: share trades out and take level by level; otherwise a fill is always whole.
        entry_ns, response_ns: latency of requests and answers.
    """

    queue_model: str = "log"
    queue_exponent: float = 3.0
    partial_fills: bool = True
    entry_ns: int = 0
    response_ns: int = 0

    def __post_init__(self) -> None:
        if self.queue_model not in QUEUE_MODELS:
            raise UserError(
                f"queue_model {self.queue_model!r}: unknown; expected one of {', '.join(QUEUE_MODELS)}"
            )


class Report(NamedTuple):
    """What happened to the order in a slot: ACCEPTED, EXPIRED, CANCELED or FILLED, at the exchange's time."""

    what: int
    slot: int
    exch_ns: int
    ticks: int
    qty: float
    maker: bool


class Matching:
    """Orders of one account on one symbol.

    Args:
        lot_size: base units.
    """

    def __init__(self, lot_size: float, model: FillModel, slots: int = _SLOTS) -> None:
        accounts, tables = new_accounts(
            1,
            queue_model=QUEUE_MODELS[model.queue_model],
            queue_exponent=model.queue_exponent,
            entry_ns=model.entry_ns,
            response_ns=model.response_ns,
            partial_fills=model.partial_fills,
        )
        self._venue = new_venue(1024, slots, accounts, tables, lot_size=lot_size, report_rows=_REPORTS)
        self._ahead_at_entry = np.zeros(slots)
        self._lot_size = lot_size
        self._slots = slots
        self._free = list(range(slots))[::-1]
        self._waiting: list[np.ndarray] = []
        self._n_waiting = 0

    @property
    def full(self) -> bool:
        """Whether no further order has room."""
        return not self._free

    def wait(self, rows: np.ndarray) -> None:
        """Take ``EVENT[n]``, to be applied with those before them by the next `flush`."""
        self._waiting.append(rows)
        self._n_waiting += len(rows)

    def flush(self, *, always: bool = False) -> list[Report]:
        """Apply what waits; what that did to the orders. While there are none, rows go on waiting unless told otherwise."""
        if not self._waiting:
            return []
        if not always and len(self._free) == self._slots and self._n_waiting < _LATER_ROWS:
            return []
        waiting, self._waiting, self._n_waiting = self._waiting, [], 0
        return self._apply(waiting[0] if len(waiting) == 1 else read_only(np.concatenate(waiting)))

    def _apply(self, rows: np.ndarray) -> list[Report]:
        at, reports = 0, []
        while True:
            at, why = exchange_until(self._venue, rows, at, _NEVER_NS)
            reports += self._drain()
            if why == NEED_TICKS:
                self._grow(int(rows["price_ticks"][at]))
            elif why != REPORTS_FULL:
                return reports

    def enter(
        self, order_id: int, side: int, kind: OrderKind, tif: str, ticks: int, lots: int, at_ns: int
    ) -> tuple[int, list[Report]]:
        """A new order arrives, after a `flush` of everything: its slot, and what became of it at once."""
        assert not self._waiting
        slot = self._free.pop()
        if ticks >= len(self._venue.bid_head):
            self._grow(ticks)
        own = self._venue.own[slot]
        own["account"], own["sent_ns"] = 0, at_ns
        own["qty"] = own["leaves"] = lots * self._lot_size
        own["price_ticks"], own["side"] = ticks, side
        own["tif"], own["kind"], own["resting"] = TIFS[tif], kind, 0
        own["front"] = own["cum"] = 0.0
        on_new(self._venue, slot, at_ns)
        self._ahead_at_entry[slot] = own["front"]
        return slot, self._drain()

    def cancel(self, slot: int, at_ns: int) -> list[Report]:
        """A cancel arrives."""
        self._venue.own[slot]["sent_ns"] = at_ns
        on_cancel(self._venue, slot, at_ns)
        return self._drain()

    def shrink(self, slot: int, lots: int) -> None:
        """Leave so much of a resting order open; it keeps its place in the queue."""
        self._venue.own[slot]["leaves"] = lots * self._lot_size

    def free(self, slot: int) -> None:
        """An order is done with."""
        self._free.append(slot)

    def queue_ahead(self, slot: int, *, at_entry: bool = False) -> float:
        """Estimated quantity ahead of a resting order [base units]."""
        return float(self._ahead_at_entry[slot] if at_entry else self._venue.own[slot]["front"])

    def lots(self, qty: float) -> int:
        """A quantity of a report in steps."""
        return round(qty / self._lot_size)

    def _grow(self, ticks: int) -> None:
        wanted = max(_ROOM * (ticks + 1), 2 * len(self._venue.bid_head))
        self._venue = grow_venue(self._venue, min(wanted, MAX_TICKS))

    def _drain(self) -> list[Report]:
        control = self._venue.control[0]
        count = int(control["n_reports"])
        if not count:
            return []
        control["n_reports"] = 0
        return list(_read(self._venue.reports[:count]))


def _read(rows: np.ndarray) -> Iterator[Report]:
    for row in rows:
        yield Report(
            int(row["what"]),
            int(row["slot"]),
            int(row["exch_ns"]),
            int(row["price_ticks"]),
            float(row["qty"]),
            int(row["liquidity"]) == Liquidity.MAKER,
        )


def read_only(rows: np.ndarray) -> np.ndarray:
    """A view that the kernels type alike, whether the rows are mapped or not."""
    view = rows.view()
    view.flags.writeable = False
    return view


@cache
def warm_up() -> None:
    """Compile or load every kernel that serving needs, so that no request waits for one."""
    rows = np.zeros(2, EVENT)
    rows["flags"] = KIND_DEPTH | FLAG_EXCH, KIND_DEPTH | FLAG_EXCH
    rows["flags"] |= np.array([FLAG_BUY, FLAG_SELL], np.uint8)
    rows["price_ticks"], rows["qty"], rows["exch_ts_ns"] = (5000, 5002), 1.0, (1, 2)
    matching = Matching(1.0, FillModel(), 4)
    matching.wait(read_only(rows))
    matching.flush(always=True)
    slot, _ = matching.enter(1, 1, OrderKind.LIMIT, "GTC", 5000, 1, 11)
    matching.cancel(slot, 12)
