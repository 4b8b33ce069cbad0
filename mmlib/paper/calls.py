"""A request on its way through the exchange, and the table of what can be asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from mmlib.paper.errors import ApiError
from mmlib.paper.exchange import PaperExchange
from mmlib.paper.params import Params
from mmlib.paper.party import Party


class Security(Enum):
    """What a request must bring along."""

    NONE = "nothing"
    KEY = "an API key"
    SIGNED = "an API key and a signature"


@dataclass
class Call:
    """One request.

    Attributes:
        party: who asks; None where nobody must be named.
        received_ns: market time at which it reached the server.
        extra_weight: what it weighs beyond its endpoint's usual weight.
    """

    exchange: PaperExchange
    params: Params
    account: Party | None
    received_ns: int
    extra_weight: int = 0

    @property
    def party(self) -> Party:
        """The account that asks; endpoints that need one are signed or carry a key."""
        if self.account is None:
            raise ApiError(-2014, "API-key format invalid.", 401)
        return self.account

    def tape(self) -> Any:
        """The market of the symbol that is named."""
        return self.exchange.tapes[self.params.symbol(self.exchange.rules)]


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True)
class Endpoint:
    """One thing that can be asked.

    Attributes:
        weight: of the request. orders: how many orders it places. trades: whether it changes orders.
        ws: its method of the WebSocket API, empty for none.
    """

    handler: Handler
    security: Security
    weight: int = 1
    orders: int = 0
    ws: str = ""
    trades: bool = False


@dataclass
class Table:
    """Endpoints by method and path, and by method of the WebSocket API."""

    paths: dict[tuple[str, str], Endpoint] = field(default_factory=dict)
    methods: dict[str, Endpoint] = field(default_factory=dict)

    def add(
        self,
        verb: str,
        *paths: str,
        security: Security = Security.NONE,
        weight: int = 1,
        orders: int = 0,
        ws: str = "",
    ) -> Callable[[Handler], Handler]:
        """Register a handler under its paths, and under methods of the WebSocket API (separated by spaces)."""

        def register(handler: Handler) -> Handler:
            trades = security is Security.SIGNED and verb != "GET" and "rder" in paths[0]
            endpoint = Endpoint(handler, security, weight, orders, ws, trades)
            for path in paths:
                self.paths[verb, path] = endpoint
            for method in ws.split():
                self.methods[method] = endpoint
            return handler

        return register

    def merged(self, *others: Table) -> Table:
        """This table and others."""
        for other in others:
            self.paths.update(other.paths)
            self.methods.update(other.methods)
        return self


def by_path(table: Table) -> Mapping[str, list[str]]:
    """The verbs of each path."""
    found: dict[str, list[str]] = {}
    for verb, path in table.paths:
        found.setdefault(path, []).append(verb)
    return found
