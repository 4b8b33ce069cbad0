"""One symbol's stream, message by message: sequence checks, the join of snapshot and diffs, and event rows in causal order.

The same object serves a running session and the replay of its recording, so both see the same rows. Nothing here reads a clock.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmlib.core.columns import LARGEST
from mmlib.dtypes import (
    FLAG_BUY,
    FLAG_EXCH,
    FLAG_LOCAL,
    FLAG_SELL,
    KIND_CLEAR,
    KIND_DEPTH,
    KIND_SNAPSHOT,
    KIND_TRADE,
)
from mmlib.market.live import codes
from mmlib.market.live.rowbuffer import RowBuffer
from mmlib.market.live.venues import Venue
from mmlib.market.source import Instrument

_UNITS_NS = (1_000_000, 1_000)  # of exchange times: milliseconds, microseconds
_BOTH = FLAG_EXCH | FLAG_LOCAL
_MAX_TICKS = 2**31 - 1
_BUFFERED = (
    20_000  # diffs kept while a snapshot is awaited; beyond, the oldest go (and a later snapshot is needed)
)
_TRADES = 20_000  # whose ids are kept, to know again those of a second connection
_OFFSET_NS = 300_000_000_000  # an exchange time this far off the local one is not believed

Levels = list[tuple[int, float]]
"""Price [ticks] and quantity [base units]."""


class BadFrame(ValueError):
    """The message cannot be used; the text is the reason."""


@dataclass(frozen=True)
class Diff:
    """A depth update: the ids it spans, when it happened, and its levels."""

    first: int
    last: int
    before: int  # last id of the update before it
    exch_ns: int
    bids: Levels
    asks: Levels


class SymbolStream:
    """Turns one symbol's frames into EVENT rows.

    Attributes:
        synced: whether the book follows the stream; while it does not, depth rows are held back.
        needs_snapshot: whether a snapshot is wanted to become so.
        counts: what was met, by name: ``diffs``, ``trades``, ``doubled_trades``, ``snapshots``, ``duplicates``, ``resyncs``,
            ``other``, and errors under their codes.

    Args:
        response_ns: what an answer of the exchange takes; no row is taken to have happened longer before its arrival than
            this, so that a shadow order's fill is never due before what filled it is known.
    """

    def __init__(self, venue: Venue, instrument: Instrument, response_ns: int) -> None:
        self.venue = venue
        self.instrument = instrument
        self.synced = False
        self.needs_snapshot = True
        self.counts: Counter[str] = Counter()
        self._response_ns = response_ns
        self._last = 0  # id of the last update in the book
        self._joined = False  # whether a diff has followed the last snapshot
        self._bids: dict[int, float] = {}  # as last known, also while not in sync
        self._asks: dict[int, float] = {}
        self._buffer: deque[Diff] = deque(maxlen=_BUFFERED)
        self._last_trade = 0
        self._trades: dict[tuple[int, int], None] = {}  # id and time of the latest, oldest first
        self._rows = RowBuffer()
        self._exch_ns = 0  # of the last row, never falls
        self._behind_ns = 0  # how far the local clock was seen to run behind the exchange's

    @property
    def has_rows(self) -> bool:
        """Whether there are rows to take."""
        return len(self._rows) > 0

    def take_rows(self) -> np.ndarray:
        """EVENT[n], the rows since the last call, in the order of both clocks."""
        return self._rows.take()

    def restart(self) -> None:
        """A new connection: what follows does not continue what was."""
        self.synced, self.needs_snapshot = False, True
        self._buffer.clear()

    def take(self, data: dict[str, Any], local_ns: int) -> None:
        """Take one message that names this symbol, arrived at ``local_ns`` (which never falls).

        Raises:
            BadFrame: it cannot be used; nothing of it was.
        """
        kind = data.get("e")
        try:
            if kind == "depthUpdate":
                self._take_diff(self._diff(data, local_ns), local_ns)
            elif kind == "trade":
                self._trade(data, local_ns)
            elif "lastUpdateId" in data:
                self._snapshot(data, local_ns)
            else:
                self.counts["other"] += 1
        except (KeyError, TypeError, ValueError, OverflowError) as exc:
            self.counts[codes.BAD_FRAME] += 1
            raise BadFrame(str(exc) or type(exc).__name__) from exc

    # --- depth ---

    def _diff(self, data: dict[str, Any], local_ns: int) -> Diff:
        first, last = _id(data["U"]), _id(data["u"])
        before = _id(data["pu"]) if self.venue.futures else first - 1
        if not before <= last or first > last:
            raise BadFrame("update ids that run backwards")
        exch_ns = self._exchange_ns(data["T"] if "T" in data else data["E"], local_ns)
        return Diff(first, last, before, exch_ns, self._levels(data["b"]), self._levels(data["a"]))

    def _take_diff(self, diff: Diff, local_ns: int) -> None:
        self.counts["diffs"] += 1
        if not self.synced:
            self._buffer.append(diff)
        elif not self._apply(diff, local_ns):
            self.counts[codes.GAP] += 1
            self.counts["resyncs"] += 1
            self.restart()
            self._buffer.append(diff)

    def _apply(self, diff: Diff, local_ns: int) -> bool:
        """Put a diff into the book; False when something is missing before it."""
        if not self._joined:
            if self.venue.is_older(diff.last, self._last):
                return True
            if not (self.venue.follows(diff.first, diff.last, self._last) or diff.before == self._last):
                return False
        elif diff.before != self._last:
            if diff.last <= self._last:
                self.counts["duplicates"] += 1
                return True
            return False
        self._joined = True
        self._last = diff.last
        self._emit(KIND_DEPTH, diff.bids, diff.asks, diff.exch_ns, local_ns)
        return True

    def _snapshot(self, data: dict[str, Any], local_ns: int) -> None:
        """Take a REST snapshot: join it to the diffs that wait, or refresh a book that follows already."""
        last = _id(data["lastUpdateId"])
        exch_ns = self._exchange_ns(data["T"], local_ns) if "T" in data else local_ns
        bids, asks = self._levels(data["bids"]), self._levels(data["asks"])
        self.counts["snapshots"] += 1
        if self.synced and last <= self._last:
            return  # the stream is further already
        waiting = [diff for diff in self._buffer if not self.venue.is_older(diff.last, last)]
        head = waiting[0] if waiting else None
        if head is None and last < self._last:
            self.needs_snapshot = True  # asked for before the break: it would turn the book back
            return
        if head and not (self.venue.follows(head.first, head.last, last) or head.before == last):
            self.needs_snapshot = True  # older than the first diff that was kept
            return
        self._buffer.clear()
        resync = not self.synced
        self.synced, self.needs_snapshot, self._joined, self._last = True, False, False, last
        self._emit_snapshot(bids, asks, exch_ns, local_ns, resync)
        for diff in waiting:
            self._take_diff(diff, local_ns)
            self.counts["diffs"] -= 1  # counted when it arrived

    # --- trades ---

    def _trade(self, data: dict[str, Any], local_ns: int) -> None:
        exch_ns = self._exchange_ns(data["T"], local_ns)
        levels = self._levels([(data["p"], data["q"])])
        if self._is_doubled(data.get("t"), data["T"]):
            self.counts["doubled_trades"] += 1
            return
        self.counts["trades"] += 1
        if data.get("X", "MARKET") != "MARKET" or levels[0][1] <= 0.0:
            return
        sold = data["m"] is True
        self._emit(KIND_TRADE, [] if sold else levels, levels if sold else [], exch_ns, local_ns)

    def _is_doubled(self, trade_id: Any, time: int) -> bool:
        """Whether a trade of this id and time came before, among the latest ``_TRADES``; one without an id never did."""
        if isinstance(trade_id, bool) or not isinstance(trade_id, int):
            return False
        if trade_id <= self._last_trade and (trade_id, time) in self._trades:
            return True
        self._last_trade = max(self._last_trade, trade_id)
        self._trades[trade_id, time] = None
        if len(self._trades) > _TRADES:
            del self._trades[next(iter(self._trades))]
        return False

    # --- numbers and rows ---

    def _levels(self, pairs: Any) -> Levels:
        tick, half_lot = self.instrument.tick_size, 0.5 * self.instrument.lot_size
        levels = []
        for price_text, qty_text in pairs:
            price, qty = float(price_text), float(qty_text)
            if not (0.0 < price < LARGEST and 0.0 <= qty < LARGEST):
                raise BadFrame("a price or quantity is not a positive number in range")
            ticks = math.floor(price / tick + 0.5)
            if ticks > _MAX_TICKS:
                raise BadFrame(f"a price is beyond {_MAX_TICKS} ticks of {tick:g}")
            levels.append((ticks, qty if qty >= half_lot else 0.0))
        return levels

    def _exchange_ns(self, time: Any, local_ns: int) -> int:
        """Exchange time, in milliseconds or microseconds, on our clock: as long as we were never seen behind, as it is."""
        for unit_ns in _UNITS_NS:
            if isinstance(time, int) and abs(time * unit_ns - local_ns) <= _OFFSET_NS:
                return time * unit_ns
        raise BadFrame("its time is over 300 s off the local clock, in milliseconds and in microseconds")

    def _emit_snapshot(self, bids: Levels, asks: Levels, exch_ns: int, local_ns: int, resync: bool) -> None:
        """A whole book as rows. Nothing is cleared at the exchange: what rests there saw no break, only what changed.

        New levels come before deletions, so that no side is empty in between. After a break our own book begins anew.
        """
        gone = [
            [(ticks, 0.0) for ticks in book if ticks not in set_to]
            for book, set_to in ((self._bids, dict(bids)), (self._asks, dict(asks)))
        ]
        processors = FLAG_EXCH if resync else _BOTH
        self._emit(KIND_DEPTH, bids, asks, exch_ns, local_ns, processors)
        self._emit(KIND_DEPTH, gone[0], gone[1], exch_ns, local_ns, processors)
        if resync:
            self._rows.room(1)[0] = (local_ns, local_ns, 0.0, 0, KIND_CLEAR | FLAG_LOCAL, 0)
            self._emit(KIND_SNAPSHOT, bids, asks, exch_ns, local_ns, FLAG_LOCAL)

    def _emit(
        self, kind: int, bids: Levels, asks: Levels, exch_ns: int, local_ns: int, processors: int = _BOTH
    ) -> None:
        """Append rows; where they arrived too late for the exchange's clock, once for each of the two processors."""
        self._behind_ns = max(self._behind_ns, exch_ns - local_ns)
        true_ns = exch_ns - self._behind_ns
        known_ns = max(min(max(true_ns, local_ns - self._response_ns), local_ns), self._exch_ns)
        self._exch_ns = known_ns
        if kind != KIND_TRADE:
            _update(self._bids, bids)
            _update(self._asks, asks)
        count = len(bids) + len(asks)
        if not count:
            return
        rows = self._rows.room(count)
        rows["local_ts_ns"] = local_ns
        rows["exch_ts_ns"] = known_ns
        rows["flags"][: len(bids)] = kind | FLAG_BUY | processors
        rows["flags"][len(bids) :] = kind | FLAG_SELL | processors
        rows["price_ticks"], rows["qty"] = zip(*bids, *asks, strict=True)
        if known_ns == true_ns or processors != _BOTH:
            return
        rows["flags"] &= ~np.uint8(FLAG_LOCAL)
        later = rows.copy()
        later["flags"] ^= np.uint8(_BOTH)
        later["exch_ts_ns"] = true_ns  # what the feed's latency is measured from
        self._rows.room(count)[:] = later


def _update(side: dict[int, float], levels: Levels) -> None:
    for ticks, qty in levels:
        if qty > 0.0:
            side[ticks] = qty
        else:
            side.pop(ticks, None)


def _id(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**62:
        raise BadFrame("an update id is no whole number")
    return value
