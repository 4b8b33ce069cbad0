"""Funding: every eight hours of market time positions pay or receive a share of their value."""

from __future__ import annotations

from decimal import Decimal

from mmlib.paper.exchange import PaperExchange
from mmlib.paper.usdm.market import FUNDING_MS, FUNDING_RATE, mark_price
from mmlib.paper.usdm.money import UsdmMoney

_PERIOD_NS = FUNDING_MS * 1_000_000


class Funding:
    """Charges every account of an exchange at its times."""

    def __init__(self, exchange: PaperExchange, money: UsdmMoney) -> None:
        self._exchange = exchange
        self._money = money
        self._next_ns = (exchange.clock.now_ns() // _PERIOD_NS + 1) * _PERIOD_NS
        exchange.at(self._next_ns, self._charge)

    def of(self, symbol: str, _: int) -> tuple[Decimal, Decimal, int]:
        """Mark price, rate and the time of the next funding [ms]."""
        return (
            mark_price(self._exchange.tapes[symbol]),
            FUNDING_RATE,
            self._exchange.clock.wall_ms(self._next_ns),
        )

    def _charge(self, at_ns: int) -> None:
        exchange, time_ms = self._exchange, self._exchange.clock.wall_ms(at_ns)
        for party in exchange.parties.values():
            exchange.trading.current(party)
            for symbol, tape in exchange.tapes.items():
                if party.ledger.position(symbol).lots:
                    party.ledger.fund(symbol, FUNDING_RATE, mark_price(tape), time_ms)
                    exchange.tell(
                        party, at_ns, [self._money.account_update(party, symbol, "FUNDING_FEE", time_ms)]
                    )
        self._next_ns = at_ns + _PERIOD_NS
        exchange.at(self._next_ns, self._charge)
