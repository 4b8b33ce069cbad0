"""A coarser connection: books and trades that ccxt streams. A book puts updates together, so queues are known less well."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ccxt.base.errors import BaseError

from mmlib.market.live import codes
from mmlib.market.live.books import BookFrames, CrossedBook
from mmlib.market.live.ccxt_client import CcxtClient
from mmlib.market.live.ccxt_exchanges import VERSION
from mmlib.market.live.connection import Feed, Wiring
from mmlib.market.live.rest import Refused


class CcxtFeed(Feed):
    """Public market data of several symbols of one exchange that ccxt streams.

    A book that ccxt hands over holds every update that came since the one before, so the order of events inside is lost. What
    it hands over is written into frames of the raw sources' form (`books.BookFrames`), which go through the same
    streams, and into the same recording.
    """

    def __init__(self, client: CcxtClient, wiring: Wiring) -> None:
        super().__init__(client.venue, wiring)
        self._client = client
        self._frames = {symbol: BookFrames(symbol, client.contract_size(symbol)) for symbol in self.streams}

    @property
    def how(self) -> str:
        """See `Feed.how`."""
        books = sum(stream.counts["books"] for stream in self.streams.values())
        return f"ccxt {VERSION}, {books:,} books from {self.counts['frames']:,} messages of all kinds; {self.venue.caveat}"

    async def _connection(self) -> str:
        """One set of streams from beginning to end; why it ended."""
        for symbol, stream in self.streams.items():
            stream.restart()
            self._frames[symbol].restart()
        if self._log is not None:
            self._log.note(self._clock(), note="open")
        watching = [
            asyncio.create_task(self._watch(symbol, ask, take))
            for symbol in self.streams
            for ask, take in (
                (self._client.exchange.watch_order_book, self._take_book),
                (self._client.exchange.watch_trades, self._take_trades),
            )
        ]
        tasks = [*watching, asyncio.create_task(self._silence())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._client.drop_streams()

    async def _watch(
        self, symbol: str, ask: Callable[[str], Awaitable[Any]], take: Callable[[str, Any], None]
    ) -> str:
        """Hand over what one stream brings until the connection breaks; why it did."""
        name, failures = self._client.unified(symbol), 0
        while True:
            lost = self._client.lost
            try:
                got = await ask(name)
            except BaseError as exc:
                code, detail = self._client.understood(exc, streaming=True)
                if code == codes.DISCONNECT or self._client.lost > lost:
                    return detail
                self._on_error(symbol, code, detail)
                failures += 1
                await asyncio.sleep(max(self._wait_s(failures), self._client.closed_for_s))
                continue
            failures = 0
            if not self.connected.is_set():
                self.counts["connects"] += 1
                self.connected.set()
            take(symbol, got)

    async def _silence(self) -> str:
        """Wait until nothing at all has come for too long; the words for it."""
        patience, seen = self._patience.silence_s, -1
        while self._client.messages != seen:
            seen = self._client.messages
            await asyncio.sleep(patience)
        return f"nothing received for {patience:g} s"

    # --- what comes ---

    def _take_book(self, symbol: str, book: Mapping[str, Any]) -> None:
        self._take_frame_of(symbol, self._frames[symbol].streamed, book)

    def _take_trades(self, symbol: str, trades: list[Mapping[str, Any]]) -> None:
        for trade in trades:
            self._take_frame_of(symbol, self._frames[symbol].trade, trade)

    def _take_frame_of(
        self, symbol: str, made: Callable[[Mapping[str, Any], int], bytes | None], what: Mapping[str, Any]
    ) -> None:
        """Make the frame of what came, keep it, and give it to the symbol's stream."""
        counts = self.streams[symbol].counts
        self.counts["frames"] = self._client.messages
        counts["books" if "bids" in what else "trades_told"] += 1
        local_ns = self._clock()
        try:
            frame = made(what, local_ns)
        except (CrossedBook, KeyError, TypeError, ValueError) as exc:
            counts[codes.BAD_FRAME] += 1
            self._on_error(symbol, codes.BAD_FRAME, str(exc)[:200])
            return
        if frame is None:
            return
        if self._log is not None:
            self._log.write(local_ns, frame)
        self._router.take(local_ns, frame)

    async def _fetch(self, symbol: str) -> bool:
        try:
            book = await self._client.book(symbol)
        except Refused:
            return False
        self._take_frame_of(symbol, self._frames[symbol].fetched, book)
        return True
