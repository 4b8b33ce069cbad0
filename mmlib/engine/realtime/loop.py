"""The running session: one connection, a tick of every symbol on its schedule, a synced checkpoint every second."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import psutil

from mmlib._io import UserError
from mmlib.engine.realtime import checkpoint
from mmlib.engine.realtime.checkpoint import Checkpoint
from mmlib.engine.realtime.feedlog import Batch, FeedLog
from mmlib.engine.realtime.ledger import Ledger
from mmlib.engine.realtime.phases import PhaseTimes
from mmlib.engine.realtime.steady import steady, tidy
from mmlib.engine.realtime.symbol import SymbolBot
from mmlib.engine.realtime.ticking import SymbolTicks
from mmlib.market.live.clients import feed_of
from mmlib.market.live.connection import Feed, Patience, Wiring
from mmlib.market.live.rawlog import RawLog
from mmlib.market.live.rest import Client
from mmlib.market.live.router import Clock
from mmlib.market.live.venues import Venue

if TYPE_CHECKING:
    from mmlib.config.models import Config
    from mmlib.market.source import Instrument

_S = 1_000_000_000
_SYNC_S = 1.0
_LAST_TICK_S = (
    1.0  # a tick due this soon after the end is waited for: it carries the errors met since the one before
)
_CALM_NS = 30_000_000  # what is done once a second waits until no tick is due for so long,
_CALM_TRIES = 10  # but not for ever


class Observer(Protocol):
    """Is told of a session as it goes: telemetry, minute series, status."""

    def on_tick(self, symbol: str, rows: np.ndarray, errors: dict[str, int]) -> None:
        """TICK[arms] of one tick and its errors by code; views, valid during the call."""

    def on_fill(self, symbol: str, fills: np.ndarray) -> None:
        """FILL[n]."""

    def on_second(self, session: LiveLoop, now_ns: int) -> None:
        """About once a second."""


@dataclass
class Plan:
    """What a loop runs.

    Attributes:
        directory: of the feeds.
        response_ns: see `SymbolStream`.
        duration_ns: from the first tick of each symbol on.
        identity: what a checkpoint must agree with to be gone on from.
        first_data_s: without a book for so long at the start the session is given up [s].
    """

    venue: Venue
    config: Config
    instruments: dict[str, Instrument]
    arms: tuple[str, ...]
    directory: Path
    duration_ns: int
    seed: int
    identity: dict[str, Any]
    header: dict[str, Any]
    first_data_s: float = 60.0
    patience: Patience = field(default_factory=Patience)

    @property
    def response_ns(self) -> int:
        """Of the bot's latency model."""
        return int(self.config.latency.response_ms * 1e6)


class LiveLoop:
    """See `run`. Between construction and `run` a checkpoint may be loaded.

    Attributes:
        ledger: what is counted.
        bots: by symbol.
        feed: the connection, while it runs.
        feeds: rows on their way to the disk.
        phases: what the ticks of this process cost.
        observers: are told of every tick, fill and second.
        slots: how many symbols may be at work, or at the exchange, at once.
        stopped_by: why it ended: ``duration``, ``signal``, or what called `stop`.
        lost_ns: local time for which a resumed session has no ticks.
    """

    def __init__(self, plan: Plan, log: RawLog | None, observers: list[Observer]) -> None:
        self.plan = plan
        self.ledger = Ledger(tuple(plan.instruments), plan.arms)
        self.clock = Clock()
        self.feed: Feed | None = None
        self.stopped_by = ""
        self.rss_mb = _rss_mb()
        self.resumed = 0
        self._log = log
        self.observers = observers
        self.feeds = FeedLog(
            plan.directory, tuple(plan.instruments), plan.arms, str(plan.header.get("grade", ""))
        )
        self.phases = PhaseTimes()
        self.bots = {
            symbol: SymbolBot(
                plan.config, instrument, plan.arms, seed=plan.seed, on_fills=self._fill_sink(symbol)
            )
            for symbol, instrument in plan.instruments.items()
        }
        self.first_ns: dict[str, int] = {}  # scheduled time of the first tick with a book
        self.last_ns: dict[str, int] = {}  # end of the last one
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = threading.Event()
        self._wake: asyncio.Event | None = None
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="disk")
        self._storing: Future[None] | None = None
        batch = plan.config.async_batch
        self.slots = asyncio.Semaphore(batch.max_parallel_symbols if batch.enabled else 1)

    # --- from outside ---

    def stop(self, reason: str) -> None:
        """End the session soon, from whatever thread; the first reason counts."""
        if not self._stop.is_set():
            self.stopped_by = reason
        self._stop.set()
        if self._loop is not None and self._wake is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended
                self._loop.call_soon_threadsafe(self._wake.set)

    def reconfigure(self, config: Config, reason: str) -> None:
        """Let every symbol quote by another configuration from its next tick on; noted in the recording."""
        for symbol, bot in self.bots.items():
            bot.reconfigure(config)
            self.note(symbol, "config", reason=reason, config=config.model_dump(mode="json"))
        self.plan.config = config

    def resume(self, saved: Checkpoint) -> None:
        """Go on from a checkpoint.

        Raises:
            UserError: it is of another session or version.
        """
        if saved.meta["identity"] != self.plan.identity:
            raise UserError(
                f"{self.plan.directory / checkpoint.NAME}: is of another session; "
                "expected the same source, symbols, arms, seed and configuration, or no --resume"
            )
        for symbol, bot in self.bots.items():
            try:
                bot.load(saved.states[symbol])
            except (KeyError, ValueError) as exc:
                raise UserError(f"{self.plan.directory / checkpoint.NAME}: {symbol}: {exc}") from exc
            self.ledger.symbols[symbol].load(saved.meta["ledgers"][symbol])
            self.note(symbol, "restart")
        self.ledger.load(saved.meta["shared_errors"])
        self.first_ns, self.last_ns = dict(saved.meta["first_ns"]), dict(saved.meta["last_ns"])
        self.resumed = int(saved.meta["resumed"]) + 1

    # --- the session ---

    async def run(self, client: Client) -> None:
        """Connect, tick, and end: at the duration, by `stop`, or by an error.

        Raises:
            UserError: no row of a symbol within ``first_data_s``, or a file cannot be written.
        """
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        if self._stop.is_set():
            self._wake.set()
        plan = self.plan
        self.feed = feed_of(
            client,
            Wiring(
                plan.instruments, self.clock, plan.response_ns, self.ledger.error, self._log, plan.patience
            ),
        )
        if self._log is not None and not self.resumed:
            self._log.note(self.clock(), note="session", **plan.header)
        with steady():
            await self._until_over(self.feed)

    async def _until_over(self, feed: Feed) -> None:
        """Receive, tick and keep what came, until every symbol has ticked to its end."""
        endless = [asyncio.create_task(feed.run()), asyncio.create_task(self._every_second())]
        symbols = [asyncio.create_task(SymbolTicks(self, feed, symbol).run()) for symbol in self.bots]
        try:
            await _first_error(symbols, endless)
            self.stopped_by = self.stopped_by or "duration"
        finally:
            for task in (*symbols, *endless):
                task.cancel()
            await asyncio.gather(*symbols, *endless, return_exceptions=True)

    def close(self) -> None:
        """Write, sync and close every file, and leave a checkpoint of the very end."""
        self._disk.shutdown()  # a write under way must end before the last one
        try:
            if self._storing is not None:
                self._storing.result()  # what it could not write is missing: no checkpoint may say otherwise
            self._store(*self._capture())
        finally:
            self.feeds.close()
            if self._log is not None:
                self._log.close()

    # --- for its ticks ---

    @property
    def stopping(self) -> bool:
        """Whether its end was asked for."""
        return self._stop.is_set()

    async def sleep_until(self, due_ns: int) -> bool:
        """Wait for a scheduled time; False when the session ends before it (unless it is very near)."""
        assert self._wake is not None
        while (wait_s := (due_ns - self.clock()) / _S) > 0.0:
            if self._stop.is_set():
                if wait_s > _LAST_TICK_S:
                    return False
                await asyncio.sleep(wait_s)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
        return True

    def note(self, symbol: str, what: str, **fields: Any) -> None:
        """Leave a note of a symbol in the recording, if there is one."""
        if self._log is not None:
            self._log.note(self.clock(), note=what, s=symbol, **fields)

    def _fill_sink(self, symbol: str) -> Callable[[np.ndarray], None]:
        def sink(fills: np.ndarray) -> None:
            ledger = self.ledger.symbols[symbol]
            for arm, liquidity in zip(fills["arm"].tolist(), fills["liquidity"].tolist(), strict=True):
                ledger.fill(arm, liquidity)
            self.feeds.fills(symbol, fills)
            for observer in self.observers:
                observer.on_fill(symbol, fills)

        return sink

    # --- once a second ---

    async def _every_second(self) -> None:
        while True:
            await asyncio.sleep(_SYNC_S)
            await self._calm()
            self.rss_mb = _rss_mb()
            self._storing = self._disk.submit(self._store, *self._capture())
            await asyncio.shield(asyncio.wrap_future(self._storing))
            await self._calm()
            for observer in self.observers:
                observer.on_second(self, self.clock())
            tidy()

    async def _calm(self) -> None:
        """Wait until no tick is due soon, where the schedules leave such a moment."""
        for _ in range(_CALM_TRIES):
            due_ns = min(bot.scheduled_ns(bot.next_index) for bot in self.bots.values())
            left_ns = due_ns - self.clock()
            if left_ns > _CALM_NS or due_ns < self.clock() - _S:  # or nothing is scheduled yet
                return
            await asyncio.sleep((max(left_ns, 0) + _CALM_NS // 10) / _S)

    def _capture(self) -> tuple[Checkpoint, Batch, memoryview]:
        """The state as it is now, and everything of before that is not on disk yet."""
        meta = {
            "identity": self.plan.identity,
            "header": self.plan.header,
            "ledgers": {symbol: one.save() for symbol, one in self.ledger.symbols.items()},
            "shared_errors": self.ledger.save(),
            "first_ns": dict(self.first_ns),
            "last_ns": dict(self.last_ns),
            "resumed": self.resumed,
        }
        states = {symbol: bot.save() for symbol, bot in self.bots.items()}
        data = memoryview(b"") if self._log is None else self._log.cut()
        return Checkpoint(meta, states), self.feeds.cut(), data

    def _store(self, captured: Checkpoint, batch: Batch, data: memoryview) -> None:
        """Write what was captured, in the thread of the disk; the checkpoint last."""
        captured.meta["recording_size"] = None if self._log is None else self._log.store(data)
        self.feeds.store(batch)
        captured.meta["files"] = checkpoint.file_sizes(self.plan.directory)
        checkpoint.store(self.plan.directory, captured)


def _rss_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6


async def _first_error(needed: list[asyncio.Task[None]], endless: list[asyncio.Task[None]]) -> None:
    """Wait until every needed task is done; what any task raises is raised here at once."""
    waiting = {*needed, *endless}
    while any(not task.done() for task in needed):
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
