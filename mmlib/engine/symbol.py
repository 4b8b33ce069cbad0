"""One symbol of a session: market and bot in one loop, kept at checkpoints, watched by the stop criteria."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mmlib._io import UserError
from mmlib.config.models import Config
from mmlib.engine import checkpoint
from mmlib.engine.params import arm_params
from mmlib.engine.parts import Parts, intact_rows
from mmlib.engine.realtime import recorded
from mmlib.engine.replay import Replay
from mmlib.engine.spec import S, SessionSpec, SymbolRun, incident_rows, scripted
from mmlib.engine.watch import Firing, Watch
from mmlib.feeds.schema import KINDS
from mmlib.gates.spec import Gate
from mmlib.market.opening import open_source
from mmlib.market.playback import Playback
from mmlib.market.source import Source, parse_uri

_LOOK_S = 0.5  # wall time, at least, between two looks at the stop criteria
_WARM_UP_S = 600  # the window counts from the first tick, for which the book must be whole


@dataclass(frozen=True)
class Job:
    """One symbol of a session.

    Attributes:
        spec, config: of the session.
        symbol: which, and ``index``, its place among the session's.
        home: where its records and checkpoints are; a checkpoint there is gone on from.
        quarantine: where lines of a recording that cannot be read are kept.
        stops: criteria that end the session at once.
        checkpoint_s: wall time between two checkpoints [s].
    """

    spec: SessionSpec
    config: Config
    symbol: str
    index: int
    home: Path
    quarantine: Path | None
    stops: tuple[Gate, ...]
    checkpoint_s: float


class Board(Protocol):
    """What the symbols of a session tell each other and whoever waits for them."""

    def halt_ns(self) -> int:
        """From when on nothing counts any more, as far as is known."""

    def halt(self, index: int, at_ns: int) -> None:
        """This symbol's criterion fired."""

    def tell(self, index: int, share: float) -> None:
        """This symbol's share of the window that is done."""


@dataclass(frozen=True)
class Outcome:
    """A symbol that has ended: what it came to, and the criteria that ended it, if any."""

    run: SymbolRun
    fired: tuple[Firing, ...]

    def to_dict(self) -> dict[str, Any]:
        """Builtin types."""
        return {"run": self.run.to_dict(), "fired": [one.to_dict() for one in self.fired]}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Outcome:
        """The inverse of `to_dict`."""
        return cls(SymbolRun.from_dict(facts["run"]), tuple(Firing.from_dict(one) for one in facts["fired"]))


def run_symbol(job: Job, board: Board) -> Outcome:
    """Replay one symbol to the end of its window, or to where a stop criterion ends the session.

    Raises:
        UserError: the source cannot be read, is another than the checkpoint's, or the disk is full.
    """
    done = checkpoint.read_done(job.home)
    if done is None:
        recording = _session_recording(job)
        outcome = _Symbol(job, board).run() if recording is None else _run_again(job, recording)
        checkpoint.keep_done(job.home, outcome.to_dict())
    else:
        outcome = Outcome.from_dict(done)
    if outcome.fired:
        board.halt(job.index, outcome.fired[0].halt_ns)
    board.tell(job.index, 1.0)
    return outcome


class _Symbol:
    """The loop of one symbol."""

    def __init__(self, job: Job, board: Board) -> None:
        self._job, self._board = job, board
        self._source = _open(job)
        spec = job.spec
        offset = 0 if spec.uri == "simulated" else int(spec.offset_s * S)
        self._start_ns = self._source.start_ns + offset
        self._end_ns = self._start_ns + int(spec.duration_s * S)
        incidents = incident_rows(scripted(job.config.rehearsal.incidents), self._start_ns)
        self._playback = Playback(self._source, self._start_ns, self._end_ns + _WARM_UP_S * S, incidents)
        self._replay = Replay(
            arm_params(job.config, self._source.instrument, spec.arms),
            self._source.refresh_ms,
            start_ns=self._start_ns,
            end_ns=self._end_ns,
            seed=spec.seed,
            sink=self._sink,
            incidents=incidents,
        )
        self._watch = Watch(job.stops, job.symbol, spec.arms, self._start_ns)
        self._spent_s = 0.0
        self._reached_ns = self._start_ns
        self._parts = Parts(job.home, *self._resume())

    def run(self) -> Outcome:
        began = kept = time.monotonic()
        # The first look comes early, so that what it takes to look is no growth of memory later.
        looked = -math.inf
        fired: Sequence[Firing] = ()
        try:
            going = True
            while going and not fired:
                chunk = self._playback.next()
                if chunk is None:
                    self._replay.finish()
                going = (
                    chunk is not None
                    and self._replay.take(chunk)
                    and self._reached_ns < self._board.halt_ns()
                )
                now = time.monotonic()
                if not going or (now - looked >= _LOOK_S and self._watch.due(self._reached_ns)):
                    fired = self._watch.look(*map(self._parts.read, KINDS), last=not going)
                    looked = now
                if going and not fired and now - kept >= self._job.checkpoint_s:
                    self._keep(now - began)
                    kept = now
            self._parts.sync()
        finally:
            self._parts.close()
        seconds = self._spent_s + time.monotonic() - began
        return Outcome(self._summary(seconds), tuple(fired))

    def _sink(self, ticks: np.ndarray, fills: np.ndarray, now_ns: int) -> None:
        self._parts.append(ticks, fills)
        if len(ticks):
            self._reached_ns = int(ticks["ts_ns"][-1])
        share = (now_ns - self._start_ns) / max(self._end_ns - self._start_ns, 1)
        self._board.tell(self._job.index, min(max(share, 0.0), 1.0))

    def _keep(self, seconds: float) -> None:
        """Write a checkpoint; the records that it counts on are on the disk first."""
        self._parts.sync()
        own = {
            "rows": np.array([self._parts.rows[kind] for kind in KINDS]),
            "crc": np.array([self._parts.crc[kind] for kind in KINDS]),
            "seconds": np.array(self._spent_s + seconds),
            "source": np.array(self._source.sha256),
        }
        state = {"own": own, "playback": self._playback.state(), "replay": self._replay.state()}
        checkpoint.keep_state(self._job.home, checkpoint.nested(state))

    def _resume(self) -> tuple[dict[Any, int], dict[Any, int]] | tuple[()]:
        """Take up the checkpoint, if there is one that is intact; rows of each kind that it counts on, and their CRC-32."""
        state = checkpoint.read_state(self._job.home)
        if state is None:
            return ()
        own = checkpoint.owned(state, "own")
        rows = dict(zip(KINDS, own["rows"].tolist(), strict=True))
        crc = dict(zip(KINDS, own["crc"].tolist(), strict=True))
        if not intact_rows(self._job.home, rows, crc):
            return ()
        if str(own["source"]) != self._source.sha256:
            raise UserError(
                f"{self._job.spec.uri}: {self._job.symbol} is not what the session began with; "
                "expected the same source to resume, or start without --resume"
            )
        self._playback.restore(checkpoint.owned(state, "playback"))
        self._replay.restore(checkpoint.owned(state, "replay"))
        self._spent_s = float(own["seconds"])
        return rows, crc

    def _summary(self, seconds: float) -> SymbolRun:
        counts, source = self._replay.counts, self._source
        extra = {"out_of_range": counts.out_of_range, "dropped_orders": counts.dropped_orders}
        return SymbolRun(
            symbol=self._job.symbol,
            grade=source.grade,
            source_sha256=source.sha256,
            description=source.description,
            refresh_label=source.refresh_label,
            tick_size=source.instrument.tick_size,
            lot_size=source.instrument.lot_size,
            first_ns=self._start_ns,
            last_ns=self._end_ns,
            events=counts.events,
            ticks=counts.ticks,
            fills=counts.fills,
            seconds=round(seconds, 3),
            quality={key: int(value) for key, value in {**source.quality, **extra}.items()},
            caveat=source.caveat,
        )


def _session_recording(job: Job) -> Path | None:
    """The source, where it is the recording of a live session whose very ticks can be had again."""
    kind, rest = parse_uri(job.spec.uri)
    path = Path(rest).expanduser()
    whole = kind == "recording" and job.spec.offset_s == 0.0
    return path if whole and recorded.fits(path, job.config) else None


def _run_again(job: Job, path: Path) -> Outcome:
    """Replay one symbol of a live session's recording, tick by tick as the session had them; always from its start."""
    began, spec = time.monotonic(), job.spec
    parts = Parts(job.home)
    try:
        done = recorded.replay_session(
            path,
            job.symbol,
            job.config,
            spec.arms,
            seed=spec.seed,
            sink=parts.append,
            duration_s=spec.duration_s,
        )
        watch = Watch(job.stops, job.symbol, spec.arms, done.first_ns)
        fired = watch.look(parts.read("ticks"), parts.read("fills"), last=True)
        parts.sync()
    finally:
        parts.close()
    run = SymbolRun(
        symbol=job.symbol,
        grade=done.grade,
        source_sha256=done.sha256,
        description=f"session recording {path.name}, {done.lines} lines",
        refresh_label=recorded.REFRESH_LABEL,
        tick_size=done.instrument.tick_size,
        lot_size=done.instrument.lot_size,
        first_ns=done.first_ns,
        last_ns=done.last_ns,
        events=done.rows,
        ticks=done.ticks,
        fills=done.fills,
        seconds=round(time.monotonic() - began, 3),
        quality=done.quality(),
        caveat=done.caveat,
    )
    return Outcome(run, tuple(fired))


def _open(job: Job) -> Source:
    spec, config = job.spec, job.config
    return open_source(
        spec.uri,
        job.symbol,
        seed=spec.seed,
        start_ns=spec.start_ns + int(spec.offset_s * S),
        instruments={name: (rule.tick_size, rule.lot_size) for name, rule in config.instruments.items()},
        latency=config.latency.model_dump(),
        market=config.market.model_dump(),
        quarantine_dir=job.quarantine / job.symbol if job.quarantine else None,
    )
