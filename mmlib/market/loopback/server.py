"""The loopback exchange: combined WebSocket streams and REST on one port of 127.0.0.1, with faults on demand."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from mmlib.dtypes import Grade
from mmlib.market.live.rest import GRADE_HEADER
from mmlib.market.live.venues import RawVenue
from mmlib.market.loopback.faults import Armed, Fault
from mmlib.market.loopback.flows import Flow, Step
from mmlib.market.loopback.served import Served
from mmlib.market.loopback.wanted import Wanted, bare, is_stream

HOST = "127.0.0.1"
_Due = tuple[float, str, Step, Iterator[Step]]
_SLOW_S = 2.0  # of a slow answer
_GARBAGE = (b'{"stream":', b"\x00\xff\xfe", b"[1,2,3]", b'{"data":{"e":"depthUpdate","s":"%s","U":"x"}}')


class LoopbackExchange:
    """Plays flows to whoever connects. Use as an asynchronous context manager; it listens on 127.0.0.1 only.

    Attributes:
        served: the books by symbol; what a client must come to.
        armed: the faults at work; change them, or use ``hurt``.
        frames_sent: messages handed to connections, each counted once for each of them.

    Args:
        flows: by symbol.
        port: 0 takes a free one.
        speed: of the flows' own time.
        skip_s: the first so many seconds of every flow are played at once, so that there is a book to begin with.
    """

    def __init__(
        self,
        venue: RawVenue,
        flows: Mapping[str, Flow],
        *,
        port: int = 0,
        speed: float = 1.0,
        skip_s: float = 1.0,
    ) -> None:
        self.venue = venue
        self.served = {symbol: Served(venue, flow.instrument) for symbol, flow in flows.items()}
        self.armed = Armed()
        self.frames_sent = 0
        self.requests = 0
        self._flows = flows
        self._port = port
        self._speed = speed
        self._skip_s = skip_s
        self._weight = 0
        self._weight_minute = -1
        self._server: Server | None = None
        self._pump: asyncio.Task[None] | None = None
        self._wants: dict[ServerConnection, Wanted] = {}
        self._held: tuple[str, bytes] | None = None  # waits for the next message to go before it
        self._paused_s = 0.0

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(next(iter(self._server.sockets)).getsockname()[1])

    @property
    def url(self) -> str:
        """For ``--live-url``."""
        return f"http://{HOST}:{self.port}"

    @property
    def grade(self) -> Grade:
        """The weakest grade of what is played."""
        return Grade.weakest([flow.grade for flow in self._flows.values()]) or Grade.SIMULATED

    async def __aenter__(self) -> LoopbackExchange:
        queue = self._first_steps()
        self._server = await serve(
            self._connection,
            HOST,
            self._port,
            process_request=self._request,
            compression=None,
            ping_interval=None,
            close_timeout=0.2,
        )
        self._pump = asyncio.create_task(self._play(queue))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None and self._pump is not None
        self._pump.cancel()
        self._server.close()
        await asyncio.gather(self._pump, self._server.wait_closed(), return_exceptions=True)

    async def finished(self) -> None:
        """Wait until every flow has ended."""
        assert self._pump is not None
        await asyncio.shield(self._pump)

    # --- faults ---

    def hurt(self, name: str, amount: float = 1.0) -> None:
        """Do one of `faults.NAMES` now."""
        now, count = time.monotonic(), int(amount)
        match name:
            case "drop":
                for connection in list(self._wants):
                    connection.transport.abort()
            case "gap":
                self.armed.gap += count
            case "duplicate":
                self.armed.duplicate += count
            case "reorder":
                self.armed.reorder += count
            case "429":
                self.armed.rest_429 += count
            case "5xx":
                self.armed.rest_5xx += count
            case "garbage":
                self.armed.garbage += count
            case "slow":
                self.armed.slow_until = now + amount
            case "silence":
                self.armed.silent_until = now + amount
            case "mute":
                self.armed.mute_until = now + amount
            case "refuse":
                self.armed.refuse_until = now + amount
            case "skew":
                self.armed.skew_s = amount
            case _:
                raise ValueError(f"no fault {name!r}")

    async def schedule(self, faults: list[Fault]) -> None:
        """Do each fault at its time."""
        began = time.monotonic()
        for fault in faults:
            await asyncio.sleep(max(began + fault.at_s - time.monotonic(), 0.0))
            self.hurt(fault.name, fault.amount)

    def _now_ms(self) -> int:
        return int((time.time() + self.armed.skew_s) * 1000)

    # --- the market ---

    def _first_steps(self) -> list[_Due]:
        """Play the beginning of every flow, so that there is a book before anybody connects; what is due next."""
        queue: list[_Due] = []
        for symbol, flow in self._flows.items():
            steps = flow.steps()
            for step in steps:
                if step.at_s >= self._skip_s:
                    heapq.heappush(queue, (step.at_s, symbol, step, steps))
                    break
                self.served[symbol].play(step, self._now_ms())
        return queue

    async def _play(self, queue: list[_Due]) -> None:
        began = time.monotonic()
        while queue:
            at_s, symbol, step, steps = heapq.heappop(queue)
            await self._until(began, at_s)
            for kind, frame in self.served[symbol].play(step, self._now_ms()):
                self._send(symbol, kind, frame)
            following = next(steps, None)
            if following is not None:
                heapq.heappush(queue, (following.at_s, symbol, following, steps))

    async def _until(self, began: float, at_s: float) -> None:
        """Wait until a step is due; silence stops the market's clock."""
        while True:
            now = time.monotonic()
            if now < self.armed.silent_until:
                wait = min(self.armed.silent_until - now, 0.01)  # it may be ended before its time
                await asyncio.sleep(wait)
                self._paused_s += time.monotonic() - now
                continue
            wait = began + self._paused_s + (at_s - self._skip_s) / self._speed - now
            if wait > 0.0005:
                await asyncio.sleep(min(wait, 0.05))
                continue
            return

    def _send(self, symbol: str, kind: str, frame: bytes) -> None:
        armed = self.armed
        if time.monotonic() < armed.mute_until:
            return
        while armed.garbage:
            armed.garbage -= 1
            junk = _GARBAGE[armed.garbage % len(_GARBAGE)]
            self._out(symbol, kind, junk.replace(b"%s", symbol.encode()))
        if kind == "depth" and armed.gap:
            armed.gap -= 1
            return
        if armed.reorder and kind == "depth" and self._held is None:
            armed.reorder -= 1
            self._held = symbol, frame
            return
        self._out(symbol, kind, frame)
        if armed.duplicate:
            armed.duplicate -= 1
            self._out(symbol, kind, frame)
        if self._held is not None and self._held[0] == symbol and kind == "depth":
            _, late = self._held
            self._held = None
            self._out(symbol, kind, late)

    def _out(self, symbol: str, kind: str, frame: bytes) -> None:
        stream = f"{symbol.lower()}@{kind}"
        for combined in (True, False):
            takers = [
                connection
                for connection, wanted in self._wants.items()
                if wanted.combined == combined and stream in wanted
            ]
            if takers:
                self.frames_sent += len(takers)
                broadcast(takers, (frame if combined else bare(frame)).decode("utf-8", "replace"))

    # --- connections and requests ---

    async def _connection(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        wanted = self._wants[connection] = Wanted(connection.request.path)
        try:
            async for message in connection:
                answer = wanted.hear(message)
                if answer is not None:
                    await connection.send(answer.decode())
        except ConnectionClosed:
            pass
        finally:
            del self._wants[connection]

    async def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        parts = urlsplit(request.path)
        if is_stream(parts.path):
            refused = time.monotonic() < self.armed.refuse_until
            return _answer(503, {"msg": "refused"}) if refused else None
        if parts.path == "/loopback":
            return _answer(200, self.state())
        self.requests += 1
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        weight = self.venue.depth_weight if parts.path == self.venue.depth_path else 1
        minute = int(time.monotonic() // 60)
        if minute != self._weight_minute:
            self._weight_minute, self._weight = minute, 0
        self._weight += weight
        if time.monotonic() < self.armed.slow_until:
            await asyncio.sleep(_SLOW_S)
        if self.armed.rest_429:
            self.armed.rest_429 -= 1
            return _answer(429, {"code": -1003, "msg": "too many requests"}, {"Retry-After": "1"})
        if self.armed.rest_5xx:
            self.armed.rest_5xx -= 1
            return _answer(503, {"msg": "service unavailable"})
        return self._rest(parts.path, query)

    def _rest(self, path: str, query: Mapping[str, str]) -> Response:
        headers = {"X-MBX-USED-WEIGHT-1M": str(self._weight), GRADE_HEADER: str(self.grade)}
        if path == self.venue.time_path:
            return _answer(200, {"serverTime": self._now_ms()}, headers)
        if path == self.venue.info_path:
            return _answer(200, {"symbols": [one.rules() for one in self.served.values()]}, headers)
        served = self.served.get(query.get("symbol", ""))
        if path != self.venue.depth_path or served is None:
            return _answer(400, {"code": -1121, "msg": "Invalid symbol."}, headers)
        return _answer(200, served.snapshot(int(query.get("limit", "500")), self._now_ms()), headers)

    def state(self) -> dict[str, Any]:
        """What it has sent and where its books stand, for whoever watches from another process (``GET /loopback``)."""
        return {
            "frames_sent": self.frames_sent,
            "requests": self.requests,
            "sent": {symbol: dict(one.sent) for symbol, one in self.served.items()},
            "last": {symbol: one.last for symbol, one in self.served.items()},
        }


def _answer(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Response:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    fields = {"Content-Type": "application/json", "Content-Length": str(len(raw)), "Connection": "close"}
    return Response(status, HTTPStatus(status).phrase, Headers({**fields, **(headers or {})}), raw)
