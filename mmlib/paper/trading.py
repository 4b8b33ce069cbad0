"""Orders at the matching: new, cancelled, changed, and what the market does to them. Runs at the moment of arrival."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mmlib.dtypes import Action, OrderKind
from mmlib.paper.clock import MarketClock
from mmlib.paper.errors import UNKNOWN_CANCEL, ApiError
from mmlib.paper.matching import ACCEPTED, CANCELED, EXPIRED, FILLED, Report
from mmlib.paper.orders import Order, Status, Trade
from mmlib.paper.party import Party
from mmlib.paper.tape import Tape
from mmlib.paper.venue import VenueRules

Deliver = Callable[[Party, int, Sequence[dict[str, Any]]], None]
"""Takes a party, the exchange's time [ns], and what its user streams are to be told."""
OnFill = Callable[[Party, Order, Trade, int], None]
Changed = Callable[[Party, Order, Trade | None], None]
Noted = Callable[[Party, Order, Action, int], None]


MOST_OPEN = 200
"""Open orders of an account on one symbol (MAX_NUM_ORDERS)."""


class Trading:
    """What requests and market rows do to orders.

    Args:
        deliver: hands events to user streams after the modelled latency.
        on_fill: is told of each execution and its market time.
        changed: is told of each change of an order, for the journal.
        noted: is told of each request that reached the matching, so that it can be replayed.

    Attributes:
        next_id, next_trade: number the orders and executions of the exchange from here on.
    """

    def __init__(
        self,
        venue: VenueRules,
        tapes: Mapping[str, Tape],
        clock: MarketClock,
        deliver: Deliver,
        on_fill: OnFill,
        changed: Changed,
        noted: Noted,
    ) -> None:
        self._venue = venue
        self._tapes = tapes
        self._clock = clock
        self._deliver = deliver
        self._on_fill = on_fill
        self._changed = changed
        self._noted = noted
        self.next_id = 1
        self.next_trade = 1

    def place(self, party: Party, order: Order, at_ns: int) -> Order:
        """A new order arrives.

        Raises:
            ApiError: it is refused; nothing is recorded of it.
        """
        self.current(party)
        tape = self._tapes[order.symbol]
        if party.store.duplicate(order.symbol, order.client_id):
            raise self._venue.duplicate()
        matching = party.matchings[order.symbol]
        if matching.full or len(party.store.open(order.symbol)) >= MOST_OPEN:
            raise self._venue.too_many()
        self._venue.admit(party, order, tape)
        if order.tif == "GTX" and self._crosses(order, tape):
            raise self._venue.crossing()
        order.order_id = self.next_id
        self.next_id += 1
        order.arrived_ns = at_ns
        order.created_ms = order.updated_ms = self._clock.wall_ms(at_ns)
        party.counts.orders += 1
        self._put(party, order, "NEW", at_ns)
        if not self._without_self_trade(party, order, at_ns):
            return order
        kind = OrderKind.MARKET if order.ticks == 0 else OrderKind.LIMIT
        slot, reports = matching.enter(
            order.order_id, order.side, kind, order.tif, order.ticks, order.left_lots, at_ns
        )
        order.slot = slot
        party.held[order.symbol][slot] = order
        self._noted(party, order, Action.NEW, at_ns)
        self.report(party, order.symbol, reports)
        return order

    def cancel(self, party: Party, order: Order | None, at_ns: int, why: Status = Status.CANCELED) -> Order:
        """A cancel arrives.

        Raises:
            ApiError: there is no such order, or it is no longer open.
        """
        self.current(party)
        if order is None or not order.status.open:
            raise UNKNOWN_CANCEL
        party.counts.cancels += 1
        if order.slot >= 0:
            party.matchings[order.symbol].cancel(order.slot, at_ns)
            self._noted(party, order, Action.CANCEL, at_ns)
        self._close(party, order, why, at_ns)
        return order

    def shrink(self, party: Party, order: Order, lots: int, at_ns: int) -> None:
        """Leave less of an order open; it keeps its place in the queue."""
        self._venue.left(party, order, order.lots - lots)
        order.lots = lots
        party.matchings[order.symbol].shrink(order.slot, order.left_lots)
        order.updated_ms = self._clock.wall_ms(at_ns)
        self._put(party, order, "AMENDMENT", at_ns)

    def move(self, party: Party, order: Order, ticks: int, lots: int, at_ns: int) -> None:
        """Give an order another price or a larger size: it goes to the end of the queue there, under the same id."""
        matching = party.matchings[order.symbol]
        matching.cancel(order.slot, at_ns)
        self._noted(party, order, Action.CANCEL, at_ns)
        self._venue.left(party, order, order.left_lots)
        self._release(party, order)
        order.moves += 1
        order.ticks, order.lots = ticks, lots
        order.updated_ms = self._clock.wall_ms(at_ns)
        self._put(party, order, "AMENDMENT", at_ns)
        slot, reports = matching.enter(
            order.order_id, order.side, OrderKind.LIMIT, order.tif, ticks, order.left_lots, at_ns
        )
        order.slot = slot
        party.held[order.symbol][slot] = order
        self._noted(party, order, Action.NEW, at_ns)
        self.report(party, order.symbol, reports)

    def advance(self, parties: Iterable[Party], symbol: str, rows: np.ndarray) -> None:
        """The market goes on: hand ``EVENT[n]`` to every account; `settle` or `current` applies them."""
        for party in parties:
            party.matchings[symbol].wait(rows)

    def settle(self, parties: Iterable[Party]) -> None:
        """Apply what the market did to every account that has orders."""
        for party in parties:
            for symbol, matching in party.matchings.items():
                reports = matching.flush()
                if reports:
                    self.report(party, symbol, reports)

    def current(self, party: Party) -> None:
        """Apply what the market did so far to one account, as a request of it must find it."""
        for symbol, matching in party.matchings.items():
            self.report(party, symbol, matching.flush(always=True))

    def restore(self, party: Party, order: Order, at_ns: int) -> None:
        """Put an open order of the journal back; it begins at the end of its queue."""
        self.current(party)
        slot, reports = party.matchings[order.symbol].enter(
            order.order_id, order.side, OrderKind.LIMIT, order.tif, order.ticks, order.left_lots, at_ns
        )
        order.slot = slot
        party.held[order.symbol][slot] = order
        self.report(party, order.symbol, [one for one in reports if one.what != ACCEPTED])

    def report(self, party: Party, symbol: str, reports: Sequence[Report]) -> None:
        """Take in what the matching says."""
        matching = party.matchings[symbol]
        for one in reports:
            order = party.held[symbol].get(one.slot)
            if order is None:
                continue
            if one.what == ACCEPTED:
                order.queue_ahead = matching.queue_ahead(one.slot, at_entry=True)
                order.extra = (order.extra or {}) | {"resting": True}
                self._venue.entered(party, order)
                self._changed(party, order, None)
            elif one.what == FILLED:
                self._fill(party, order, one)
            elif one.what in (EXPIRED, CANCELED):
                self._close(party, order, Status.EXPIRED, one.exch_ns)

    def _fill(self, party: Party, order: Order, report: Report) -> None:
        lots = min(party.matchings[order.symbol].lots(report.qty), order.left_lots)
        if lots <= 0:
            return
        rules = self._tapes[order.symbol].rules
        time_ms = self._clock.wall_ms(report.exch_ns)
        trade_id, self.next_trade = self.next_trade, self.next_trade + 1
        order.done_lots += lots
        order.done_quote += rules.notional(report.ticks, lots)
        order.updated_ms = time_ms
        order.status = Status.FILLED if order.left_lots == 0 else Status.PARTIALLY_FILLED
        resting = bool((order.extra or {}).get("resting"))
        trade = self._venue.settle(
            party, order, trade_id, report.ticks, lots, maker=report.maker, time_ms=time_ms, resting=resting
        )
        party.store.add_trade(trade)
        party.counts.fills += 1
        self._on_fill(party, order, trade, report.exch_ns)
        self._put(party, order, "TRADE", report.exch_ns, trade)
        if order.status is Status.FILLED:
            self._release(party, order)

    def _close(self, party: Party, order: Order, status: Status, at_ns: int) -> None:
        if (order.extra or {}).get("resting"):
            self._venue.left(party, order, order.left_lots)
        order.status = status
        order.updated_ms = self._clock.wall_ms(at_ns)
        self._release(party, order)
        self._put(party, order, "CANCELED" if status is Status.CANCELED else "EXPIRED", at_ns)

    def _release(self, party: Party, order: Order) -> None:
        if order.slot >= 0:
            party.held[order.symbol].pop(order.slot, None)
            party.matchings[order.symbol].free(order.slot)
            order.slot = -1
        order.extra = {name: value for name, value in (order.extra or {}).items() if name != "resting"}

    def _put(self, party: Party, order: Order, what: str, at_ns: int, trade: Trade | None = None) -> None:
        party.store.put(order)
        self._changed(party, order, trade)
        self._deliver(party, at_ns, self._venue.tell(party, order, what, trade, self._clock.wall_ms(at_ns)))

    def _crosses(self, order: Order, tape: Tape) -> bool:
        best = tape.best_ask if order.side > 0 else tape.best_bid
        return best is not None and order.side * (order.ticks - best) >= 0

    def _without_self_trade(self, party: Party, order: Order, at_ns: int) -> bool:
        """Self-trade prevention: own orders that the new one would meet; whether it goes on."""
        if order.stp == "NONE":
            return True
        met = [
            one
            for one in party.store.open(order.symbol)
            if one.side == -order.side
            and one is not order
            and (order.ticks == 0 or order.side * (order.ticks - one.ticks) >= 0)
        ]
        if not met:
            return True
        if order.stp in ("EXPIRE_MAKER", "EXPIRE_BOTH"):
            for one in met:
                self.cancel(party, one, at_ns, Status.EXPIRED_IN_MATCH)
        if order.stp == "EXPIRE_MAKER":
            return True
        self._close(party, order, Status.EXPIRED_IN_MATCH, at_ns)
        return False


def refuse(party: Party, error: ApiError) -> ApiError:
    """Count a refusal."""
    party.counts.refused(error.code)
    return error
