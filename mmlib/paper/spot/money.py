"""Money and words of the spot venue: balances, settlement, and what its user stream says of an order."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from mmlib.paper.accounts import Account
from mmlib.paper.balances import SpotLedger
from mmlib.paper.errors import ApiError
from mmlib.paper.orders import Order, Trade
from mmlib.paper.party import Party
from mmlib.paper.rules import Rules
from mmlib.paper.spot import texts
from mmlib.paper.steps import plain
from mmlib.paper.tape import Tape
from mmlib.paper.venue import BPS

_POOR = ApiError(-2010, "Account has insufficient balance for requested action.")
_DEEPEST = 1000


class SpotMoney:
    """`venue.VenueRules` of the spot market."""

    name = "binance"

    def ledger(self, account: Account, rules: Mapping[str, Rules]) -> SpotLedger:
        """See `VenueRules.ledger`."""
        return SpotLedger(rules, dict(account.balances))

    def admit(self, party: Party, order: Order, tape: Tape) -> None:
        """See `VenueRules.admit`."""
        ledger: SpotLedger = party.ledger
        if order.ticks or order.side < 0:
            asset, amount = ledger.needs(order, order.lots)
        else:
            asset, amount = tape.rules.quote, _cost(tape, order.lots)
        if not ledger.can_pay(asset, amount):
            raise _POOR

    def entered(self, party: Party, order: Order) -> None:
        """See `VenueRules.entered`."""
        party.ledger.lock(order, order.left_lots)

    def left(self, party: Party, order: Order, lots: int) -> None:
        """See `VenueRules.left`."""
        party.ledger.lock(order, -lots)

    def settle(
        self,
        party: Party,
        order: Order,
        trade_id: int,
        ticks: int,
        lots: int,
        *,
        maker: bool,
        time_ms: int,
        resting: bool,
    ) -> Trade:
        """See `VenueRules.settle`: the fee is taken from what is received."""
        rules = party.ledger.rules[order.symbol]
        fees = party.account.fees
        rate = (fees.maker_bps if maker else fees.taker_bps) * BPS
        bought = order.side > 0
        whole = rules.qty.value(lots) if bought else rules.notional(ticks, lots)
        fee = (whole * rate).quantize(Decimal("1e-8"))
        party.ledger.fill(order, ticks, lots, fee, locked=resting)
        asset = rules.base if bought else rules.quote
        return Trade(
            trade_id,
            order.order_id,
            order.symbol,
            order.side,
            ticks,
            lots,
            fee,
            asset,
            Decimal(0),
            maker,
            time_ms,
        )

    def tell(
        self, party: Party, order: Order, what: str, trade: Trade | None, time_ms: int
    ) -> list[dict[str, Any]]:
        """See `VenueRules.tell`: the order, then the balances."""
        rules = party.ledger.rules[order.symbol]
        report = texts.execution_report(order, rules, what, trade, time_ms)
        return [report, self.positions(party, (rules.base, rules.quote), time_ms)]

    def positions(self, party: Party, assets: tuple[str, ...], time_ms: int) -> dict[str, Any]:
        """outboundAccountPosition of some assets."""
        ledger: SpotLedger = party.ledger
        none = Decimal(0)
        return {
            "e": "outboundAccountPosition",
            "E": time_ms,
            "u": time_ms,
            "B": [
                {
                    "a": one,
                    "f": plain(ledger.free.get(one, none)),
                    "l": plain(ledger.locked.get(one, none)),
                }
                for one in assets
            ],
        }

    def duplicate(self) -> ApiError:
        """See `VenueRules.duplicate`."""
        return ApiError(-2010, "Duplicate order sent.")

    def crossing(self) -> ApiError:
        """See `VenueRules.crossing`."""
        return ApiError(-2010, "Order would immediately match and take.")

    def too_many(self) -> ApiError:
        """See `VenueRules.too_many`."""
        return ApiError(-1013, "Filter failure: MAX_NUM_ORDERS")


def _cost(tape: Tape, lots: int) -> Decimal:
    """What buying so many lots from the book costs; beyond the book, at its last level [quote currency]."""
    _, asks = tape.levels(_DEEPEST)
    cost, left, last = Decimal(0), lots, 0
    for ticks, there in asks:
        taken = min(there, left)
        cost += tape.rules.notional(ticks, taken)
        left, last = left - taken, ticks
        if left == 0:
            break
    return cost + tape.rules.notional(last, left)
