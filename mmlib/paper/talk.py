"""What is said on one WebSocket connection: subscriptions, the WebSocket API, and the user stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import orjson

from mmlib.paper.errors import ApiError
from mmlib.paper.party import Party
from mmlib.paper.rest import Desk
from mmlib.paper.sockets import Socket
from mmlib.paper.streams import Streams


class Talk:
    """One connection's conversation."""

    def __init__(self, desk: Desk, streams: Streams, socket: Socket, address: str) -> None:
        self._desk = desk
        self._streams = streams
        self._socket = socket
        self._address = address
        self._api = False
        self._party: Party | None = None  # who logged on
        self._heard: list[tuple[Party, Any]] = []
        self._subscriptions = 0
        self._asked: set[asyncio.Task[None]] = set()

    def open(self, path: str, query: Mapping[str, str]) -> bool:
        """Begin with what the address names; False for one that is not of streams.

        Streams are at ``/ws/NAME`` and ``/stream?streams=A/B``; listen keys stand among the names, or in ``listenKey=``.
        """
        if path.rstrip("/") in self._desk.kit.ws_api:
            self._api = True
            return True
        parts = [one for one in path.split("/") if one]
        if "ws" not in parts and "stream" not in parts:
            return False
        names = [one for one in query.get("streams", "").split("/") if one]
        if "ws" in parts:
            names += parts[parts.index("ws") + 1 :]
        if query.get("listenKey"):
            names.append(query["listenKey"])
        self._subscribe(names)  # a name that is no stream brings nothing, as with the exchange
        return True

    def hear(self, message: str) -> None:
        """Take what the client says."""
        try:
            said = orjson.loads(message)
        except orjson.JSONDecodeError:
            said = None
        if not isinstance(said, dict):
            self._socket.say({"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"})
        elif self._api:
            task = asyncio.create_task(self._ask(said))
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)
        else:
            self._socket.say(self._stream_request(said))

    def close(self) -> None:
        """The connection is over."""
        self._streams.leave(self._socket)
        for party, listener in self._heard:
            party.listeners.discard(listener)
        self._heard = []

    # --- streams ---

    def _subscribe(self, names: list[str]) -> list[str]:
        market = []
        for name in names:
            party = self._by_listen_key(name)
            if party is None:
                market.append(name)
            else:
                self._listen(party, name if self._socket.combined else "")
        return self._streams.subscribe(self._socket, market)

    def _by_listen_key(self, key: str) -> Party | None:
        now = time.time()
        return next(
            (
                one
                for one in self._desk.exchange.parties.values()
                if one.listen_key and one.listen_key == key and one.listen_until > now
            ),
            None,
        )

    def _listen(self, party: Party, stream: str = "", subscription: int | None = None) -> None:
        def tell(event: dict[str, Any]) -> None:
            if subscription is not None:
                self._socket.say({"subscriptionId": subscription, "event": event})
            else:
                self._socket.say({"stream": stream, "data": event} if stream else event)

        party.listeners.add(tell)
        self._heard.append((party, tell))

    def _stream_request(self, said: dict[str, Any]) -> dict[str, Any]:
        number, params = said.get("id"), said.get("params", [])
        match said.get("method"):
            case "SUBSCRIBE" if isinstance(params, list):
                unknown = self._subscribe([str(one) for one in params])
                if unknown:
                    return {
                        "error": {"code": 2, "msg": f"Invalid request: unknown stream {unknown[0]}"},
                        "id": number,
                    }
                return {"result": None, "id": number}
            case "UNSUBSCRIBE" if isinstance(params, list):
                self._streams.unsubscribe(self._socket, [str(one) for one in params])
                return {"result": None, "id": number}
            case "LIST_SUBSCRIPTIONS":
                return {"result": self._streams.of(self._socket), "id": number}
            case "SET_PROPERTY" if isinstance(params, list) and len(params) == 2 and params[0] == "combined":
                self._socket.combined = bool(params[1])
                return {"result": None, "id": number}
            case "GET_PROPERTY":
                return {"result": self._socket.combined, "id": number}
        return {"error": {"code": 1, "msg": "Invalid request: unknown method or parameters"}, "id": number}

    # --- the WebSocket API ---

    async def _ask(self, said: dict[str, Any]) -> None:
        number, name, given = said.get("id"), str(said.get("method", "")), said.get("params") or {}
        try:
            if not isinstance(given, dict):
                raise ApiError(-1130, "Data sent for parameter 'params' is not valid.")
            result = self._session(name, given)
            if result is None:
                result, _ = await self._desk.method(name, given, self._address, self._party)
            self._socket.say({"id": number, "status": 200, "result": result, "rateLimits": self._limits()})
        except ApiError as exc:
            answer = {"id": number, "status": exc.status, "error": exc.body(), "rateLimits": self._limits()}
            self._socket.say(answer)

    def _session(self, name: str, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """Requests about the connection itself; None for any other."""
        match name:
            case "session.logon":
                self._party = self._desk.logon(given)
                return self._status()
            case "session.status":
                return self._status()
            case "session.logout":
                self._party = None
                return self._status()
            case "userDataStream.subscribe":
                if self._party is None:
                    raise ApiError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
                return self._follow(self._party)
            case "userDataStream.subscribe.signature":
                return self._follow(self._desk.logon(given))
            case "userDataStream.unsubscribe":
                for party, listener in self._heard:
                    party.listeners.discard(listener)
                self._heard = []
                return {}
        return None

    def _follow(self, party: Party) -> dict[str, Any]:
        number, self._subscriptions = self._subscriptions, self._subscriptions + 1
        self._listen(party, subscription=number)
        return {"subscriptionId": number}

    def _status(self) -> dict[str, Any]:
        now = self._desk.exchange.clock.server_ms()
        return {
            "apiKey": self._party.credentials.key if self._party else None,
            "authorizedSince": now if self._party else None,
            "connectedSince": now,
            "returnRateLimits": True,
            "serverTime": now,
        }

    def _limits(self) -> list[dict[str, Any]]:
        limits = self._desk.kit.limits
        weight = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1,
                  "limit": limits.weight_per_min, "count": limits.used_weight(self._address)}  # fmt: skip
        return [weight]
