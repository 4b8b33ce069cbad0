"""The running session: one connection, a tick of every symbol on its schedule, a synced checkpoint every second."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import psutil

from mmlib._io import UserError
from mmlib.engine.realtime import checkpoint
from mmlib.engine.realtime.checkpoint import Checkpoint
from mmlib.engine.realtime.ledger import Ledger
from mmlib.engine.realtime.symbol import SymbolBot
from mmlib.feeds.writer import FeedWriter
from mmlib.market.live.clients import feed_of
from mmlib.market.live.connection import Feed, Patience
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
_RSS_S = 1.0


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
        self._observers = observers
        self._writers = {symbol: FeedWriter(plan.directory, symbol, plan.arms) for symbol in plan.instruments}
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
        self._storing: asyncio.Future[None] | None = None
        batch = plan.config.async_batch
        self._slots = asyncio.Semaphore(batch.max_parallel_symbols if batch.enabled else 1)

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
            self._note(symbol, "config", reason=reason, config=config.model_dump(mode="json"))
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
            self._note(symbol, "restart")
        self.first_ns, self.last_ns = dict(saved.meta["first_ns"]), dict(saved.meta["last_ns"])
        self.resumed = int(saved.meta["resumed"]) + 1

    # --- the session ---

    async def run(self, client: Client) -> None:
        """Connect, tick, and end: at the duration, by `stop`, or by an error.

        Raises:
            UserError: no book within ``first_data_s``, or a file cannot be written.
        """
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        if self._stop.is_set():
            self._wake.set()
        plan = self.plan
        self.feed = feed_of(
            client,
            plan.instruments,
            self.clock,
            response_ns=plan.response_ns,
            on_error=self.ledger.error,
            log=self._log,
            patience=plan.patience,
        )
        if self._log is not None and not self.resumed:
            self._log.note(self.clock(), note="session", **plan.header)
        gc.collect()
        gc.freeze()  # what is here stays; collecting it again and again would delay ticks
        receiving = asyncio.create_task(self.feed.run())
        syncing = asyncio.create_task(self._every_second())
        symbols = [asyncio.create_task(self._symbol(symbol)) for symbol in self.bots]
        try:
            await _first_error([*symbols], [receiving, syncing])
            self.stopped_by = self.stopped_by or "duration"
        finally:
            for task in (*symbols, receiving, syncing):
                task.cancel()
            await asyncio.gather(*symbols, receiving, syncing, return_exceptions=True)
            if self._storing is not None:  # a write under way must end before the last one
                await asyncio.gather(self._storing, return_exceptions=True)
            gc.unfreeze()

    def close(self) -> None:
        """Write, sync and close every file, and leave a checkpoint of the very end."""
        for writer in self._writers.values():
            writer.close()
        self._store(self._capture(), b"" if self._log is None else self._log.cut())
        if self._log is not None:
            self._log.close()

    async def _symbol(self, symbol: str) -> None:
        """The ticks of one symbol, on their schedule."""
        assert self.feed is not None
        bot, stream = self.bots[symbol], self.feed.streams[symbol]
        if not bot.t0_ns:
            await self._first_rows(symbol)
        else:  # a resumed schedule goes on with the next tick that is still to come
            bot.skip_to((self.clock() - bot.t0_ns) // bot.interval_ns + 1)
        last = False
        while not last:
            due_ns = bot.scheduled_ns(bot.next_index)
            first_ns = self.first_ns.get(symbol)
            if first_ns is not None and due_ns >= first_ns + self.plan.duration_ns:
                return
            if not await self._sleep_until(due_ns):
                return
            last = self._stop.is_set()
            if self.plan.config.async_batch.enabled:
                await self._tick(symbol, bot, stream)
            else:
                async with self._slots:  # one symbol after the other, its fetch included
                    await self._tick(symbol, bot, stream)

    async def _first_rows(self, symbol: str) -> None:
        """Wait for the first rows; the schedule begins with their arrival, as it does in a replay."""
        assert self.feed is not None
        stream = self.feed.streams[symbol]
        deadline = asyncio.get_running_loop().time() + self.plan.first_data_s
        while not stream.has_rows:
            if self._stop.is_set():
                break
            if asyncio.get_running_loop().time() > deadline:
                raise UserError(
                    f"live:{self.plan.venue.name}: nothing of {symbol} in {self.plan.first_data_s:g} s"
                    f"{self._last_words()}; expected its stream"
                )
            await asyncio.sleep(0.005)
        rows = stream.take_rows()
        bot = self.bots[symbol]
        bot.feed(rows)
        bot.schedule(int(rows["local_ts_ns"][0]) if len(rows) else self.clock())
        self._note(symbol, "schedule", t0=bot.t0_ns)

    def _last_words(self) -> str:
        return f" (last error: {self.ledger.recent[-1]})" if self.ledger.recent else ""

    async def _sleep_until(self, due_ns: int) -> bool:
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

    async def _tick(self, symbol: str, bot: SymbolBot, stream: Any) -> None:
        assert self.feed is not None
        ledger = self.ledger.symbols[symbol]
        start_ns = self.clock()
        bot.feed(stream.take_rows())
        begun = bot.begin(start_ns)
        if not begun.quoting:
            ledger.skipped += 1
            self._note(symbol, "tick", i=begun.index, t=start_ns)
            return
        failed, decide_ns = False, start_ns
        if begun.miss:
            failed = not await self._fetch(symbol)
            decide_ns = self.clock()
            bot.feed(stream.take_rows())
        met = ledger.take_errors()
        waited_ns = decide_ns
        rows = bot.end(decide_ns, failed=failed, errors=met.total(), rss_mb=self.rss_mb)
        self._note(symbol, "tick", i=begun.index, t=start_ns, d=decide_ns, f=int(failed), x=met.total())
        scheduled_ns = int(rows["scheduled_ns"][0])
        _measured(rows, self.clock(), waited_ns, bot.deadline_ms)
        self.first_ns.setdefault(symbol, scheduled_ns)
        self.last_ns[symbol] = scheduled_ns + bot.interval_ns
        errors = ledger.tick(
            met, rows, bool(rows["cache_age_ms"][0] > self.plan.config.risk_guards.max_age_ms)
        )
        self._writers[symbol].ticks(rows, errors)
        for observer in self._observers:
            observer.on_tick(symbol, rows, errors)

    async def _fetch(self, symbol: str) -> bool:
        assert self.feed is not None
        if not self.plan.config.async_batch.enabled:
            return await self.feed.fetch(symbol)
        async with self._slots:
            return await self.feed.fetch(symbol)

    def _fill_sink(self, symbol: str) -> Callable[[np.ndarray], None]:
        def sink(fills: np.ndarray) -> None:
            ledger = self.ledger.symbols[symbol]
            for arm, liquidity in zip(fills["arm"].tolist(), fills["liquidity"].tolist(), strict=True):
                ledger.fill(arm, liquidity)
            self._writers[symbol].fills(fills)
            for observer in self._observers:
                observer.on_fill(symbol, fills)

        return sink

    def _note(self, symbol: str, what: str, **fields: Any) -> None:
        if self._log is not None:
            self._log.note(self.clock(), note=what, s=symbol, **fields)

    # --- once a second ---

    async def _every_second(self) -> None:
        while True:
            await asyncio.sleep(_SYNC_S)
            self.rss_mb = _rss_mb()
            captured = self._capture()
            data = b"" if self._log is None else self._log.cut()
            self._storing = asyncio.ensure_future(asyncio.to_thread(self._store, captured, data))
            await asyncio.shield(self._storing)
            for observer in self._observers:
                observer.on_second(self, self.clock())

    def _capture(self) -> Checkpoint:
        """The state as it is now, with the sizes that its feeds have now."""
        meta = {
            "identity": self.plan.identity,
            "header": self.plan.header,
            "ledgers": {symbol: one.save() for symbol, one in self.ledger.symbols.items()},
            "first_ns": self.first_ns,
            "last_ns": self.last_ns,
            "resumed": self.resumed,
            "files": checkpoint.file_sizes(self.plan.directory),
        }
        return Checkpoint(meta, {symbol: bot.save() for symbol, bot in self.bots.items()})

    def _store(self, captured: Checkpoint, data: bytes) -> None:
        size = None if self._log is None else self._log.store(data)
        captured.meta["recording_size"] = size
        checkpoint.store(self.plan.directory, captured)


def _measured(rows: np.ndarray, now_ns: int, decided_ns: int, deadline_ms: float) -> None:
    """Put the time that really passed since the schedule into TICK rows; nothing of it is modelled."""
    own_ms = rows["tick_total_ms"] - rows["modelled_ms"]  # what the arm's own stages and FetchMD took
    shared_ms = max((now_ns - decided_ns) * 1e-6 - float(own_ms.sum()), 0.0)
    rows["tick_total_ms"] += shared_ms
    rows["modelled_ms"] = 0.0
    rows["deadline_miss"] = rows["tick_total_ms"] > deadline_ms


def _rss_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6


async def _first_error(needed: list[asyncio.Task[None]], endless: list[asyncio.Task[None]]) -> None:
    """Wait until every needed task is done; what any task raises is raised here at once."""
    waiting = {*needed, *endless}
    while any(not task.done() for task in needed):
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
