"""What the two venues do differently: money, words, error codes, endpoints, streams."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Protocol

from mmlib.paper.accounts import Account
from mmlib.paper.errors import ApiError
from mmlib.paper.orders import Order, Trade
from mmlib.paper.party import Party
from mmlib.paper.rules import Rules
from mmlib.paper.tape import Tape

BPS = Decimal("0.0001")


class VenueRules(Protocol):
    """A venue, as the exchange's core sees it."""

    name: str

    def ledger(self, account: Account, rules: Mapping[str, Rules]) -> Any:
        """An account's money at first."""
        ...

    def admit(self, party: Party, order: Order, tape: Tape) -> None:
        """Refuse an order that the account cannot pay for.

        Raises:
            ApiError: in the venue's words.
        """
        ...

    def entered(self, party: Party, order: Order) -> None:
        """An order came to rest: set aside what it needs."""
        ...

    def left(self, party: Party, order: Order, lots: int) -> None:
        """So many lots of a resting order are given up: give back what they needed."""
        ...

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
        """Money of an execution."""
        ...

    def tell(
        self, party: Party, order: Order, what: str, trade: Trade | None, time_ms: int
    ) -> list[dict[str, Any]]:
        """What the user stream says of it: the order, then balances where they changed."""
        ...

    def duplicate(self) -> ApiError:
        """The client order id is in use."""
        ...

    def crossing(self) -> ApiError:
        """A post-only order would take."""
        ...

    def too_many(self) -> ApiError:
        """No room for another order."""
        ...
