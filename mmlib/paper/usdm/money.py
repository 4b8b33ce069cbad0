"""Money and words of the USD-M venue: margin checks, settlement, and what its user stream says of an order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from mmlib.paper.accounts import Account
from mmlib.paper.errors import ApiError
from mmlib.paper.margin import MarginLedger
from mmlib.paper.orders import Order, Trade
from mmlib.paper.party import Party
from mmlib.paper.rules import Rules
from mmlib.paper.steps import plain
from mmlib.paper.tape import Tape
from mmlib.paper.usdm import texts
from mmlib.paper.venue import BPS

Mark = Callable[[str], Decimal]


class UsdmMoney:
    """`venue.VenueRules` of USD-M futures.

    Attributes:
        mark: mark price of a symbol [quote currency]; set once there are markets.
    """

    name = "binanceusdm"

    def __init__(self) -> None:
        self.mark: Mark = lambda _: Decimal(0)

    def ledger(self, account: Account, rules: Mapping[str, Rules]) -> MarginLedger:
        """See `VenueRules.ledger`."""
        return MarginLedger(rules, dict(account.balances), account.leverage)

    def admit(self, party: Party, order: Order, tape: Tape) -> None:
        """See `VenueRules.admit`."""
        ledger: MarginLedger = party.ledger
        held = ledger.position(order.symbol).lots
        if order.reduce_only:
            if held * order.side >= 0:
                raise ApiError(-2022, "ReduceOnly Order is rejected.")
            order.lots = min(order.lots, abs(held))
            return
        after = self.margin_needed(party, extra=order)
        if after > self.margin_balance(party, order.symbol):
            raise ApiError(-2019, "Margin is insufficient.")

    def margin_balance(self, party: Party, symbol: str) -> Decimal:
        """Wallet and unrealised profit in the asset that a symbol is margined in."""
        quote = party.ledger.rules[symbol].quote
        return sum(
            (
                party.ledger.unrealized(one, self.mark(one))
                for one, rules in party.ledger.rules.items()
                if rules.quote == quote
            ),
            party.ledger.wallet.get(quote, Decimal(0)),
        )

    def margin_needed(self, party: Party, extra: Order | None = None) -> Decimal:
        """Initial margin of positions and open orders, and of one order more."""
        total = Decimal(0)
        for symbol in party.ledger.rules:
            mark = self.mark(symbol)
            orders = party.store.open(symbol)
            if extra is not None and extra.symbol == symbol:
                orders = [*orders, extra]
            total += party.ledger.position_margin(symbol, mark) + party.ledger.order_margin(
                symbol, orders, mark
            )
        return total

    def entered(self, party: Party, order: Order) -> None:
        """See `VenueRules.entered`: margin is computed, not set aside."""

    def left(self, party: Party, order: Order, lots: int) -> None:
        """See `VenueRules.left`."""

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
        """See `VenueRules.settle`."""
        rules = party.ledger.rules[order.symbol]
        fees = party.account.fees
        rate = fees.maker_bps if maker else fees.taker_bps
        fee = (rules.notional(ticks, lots) * rate * BPS).quantize(Decimal("1e-8"))
        realized = party.ledger.fill(order, ticks, lots, fee, time_ms, trade_id)
        return Trade(
            trade_id,
            order.order_id,
            order.symbol,
            order.side,
            ticks,
            lots,
            fee,
            rules.quote,
            realized,
            maker,
            time_ms,
        )

    def tell(
        self, party: Party, order: Order, what: str, trade: Trade | None, time_ms: int
    ) -> list[dict[str, Any]]:
        """See `VenueRules.tell`: balances first, as the exchange does, then the order."""
        rules = party.ledger.rules[order.symbol]
        events: list[dict[str, Any]] = []
        if trade is not None:
            events.append(self.account_update(party, order.symbol, "ORDER", time_ms))
        events.append(texts.order_update(order, rules, what, trade, time_ms))
        return events

    def account_update(self, party: Party, symbol: str, why: str, time_ms: int) -> dict[str, Any]:
        """ACCOUNT_UPDATE of one symbol and the asset that it is margined in."""
        ledger: MarginLedger = party.ledger
        rules = ledger.rules[symbol]
        held = ledger.position(symbol)
        wallet = plain(ledger.wallet.get(rules.quote, Decimal(0)))
        position = {
            "s": symbol,
            "pa": rules.qty.text(held.lots),
            "ep": texts.average(held.entry, rules),
            "bep": texts.average(held.entry, rules),
            "cr": plain(held.realized),
            "up": plain(ledger.unrealized(symbol, self.mark(symbol))),
            "mt": "cross",
            "iw": "0",
            "ps": "BOTH",
            "ma": rules.quote,
        }
        return {
            "e": "ACCOUNT_UPDATE",
            "E": time_ms,
            "T": time_ms,
            "a": {
                "m": why,
                "B": [{"a": rules.quote, "wb": wallet, "cw": wallet, "bc": "0"}],
                "P": [position] if why == "ORDER" else [],
            },
        }

    def duplicate(self) -> ApiError:
        """See `VenueRules.duplicate`."""
        return ApiError(-4116, "ClientOrderId is duplicated.")

    def crossing(self) -> ApiError:
        """See `VenueRules.crossing`."""
        return ApiError(
            -5022,
            "Due to the order could not be executed as maker, the Post Only order will be rejected. "
            "The order will not be recorded in the order history",
        )

    def too_many(self) -> ApiError:
        """See `VenueRules.too_many`."""
        return ApiError(-2025, "Reach max open order limit.")
