"""The connection to an exchange: one combined stream, snapshots where a book needs one, reconnection, everything recorded."""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from mmlib.market.live.connection import Feed, Wiring
from mmlib.market.live.rest import Refused, RestClient
from mmlib.market.live.router import with_symbol

_YIELD_EVERY = 64  # frames; a burst must not keep a tick waiting
_FRAME_BYTES = 16 << 20
_WAITING_FRAMES = 512  # the others wait in the kernel, where they take no memory of ours


class LiveFeed(Feed):
    """The raw streams of an exchange.

    Attributes:
        counts: ``connects``, ``frames`` and ``bytes`` of the connection.

    Args:
        rest: snapshots are asked of it.
    """

    def __init__(self, rest: RestClient, wiring: Wiring) -> None:
        super().__init__(rest.venue, wiring)
        self._url = rest.venue.stream_url(tuple(self.streams))
        self._rest = rest
        self._syncs: dict[str, asyncio.Task[None]] = {}

    @property
    def how(self) -> str:
        """See `Feed.how`."""
        return f"raw streams {', '.join(self.venue.streams)}"

    def _tasks(self) -> list[asyncio.Task[None] | asyncio.Task[bool]]:
        return [*self._syncs.values(), *super()._tasks()]

    async def _connection(self) -> str:
        """One connection from beginning to end; why it ended."""
        try:
            async with connect(
                self._url,
                open_timeout=self._patience.open_s,
                close_timeout=1.0,
                max_size=_FRAME_BYTES,
                max_queue=_WAITING_FRAMES,
                compression=None,
            ) as socket:
                self.counts["connects"] += 1
                for stream in self.streams.values():
                    stream.restart()
                if self._log is not None:
                    self._log.note(self._clock(), note="open")
                self.connected.set()
                return await self._receive(socket)
        except (OSError, TimeoutError, WebSocketException) as exc:
            return f"{type(exc).__name__}: {exc}"[:200]

    async def _receive(self, socket: ClientConnection) -> str:
        frames = 0
        while True:
            try:
                async with asyncio.timeout(self._patience.silence_s):
                    frame = await socket.recv(decode=False)
            except TimeoutError:
                return f"nothing received for {self._patience.silence_s:g} s"
            except ConnectionClosed as exc:
                return f"closed: {exc}"[:200]
            self._take(frame)
            frames += 1
            if frames % _YIELD_EVERY == 0:
                await asyncio.sleep(0)

    def _take(self, frame: bytes) -> None:
        local_ns = self._clock()
        self.counts["frames"] += 1
        self.counts["bytes"] += len(frame)
        if self._log is not None:
            self._log.write(local_ns, frame)
        symbol = self._router.take(local_ns, frame)
        if symbol and self.streams[symbol].needs_snapshot and symbol not in self._syncs:
            self._syncs[symbol] = asyncio.create_task(self._sync(symbol))
            self._syncs[symbol].add_done_callback(lambda _: self._syncs.pop(symbol, None))

    # --- snapshots ---

    async def _fetch(self, symbol: str) -> bool:
        try:
            body = await self._rest.depth(symbol)
        except Refused:
            return False
        local_ns = self._clock()
        frame = with_symbol(symbol, body)
        if self._log is not None:
            self._log.write(local_ns, frame)
        stream = self.streams[symbol]
        before = stream.counts["snapshots"]
        self._router.take(local_ns, frame)
        return stream.counts["snapshots"] > before

    async def _sync(self, symbol: str) -> None:
        """Ask for snapshots until the book of a symbol follows its stream."""
        stream = self.streams[symbol]
        tries = 0
        while stream.needs_snapshot:
            came = await self.fetch(symbol)
            if not stream.needs_snapshot:
                return
            tries = 0 if came else tries + 1
            wait_s = self._patience.snapshot_retry_s if came else self._wait_s(tries)
            await asyncio.sleep(max(wait_s, self._rest.closed_for_s))
