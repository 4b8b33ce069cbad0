"""Market streams: who wants which, what each moment brings them, and what goes out at a fixed rate."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

import orjson

from mmlib.market.loopback.faults import Armed
from mmlib.paper.frames import Frames
from mmlib.paper.sockets import Socket, text_frame
from mmlib.paper.tape import INTERVALS_S, Change, Tape

_NAME = re.compile(r"([a-z0-9_]+)@(.+)")
_DEPTH = re.compile(r"depth(5|10|20)?(?:@(\d+)ms)?")
_RATES_MS = (0, 100, 250, 500, 1000)
_BEAT_MS = 50
_GARBAGE = (b'{"stream":', b"[1,2,3]", b'{"data":{"e":"depthUpdate","s":"%s","U":"x"}}')
Funding = Callable[[str, int], tuple[Decimal, Decimal, int]]
"""Mark price, funding rate and the time of the next funding [ms] of a symbol."""


class _Diff:
    """Changes of a book since the last message of one stream."""

    def __init__(self, last_id: int) -> None:
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.before = self.last = last_id
        self.first = 0
        self.time_ms = 0
        self.due_ms = 0

    def add(self, change: Change) -> None:
        """Take a moment in."""
        if not self.first:
            self.first = change.first
        self.bids.update(change.bids)
        self.asks.update(change.asks)
        self.last, self.time_ms = change.last, change.time_ms

    def sent(self) -> None:
        """Begin anew behind what was sent."""
        self.before, self.first = self.last, 0
        self.bids, self.asks = {}, {}


class Streams:
    """The market streams of a venue.

    Attributes:
        armed: faults at work. frames_sent: messages handed to connections, each counted once for each of them.
        last_sent_ns: monotonic time at which a message of a symbol went to anybody, by symbol.

    Args:
        frames: makes the messages. usual_ms: rate of ``@depth`` without one.
        funding: of a symbol; None on a venue without.
    """

    def __init__(
        self, frames: Frames, tapes: Mapping[str, Tape], *, usual_ms: int, funding: Funding | None = None
    ) -> None:
        self.armed = Armed()
        self.frames_sent = 0
        self.last_sent_ns: dict[str, int] = {}
        self._frames = frames
        self._tapes = {symbol.lower(): tape for symbol, tape in tapes.items()}
        self._usual_ms = usual_ms
        self._funding = funding
        self._takers: dict[str, set[Socket]] = defaultdict(set)
        self._diffs: dict[str, _Diff] = {}
        self._held: tuple[str, bytes] | None = None
        self._marked_ms = 0

    # --- who wants what ---

    def subscribe(self, socket: Socket, names: Iterable[str]) -> list[str]:
        """Add streams to a connection; those that do not exist are returned."""
        unknown = []
        for name in names:
            if not self.known(name):
                unknown.append(name)
                continue
            self._takers[name].add(socket)
            self._begin(name)
        return unknown

    def unsubscribe(self, socket: Socket, names: Iterable[str]) -> None:
        """Take streams from a connection."""
        for name in names:
            if name in self._takers:
                self._takers[name].discard(socket)
                if not self._takers[name]:
                    del self._takers[name]
                    self._diffs.pop(name, None)  # whoever comes next begins with the book as it is then

    def leave(self, socket: Socket) -> None:
        """A connection is over."""
        self.unsubscribe(socket, self.of(socket))

    def of(self, socket: Socket) -> list[str]:
        """The streams of a connection."""
        return [name for name, takers in self._takers.items() if socket in takers]

    def sockets(self) -> set[Socket]:
        """Every connection that has a stream."""
        return set().union(*self._takers.values())

    def known(self, name: str) -> bool:
        """Whether there is such a stream."""
        if name in ("!bookTicker", "!ticker@arr", "!miniTicker@arr"):
            return True
        if name in ("!markPrice@arr", "!markPrice@arr@1s"):
            return self._funding is not None
        match = _NAME.fullmatch(name)
        if match is None or match[1] not in self._tapes:
            return False
        kind = match[2]
        if kind in ("trade", "aggTrade", "bookTicker", "ticker", "miniTicker"):
            return True
        if kind in ("markPrice", "markPrice@1s"):
            return self._funding is not None
        if kind.startswith("kline_"):
            return kind.removeprefix("kline_") in INTERVALS_S
        depth = _DEPTH.fullmatch(kind)
        return depth is not None and int(depth[2] or self._usual_ms) in _RATES_MS

    def _begin(self, name: str) -> None:
        match = _NAME.fullmatch(name)
        if match and match[2].startswith("depth") and name not in self._diffs:
            self._diffs[name] = _Diff(self._tapes[match[1]].last_id)

    # --- what goes out ---

    def publish(self, symbol: str, change: Change) -> None:
        """One moment of a symbol."""
        if not self._takers:
            return
        low, tape = symbol.lower(), self._tapes[symbol.lower()]
        for one in change.trades:
            self._offer(f"{low}@trade", partial(self._frames.trade, tape.rules, one))
        if change.trades:
            self._aggregates(low, tape, change)
        if change.bids or change.asks:
            self._depth(low, tape, change)
        if change.touched:
            for name in (f"{low}@bookTicker", "!bookTicker"):
                self._offer(name, lambda: self._frames.touch(tape, change.time_ms))

    def beat(self, now_ms: int) -> None:
        """Send what goes out at a fixed rate; call it every `_BEAT_MS`."""
        for name, diff in self._diffs.items():
            if diff.due_ms <= now_ms and name in self._takers:
                self._flush(name, diff, now_ms)
        if now_ms - self._marked_ms >= 1000:
            self._marked_ms = now_ms
            self._each_second(now_ms)

    def _depth(self, low: str, tape: Tape, change: Change) -> None:
        start = f"{low}@depth"
        for name, diff in self._diffs.items():
            if not name.startswith(start):
                continue
            diff.add(change)
            if name.endswith("@0ms") and name in self._takers:
                self._flush(name, diff, change.time_ms)

    def _flush(self, name: str, diff: _Diff, now_ms: int) -> None:
        symbol, kind = name.split("@", 1)
        tape = self._tapes[symbol]
        match = _DEPTH.fullmatch(kind)
        assert match is not None
        diff.due_ms = now_ms + int(match[2] or self._usual_ms)
        if not diff.first:
            return
        if match[1]:
            self._offer(name, lambda: self._frames.partial(tape, int(match[1]), diff.time_ms, diff.before))
        else:
            ids = diff.first, diff.last, diff.before
            self._offer(name, lambda: self._frames.diff(tape.rules, diff.bids, diff.asks, ids, diff.time_ms))
        diff.sent()

    def _aggregates(self, low: str, tape: Tape, change: Change) -> None:
        name = f"{low}@aggTrade"
        if name not in self._takers:
            return
        joined: list[Any] = []
        for one in change.trades:
            if joined and (joined[-1][0].ticks, joined[-1][0].sold) == (one.ticks, one.sold):
                before, first, _ = joined[-1]
                whole = type(one)(one.trade_id, one.ticks, before.lots + one.lots, one.sold, one.time_ms)
                joined[-1] = whole, first, one.trade_id
            else:
                joined.append((one, one.trade_id, one.trade_id))
        for one, first, last in joined:
            self._offer(name, partial(self._frames.aggregate, tape.rules, one, first, last))

    def _each_second(self, now_ms: int) -> None:
        for name in list(self._takers):
            match = _NAME.fullmatch(name)
            if name.startswith("!"):
                self._all(name, now_ms)
            elif match is not None and match[2].startswith("kline_"):
                interval = match[2].removeprefix("kline_")
                tape = self._tapes[match[1]]
                for one in list(tape.candles[interval])[-1:]:
                    self._offer(name, partial(self._frames.kline, tape.rules, one, interval, now_ms))
            elif match is not None:
                made = self._summary(match[2], self._tapes[match[1]], now_ms)
                if made is not None:
                    self._offer(name, partial(_same, made))

    def _all(self, name: str, now_ms: int) -> None:
        kind = name.removeprefix("!").split("@")[0]
        made = [self._summary(kind, tape, now_ms) for tape in self._tapes.values()]
        if name != "!bookTicker":
            self._offer(name, lambda: [one for one in made if one is not None])

    def _summary(self, kind: str, tape: Tape, now_ms: int) -> dict[str, Any] | None:
        if kind == "ticker":
            return self._frames.ticker(tape, now_ms)
        if kind == "miniTicker":
            return self._frames.mini(tape, now_ms)
        if kind.startswith("markPrice") and self._funding is not None:
            return self._frames.mark(tape, *self._funding(tape.rules.symbol, now_ms), now_ms)
        return None

    # --- faults and sockets ---

    def _offer(self, name: str, make: Callable[[], Any]) -> None:
        if name not in self._takers:
            return
        armed = self.armed
        if time.monotonic() < armed.mute_until:
            return
        while armed.garbage:
            armed.garbage -= 1
            junk = _GARBAGE[armed.garbage % len(_GARBAGE)]
            self._out(name, junk, whole=True)
        depth = "@depth" in name
        if depth and armed.gap:
            armed.gap -= 1
            return
        payload = orjson.dumps(make())
        if armed.reorder and depth and self._held is None:
            armed.reorder -= 1
            self._held = name, payload
            return
        self._out(name, payload)
        if armed.duplicate:
            armed.duplicate -= 1
            self._out(name, payload)
        if self._held is not None and self._held[0] == name:
            _, late = self._held
            self._held = None
            self._out(name, late)

    def _out(self, name: str, payload: bytes, *, whole: bool = False) -> None:
        takers = self._takers.get(name, ())
        raw = combined = b""
        for socket in list(takers):
            if socket.combined and not whole:
                combined = combined or text_frame(b'{"stream":"%b","data":%b}' % (name.encode(), payload))
                socket.write(combined)
            else:
                raw = raw or text_frame(payload)
                socket.write(raw)
            self.frames_sent += 1
        symbol = name.split("@")[0].upper()
        if takers:
            self.last_sent_ns[symbol] = time.monotonic_ns()


def _same(made: dict[str, Any]) -> dict[str, Any]:
    return made
