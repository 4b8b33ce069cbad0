"""A request over HTTP or over the WebSocket API: limits, identity, signature, then the endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from mmlib.paper.calls import Call, Endpoint, Security
from mmlib.paper.errors import ApiError
from mmlib.paper.exchange import PaperExchange
from mmlib.paper.kit import Kit
from mmlib.paper.params import Params
from mmlib.paper.party import Party
from mmlib.paper.signing import check_signature, check_time, split_signature, ws_payload


class Desk:
    """Serves requests of one venue."""

    def __init__(self, exchange: PaperExchange, kit: Kit) -> None:
        self.exchange = exchange
        self.kit = kit
        self._verbs: dict[str, set[str]] = {}
        for verb, path in kit.table.paths:
            self._verbs.setdefault(path, set()).add(verb)

    async def rest(
        self, verb: str, path: str, query: str, body: str, key: str, address: str
    ) -> tuple[Any, Party | None]:
        """An HTTP request; what to answer, and whose it was.

        Raises:
            ApiError: it is refused.
        """
        endpoint = self.kit.table.paths.get((verb, path))
        if endpoint is None:
            known = self._verbs.get(path)
            raise ApiError(
                -1020 if known else -1000,
                f"{verb} {path}: " + ("the verb is not supported." if known else "no such path."),
                405 if known else 404,
            )
        self.kit.limits.weigh(address, endpoint.weight)
        signed_query, first = split_signature(query)
        signed_body, second = split_signature(body)
        params = Params(
            dict(parse_qsl(query, keep_blank_values=True) + parse_qsl(body, keep_blank_values=True))
        )
        party = self._identify(endpoint, key, params, signed_query + signed_body, second or first)
        return await self._answer(endpoint, params, party, address), party

    async def method(
        self, name: str, given: Mapping[str, Any], address: str, logged_on: Party | None
    ) -> tuple[Any, Party | None]:
        """A request of the WebSocket API; a connection that has logged on needs no key and no signature.

        Raises:
            ApiError: it is refused.
        """
        endpoint = self.kit.table.methods.get(name)
        if endpoint is None:
            raise ApiError(-1020, "This operation is not supported.")
        self.kit.limits.weigh(address, endpoint.weight)
        params = Params(given)
        if logged_on is not None and "apiKey" not in params and endpoint.security is not Security.NONE:
            if endpoint.security is Security.SIGNED:
                check_time(params, self.exchange.clock.server_ms())
            party: Party | None = logged_on
        else:
            key, payload = params.given.get("apiKey", ""), ws_payload(given)
            party = self._identify(endpoint, key, params, payload, params.given.get("signature", ""))
        return await self._answer(endpoint, params, party, address), party

    def logon(self, given: Mapping[str, Any]) -> Party:
        """``session.logon``: who speaks on a connection from now on.

        Raises:
            ApiError: the signature does not fit.
        """
        params = Params(given)
        party = self.exchange.party_of(params.text("apiKey"))
        check_time(params, self.exchange.clock.server_ms())
        check_signature(party, ws_payload(given), params.given.get("signature", ""))
        return party

    def _identify(
        self, endpoint: Endpoint, key: str, params: Params, payload: str, signature: str
    ) -> Party | None:
        if endpoint.security is Security.NONE:
            return None
        if not key:
            raise ApiError(-2014, "API-key format invalid.", 401)
        party = self.exchange.party_of(key)
        try:
            if endpoint.security is Security.SIGNED:
                check_time(params, self.exchange.clock.server_ms())
                check_signature(party, payload, signature)
        except ApiError as exc:
            party.counts.refused(exc.code)
            raise
        return party

    async def _answer(self, endpoint: Endpoint, params: Params, party: Party | None, address: str) -> Any:
        call = Call(self.exchange, params, party, self.exchange.clock.now_ns())
        try:
            if endpoint.trades and party is not None:
                self.exchange.acted(party, params.given.get("symbol", ""), call.received_ns)
            if endpoint.orders and party is not None:
                self.kit.limits.order(party.name, endpoint.orders)
            answer = await endpoint.handler(call)
            if call.extra_weight:
                self.kit.limits.weigh(address, call.extra_weight)
        except ApiError as exc:
            if party is not None:
                party.counts.refused(exc.code)
            raise
        finally:
            if party is not None:
                party.counts.requests += 1
        return answer
