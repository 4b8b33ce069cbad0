"""The ticks of one symbol in a running session: on their schedule, fetching where the book is stale, and counted."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np

from mmlib._io import UserError

if TYPE_CHECKING:
    from mmlib.engine.realtime.ledger import Met
    from mmlib.engine.realtime.loop import LiveLoop
    from mmlib.engine.realtime.symbol import Begun
    from mmlib.market.live.connection import Feed


class SymbolTicks:
    """Drives the bot of one symbol by the clock of a session, whose feed is connected or about to be."""

    def __init__(self, session: LiveLoop, feed: Feed, symbol: str) -> None:
        self._session = session
        self._feed = feed
        self.symbol = symbol
        self._bot = session.bots[symbol]
        self._stream = feed.streams[symbol]

    async def run(self) -> None:
        """Tick until the duration is over or the session is stopped.

        Raises:
            UserError: no row came within ``first_data_s``.
        """
        session, bot = self._session, self._bot
        if not bot.t0_ns:
            await self._first_rows()
        else:  # a resumed schedule goes on with the next tick that is still to come
            bot.skip_to((session.clock() - bot.t0_ns) // bot.interval_ns + 1)
        last = False
        while not last:
            due_ns = bot.scheduled_ns(bot.next_index)
            first_ns = session.first_ns.get(self.symbol)
            if first_ns is not None and due_ns >= first_ns + session.plan.duration_ns:
                return
            if not await session.sleep_until(due_ns):
                return
            last = session.stopping
            if session.plan.config.async_batch.enabled:
                await self._tick()
            else:
                async with session.slots:  # one symbol after the other, its fetch included
                    await self._tick()

    async def _first_rows(self) -> None:
        """Wait for the first rows; the schedule begins with their arrival, as it does in a replay."""
        session = self._session
        loop = asyncio.get_running_loop()
        deadline = loop.time() + session.plan.first_data_s
        while not self._stream.has_rows and not session.stopping:
            if loop.time() > deadline:
                recent = session.ledger.recent
                raise UserError(
                    f"live:{session.plan.venue.name}: nothing of {self.symbol} in {session.plan.first_data_s:g} s"
                    f"{f' (last error: {recent[-1]})' if recent else ''}; expected its stream"
                )
            await asyncio.sleep(0.005)
        rows = self._stream.take_rows()
        self._bot.feed(rows)
        self._bot.schedule(int(rows["local_ts_ns"][0]) if len(rows) else session.clock())
        session.note(self.symbol, "schedule", t0=self._bot.t0_ns)

    async def _tick(self) -> None:
        """One tick, both halves; the times of its phases go to the session."""
        session, bot = self._session, self._bot
        began = perf_counter_ns()
        start_ns = session.clock()
        bot.feed(self._stream.take_rows())
        fed = perf_counter_ns()
        begun = bot.begin(start_ns)
        if not begun.quoting:
            session.ledger.symbols[self.symbol].skipped += 1
            session.note(self.symbol, "tick", i=begun.index, t=start_ns)
            return
        first_half = waited = perf_counter_ns()
        failed, decide_ns = False, start_ns
        if begun.miss:
            failed = not await self._fetch()
            decide_ns, waited = session.clock(), perf_counter_ns()
            bot.feed(self._stream.take_rows())
        met = session.ledger.take_errors(self.symbol)
        rows = bot.end(decide_ns, failed=failed, errors=met.struck, rss_mb=session.rss_mb)
        second_half = perf_counter_ns()
        self._note(begun, decide_ns, failed, met, rows)
        noted = perf_counter_ns()
        errors = self._count(met, rows)
        counted = perf_counter_ns()
        for observer in session.observers:
            observer.on_tick(self.symbol, rows, errors)
        stamps = began, fed, first_half, second_half, noted, counted, perf_counter_ns()
        session.phases.tick(stamps, waited - first_half)

    def _note(self, begun: Begun, decide_ns: int, failed: bool, met: Met, rows: np.ndarray) -> None:
        """State in the TICK rows what was measured, and in the recording what a replay needs."""
        session = self._session
        _measured(rows, session.clock(), decide_ns, self._bot.deadline_ms)
        rows["errors"] -= met.elsewhere
        session.note(
            self.symbol,
            "tick",
            i=begun.index,
            t=begun.start_ns,
            d=decide_ns,
            f=int(failed),
            x=met.struck,
            y=met.elsewhere,
        )

    def _count(self, met: Met, rows: np.ndarray) -> dict[str, int]:
        """Put a tick into the session's books and feeds; its errors by code."""
        session, symbol = self._session, self.symbol
        scheduled_ns = int(rows["scheduled_ns"][0])
        session.first_ns.setdefault(symbol, scheduled_ns)
        session.last_ns[symbol] = scheduled_ns + self._bot.interval_ns
        silent = bool(rows["cache_age_ms"][0] > session.plan.config.risk_guards.max_age_ms)
        errors = session.ledger.symbols[symbol].tick(met.counted, rows, silent)
        session.feeds.ticks(symbol, rows, errors)
        return errors

    async def _fetch(self) -> bool:
        """Ask for the book; with ``async_batch`` so many symbols at once as it allows."""
        if not self._session.plan.config.async_batch.enabled:
            return await self._feed.fetch(self.symbol)
        async with self._session.slots:
            return await self._feed.fetch(self.symbol)


def _measured(rows: np.ndarray, now_ns: int, decided_ns: int, deadline_ms: float) -> None:
    """Put the time that really passed since the schedule into TICK rows; nothing of it is modelled."""
    own_ms = rows["tick_total_ms"] - rows["modelled_ms"]  # what the arm's own stages and FetchMD took
    shared_ms = max((now_ns - decided_ns) * 1e-6 - float(own_ms.sum()), 0.0)
    rows["tick_total_ms"] += shared_ms
    rows["modelled_ms"] = 0.0
    rows["deadline_miss"] = rows["tick_total_ms"] > deadline_ms
