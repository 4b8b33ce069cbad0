"""The server: REST, market and user streams and the WebSocket API on one port, with faults on demand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import orjson
from aiohttp import WSMsgType, web

from mmlib.market.live.rest import GRADE_HEADER
from mmlib.market.loopback.faults import Fault
from mmlib.paper.errors import ApiError
from mmlib.paper.exchange import PaperExchange
from mmlib.paper.kit import Kit
from mmlib.paper.party import Party
from mmlib.paper.rest import Desk
from mmlib.paper.sockets import Socket
from mmlib.paper.talk import Talk

HOST = "127.0.0.1"
_SLOW_S = 2.0
_BEAT_S = 0.05
_LARGEST_BODY = 1 << 20


class PaperServer:
    """Serves an exchange. Use as an asynchronous context manager.

    Attributes:
        exchange: what is served. streams: its market streams.

    Args:
        host: where it listens; port: 0 takes a free one.
    """

    def __init__(self, exchange: PaperExchange, kit: Kit, *, host: str = HOST, port: int = 0) -> None:
        self.exchange = exchange
        self.kit = kit
        self.streams = kit.streams(exchange)
        exchange.publisher = self.streams
        self.desk = Desk(exchange, kit)
        self.requests = 0
        self._host, self._port = host, port
        self._runner: web.ServerRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._sockets: set[Socket] = set()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._runner is not None
        return int(self._runner.addresses[0][1])

    @property
    def url(self) -> str:
        """Base address of REST; streams are at the same with ``ws``."""
        return f"http://{self._host}:{self.port}"

    async def __aenter__(self) -> PaperServer:
        self._runner = web.ServerRunner(web.Server(self._serve, access_log=None), shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        self.exchange.clock.start()
        self._tasks = [asyncio.create_task(self.exchange.run()), asyncio.create_task(self._beat())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for socket in list(self._sockets):
            socket.cut()
        assert self._runner is not None
        await self._runner.cleanup()

    async def schedule(self, faults: list[Fault]) -> None:
        """Do each fault at its time."""
        began = time.monotonic()
        for fault in faults:
            await asyncio.sleep(max(began + fault.at_s - time.monotonic(), 0.0))
            self.hurt(fault.name, fault.amount)

    def hurt(self, name: str, amount: float = 1.0) -> None:
        """Do one of `loopback.faults.NAMES` now."""
        armed, now, many = self.streams.armed, time.monotonic(), int(amount)
        match name:
            case "drop":
                for socket in list(self._sockets):
                    socket.cut()
            case "gap" | "duplicate" | "reorder" | "garbage":
                setattr(armed, name, getattr(armed, name) + many)
            case "429" | "5xx":
                setattr(armed, f"rest_{name}", getattr(armed, f"rest_{name}") + many)
            case "slow" | "mute" | "refuse":
                setattr(armed, f"{name}_until", now + amount)
            case "silence":
                self.exchange.paused_until = now + amount
            case "skew":
                self.exchange.clock.skew_s = amount
            case _:
                raise ValueError(f"no fault {name!r}")

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_BEAT_S)
            if time.monotonic() >= self.exchange.paused_until:
                self.streams.beat(self.exchange.clock.server_ms())

    # --- requests ---

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        if request.path in ("/loopback", "/paper"):
            return _json(200, self.state())
        self.requests += 1
        address = request.remote or ""
        try:
            await self._hurt_request()
            body = (await request.content.read(_LARGEST_BODY)).decode("utf-8", "replace")
            answer, party = await self.desk.rest(
                request.method,
                request.path,
                request.rel_url.raw_query_string,
                body,
                request.headers.get("X-MBX-APIKEY", ""),
                address,
            )
            return _json(200, answer, self._headers(address, party))
        except ApiError as exc:
            headers = self._headers(address, None)
            if exc.retry_after_s is not None:
                headers["Retry-After"] = str(exc.retry_after_s)
            return _json(exc.status, exc.body(), headers)

    async def _hurt_request(self) -> None:
        armed = self.streams.armed
        if time.monotonic() < armed.slow_until:
            await asyncio.sleep(_SLOW_S)
        if armed.rest_429:
            armed.rest_429 -= 1
            raise ApiError(-1003, "Too many requests.", 429, 1)
        if armed.rest_5xx:
            armed.rest_5xx -= 1
            raise ApiError(-1001, "Internal error; unable to process your request. Please try again.", 503)

    def _headers(self, address: str, party: Party | None) -> dict[str, str]:
        used = str(self.kit.limits.used_weight(address))
        headers = {"X-MBX-USED-WEIGHT-1M": used, GRADE_HEADER: str(self.exchange.grade)}
        if self.kit.name == "binance":
            headers["X-MBX-USED-WEIGHT"] = used
        if party is not None:
            for unit, placed in self.kit.limits.used_orders(party.name).items():
                headers[f"X-MBX-ORDER-COUNT-{unit}"] = str(placed)
        return headers

    async def _socket(self, request: web.BaseRequest) -> web.StreamResponse:
        if time.monotonic() < self.streams.armed.refuse_until:
            return _json(503, {"msg": "refused"})
        path, query = request.path, request.rel_url.raw_query_string
        response = web.WebSocketResponse(compress=False, autoping=True, max_msg_size=_LARGEST_BODY)
        await response.prepare(request)
        assert isinstance(request.transport, asyncio.Transport)
        combined = path.endswith("/stream") or path == "/stream"
        socket = Socket(request.transport, combined=combined)
        self._sockets.add(socket)
        talk = Talk(self.desk, self.streams, socket, request.remote or "")
        try:
            if not talk.open(path, {name: values[0] for name, values in parse_qs(query).items()}):
                await response.close(code=1008, message=b"Invalid request")
                return response
            async for message in response:
                if message.type is WSMsgType.TEXT:
                    talk.hear(message.data)
        finally:
            talk.close()
            self._sockets.discard(socket)
        return response

    def state(self) -> dict[str, Any]:
        """What it has sent and where its accounts stand, for whoever watches from another process (``GET /paper``)."""
        return {
            "requests": self.requests,
            "frames_sent": self.streams.frames_sent,
            "grade": str(self.exchange.grade),
            "last": {symbol: tape.last_id for symbol, tape in self.exchange.tapes.items()},
            "accounts": {
                party.name: {
                    "arm": party.account.arm,
                    "orders": party.counts.orders,
                    "cancels": party.counts.cancels,
                    "fills": party.counts.fills,
                    "rejects": party.counts.rejects,
                    "errors": {str(code): n for code, n in sorted(party.counts.errors.items())},
                    "open": len(party.store.open()),
                }
                for party in self.exchange.parties.values()
            },
        }


def _json(status: int, body: Any, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status, body=orjson.dumps(body), content_type="application/json", headers=headers
    )
