"""A session: the bot over one source and several symbols, its feeds, and what there is to say about both."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mmlib._io import UserError
from mmlib.config.models import Config
from mmlib.dtypes import Grade
from mmlib.engine.orphan import end_with_parent
from mmlib.engine.params import arm_params
from mmlib.engine.place import claimed, listed, swap
from mmlib.engine.realtime import recorded
from mmlib.engine.replay import replay_symbol
from mmlib.feeds.sidecar import NAME as SIDECAR
from mmlib.feeds.sidecar import read_sidecar, write_sidecar
from mmlib.feeds.writer import FeedWriter
from mmlib.market.source import open_source, parse_uri

_S = 1_000_000_000
_WARM_UP_S = 600  # the window counts from the first tick, for which the book must be whole
Progress = Callable[[str, float], None]
"""Takes a symbol and the share of its window that is done, 0 to 1."""


@dataclass(frozen=True)
class SessionSpec:
    """What to run.

    Attributes:
        uri: ``simulated`` or ``recording:PATH``.
        symbols: what to quote.
        arms: ``("A",)`` for the bot as configured, ``("A", "B")`` for control and treatment on the same market.
        duration_s: length of the window [s]; a shorter recording ends it earlier.
        offset_s: where the window starts after ``start_ns`` (simulated) or after the recording's first event [s].
        start_ns: start of simulated time; recordings have their own.
        seed: of the simulator, modelled latencies and trace sampling.
    """

    uri: str
    symbols: tuple[str, ...]
    arms: tuple[str, ...]
    duration_s: float
    offset_s: float = 0.0
    start_ns: int = 0
    seed: int = 0

    @classmethod
    def plan(
        cls,
        uri: str,
        symbols: Sequence[str],
        arms: Sequence[str],
        duration_s: float,
        *,
        start_ns: int | None,
        seed: int,
        simulated_offset_s: float = 0.0,
        recording_offset_s: float = 0.0,
    ) -> SessionSpec:
        """A session whose window starts at one offset in simulated time and at another in a recording."""
        offset = simulated_offset_s if parse_uri(uri)[0] == "simulated" else recording_offset_s
        return cls(uri, tuple(symbols), tuple(arms), duration_s, offset, start_ns or 0, seed)


@dataclass(frozen=True)
class SymbolRun:
    """What one symbol's replay was made from and came to."""

    symbol: str
    grade: Grade
    source_sha256: str
    description: str
    refresh_label: str
    tick_size: float
    lot_size: float
    first_ns: int
    last_ns: int
    events: int
    ticks: int
    fills: int
    seconds: float
    quality: dict[str, int]

    @property
    def span_s(self) -> float:
        """Market time covered [s]."""
        return max(self.last_ns - self.first_ns, 0) / _S


@dataclass(frozen=True)
class Session:
    """A finished session."""

    spec: SessionSpec
    feeds: Path
    runs: tuple[SymbolRun, ...]
    started: str
    finished: str
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def grade(self) -> Grade:
        """The weakest grade among the symbols."""
        return Grade.weakest([run.grade for run in self.runs]) or Grade.SIMULATED

    @property
    def span_s(self) -> float:
        """Market time that every symbol covers [s]."""
        return min((run.span_s for run in self.runs), default=0.0)

    def table(self) -> list[dict[str, Any]]:
        """One plain row a symbol, for a notebook to show."""
        keys = ("symbol", "grade", "events", "ticks", "fills", "seconds", "description")
        return [
            {"hours": round(run.span_s / 3600, 3)} | {key: asdict(run)[key] for key in keys}
            for run in self.runs
        ]


def run_session(
    spec: SessionSpec,
    config: Config,
    feeds: Path,
    *,
    quarantine: Path | None = None,
    progress: Progress | None = None,
) -> Session:
    """Run the bot over a source and leave its feeds in ``feeds``.

    The feeds are written beside and swapped in when the session is whole; the feeds of the session before are kept in
    ``<feeds>.previous``. Symbols run in parallel processes as ``async_batch`` says.

    Raises:
        UserError: the source cannot be read, another session is writing ``feeds``, or it holds files that no session
            of ours wrote.
    """
    if parse_uri(spec.uri)[0] == "live":
        from mmlib.engine.realtime.run import run_live

        return run_live(spec, config, feeds)
    started = _now()
    with claimed(feeds) as partial:
        jobs = [_Job(spec, symbol, config, partial, quarantine) for symbol in spec.symbols]
        workers = min(config.async_batch.max_parallel_symbols, len(jobs)) if config.async_batch.enabled else 1
        runs = (
            _in_parallel(jobs, workers, progress)
            if workers > 1
            else [_run_symbol(job, progress) for job in jobs]
        )
        session = Session(spec, feeds, tuple(runs), started, _now())
        write_sidecar(partial, {**sidecar_of(session, config), "files": listed(partial)})
        swap(partial, feeds)
    return session


@dataclass(frozen=True)
class _Job:
    spec: SessionSpec
    symbol: str
    config: Config
    directory: Path
    quarantine: Path | None


def _run_symbol(job: _Job, progress: Progress | None = None) -> SymbolRun:
    """Replay one symbol; runs in a process of its own when symbols run in parallel."""
    began = time.monotonic()
    spec, config = job.spec, job.config
    kind, rest = parse_uri(spec.uri)
    if kind == "recording" and spec.offset_s == 0.0 and recorded.fits(Path(rest).expanduser(), config):
        return _run_recorded(job, Path(rest).expanduser(), began)
    source = open_source(
        spec.uri,
        job.symbol,
        seed=spec.seed,
        start_ns=spec.start_ns + int(spec.offset_s * _S),
        instruments={name: (rule.tick_size, rule.lot_size) for name, rule in config.instruments.items()},
        latency=config.latency.model_dump(),
        market=config.market.model_dump(),
        quarantine_dir=job.quarantine / job.symbol if job.quarantine else None,
    )
    start = source.start_ns if spec.uri == "simulated" else source.start_ns + int(spec.offset_s * _S)
    end = start + int(spec.duration_s * _S)
    reached: list[int] = []  # time of the first tick, end of the last

    with FeedWriter(job.directory, job.symbol, spec.arms) as writer:

        def sink(ticks: np.ndarray, fills: np.ndarray, now_ns: int) -> None:
            writer.ticks(ticks)
            writer.fills(fills)
            if len(ticks):
                last = int(ticks["ts_ns"][-1]) + config.pipeline.tick_interval_ms * 1_000_000
                reached[:] = [reached[0] if reached else int(ticks["ts_ns"][0]), last]
            if progress is not None:
                progress(job.symbol, min(max((now_ns - start) / max(end - start, 1), 0.0), 1.0))

        counts = replay_symbol(
            source.chunks(start, end + _WARM_UP_S * _S),
            arm_params(config, source.instrument, spec.arms),
            source.refresh_ms,
            start_ns=start,
            end_ns=end,
            seed=spec.seed,
            sink=sink,
        )
    extra = {"out_of_range": counts.out_of_range, "dropped_orders": counts.dropped_orders}
    return SymbolRun(
        symbol=job.symbol,
        grade=source.grade,
        source_sha256=source.sha256,
        description=source.description,
        refresh_label=source.refresh_label,
        tick_size=source.instrument.tick_size,
        lot_size=source.instrument.lot_size,
        first_ns=reached[0] if reached else start,
        last_ns=reached[1] if reached else start,
        events=counts.events,
        ticks=counts.ticks,
        fills=counts.fills,
        seconds=round(time.monotonic() - began, 3),
        quality={key: int(value) for key, value in {**source.quality, **extra}.items()},
    )


def _run_recorded(job: _Job, path: Path, began: float) -> SymbolRun:
    """Replay one symbol of a live session's recording, tick by tick as the session had them."""
    spec = job.spec
    with FeedWriter(job.directory, job.symbol, spec.arms) as writer:

        def sink(ticks: np.ndarray, fills: np.ndarray) -> None:
            writer.ticks(ticks)
            writer.fills(fills)

        done = recorded.replay_session(
            path, job.symbol, job.config, spec.arms, seed=spec.seed, sink=sink, duration_s=spec.duration_s
        )
    return SymbolRun(
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
        quality={"lines": done.lines},
    )


def _in_parallel(jobs: Sequence[_Job], workers: int, progress: Progress | None) -> list[SymbolRun]:
    """Run jobs in ``workers`` fresh processes; results in the order of the jobs."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=workers, mp_context=context, initializer=end_with_parent) as pool:
        futures = {pool.submit(_run_symbol, job): job.symbol for job in jobs}
        for future in as_completed(futures):
            future.result()
            if progress is not None:
                progress(futures[future], 1.0)
        return [future.result() for future in futures]


def sidecar_of(session: Session, config: Config) -> dict[str, Any]:
    """What the feeds of a session state of themselves."""
    spec = session.spec
    labels = sorted({run.refresh_label for run in session.runs})
    return {
        "grade": str(session.grade),
        "source": spec.uri,
        "symbols": list(spec.symbols),
        "arms": list(spec.arms),
        "seed": spec.seed,
        "started": session.started,
        "finished": session.finished,
        "complete": True,
        "tick_interval_ms": config.pipeline.tick_interval_ms,
        "refresh_latency": "; ".join(labels),
        "quality": {run.symbol: run.quality for run in session.runs},
        "source_sha256": {run.symbol: run.source_sha256 for run in session.runs},
        "spec": asdict(spec),
        "config": config.model_dump(mode="json"),
        "instruments": {
            run.symbol: {"tick_size": run.tick_size, "lot_size": run.lot_size} for run in session.runs
        },
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def obtain_feeds(spec: SessionSpec, config: Config, feeds: Path, *, quarantine: Path | None = None) -> Path:
    """Directory of the feeds that a step works on: a desk's own (``feeds:DIR``), or those of a session run now.

    Raises:
        UserError: as ``run_session``; or a desk's directory that does not exist.
    """
    kind, rest = parse_uri(spec.uri)
    if kind != "feeds":
        return run_session(spec, config, feeds, quarantine=quarantine).feeds
    directory = Path(rest).expanduser()
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory; expected feeds as feeds:DIR")
    return directory


def repeat_session(feeds: Path, target: Path) -> Path:
    """Run the session that wrote ``feeds`` once more, into ``target``: same source, seed and configuration.

    Fills come out the same; durations are measured anew, so that the two can be compared.

    Raises:
        UserError: no session of ours wrote ``feeds``.
    """
    sidecar = read_sidecar(feeds)
    if sidecar is None or "spec" not in sidecar:
        raise UserError(f"{feeds / SIDECAR}: names no session to repeat; expected feeds of a session of ours")
    try:
        stated = dict(sidecar["spec"])
        spec = SessionSpec(**{**stated, "symbols": tuple(stated["symbols"]), "arms": tuple(stated["arms"])})
        config = Config.model_validate(sidecar["config"])
    except (KeyError, TypeError, ValueError) as exc:
        raise UserError(f"{feeds / SIDECAR}: spec, config: expected them as the session wrote them") from exc
    return run_session(spec, config, target).feeds
