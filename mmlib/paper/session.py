"""A session of a bot that is not ours: the paper exchange and the bot run for a while, and leave feeds as any session does."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from mmlib._io import UserError
from mmlib.config.models import Config
from mmlib.engine.crew import Progress
from mmlib.engine.finished import Session, sidecar_of
from mmlib.engine.place import claimed, listed, swap
from mmlib.engine.spec import SessionSpec, SymbolRun
from mmlib.feeds.sidecar import write_sidecar
from mmlib.gates.spec import Gate
from mmlib.market.source import parse_uri
from mmlib.paper.accounts import Account, Latency, Queue
from mmlib.paper.bots import Bot, read_bot
from mmlib.paper.evidence import UNMEASURED
from mmlib.paper.halting import Halting
from mmlib.paper.setup import Serving, Setup, serving

_SECOND_S = 1.0
CAVEAT = "paper: orders of a bot that is not ours, on the paper exchange"


def run_bots(
    spec: SessionSpec,
    config: Config,
    feeds: Path,
    *,
    ws: Path,
    bots: Sequence[str],
    quarantine: Path | None = None,
    stops: Sequence[Gate] = (),
    progress: Progress | None = None,
    watch: Callable[[Serving], None] | None = None,
) -> Session:
    """Serve the market of ``spec`` for its duration while the bots trade there; blocks until the end.

    A bot that ends before its time ends the session; its feeds are whole and say that they are not complete. So does the first
    of ``stops`` that fires: the orders of that bot are cancelled before it is ended.

    Args:
        progress: is told how much of its time every symbol has had.

    Raises:
        UserError: the market cannot be served so, a bot cannot be started, or as `place.claimed`.
    """
    if parse_uri(spec.uri)[0] not in ("simulated", "recording"):
        raise UserError(f"--bot: source {spec.uri!r}; expected simulated or recording:PATH")
    if len(bots) != len(spec.arms):
        raise UserError(f"--bot: {len(bots)} given; expected one for each of the arms {', '.join(spec.arms)}")
    files = [read_bot(one, ws) for one in bots]
    if len({one.venue for one in files}) > 1:
        raise UserError("--bot: the bots speak to different venues; expected one market for both")
    with claimed(feeds) as place:
        accounts = tuple(_account(arm, config) for arm in spec.arms)
        setup = Setup(
            market=spec.uri,
            venue=files[0].venue,
            symbols=spec.symbols,
            accounts=accounts,
            seed=spec.seed,
            start_ns=spec.start_ns + int(spec.offset_s * 1e9) if spec.uri == "simulated" else None,
            simulated=config.market.model_dump(mode="json", exclude_none=True),
            rate_per_s=None,
            feeds=place,
            instruments={name: (one.tick_size, one.lot_size) for name, one in config.instruments.items()},
            latency=config.latency.model_dump(mode="json"),
            deadline_ms=config.pipeline.deadline_ms,
            quarantine=quarantine,
        )
        logs = ws / "artifacts" / "logs"
        runner = _Runner(
            spec,
            setup,
            [(one, logs / f"bot_{arm}.log") for one, arm in zip(files, spec.arms, strict=True)],
            stops,
            watch,
        )
        runner.run(progress)
        session = Session(spec, feeds, runner.runs, runner.started, _now(), {"stopped_by": runner.stopped_by})
        orders = {path.name: path.stat().st_size for path in sorted(place.glob("orders_*.csv"))}
        write_sidecar(
            place,
            {
                **sidecar_of(session, config),
                "complete": runner.stopped_by in ("duration", "recording"),
                "refresh_latency": "none: the bot is not ours",
                "unmeasured": list(UNMEASURED),
                "halted": runner.halted,
                "paper": {"venue": setup.venue, "bots": runner.facts, "accounts": runner.accounts},
                "files": listed(place) | orders,
            },
        )
        swap(place, feeds)
    return session


class _Runner:
    """One session in a thread of its own, so that it works beside a notebook's event loop."""

    def __init__(
        self,
        spec: SessionSpec,
        setup: Setup,
        files: Sequence[tuple[Any, Path]],
        stops: Sequence[Gate],
        watch: Callable[[Serving], None] | None,
    ) -> None:
        self.stopped_by = "duration"
        self.runs: tuple[SymbolRun, ...] = ()
        self.facts: list[dict[str, Any]] = []
        self.accounts: dict[str, Any] = {}
        self.started = _now()
        self._spec, self._setup, self._files, self._watch = spec, setup, files, watch
        self._stops = stops
        self.halted: list[dict[str, str]] = []
        self._error: BaseException | None = None
        self._over = threading.Event()
        self._stop = threading.Event()

    def run(self, progress: Progress | None) -> None:
        """Run to the end, telling how far it is; Ctrl-C asks for a clean one."""
        began = time.monotonic()
        thread = threading.Thread(target=self._thread, name="paper session")
        thread.start()
        while not self._over.is_set():
            try:
                self._over.wait(0.2)  # a join that Ctrl-C interrupts would take the thread for ended
                share = min((time.monotonic() - began) / max(self._spec.duration_s, 1e-9), 1.0)
                if progress is not None:
                    for symbol in self._spec.symbols:
                        progress(symbol, share)
            except KeyboardInterrupt:
                self._stop.set()
        thread.join()
        if self._error is not None:
            raise self._error

    def _thread(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as exc:  # handed to the caller's thread
            self._error = exc
        finally:
            self._over.set()

    async def _main(self) -> None:
        began = time.monotonic()
        async with serving(self._setup) as up:
            bots = [
                Bot(file, account, credentials, log)
                for (file, log), (account, credentials) in zip(self._files, up.accounts, strict=True)
            ]
            first_ns = up.exchange.clock.now_ns()
            halting = [Halting(self._stops, arm) for arm in self._spec.arms]
            watchers = []
            try:
                for bot in bots:
                    await bot.start(up.server.url, self._spec.symbols)
                    watchers.append(asyncio.create_task(bot.measure()))
                if up.evidence is not None:
                    up.evidence.watchers = {one.arm: one for one in halting}
                    up.evidence.memory_mb = {bot.account.name: partial(_memory, bot) for bot in bots}
                if self._watch is not None:
                    self._watch(up)
                await self._until_the_end(up, bots, halting)
            finally:
                for watcher in watchers:
                    watcher.cancel()
                for bot in bots:
                    await bot.end()
            self.facts = [bot.facts() for bot in bots]
            self.accounts = up.server.state()["accounts"]
            seconds = time.monotonic() - began
            self.runs = tuple(_symbol_run(up, symbol, first_ns, seconds) for symbol in self._spec.symbols)

    async def _until_the_end(self, up: Serving, bots: Sequence[Bot], halting: Sequence[Halting]) -> None:
        waits: dict[asyncio.Task[Any], str] = {asyncio.create_task(bot.ended()): "bot" for bot in bots}
        waits[asyncio.create_task(up.exchange.ended.wait())] = "recording"
        waits[asyncio.create_task(self._asked())] = "interrupted"
        waits[asyncio.create_task(self._halt(up, halting))] = "halt"
        limit_s = self._spec.duration_s / self._setup.speed
        done, rest = await asyncio.wait(waits, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        if done:
            self.stopped_by = waits[done.pop()]

    async def _halt(self, up: Serving, halting: Sequence[Halting]) -> None:
        """Wait for the first stop criterion that fires, and cancel the orders of its arm."""
        while not self.halted:
            await asyncio.sleep(_SECOND_S)
            now_ns = up.exchange.clock.now_ns()
            for one in halting:
                if one.look(now_ns):
                    self.halted.append({"arm": one.arm, "text": f"{one.reason} (arm {one.arm})"})
                    _cancel_all(up, one.arm)

    async def _asked(self) -> None:
        while not self._stop.is_set():
            await asyncio.sleep(_SECOND_S)


def _symbol_run(up: Serving, symbol: str, first_ns: int, seconds: float) -> SymbolRun:
    timeline, tape = up.timelines[symbol], up.exchange.tapes[symbol]
    counts = up.evidence.of_symbol[symbol] if up.evidence is not None else {}
    return SymbolRun(
        symbol=symbol,
        grade=timeline.grade,
        source_sha256=timeline.sha256,
        description=f"paper exchange on {timeline.description}",
        refresh_label="none: the bot is not ours",
        tick_size=float(tape.rules.price.size),
        lot_size=float(tape.rules.qty.size),
        first_ns=first_ns,
        last_ns=up.exchange.clock.now_ns(),
        events=timeline.rows_taken,
        ticks=counts.get("ticks", 0),
        fills=counts.get("fills", 0),
        seconds=round(seconds, 3),
        quality={name: int(n) for name, n in timeline.quality.items()},
        caveat=CAVEAT,
    )


def _cancel_all(up: Serving, arm: str) -> None:
    exchange = up.exchange
    for party in exchange.parties.values():
        if party.account.arm == arm:
            for order in party.store.open():
                exchange.trading.cancel(party, order, exchange.clock.now_ns())


def _memory(bot: Bot) -> float:
    return bot.memory_mb


def _account(arm: str, config: Config) -> Account:
    """The account of an arm: fees, latency and queue as the configuration has them for our own bot."""
    return Account.model_validate(
        {
            "name": f"arm_{arm}",
            "arm": arm,
            "fees": {"maker_bps": str(config.fees.maker_bps), "taker_bps": str(config.fees.taker_bps)},
            "latency": Latency(
                entry_ms=config.latency.entry_ms, response_ms=config.latency.response_ms
            ).model_dump(),
            "queue": Queue(
                model=config.fill_model.queue_model, exponent=config.fill_model.queue_exponent
            ).model_dump(),
        }
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
