"""What every connection to an exchange does alike: keep connected, wait longer after each failure, share requests."""

from __future__ import annotations

import asyncio
import contextlib
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from mmlib.market.live import codes
from mmlib.market.live.rawlog import RawLog
from mmlib.market.live.router import Clock, OnError, Router
from mmlib.market.live.sync import SymbolStream
from mmlib.market.live.venues import Venue
from mmlib.market.source import Instrument


@dataclass(frozen=True)
class Patience:
    """How long the feed waits for what [s]."""

    first_retry_s: float = 0.5
    longest_retry_s: float = 30.0
    good_after_s: float = 30.0  # a connection that held so long starts the waits anew
    silence_s: float = 30.0  # nothing at all on the stream for so long is a lost connection
    open_s: float = 10.0
    snapshot_retry_s: float = 0.25


@dataclass(frozen=True)
class Wiring:
    """What a feed is to bring, and what it is joined to.

    Attributes:
        instruments: tick and lot size by symbol.
        clock: stamps what arrives.
        response_ns: see `SymbolStream`.
        on_error: is told of every error; an empty symbol stands for all of the connection.
        log: keeps every frame, snapshots included.
    """

    instruments: Mapping[str, Instrument]
    clock: Clock
    response_ns: int
    on_error: OnError
    log: RawLog | None = None
    patience: Patience = field(default_factory=Patience)


class Feed(ABC):
    """Public market data of several symbols, kept in sync.

    Attributes:
        streams: by symbol; take rows from them at any time.
        counts: ``connects`` and ``frames`` of the connection.
        connected: whether it is up.
    """

    def __init__(self, venue: Venue, wiring: Wiring) -> None:
        self.venue = venue
        self.streams = {
            symbol: SymbolStream(venue, instrument, wiring.response_ns)
            for symbol, instrument in wiring.instruments.items()
        }
        self.counts: Counter[str] = Counter()
        self.connected = asyncio.Event()
        self._router = Router(self.streams, wiring.on_error)
        self._on_error = wiring.on_error
        self._clock = wiring.clock
        self._log = wiring.log
        self._patience = wiring.patience
        self._fetches: dict[str, asyncio.Task[bool]] = {}

    @property
    @abstractmethod
    def how(self) -> str:
        """What the evidence says of the way in which the market was read."""

    @abstractmethod
    async def _connection(self) -> str:
        """One connection from beginning to end; why it ended."""

    @abstractmethod
    async def _fetch(self, symbol: str) -> bool:
        """Ask for one snapshot; whether it came."""

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
            tasks = self._tasks()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def fetch(self, symbol: str) -> bool:
        """Ask for a snapshot now and put it into the stream; whether it came. Two askers share one request."""
        task = self._fetches.get(symbol)
        if task is None:
            task = asyncio.create_task(self._fetch(symbol))
            self._fetches[symbol] = task
            task.add_done_callback(lambda _: self._fetches.pop(symbol, None))
        return await asyncio.shield(task)

    async def rows_ready(self, timeout_s: float) -> bool:
        """Wait until every book follows its stream; False when that took too long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not all(stream.synced for stream in self.streams.values()):
                    await asyncio.sleep(0.02)
                return True
        return False

    def _tasks(self) -> list[asyncio.Task[None] | asyncio.Task[bool]]:
        """What is under way beside the connection."""
        return [*self._fetches.values()]

    def _wait_s(self, failures: int) -> float:
        """Capped exponential backoff, half of it random."""
        patience = self._patience
        full = min(patience.first_retry_s * 2.0 ** max(failures - 1, 0), patience.longest_retry_s)
        return full * (0.5 + 0.5 * random.random())  # noqa: S311
