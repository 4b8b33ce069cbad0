"""The exchange at work: market rows, requests, answers and timers in the order of market time, as that time passes."""

from __future__ import annotations

import asyncio
import heapq
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count, pairwise
from typing import Any, Protocol, TypeVar

import numpy as np

from mmlib.dtypes import Action, Grade
from mmlib.paper.accounts import Account, Credentials
from mmlib.paper.clock import MarketClock
from mmlib.paper.errors import ApiError
from mmlib.paper.journal import Journal
from mmlib.paper.matching import warm_up
from mmlib.paper.orders import Order, Trade
from mmlib.paper.party import Party
from mmlib.paper.rules import Rules
from mmlib.paper.tape import Change, Tape
from mmlib.paper.timeline import NEVER_NS, Timeline
from mmlib.paper.trading import Trading
from mmlib.paper.venue import VenueRules

T = TypeVar("T")
_LONGEST_WAIT_S = 0.05
_BATCH_NS = 20_000_000  # of market time handled before others get their turn


class Publisher(Protocol):
    """Who hands the market on to its streams.

    Attributes:
        last_sent_ns: monotonic time at which a message of a symbol went to anybody, by symbol.
    """

    last_sent_ns: dict[str, int]

    def publish(self, symbol: str, change: Change) -> None:
        """One moment of a symbol."""
        ...


class Witness(Protocol):
    """Who writes down what becomes evidence."""

    def fill(self, party: Party, order: Order, trade: Trade, exch_ns: int, mid: float) -> None:
        """An execution; ``mid`` is that before the event which filled."""
        ...

    def request(self, party: Party, order: Order, action: Action, at_ns: int) -> None:
        """A request that reached the matching at ``at_ns``."""
        ...

    def acted(self, party: Party, tape: Tape, received_ns: int, frame_ns: int, reaction_ns: int) -> None:
        """A client asked for a change of its orders, so long after the market message before."""
        ...


class PaperExchange:
    """One venue, its markets and its accounts.

    Attributes:
        tapes: the markets by symbol. parties: the accounts by API key.
        publisher, witness: see there; set before it runs.
        ended: set once every market has played to its end.

    Args:
        timelines: the markets by symbol.
        skip_s: so much of every market is played at once, so that there is a book to begin with.
        journal: where orders and money survive, None for nowhere.
    """

    def __init__(
        self,
        venue: VenueRules,
        timelines: Mapping[str, Timeline],
        accounts: Sequence[tuple[Account, Credentials]],
        *,
        speed: float = 1.0,
        skip_s: float = 1.0,
        journal: Journal | None = None,
    ) -> None:
        warm_up()
        self.venue = venue
        self.rules = {symbol: Rules.of(one.instrument) for symbol, one in timelines.items()}
        first_ns = min(one.next_ns for one in timelines.values())
        self.clock = MarketClock(first_ns + int(skip_s * 1e9), speed)
        self.tapes = {
            symbol: Tape(rules, timelines[symbol].instrument.lot_size, first_id=_first_id())
            for symbol, rules in self.rules.items()
        }
        self.parties: dict[str, Party] = {}
        self.publisher: Publisher | None = None
        self.witness: Witness | None = None
        self.ended = asyncio.Event()
        self.grade = Grade.weakest([one.grade for one in timelines.values()]) or Grade.SIMULATED
        self._timelines = dict(timelines)
        self._agenda: list[tuple[int, int, Callable[[int], None]]] = []
        self._number = count()
        self._wake = asyncio.Event()
        self._mids: dict[str, tuple[list[int], list[float]]] = {symbol: ([], []) for symbol in timelines}
        self._journal = journal
        self.paused_until = 0.0
        self.trading = Trading(
            venue, self.tapes, self.clock, self.tell, self._on_fill, self._changed, self._noted
        )
        for account, credentials in accounts:
            party = Party(account, credentials, self.rules, venue.ledger(account, self.rules))
            self.parties[credentials.key] = party
        self.advance(self.clock.now_ns())
        if journal is not None:
            self._restore(journal)
        self.clock.start()

    # --- requests ---

    async def submit(self, party: Party, operation: Callable[[int], T]) -> T:
        """Have something done at the matching: after the entry latency, answered after the response latency.

        Args:
            operation: takes the time of arrival [market ns]; raises ApiError for a refusal.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def arrive(at_ns: int) -> None:
            answer_ns = at_ns + party.model.response_ns
            try:
                self.trading.current(party)
                result = operation(at_ns)
            except Exception as exc:  # whatever it is, the one who asked gets it
                self.at(answer_ns, partial(_settle, done, None, exc))
            else:
                self.at(answer_ns, partial(_settle, done, result, None))

        self.at(party.arrival_ns(self.clock.now_ns()), arrive)
        return await done

    def at(self, due_ns: int, action: Callable[[int], None]) -> None:
        """Do something at a market time, behind what is due at the same time already."""
        heapq.heappush(self._agenda, (due_ns, next(self._number), action))
        if self._agenda[0][2] is action:
            self._wake.set()

    def party_of(self, key: str) -> Party:
        """The account of an API key.

        Raises:
            ApiError: there is none.
        """
        party = self.parties.get(key)
        if party is None:
            raise ApiError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        return party

    def acted(self, party: Party, symbol: str, received_ns: int) -> None:
        """A client asks for a change of its orders: how long after the last market message that is its reaction."""
        if self.witness is None or self.publisher is None or symbol not in self.tapes:
            return
        frame_ns = self.publisher.last_sent_ns.get(symbol)
        if frame_ns is not None:
            reaction_ns = time.monotonic_ns() - frame_ns
            self.witness.acted(party, self.tapes[symbol], received_ns, frame_ns, reaction_ns)

    # --- time passes ---

    async def run(self) -> None:
        """Let time pass until cancelled."""
        while True:
            now_ns = self.clock.now_ns()
            if time.monotonic() < self.paused_until:
                await self._stand_still()
                continue
            due_ns = self._due_ns()
            if due_ns > now_ns:
                await self._sleep(due_ns)
                continue
            self.advance(min(now_ns, due_ns + _BATCH_NS))
            await asyncio.sleep(0)

    def advance(self, until_ns: int) -> None:
        """Do all that is due up to and including a market time: at equal times market rows first."""
        while self._agenda and self._agenda[0][0] <= until_ns:
            due_ns, _, action = heapq.heappop(self._agenda)
            self._market(due_ns)
            action(due_ns)
        self._market(until_ns)
        self.trading.settle(self.parties.values())
        for times, mids in self._mids.values():
            times.clear()
            mids.clear()

    def mid_before(self, symbol: str, exch_ns: int) -> float:
        """The mid just before a moment of the rows taken last [quote currency]."""
        times, mids = self._mids[symbol]
        place = bisect_right(times, exch_ns) - 1
        return mids[place] if place >= 0 else self.tapes[symbol].mid

    def _market(self, until_ns: int) -> None:
        for symbol, timeline in self._timelines.items():
            while timeline.next_ns <= until_ns:
                rows = timeline.take(until_ns)
                self._play(symbol, rows)
                self.trading.advance(self.parties.values(), symbol, rows)
                if timeline.next_ns == NEVER_NS:
                    self._end()

    def _play(self, symbol: str, rows: np.ndarray) -> None:
        tape = self.tapes[symbol]
        times, mids = self._mids[symbol]
        when = rows["exch_ts_ns"]
        edges = [0, *(np.flatnonzero(np.diff(when)) + 1).tolist(), len(rows)]
        for first, last in pairwise(edges):
            exch_ns = int(when[first])
            times.append(exch_ns)
            mids.append(tape.mid)
            change = tape.apply(rows[first:last], self.clock.wall_ms(exch_ns))
            if self.publisher is not None:
                self.publisher.publish(symbol, change)

    def _end(self) -> None:
        if all(one.next_ns == NEVER_NS for one in self._timelines.values()):
            self.ended.set()

    def _due_ns(self) -> int:
        due_ns = min(one.next_ns for one in self._timelines.values())
        return min(due_ns, self._agenda[0][0]) if self._agenda else due_ns

    async def _sleep(self, due_ns: int) -> None:
        wait_s = min(self.clock.wait_s(due_ns), _LONGEST_WAIT_S)
        self._wake.clear()
        if wait_s > 0.0:
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                return

    async def _stand_still(self) -> None:
        began = time.monotonic_ns()
        await asyncio.sleep(min(max(self.paused_until - time.monotonic(), 0.0), 0.01))
        self.clock.pause(time.monotonic_ns() - began)

    # --- what it tells ---

    def tell(self, party: Party, exch_ns: int, events: Sequence[dict[str, Any]]) -> None:
        """Hand events of a moment to a party's user streams, after the response latency; balances survive."""
        if not events:
            return

        def hand_over(_: int) -> None:
            for event in events:
                party.say(event)

        self.at(exch_ns + party.model.response_ns, hand_over)

    def _on_fill(self, party: Party, order: Order, trade: Trade, exch_ns: int) -> None:
        if self.witness is not None:
            mid = self.mid_before(order.symbol, exch_ns)
            self.witness.fill(party, order, trade, exch_ns, mid)

    def _changed(self, party: Party, order: Order, trade: Trade | None) -> None:
        if self._journal is not None:
            self._journal.note(party, order, trade, self.clock.now_ns())

    def _noted(self, party: Party, order: Order, action: Action, at_ns: int) -> None:
        if self.witness is not None:
            self.witness.request(party, order, action, at_ns)

    def _restore(self, journal: Journal) -> None:
        now_ns = self.clock.now_ns()
        last = journal.restore(self.parties.values())
        self.trading.next_id, self.trading.next_trade = last.order_id + 1, last.trade_id + 1
        for party in self.parties.values():
            for order in party.store.open():
                if order.symbol in self.tapes:
                    self.trading.restore(party, order, now_ns)


def _first_id() -> int:
    """Update ids go on rising when the exchange is started again: hundredths of a millisecond since 1970."""
    return time.time_ns() // 10_000


def _settle(done: asyncio.Future[Any], result: Any, error: Exception | None, _: int) -> None:
    """Answer, unless whoever asked has gone."""
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(result)
