"""What a spot account owns: free and locked amounts by asset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from mmlib.paper.orders import Order
from mmlib.paper.rules import Rules

_ZERO = Decimal(0)


@dataclass
class SpotLedger:
    """Balances of a spot account; what open orders need is locked.

    Attributes:
        free, locked: by asset.
    """

    rules: Mapping[str, Rules]
    free: dict[str, Decimal]
    locked: dict[str, Decimal] = field(default_factory=dict)

    def needs(self, order: Order, lots: int) -> tuple[str, Decimal]:
        """Asset and amount that so many lots of a limit order lock."""
        rules = self.rules[order.symbol]
        if order.side > 0:
            return rules.quote, rules.notional(order.ticks, lots)
        return rules.base, rules.qty.value(lots)

    def can_pay(self, asset: str, amount: Decimal) -> bool:
        """Whether so much is free."""
        return self.free.get(asset, _ZERO) >= amount

    def lock(self, order: Order, lots: int) -> None:
        """Set aside what an order needs; negative lots give it back."""
        asset, amount = self.needs(order, lots)
        self.free[asset] = self.free.get(asset, _ZERO) - amount
        self.locked[asset] = self.locked.get(asset, _ZERO) + amount

    def fill(self, order: Order, ticks: int, lots: int, fee: Decimal, *, locked: bool) -> tuple[str, str]:
        """Execute part of an order, its fee in the asset that is received; the assets that changed."""
        rules = self.rules[order.symbol]
        worth, amount = rules.notional(ticks, lots), rules.qty.value(lots)
        if locked:
            self.lock(order, -lots)
        paid, received = (rules.quote, rules.base) if order.side > 0 else (rules.base, rules.quote)
        out, into = (worth, amount) if order.side > 0 else (amount, worth)
        self.free[paid] = self.free.get(paid, _ZERO) - out
        self.free[received] = self.free.get(received, _ZERO) + into - fee
        return paid, received

    def to_dict(self) -> dict[str, Any]:
        """Builtin types, for the journal."""
        return {name: {a: str(v) for a, v in getattr(self, name).items()} for name in ("free", "locked")}

    def restore(self, held: Mapping[str, Any]) -> None:
        """The inverse of `to_dict`, in place."""
        self.free = {asset: Decimal(amount) for asset, amount in held["free"].items()}
        self.locked = {asset: Decimal(amount) for asset, amount in held["locked"].items()}
