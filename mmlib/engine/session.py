"""A session: the bot over one source and several symbols, and its feeds."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmlib._io import UserError
from mmlib.config.models import Config
from mmlib.engine import checkpoint
from mmlib.engine.account import account_firings
from mmlib.engine.crew import NEVER_NS, Progress, Rows, workers
from mmlib.engine.finished import Session, sidecar_of
from mmlib.engine.parts import read_part
from mmlib.engine.place import claimed, listed, swap
from mmlib.engine.spec import SessionSpec, SymbolRun
from mmlib.engine.symbol import Job, Outcome
from mmlib.engine.watch import Firing
from mmlib.feeds.sidecar import read_sidecar, write_sidecar
from mmlib.gates.spec import Gate
from mmlib.market.source import parse_uri

if TYPE_CHECKING:
    from mmlib.engine.realtime.run import Watch

__all__ = ["Progress", "Session", "SessionSpec", "SymbolRun", "obtain_feeds", "run_session"]

CHECKPOINT_S = 2.0
"""Wall time between two checkpoints of a symbol [s]."""
_PARTS = "parts"


def run_session(
    spec: SessionSpec,
    config: Config,
    feeds: Path,
    *,
    quarantine: Path | None = None,
    progress: Progress | None = None,
    stops: Sequence[Gate] = (),
    resume: bool = False,
    checkpoint_s: float = CHECKPOINT_S,
    watch: Watch | None = None,
) -> Session:
    """Run the bot over a source and leave its feeds in ``feeds``.

    The feeds are written beside and swapped in when the session is whole; the feeds of the session before are kept in
    ``<feeds>.previous``. Symbols run in parallel processes as ``async_batch`` says.

    Args:
        spec, config: what to run, and how.
        feeds: where the feeds go.
        quarantine: where lines of a recording that cannot be read are kept.
        progress: is told how far each symbol came.
        stops: criteria that end the session at once, for all symbols at the end of the same simulated minute.
        resume: go on with a session that was killed or interrupted at this place; its feeds are then those of one that
            never was. Without such a session a new one begins; one that had ended already is returned as it is.
        checkpoint_s: wall time between two checkpoints of a symbol [s].
        watch: what observes a live session while it runs.

    Raises:
        UserError: the source cannot be read, another session is writing ``feeds``, it holds files that no session of ours
            wrote, or what is to be resumed began differently.
    """
    if parse_uri(spec.uri)[0] == "live":
        from mmlib.engine.realtime.run import run_live

        return run_live(spec, config, feeds, watch=watch)
    identity = _identity(spec, config, stops)
    with claimed(feeds, keep=resume) as partial:
        ended = _ended(partial, feeds, identity) if resume else None
        if ended is None:
            started = _begin(partial, identity)
            jobs = [
                Job(
                    spec, config, symbol, k, partial / _PARTS / symbol, quarantine, tuple(stops), checkpoint_s
                )
                for k, symbol in enumerate(spec.symbols)
            ]
            most = config.async_batch.max_parallel_symbols if config.async_batch.enabled else 1
            with workers(min(most, len(jobs)), jobs, progress) as crew:
                ended = _settled(spec, feeds, jobs, crew.outcomes(), started, config)
                rows: Rows = {
                    "ticks": [run.ticks for run in ended.runs],
                    "fills": [run.fills for run in ended.runs],
                }
                crew.merge(partial, spec.symbols, spec.arms, rows, str(ended.grade))
            write_sidecar(
                partial, {**sidecar_of(ended, config), "identity": identity, "files": listed(partial)}
            )
        if partial.exists():
            _clear(partial)
            swap(partial, feeds)
    return ended


def _identity(spec: SessionSpec, config: Config, stops: Sequence[Gate]) -> dict[str, Any]:
    """Everything that decides what a session writes, durations that are measured aside."""
    return {
        "spec": asdict(spec) | {"symbols": list(spec.symbols), "arms": list(spec.arms)},
        "config": config.model_dump(mode="json"),
        "stops": {gate.id: gate.model_dump(mode="json") for gate in stops},
        "code": checkpoint.code_sha256(),
    }


def _begin(partial: Path, identity: dict[str, Any]) -> str:
    """Make ``partial`` the place of this session, or go on with the same one; when it was started.

    Raises:
        UserError: what is there began differently.
    """
    begun = checkpoint.read_identity(partial)
    if begun is None:
        shutil.rmtree(partial / _PARTS, ignore_errors=True)  # of a session whose identity is damaged
        begun = {"identity": identity, "started": _now()}
        checkpoint.keep_identity(partial, begun)
    checkpoint.same_identity(partial, begun["identity"], identity)
    return str(begun["started"])


def _ended(partial: Path, feeds: Path, identity: dict[str, Any]) -> Session | None:
    """The same session if it had ended already: killed between its last line and the swap, or not killed at all."""
    for place in (partial, feeds):
        stated = read_sidecar(place) if place.is_dir() else None
        if stated is not None and stated.get("identity") == identity and "runs" in stated:
            if place == feeds:
                partial.rmdir()
            runs = tuple(SymbolRun.from_dict(one) for one in stated["runs"])
            halted = tuple(Firing.from_dict(one) for one in stated["halted"])
            spec = _spec_of(stated)
            return Session(spec, feeds, runs, stated["started"], stated["finished"], halted=halted)
    return None


def _clear(partial: Path) -> None:
    """Leave nothing but the feeds and their sidecar."""
    shutil.rmtree(partial / _PARTS, ignore_errors=True)
    (partial / checkpoint.IDENTITY).unlink(missing_ok=True)


def _settled(
    spec: SessionSpec,
    feeds: Path,
    jobs: Sequence[Job],
    outcomes: Sequence[Outcome],
    started: str,
    config: Config,
) -> Session:
    """The session that the symbols' outcomes amount to: what lies behind the first halt does not count."""
    firings = [one for outcome in outcomes for one in outcome.fired]
    records = {
        job.symbol: (
            read_part(job.home, "ticks", outcome.run.ticks),
            read_part(job.home, "fills", outcome.run.fills),
        )
        for job, outcome in zip(jobs, outcomes, strict=True)
        if jobs[0].stops
    }
    firings += account_firings(jobs[0].stops if jobs else (), records, spec.arms)
    halt_ns = min((one.halt_ns for one in firings), default=NEVER_NS)
    runs = [
        _until(outcome.run, job.home, halt_ns, config.pipeline.tick_interval_ms * 1_000_000)
        for job, outcome in zip(jobs, outcomes, strict=True)
    ]
    return Session(
        spec, feeds, tuple(runs), started, _now(), halted=tuple(f for f in firings if f.halt_ns == halt_ns)
    )


def _until(run: SymbolRun, home: Path, halt_ns: int, interval_ns: int) -> SymbolRun:
    """A symbol's run as far as it counts."""
    ticks = np.maximum.accumulate(read_part(home, "ticks", run.ticks)["ts_ns"])
    fills = np.maximum.accumulate(read_part(home, "fills", run.fills)["ts_ns"])
    ticks, n_fills = ticks[: np.searchsorted(ticks, halt_ns)], int(np.searchsorted(fills, halt_ns))
    first, last = (
        (int(ticks[0]), int(ticks[-1]) + interval_ns) if len(ticks) else (run.first_ns, run.first_ns)
    )
    return replace(run, ticks=len(ticks), fills=n_fills, first_ns=first, last_ns=last)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def obtain_feeds(
    spec: SessionSpec,
    config: Config,
    feeds: Path,
    *,
    quarantine: Path | None = None,
    stops: Sequence[Gate] = (),
    resume: bool = False,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Path:
    """Directory of the feeds that a step works on: a desk's own (``feeds:DIR``), or those of a session run now.

    The arguments are those of `run_session`.

    Raises:
        UserError: as ``run_session``; or a desk's directory that does not exist.
    """
    kind, rest = parse_uri(spec.uri)
    if kind != "feeds":
        done = run_session(
            spec,
            config,
            feeds,
            quarantine=quarantine,
            stops=stops,
            resume=resume,
            progress=progress,
            watch=watch,
        )
        return done.feeds
    directory = Path(rest).expanduser()
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory; expected feeds as feeds:DIR")
    return directory


def _spec_of(sidecar: dict[str, Any]) -> SessionSpec:
    stated = dict(sidecar["spec"])
    return SessionSpec(**{**stated, "symbols": tuple(stated["symbols"]), "arms": tuple(stated["arms"])})
