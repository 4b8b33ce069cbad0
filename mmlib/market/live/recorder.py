"""Recording a live market without a bot: the same connection, snapshots and file as those of a session."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmlib._io import UserError
from mmlib.dtypes import Grade
from mmlib.market.live.clients import client_of, feed_of
from mmlib.market.live.connection import Wiring
from mmlib.market.live.rawlog import RawLog
from mmlib.market.live.rest import instrument_of, read_rules
from mmlib.market.live.router import Clock
from mmlib.market.live.venues import Venue

_SYNC_S = 1.0


@dataclass(frozen=True)
class Recorded:
    """What a recording came to."""

    path: Path
    seconds: float
    lines: int
    size_bytes: int
    errors: dict[str, int]


async def record(
    venue: Venue, symbols: Sequence[str], path: Path, *, seconds: float | None, stop: asyncio.Event
) -> Recorded:
    """Keep the streams of ``symbols`` in ``path`` for ``seconds`` or until ``stop``; whole and synced every second.

    Raises:
        UserError: the exchange does not answer or lists no such symbol, the file exists or cannot be written, or nothing
            came at all.
    """
    errors: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    began = loop.time()

    def count(_symbol: str, code: str, _detail: str) -> None:
        errors[code] += 1

    async with client_of(venue, count) as client:
        rules = await read_rules(client)
        instruments = {symbol: instrument_of(rules, symbol, venue.rest) for symbol in symbols}
        clock, log = Clock(), RawLog(path)
        log.note(
            clock(),
            note="recording",
            exchange=venue.name,
            grade=rules.grade or str(Grade.LIVE),
            instruments={symbol: [one.tick_size, one.lot_size] for symbol, one in instruments.items()},
        )
        feed = feed_of(client, Wiring(instruments, clock, response_ns=0, on_error=count, log=log))
        receiving = asyncio.create_task(feed.run())
        try:
            while not stop.is_set() and (seconds is None or loop.time() - began < seconds):
                left = _SYNC_S if seconds is None else min(_SYNC_S, seconds - (loop.time() - began))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(left, 0.01)):
                        await stop.wait()
                for stream in feed.streams.values():
                    stream.take_rows()  # nobody needs them
                await asyncio.to_thread(log.store, log.cut())
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)
            log.close()
    if not feed.counts["frames"]:
        path.unlink()
        raise UserError(f"{venue.ws}: nothing came ({', '.join(errors) or 'no error'}); expected its stream")
    return Recorded(path, loop.time() - began, log.lines, log.size, dict(errors))
