"""A recorded session once more: the same frames through the same stream and bot, each tick when the session had it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmlib._io import UserError, sha256_file
from mmlib.config.models import Config
from mmlib.dtypes import FILL, TICK, Grade
from mmlib.engine.realtime.symbol import SymbolBot
from mmlib.market.lines import Lines
from mmlib.market.live.rawlog import read_header, recorded_grade
from mmlib.market.live.router import Router
from mmlib.market.live.sync import SymbolStream
from mmlib.market.live.venues import recorded_venue
from mmlib.market.source import Instrument

_S = 1_000_000_000
REFRESH_LABEL = "as long as the session's own requests took"

Sink = Callable[[np.ndarray, np.ndarray], None]
"""Takes TICK rows and FILL rows; views, valid during the call."""


@dataclass
class Replayed:
    """What the replay of one symbol came to."""

    instrument: Instrument
    grade: Grade
    sha256: str
    caveat: str
    first_ns: int = 0
    last_ns: int = 0
    rows: int = 0
    ticks: int = 0
    fills: int = 0
    lines: int = 0
    bad_lines: int = 0
    stream: Counter[str] = field(default_factory=Counter)  # what `SymbolStream` counted

    def quality(self) -> dict[str, int]:
        """What was met, under the names of a session."""
        wire = {f"stream_{name}": n for name, n in self.stream.items() if not name.startswith("ERR_")}
        return {"lines": self.lines, "bad_lines": self.bad_lines, "rows": self.rows} | wire


def fits(path: Path, config: Config) -> bool:
    """Whether a recording is one of a session with the tick interval of ``config``, so that its ticks can be had again."""
    header = read_header(path)
    if header is None or header.get("note") != "session":
        return False
    interval = header.get("config", {}).get("pipeline", {}).get("tick_interval_ms")
    return interval == config.pipeline.tick_interval_ms


def replay_session(
    path: Path,
    symbol: str,
    config: Config,
    arms: Sequence[str],
    *,
    seed: int,
    sink: Sink,
    duration_s: float | None = None,
) -> Replayed:
    """Replay one symbol of a recorded session: with its configuration and seed the fills are those of the session.

    With another configuration the ticks still begin when the session's did; a fetch that the session did not need takes as
    long as its last one.

    Raises:
        UserError: no recording of a session, or the symbol is not in it.
    """
    header = read_header(path)
    if header is None or header.get("note") != "session":
        raise UserError(f"{path}: expected the recording of a session")
    sizes = header.get("instruments", {}).get(symbol)
    if sizes is None:
        names = ", ".join(header.get("instruments", {}))
        raise UserError(f"{path}: symbol {symbol} is not in it; found {names}")
    declared = config.instruments.get(symbol)
    instrument = (
        Instrument(symbol, declared.tick_size, declared.lot_size) if declared else Instrument(symbol, *sizes)
    )
    again = _Again(header, instrument, config, arms, seed, sink, duration_s)
    for line in Lines(path):
        if again.over:
            break
        again.take(line)
    again.done.sha256 = sha256_file(path)
    return again.done


class _Again:
    def __init__(
        self,
        header: dict[str, Any],
        instrument: Instrument,
        config: Config,
        arms: Sequence[str],
        seed: int,
        sink: Sink,
        duration_s: float | None,
    ) -> None:
        self.over = False
        self._same = header.get("config") == config.model_dump(mode="json")
        self._venue = recorded_venue(str(header.get("exchange")))
        self.done = Replayed(instrument, recorded_grade(header), "", self._venue.caveat)
        self._response_ns = int(config.latency.response_ms * 1e6)
        self._sink = sink
        self._duration_ns = None if duration_s is None else int(duration_s * _S)
        self._fetch_ns = 0
        self._bot = SymbolBot(config, instrument, arms, seed=seed, on_fills=self._fills)
        self._streams = {instrument.symbol: self._new_stream()}
        self._router = Router(self._streams, lambda *_: None, self._note)

    def take(self, line: bytes) -> None:
        """Take one line of the recording."""
        self.done.lines += 1
        head = line[:19]
        if len(line) > 20 and head.isdigit():
            self._router.take(int(head), line[20:])
        else:
            self.done.bad_lines += bool(line.strip())

    def _new_stream(self) -> SymbolStream:
        return SymbolStream(self._venue, self.done.instrument, self._response_ns)

    @property
    def _stream(self) -> SymbolStream:
        return self._streams[self.done.instrument.symbol]

    def _fills(self, fills: np.ndarray) -> None:
        self.done.fills += len(fills)
        self._sink(np.empty(0, TICK), fills)

    def _note(self, local_ns: int, note: dict[str, Any]) -> None:
        what = note.get("note")
        if what == "open":
            self._stream.restart()
        elif note.get("s") != self.done.instrument.symbol:
            return
        elif what == "schedule":
            self._bot.feed(self._stream.take_rows())
            self._bot.schedule(int(note["t0"]))
        elif what == "restart":
            self._streams[self.done.instrument.symbol] = self._new_stream()
            self._bot.restart()
        elif what == "config" and self._same:
            self._bot.reconfigure(Config.model_validate(note["config"]))
        elif what == "tick":
            self._tick(int(note["i"]), int(note["t"]), note)

    def _tick(self, index: int, start_ns: int, note: dict[str, Any]) -> None:
        bot, done = self._bot, self.done
        bot.skip_to(index)
        scheduled_ns = bot.scheduled_ns(index)
        if (
            done.first_ns
            and self._duration_ns is not None
            and scheduled_ns >= done.first_ns + self._duration_ns
        ):
            self.over = True
            return
        rows = self._stream.take_rows()
        done.rows += len(rows)
        bot.feed(rows)
        begun = bot.begin(start_ns)
        if not begun.quoting:
            return
        had_ns = int(note.get("d", start_ns)) - start_ns
        self._fetch_ns = had_ns or self._fetch_ns
        decide_ns = start_ns + (self._fetch_ns if begun.miss else 0)
        failed = begun.miss and bool(note.get("f", 0))
        ticks = bot.end(decide_ns, failed=failed, errors=int(note.get("x", 0)))
        ticks["errors"] -= int(note.get("y", 0))  # of the connection, counted with another symbol
        done.first_ns = done.first_ns or scheduled_ns
        done.last_ns = scheduled_ns + bot.interval_ns
        done.ticks += len(ticks)
        self._sink(ticks, np.empty(0, FILL))
