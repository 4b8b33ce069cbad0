"""What a futures account owns and owes: wallet, one-way cross-margin positions, margin of positions and open orders.

Source: the exchange's public pages on cross margin: initial margin = notional / leverage; realised profit on the share of a
position that is closed, at its average entry price. Liquidation is not simulated.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from mmlib.paper.orders import Order
from mmlib.paper.rules import Rules

_ZERO = Decimal(0)
_KEPT = 1000  # as many as one answer holds


@dataclass
class Position:
    """One symbol's position: signed lots, average entry price, profit realised so far."""

    lots: int = 0
    entry: Decimal = _ZERO
    realized: Decimal = _ZERO
    updated_ms: int = 0


@dataclass
class MarginLedger:
    """Wallet and positions of a USD-M account.

    Attributes:
        wallet: by asset. positions: by symbol. leverage: by symbol.
        income: what moved the wallet lately, oldest first: type, symbol, amount, asset, time, trade id.
        moves: how often it was moved.
    """

    rules: Mapping[str, Rules]
    wallet: dict[str, Decimal]
    usual_leverage: int = 20
    positions: dict[str, Position] = field(default_factory=dict)
    leverage: dict[str, int] = field(default_factory=dict)
    income: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_KEPT))
    moves: int = 0

    def position(self, symbol: str) -> Position:
        """The position of a symbol, flat at first."""
        return self.positions.setdefault(symbol, Position())

    def leverage_of(self, symbol: str) -> int:
        """Leverage of a symbol."""
        return self.leverage.get(symbol, self.usual_leverage)

    def fill(self, order: Order, ticks: int, lots: int, fee: Decimal, time_ms: int, trade_id: int) -> Decimal:
        """Execute part of an order; the profit that it realised [quote currency], fee aside."""
        rules = self.rules[order.symbol]
        held = self.position(order.symbol)
        price, signed = rules.price.value(ticks), order.side * lots
        closing = min(abs(held.lots), lots) if held.lots * signed < 0 else 0
        direction = 1 if held.lots > 0 else -1
        realized = direction * rules.qty.value(closing) * (price - held.entry) if closing else _ZERO
        opening = lots - closing
        after = held.lots + signed
        if after == 0:
            held.entry = _ZERO
        elif closing and opening:
            held.entry = price
        elif opening:
            held.entry = (held.entry * abs(held.lots) + price * opening) / (abs(held.lots) + opening)
        held.lots, held.updated_ms = after, time_ms
        held.realized += realized
        self._move(rules.quote, realized, "REALIZED_PNL", order.symbol, time_ms, trade_id)
        self._move(rules.quote, -fee, "COMMISSION", order.symbol, time_ms, trade_id)
        return realized

    def fund(self, symbol: str, rate: Decimal, mark: Decimal, time_ms: int) -> Decimal:
        """Pay or receive funding; the amount received, negative when paid [quote currency]."""
        held = self.position(symbol)
        rules = self.rules[symbol]
        amount = -rules.qty.value(held.lots) * mark * rate
        self._move(rules.quote, amount, "FUNDING_FEE", symbol, time_ms, 0)
        return amount

    def unrealized(self, symbol: str, mark: Decimal) -> Decimal:
        """Profit of a position at a mark price [quote currency]."""
        held = self.position(symbol)
        return self.rules[symbol].qty.value(held.lots) * (mark - held.entry) if held.lots else _ZERO

    def order_margin(self, symbol: str, orders: Iterable[Order], mark: Decimal) -> Decimal:
        """Initial margin that open orders need beyond the position's own [quote currency]."""
        rules = self.rules[symbol]
        sides: dict[int, int] = defaultdict(int)
        worth: dict[int, Decimal] = defaultdict(Decimal)
        for one in orders:
            if one.reduce_only:
                continue
            sides[one.side] += one.left_lots
            worth[one.side] += (
                rules.notional(one.ticks, one.left_lots)
                if one.ticks
                else (rules.qty.value(one.left_lots) * mark)
            )
        held = self.position(symbol).lots
        needed = _ZERO
        for side in (1, -1):
            against = max(-side * held, 0)  # lots that would only close the position
            if sides[side] > against:
                share = Decimal(sides[side] - min(2 * against, sides[side])) / sides[side]
                needed = max(needed, worth[side] * share)
        return needed / self.leverage_of(symbol)

    def position_margin(self, symbol: str, mark: Decimal) -> Decimal:
        """Initial margin of a position [quote currency]."""
        held = self.position(symbol)
        return abs(self.rules[symbol].qty.value(held.lots)) * mark / self.leverage_of(symbol)

    def to_dict(self) -> dict[str, Any]:
        """Builtin types, for the journal."""
        return {
            "wallet": {asset: str(amount) for asset, amount in self.wallet.items()},
            "leverage": dict(self.leverage),
            "positions": {
                symbol: [one.lots, str(one.entry), str(one.realized), one.updated_ms]
                for symbol, one in self.positions.items()
            },
        }

    def restore(self, held: Mapping[str, Any]) -> None:
        """The inverse of `to_dict`, in place."""
        self.wallet = {asset: Decimal(amount) for asset, amount in held["wallet"].items()}
        self.leverage = {symbol: int(value) for symbol, value in held["leverage"].items()}
        self.positions = {
            symbol: Position(int(lots), Decimal(entry), Decimal(realized), int(at))
            for symbol, (lots, entry, realized, at) in held["positions"].items()
        }

    def _move(self, asset: str, amount: Decimal, kind: str, symbol: str, time_ms: int, trade_id: int) -> None:
        self.wallet[asset] = self.wallet.get(asset, _ZERO) + amount
        if amount:
            self.moves += 1
            self.income.append(
                {
                    "symbol": symbol,
                    "incomeType": kind,
                    "income": f"{amount:.8f}",
                    "asset": asset,
                    "info": str(trade_id or ""),
                    "time": time_ms,
                    "tranId": self.moves,
                    "tradeId": str(trade_id or ""),
                }
            )
