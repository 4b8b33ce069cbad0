"""A party of the exchange: one account with its orders, what it owns, its matchings and who listens to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmlib.paper.accounts import Account, Credentials
from mmlib.paper.matching import Matching
from mmlib.paper.orders import Order, OrderStore
from mmlib.paper.rules import Rules

Listener = Callable[[dict[str, Any]], None]


@dataclass
class Counts:
    """What was counted of an account."""

    orders: int = 0
    cancels: int = 0
    fills: int = 0
    rejects: int = 0
    requests: int = 0
    errors: dict[int, int] = field(default_factory=dict)  # by code

    def refused(self, code: int) -> None:
        """A request was refused."""
        self.rejects += 1
        self.errors[code] = self.errors.get(code, 0) + 1


class Party:
    """One account at work.

    Attributes:
        store: its orders. ledger: what it owns, as the venue keeps it.
        held: orders that the matching holds, by symbol and slot.
        listeners: user streams.
        listen_key: of its user stream, empty while there is none; listen_until: when it expires [s since 1970].
    """

    def __init__(
        self, account: Account, credentials: Credentials, rules: Mapping[str, Rules], ledger: Any
    ) -> None:
        self.account = account
        self.credentials = credentials
        self.store = OrderStore()
        self.ledger = ledger
        model = account.fill_model()
        self.model = model
        self.matchings = {symbol: Matching(float(one.qty.size), model) for symbol, one in rules.items()}
        self.held: dict[str, dict[int, Order]] = {symbol: {} for symbol in rules}
        self.listeners: set[Listener] = set()
        self.listen_key = ""
        self.listen_until = 0.0
        self.counts = Counts()
        self.countdown: dict[str, int] = {}  # symbol -> market time of the dead man's switch
        self.last_arrival_ns = 0

    @property
    def name(self) -> str:
        """Of the account."""
        return self.account.name

    def arrival_ns(self, now_ns: int) -> int:
        """When a request sent now reaches the matching: none overtakes another."""
        self.last_arrival_ns = max(now_ns + self.model.entry_ns, self.last_arrival_ns)
        return self.last_arrival_ns

    def say(self, event: dict[str, Any]) -> None:
        """Tell every user stream."""
        for listener in list(self.listeners):
            listener(event)
