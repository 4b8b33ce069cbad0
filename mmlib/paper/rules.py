"""The trading rules of a symbol, which exchangeInfo states and every order is held against."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from mmlib.market.source import Instrument
from mmlib.paper.steps import Step

_QUOTES = ("USDT", "USDC", "FDUSD", "USD", "EUR", "BTC", "ETH")
MAX_LOTS = 10_000_000
MAX_PRICE_TICKS = 100_000_000


@dataclass(frozen=True)
class Rules:
    """One symbol.

    Attributes:
        base, quote: what is traded for what.
        price, qty: the grids.
        min_notional: of an order [quote currency].
        band: a limit price may be this factor away from the reference price, up or down.
    """

    symbol: str
    base: str
    quote: str
    price: Step
    qty: Step
    min_notional: Decimal = Decimal(5)
    band: Decimal = Decimal("1.05")
    max_lots: int = MAX_LOTS
    max_ticks: int = MAX_PRICE_TICKS

    @classmethod
    def of(cls, instrument: Instrument) -> Rules:
        """The rules of an instrument; limits that no recording states are those of liquid symbols."""
        base, quote = assets(instrument.symbol)
        return cls(
            instrument.symbol, base, quote, Step.of(instrument.tick_size), Step.of(instrument.lot_size)
        )

    def notional(self, ticks: int, lots: int) -> Decimal:
        """Price times quantity [quote currency]."""
        return self.price.value(ticks) * self.qty.value(lots)


def assets(symbol: str) -> tuple[str, str]:
    """What is traded for what; a name that ends in no usual quote currency is split before its last three letters."""
    quote = next((quote for quote in _QUOTES if symbol.endswith(quote) and symbol != quote), symbol[-3:])
    return symbol.removesuffix(quote), quote
