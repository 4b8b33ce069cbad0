"""An account's orders: what each asked for, how far it is, and how clients find it again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from enum import StrEnum
from typing import Any

KEPT = 1000
"""Finished orders, and executions, that an account can still ask for: as many as one answer holds."""


class Status(StrEnum):
    """What the exchange says of an order."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    EXPIRED_IN_MATCH = "EXPIRED_IN_MATCH"

    @property
    def open(self) -> bool:
        """Whether such an order can still trade."""
        return self in (Status.NEW, Status.PARTIALLY_FILLED)


@dataclass
class Order:
    """One order.

    Attributes:
        side: +1 buy, -1 sell. kind: as the exchange names it, such as LIMIT. tif: GTC, IOC, FOK or GTX.
        ticks, lots, done_lots: price, quantity and what is executed of it, in steps; ticks is 0 without a price.
        done_quote: executed value [quote currency].
        slot: where the matching holds it, -1 where it does not.
        moves: how often it was put elsewhere under the same id.
        sent_ns, arrived_ns: when it reached the server and the matching, market time.
        mid_at_quote: when it reached the server [quote currency]. queue_ahead: at entry [base units].
        extra: what a venue remembers beside that.
    """

    order_id: int
    client_id: str
    symbol: str
    side: int
    kind: str
    tif: str
    ticks: int
    lots: int
    created_ms: int
    updated_ms: int
    done_lots: int = 0
    done_quote: Decimal = Decimal(0)
    status: Status = Status.NEW
    reduce_only: bool = False
    stp: str = "NONE"
    slot: int = -1
    moves: int = 0
    sent_ns: int = 0
    arrived_ns: int = 0
    mid_at_quote: float = float("nan")
    queue_ahead: float = 0.0
    extra: dict[str, Any] | None = None

    @property
    def left_lots(self) -> int:
        """Still to be executed."""
        return self.lots - self.done_lots

    def to_dict(self) -> dict[str, Any]:
        """Builtin types, for the journal."""
        return asdict(self) | {"done_quote": str(self.done_quote), "status": str(self.status)}

    @classmethod
    def from_dict(cls, held: dict[str, Any]) -> Order:
        """The inverse of `to_dict`."""
        known = {field.name: held[field.name] for field in fields(cls) if field.name in held}
        if known.get("mid_at_quote") is None:
            known["mid_at_quote"] = float("nan")
        return cls(**known | {"done_quote": Decimal(held["done_quote"]), "status": Status(held["status"])})


@dataclass
class Trade:
    """One execution of an order, as userTrades tells it."""

    trade_id: int
    order_id: int
    symbol: str
    side: int
    ticks: int
    lots: int
    fee: Decimal
    fee_asset: str
    realized: Decimal
    maker: bool
    time_ms: int

    def to_dict(self) -> dict[str, Any]:
        """Builtin types, for the journal."""
        return asdict(self) | {"fee": str(self.fee), "realized": str(self.realized)}

    @classmethod
    def from_dict(cls, held: dict[str, Any]) -> Trade:
        """The inverse of `to_dict`."""
        return cls(**held | {"fee": Decimal(held["fee"]), "realized": Decimal(held["realized"])})


class OrderStore:
    """The orders and trades of one account; open ones always, finished ones as long as there is room."""

    def __init__(self) -> None:
        self._all: OrderedDict[int, Order] = OrderedDict()
        self._open: dict[int, Order] = {}
        self._by_client: dict[tuple[str, str], int] = {}
        self.trades: OrderedDict[int, Trade] = OrderedDict()

    def put(self, order: Order) -> None:
        """Take in a new order, or note that an order changed."""
        if order.order_id not in self._all:
            self._all[order.order_id] = order
            self._by_client[order.symbol, order.client_id] = order.order_id
        if order.status.open:
            self._open[order.order_id] = order
        else:
            self._open.pop(order.order_id, None)
        while len(self._all) - len(self._open) > KEPT:
            self._forget()

    def add_trade(self, trade: Trade) -> None:
        """Keep an execution."""
        self.trades[trade.trade_id] = trade
        if len(self.trades) > KEPT:
            self.trades.popitem(last=False)

    def find(self, symbol: str, order_id: int | None, client_id: str | None) -> Order | None:
        """By id, or else the latest with a client id."""
        if order_id is None:
            order_id = self._by_client.get((symbol, client_id or ""))
        order = None if order_id is None else self._all.get(order_id)
        return order if order is not None and order.symbol == symbol else None

    def open(self, symbol: str | None = None) -> list[Order]:
        """Open orders, oldest first."""
        return [one for one in self._open.values() if symbol is None or one.symbol == symbol]

    def every(self, symbol: str) -> Iterator[Order]:
        """All orders of a symbol that are still known, oldest first."""
        return (one for one in self._all.values() if one.symbol == symbol)

    def duplicate(self, symbol: str, client_id: str) -> bool:
        """Whether an open order has this client id."""
        order_id = self._by_client.get((symbol, client_id))
        return order_id in self._open

    def _forget(self) -> None:
        for order_id, order in self._all.items():
            if not order.status.open:
                del self._all[order_id]
                if self._by_client.get((order.symbol, order.client_id)) == order_id:
                    del self._by_client[order.symbol, order.client_id]
                return
