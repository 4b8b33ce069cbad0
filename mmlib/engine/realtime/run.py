"""A live session from beginning to end: claim the place, ask the exchange, run, close, state what it was."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmlib._io import UserError, sha256_json
from mmlib.core import compiling, windows
from mmlib.core.histogram import Histogram
from mmlib.dtypes import EVENT, FILL, FLAG_BUY, FLAG_EXCH, FLAG_LOCAL, FLAG_SELL, KIND_DEPTH, Grade
from mmlib.engine.finished import Session, sidecar_of
from mmlib.engine.place import claimed, listed, swap
from mmlib.engine.realtime import checkpoint
from mmlib.engine.realtime.checkpoint import Checkpoint
from mmlib.engine.realtime.loop import LiveLoop, Observer, Plan
from mmlib.engine.realtime.options import LiveUri, resume_wanted
from mmlib.engine.realtime.symbol import SymbolBot
from mmlib.engine.spec import SessionSpec, SymbolRun
from mmlib.feeds.sidecar import write_sidecar
from mmlib.feeds.writer import FeedWriter
from mmlib.market.live import codes
from mmlib.market.live.clients import client_of
from mmlib.market.live.rawlog import RawLog
from mmlib.market.live.rest import Client, Refused, Rules, check_order_size, instrument_of, read_rules
from mmlib.market.source import Instrument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmlib.config.models import Config

_S = 1_000_000_000
_MAX_OFFSET_MS = 300_000
REFRESH_LABEL = "measured: a request to the exchange on a stale book"
Watch = Callable[[LiveLoop], "list[Observer]"]
"""Given the session, what shall watch it; it may stop or reconfigure it."""


def run_live(
    spec: SessionSpec, config: Config, feeds: Path, *, watch: Watch | None = None, resume: bool | None = None
) -> Session:
    """Run the bot on a live market without sending an order, and leave its feeds in ``feeds``.

    Blocks until the duration is over, a stop criterion holds, or SIGTERM or Ctrl-C asks for the end; all of these leave
    whole feeds. A session that was killed leaves ``<feeds>.partial``, from which ``resume`` goes on.

    Args:
        watch: see `Watch`.
        resume: by default as the environment says (`options.RESUME_ENV`).

    Raises:
        UserError: the exchange does not answer or lists no such symbol, a file cannot be written, there is nothing that
            fits to go on from, or as `place.claimed`.
    """
    from mmlib.engine.realtime.watching import watching

    source = LiveUri.parse(spec.uri)
    warm_up(config, spec.arms)
    wanted = resume_wanted() if resume is None else resume
    began, started = time.monotonic(), _now()
    with claimed(feeds, keep=True) as partial:
        saved = _prepare(partial, feeds, wanted)
        with watching(feeds, config, spec.symbols, spec.arms) as usual:
            runner = _Runner(spec, config, source, partial, saved, [usual, *([watch] if watch else [])])
            runner.run()
        runs = tuple(runner.symbol_run(symbol, time.monotonic() - began) for symbol in spec.symbols)
        first = saved.meta["header"]["started"] if saved else started
        session = Session(spec, feeds, runs, first, _now(), {"stopped_by": runner.loop.stopped_by})
        whole = runner.loop.stopped_by == "duration"
        if whole:
            (partial / checkpoint.NAME).unlink(missing_ok=True)
        write_sidecar(partial, _sidecar(session, runner, partial, whole))
        swap(partial, feeds)
    return session


def _prepare(partial: Path, feeds: Path, resume: bool) -> Checkpoint | None:
    """Bring the directory to where a session can begin, or go on."""
    if resume and not (partial / checkpoint.NAME).exists() and (feeds / checkpoint.NAME).exists():
        partial.rmdir()
        feeds.replace(partial)  # it was ended cleanly before its time
    saved = Checkpoint.read(partial) if resume else None
    if saved is not None:
        checkpoint.cut_back(partial, saved.meta["files"])
        return saved
    for path in partial.iterdir():
        path.unlink()
    return None


class _Runner:
    """One session in a thread of its own, so that it works beside a notebook's event loop."""

    def __init__(
        self,
        spec: SessionSpec,
        config: Config,
        source: LiveUri,
        partial: Path,
        saved: Checkpoint | None,
        watches: list[Watch],
    ) -> None:
        self.spec, self.config, self.source = spec, config, source
        self.partial, self.saved, self._watches = partial, saved, watches
        self.loop: LiveLoop
        self.grade = Grade.LIVE
        self.clock_offset_ms = 0
        self._error: BaseException | None = None
        self._ready, self._over = threading.Event(), threading.Event()
        self._asked = False
        self._compiling = 0

    def run(self) -> None:
        """Run to the end; a signal or Ctrl-C asks for a clean one."""
        thread = threading.Thread(target=self._thread, name="live session")
        with _signals(self.stop):
            thread.start()
            while not self._over.wait(0.2):  # a join that Ctrl-C interrupts would take the thread for ended
                pass
            thread.join()
        if self._error is not None:
            raise self._error

    def stop(self, reason: str) -> None:
        """Ask for the end."""
        self._asked = True
        if self._ready.is_set():
            self.loop.stop(reason)

    def _thread(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as exc:  # handed to the caller's thread
            self._error = exc
        finally:
            self._over.set()

    async def _main(self) -> None:
        venue = self.source.venue()
        async with client_of(venue, self._rest_error) as client:
            rules = await read_rules(client)
            self.grade = Grade(rules.grade) if rules.grade in list(Grade) else Grade.LIVE
            self.clock_offset_ms = await _clock_offset_ms(client)
            instruments = {symbol: self._instrument(rules, symbol) for symbol in self.spec.symbols}
            log = self._log()
            plan = self._plan(instruments)
            observers: list[Observer] = []
            self.loop = LiveLoop(plan, log, observers)
            try:
                if self.saved is not None:
                    self.loop.resume(self.saved)
                for watch in self._watches:
                    observers += watch(self.loop)
                self._ready.set()
                if self._asked:
                    self.loop.stop("interrupted")
                with compiling.heard(self._compiled):
                    await self.loop.run(client)
            finally:
                self.loop.close()

    def _compiled(self, kernel: str, done: bool) -> None:
        """A kernel that nobody warmed stopped the session for as long as its compilation takes."""
        if not done and not self._compiling:
            self.loop.ledger.error("", codes.COMPILED, f"{kernel} was compiled while the session ran")
        self._compiling += -1 if done else 1  # its callees are told of within

    def _rest_error(self, symbol: str, code: str, detail: str) -> None:
        if self._ready.is_set():  # before, whoever asked says it
            self.loop.ledger.error(symbol, code, detail)

    def _instrument(self, rules: Rules, symbol: str) -> Instrument:
        """What the configuration declares, else what the exchange says."""
        declared = self.config.instruments.get(symbol)
        place = self.source.venue().rest
        listed_as = instrument_of(rules, symbol, place)
        check_order_size(rules, symbol, self.config.quoting.order_notional, place)
        return Instrument(symbol, declared.tick_size, declared.lot_size) if declared else listed_as

    def _log(self) -> RawLog | None:
        if self.source.record is None:
            return None
        size = self.saved.meta["recording_size"] if self.saved else None
        return RawLog(self.source.record, size)

    def _plan(self, instruments: dict[str, Instrument]) -> Plan:
        spec = self.spec
        identity = {
            "exchange": self.source.exchange,
            "record": str(self.source.record or ""),
            "symbols": list(spec.symbols),
            "arms": list(spec.arms),
            "seed": spec.seed,
            "config": sha256_json(self.config.model_dump(mode="json")),
        }
        header = {
            "exchange": self.source.exchange,
            "started": _now(),
            "arms": list(spec.arms),
            "seed": spec.seed,
            "grade": str(self.grade),
            "instruments": {symbol: [one.tick_size, one.lot_size] for symbol, one in instruments.items()},
            "config": self.config.model_dump(mode="json"),
        }
        return Plan(
            venue=self.source.venue(),
            config=self.config,
            instruments=instruments,
            arms=spec.arms,
            directory=self.partial,
            duration_ns=int(spec.duration_s * _S),
            seed=spec.seed,
            identity=identity,
            header=self.saved.meta["header"] if self.saved else header,
        )

    def symbol_run(self, symbol: str, seconds: float) -> SymbolRun:
        """What one symbol came to."""
        loop = self.loop
        instrument = loop.plan.instruments[symbol]
        stream = loop.feed.streams[symbol] if loop.feed else None
        ledger = loop.ledger.symbols[symbol]
        wire = {name: int(n) for name, n in stream.counts.items()} if stream else {}
        place = loop.plan.venue.rest if self.source.url else self.source.exchange
        return SymbolRun(
            symbol=symbol,
            grade=self.grade,
            source_sha256="",
            description=f"live market of {place}, {loop.feed.how if loop.feed else 'never connected'}",
            refresh_label=REFRESH_LABEL,
            tick_size=instrument.tick_size,
            lot_size=instrument.lot_size,
            first_ns=loop.first_ns.get(symbol, 0),
            last_ns=loop.last_ns.get(symbol, 0),
            events=loop.bots[symbol].n_rows,
            ticks=ledger.ticks * len(self.spec.arms),
            fills=ledger.fills.total(),
            seconds=round(seconds, 3),
            quality=ledger.counts()
            | {f"stream_{name}": n for name, n in wire.items() if not name.startswith("ERR_")}
            | {"clock_offset_ms": self.clock_offset_ms, "resumed": loop.resumed},
            caveat=loop.plan.venue.caveat,
        )


def _sidecar(session: Session, runner: _Runner, partial: Path, whole: bool) -> dict[str, Any]:
    files = listed(partial)
    if not whole:
        files[checkpoint.NAME] = (partial / checkpoint.NAME).stat().st_size
    return {
        **sidecar_of(session, runner.config),
        "complete": whole,
        "stopped_by": runner.loop.stopped_by,
        "errors": {symbol: dict(one.errors) for symbol, one in runner.loop.ledger.symbols.items()},
        "connection_errors_after_last_tick": runner.loop.ledger.left(),
        "tick_compute": runner.loop.phases.summary(),
        "recording": str(runner.source.record or ""),
        "files": files,
        "spec": asdict(session.spec),
    }


async def _clock_offset_ms(client: Client) -> int:
    """Exchange's clock minus ours, to half the time of a request [ms]; 0 when it does not say.

    Raises:
        UserError: over 300 s apart: every message would be refused.
    """
    before = time.time()
    try:
        server_ms = await client.server_time_ms()
    except (Refused, KeyError, ValueError):
        return 0
    offset = round(server_ms - (before + time.time()) * 500)
    if abs(offset) > _MAX_OFFSET_MS:
        raise UserError(
            f"{client.venue.rest}: its clock is {offset / 1000:.0f} s from ours; expected within 300 s: "
            "set this machine's clock"
        )
    return offset


@contextmanager
def _signals(stop: Callable[[str], None]) -> Iterator[None]:
    """SIGTERM and Ctrl-C ask for the end instead of tearing it; only the main thread can say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reasons = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "interrupted"}

    def asked(number: int, _frame: object) -> None:
        stop(reasons[signal.Signals(number)])

    before = {number: signal.signal(number, asked) for number in reasons}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def warm_up(config: Config, arms: tuple[str, ...]) -> None:
    """Compile the kernels before the market is waited for."""
    bot = SymbolBot(config, Instrument("WARMUP", 1.0, 1.0), arms, seed=0, on_fills=lambda _: None)
    rows = np.zeros(2, EVENT)
    rows["local_ts_ns"] = rows["exch_ts_ns"] = 1
    rows["price_ticks"], rows["qty"] = (100, 101), 1.0
    rows["flags"] = KIND_DEPTH | FLAG_EXCH | FLAG_LOCAL
    rows["flags"] |= np.array([FLAG_BUY, FLAG_SELL], np.uint8)
    bot.schedule(1)
    bot.feed(rows)
    bot.begin(2)
    ticks = bot.end(3)
    bot.book  # noqa: B018
    bot.restart()
    Histogram().add(ticks["tick_total_ms"])
    windows.advance(windows.new_state(), 1, windows.MISSING, 1, 1)  # as the monitors of gates call it
    with (
        tempfile.TemporaryDirectory(prefix="finishline-") as place,
        FeedWriter(Path(place), "WARMUP", arms) as writer,
    ):
        writer.ticks(ticks)
        writer.fills(np.zeros(1, FILL))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
