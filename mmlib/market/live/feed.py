"""The connection to an exchange: one combined stream, snapshots where a book needs one, reconnection, everything recorded."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from mmlib.market.live import codes
from mmlib.market.live.rawlog import RawLog
from mmlib.market.live.rest import Refused, RestClient
from mmlib.market.live.router import Clock, OnError, Router, with_symbol
from mmlib.market.live.sync import SymbolStream
from mmlib.market.live.venues import Venue
from mmlib.market.source import Instrument

_YIELD_EVERY = 64  # frames; a burst must not keep a tick waiting
_FRAME_BYTES = 16 << 20


@dataclass(frozen=True)
class Patience:
    """How long the feed waits for what [s]."""

    first_retry_s: float = 0.5
    longest_retry_s: float = 30.0
    good_after_s: float = 30.0  # a connection that held so long starts the waits anew
    silence_s: float = 30.0  # nothing at all on the stream for so long is a lost connection
    open_s: float = 10.0
    snapshot_retry_s: float = 0.25


class LiveFeed:
    """Public market data of several symbols, kept in sync.

    Attributes:
        streams: by symbol; take rows from them at any time.
        counts: ``connects``, ``frames`` and ``bytes`` of the connection.

    Args:
        instruments: tick and lot size by symbol.
        response_ns: see `SymbolStream`.
        on_error: is told of every error; an empty symbol stands for all of the connection.
        log: keeps every frame, snapshots included.
        seed: of the jitter.
    """

    def __init__(
        self,
        venue: Venue,
        instruments: Mapping[str, Instrument],
        rest: RestClient,
        clock: Clock,
        *,
        response_ns: int,
        on_error: OnError,
        log: RawLog | None = None,
        patience: Patience | None = None,
        seed: int | None = None,
    ) -> None:
        self.venue = venue
        self.streams = {
            symbol: SymbolStream(venue, instrument, response_ns) for symbol, instrument in instruments.items()
        }
        self.counts: Counter[str] = Counter()
        self.connected = asyncio.Event()
        self._router = Router(self.streams, on_error)
        self._on_error = on_error
        self._rest = rest
        self._clock = clock
        self._log = log
        self._patience = patience or Patience()
        self._random = random.Random(seed)  # noqa: S311  (jitter)
        self._fetches: dict[str, asyncio.Task[bool]] = {}
        self._syncs: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Keep connected until cancelled."""
        failures = 0
        loop = asyncio.get_running_loop()
        try:
            while True:
                began = loop.time()
                detail = await self._connection()
                self.connected.clear()
                self._on_error("", codes.DISCONNECT, detail)
                failures = 0 if loop.time() - began >= self._patience.good_after_s else failures + 1
                await asyncio.sleep(self._wait_s(failures))
        finally:
            tasks = [*self._syncs.values(), *self._fetches.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _wait_s(self, failures: int) -> float:
        """Capped exponential backoff, half of it random."""
        patience = self._patience
        full = min(patience.first_retry_s * 2.0 ** max(failures - 1, 0), patience.longest_retry_s)
        return full * (0.5 + 0.5 * self._random.random())

    async def _connection(self) -> str:
        """One connection from beginning to end; why it ended."""
        url = self.venue.stream_url(tuple(self.streams))
        try:
            async with connect(
                url,
                open_timeout=self._patience.open_s,
                close_timeout=1.0,
                max_size=_FRAME_BYTES,
                max_queue=4096,
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

    async def fetch(self, symbol: str) -> bool:
        """Ask for a snapshot now and put it into the stream; whether it came. Two askers share one request."""
        task = self._fetches.get(symbol)
        if task is None:
            task = asyncio.create_task(self._fetch(symbol))
            self._fetches[symbol] = task
            task.add_done_callback(lambda _: self._fetches.pop(symbol, None))
        return await asyncio.shield(task)

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

    async def rows_ready(self, timeout_s: float) -> bool:
        """Wait until every book follows its stream; False when that took too long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not all(stream.synced for stream in self.streams.values()):
                    await asyncio.sleep(0.02)
                return True
        return False
