"""What the verbs of the command line do, apart from parsing and printing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from mmlib._io import UserError, write_atomic
from mmlib.workflow import show
from mmlib.workflow.manifest import FAILED, GATE, OK, RunOutcome
from mmlib.workflow.order import run_steps
from mmlib.workflow.plan import Options, plan
from mmlib.workflow.progress import Reporter
from mmlib.workflow.readiness import Readiness, collect
from mmlib.workflow.steps import STEPS, get_step

if TYPE_CHECKING:
    from mmlib.config.profiles import Profile


@dataclass(frozen=True)
class Done:
    """A finished run: outcomes, the acceptance table when readiness was in it, where the pages are."""

    run_id: str
    outcomes: tuple[RunOutcome, ...]
    readiness: Readiness | None
    html: Path | None

    @property
    def returncode(self) -> int:
        """The worst of the steps' exit codes."""
        return max((outcome.returncode for outcome in self.outcomes), default=FAILED)

    def text(self) -> str:
        """For the terminal."""
        parts = [show.outcomes(self.outcomes)]
        if self.readiness is not None:
            parts.append(show.readiness(self.readiness))
        if self.html is not None:
            parts.append(f"report: {self.html}")
        return "\n\n".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """For a machine."""
        return {
            "run_id": self.run_id,
            "returncode": self.returncode,
            "steps": [
                {
                    "step": o.step.key,
                    "status": str(o.status),
                    "returncode": o.returncode,
                    "seconds": round(o.seconds, 3),
                    "resumed": o.resumed,
                    "notebook": str(o.notebook) if o.notebook else None,
                    "reason": o.reason,
                }
                for o in self.outcomes
            ],
            "readiness": self.readiness.to_dict() if self.readiness else None,
            "html": str(self.html) if self.html else None,
        }


def execute(
    ws: Path,
    keys: Sequence[str],
    *,
    profile: str = "",
    options: Options | None = None,
    resume: bool = False,
    notebooks: Path | None = None,
) -> Done:
    """Run steps with progress on standard error, then write the HTML pages.

    Raises:
        UserError: bad input that was found before the first notebook started.
    """
    from mmlib.workflow import warming
    from mmlib.workflow.sessionprogress import listening

    _give_params(ws)
    planned = plan(ws, [get_step(key) for key in keys], profile=profile, options=options, notebooks=notebooks)
    realtime = options is not None and options.clock == "realtime"
    sources = [str(one.params.get("source", "")) for one in planned]
    warming.ensure(warming.families_of(keys, *sources, live=realtime))
    # a second of imports, for which there is time while the notebooks run
    Thread(target=import_module, args=("mmlib.workflow.site",), daemon=True).start()
    through = (options is not None and options.through) or _rehearsed(ws, profile)
    with Reporter(len(planned)) as report, listening(report.said):
        run_id, outcomes = run_steps(
            ws, planned, profile=profile, resume=resume, on_event=report, through=through
        )
    from mmlib.workflow.site import build_site

    return Done(run_id, tuple(outcomes), _verdict(ws, profile, keys), build_site(ws))


def _rehearsed(ws: Path, profile: str) -> bool:
    """Whether every stage is to be tried, whatever came of the one before: a rehearsal switches nothing on."""
    from mmlib.config.profiles import load_profile

    return bool(profile) and load_profile(ws, profile).rehearsal


def validate_baseline(ws: Path, *, rounds: int | None = None) -> tuple[str, dict[str, Any], int]:
    """Measure the locked build and the current one in turns and evaluate the CI gates: text, JSON payload, exit code.

    Args:
        rounds: runs of each build, None for the usual number; 0 compares the stage budgets as they are.

    Raises:
        UserError: nothing is locked, the lock was edited, or there are no stage budgets.
    """
    from mmlib.baseline.candidate import measure_candidate
    from mmlib.baseline.lock import read_lock
    from mmlib.baseline.rounds import ROUNDS
    from mmlib.baseline.trend import remember
    from mmlib.baseline.validate import compare
    from mmlib.gates.result import aggregate
    from mmlib.gates.spec import load_gates
    from mmlib.workflow.table import GateTable
    from mmlib.workflow.times import now_iso
    from mmlib.workflow.warming import DEMO, ensure

    _give_params(ws)
    book, locked = load_gates(ws), read_lock(ws)
    ensure(DEMO)
    found = measure_candidate(
        ws, locking=False, rounds=ROUNDS if rounds is None else rounds, progress=_rounds_done
    )
    comparison = compare(book, locked, found.budgets, evidence=found.said, sides=found.sides)
    remember(ws, comparison, at=now_iso())
    results = list(comparison.results)
    verdict = aggregate(results, "baseline")
    rows = [result.to_dict() for result in results]
    text = f"{GateTable('Baseline', str(verdict.status), rows)!r}\n\nmeasured: {found.said}"
    ratios = comparison.frame().astype(object)
    payload = {
        "status": str(verdict.status),
        "measured": found.said,
        "gates": rows,
        "ratios": ratios.where(ratios.notna(), None).to_dict("records"),
    }
    return text, payload, OK if verdict.passed else GATE


def _rounds_done(done: int, of: int) -> None:
    """Progress of the rounds on a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\rround {done} of {of}{chr(10) if done == of else ''}")


def roll_back(ws: Path, flags: Sequence[str], gradual: str | None, reason: str) -> tuple[str, dict[str, Any]]:
    """Roll flags back and say what changed.

    Raises:
        UserError: no reason, both ways at once, an unknown flag, or files that cannot be changed.
    """
    from mmlib.config.rollback import rollback

    _give_params(ws)
    if flags and gradual:
        raise UserError("rollback: --flag and --gradual were both given; expected one of them, or neither")
    if gradual:
        _must_relieve(ws, gradual, reason)
    report = rollback(ws, flags=list(flags) or None, gradual=gradual, reason=reason)
    lines = [f"{report.mode}: {report.reason}"]
    lines += [f"  {key}: {old} -> {new}" for key, old, new in report.changed]
    lines += [f"  {key}: already so" for key in report.already]
    lines += [f"  note: {note}" for note in report.notes]
    if not report.changed:
        lines.append("  nothing had to change")
    payload = {
        "mode": report.mode,
        "reason": report.reason,
        "at": report.at,
        "changed": [{"key": key, "old": old, "new": new} for key, old, new in report.changed],
        "already": report.already,
        "snapshot_sha256": report.snapshot_sha256,
        "notes": report.notes,
    }
    return "\n".join(lines), payload


def _must_relieve(ws: Path, way: str, reason: str) -> None:
    """Refuse a way that loosens the limit which fired, or that does not relieve the criterion which the reason names."""
    from mmlib.config.relief import RELIEF, ways_for
    from mmlib.gates.spec import load_gates
    from mmlib.workflow.operations import fired_last

    last = fired_last(ws)
    for gate in load_gates(ws):
        named, fired = gate.id in reason.replace(",", " ").split(), gate.id in last
        relief = RELIEF.get(way)
        if relief is None or not (named or fired):
            continue
        loosened = relief.loosens == gate.metric
        if loosened or (named and gate.metric not in relief.metrics):
            others = [f"--gradual {other}" for other in ways_for(gate.metric)]
            what = "loosens the limit of" if loosened else "does not relieve"
            where = "" if named else ", which fired on the last day that was reported"
            raise UserError(
                f"rollback --gradual {way}: {what} {gate.id}{where}; "
                f"expected {' or '.join([*others, 'the red button'])}. {gate.runbook}"
            )


def open_lab(ws: Path, *, browser: bool = True, port: int = 0) -> int:
    """Run JupyterLab on the workspace's notebooks; without any, the shipped ones are copied there.

    It listens on this machine only, runs kernels of this interpreter, and its address with the token is printed first.

    Args:
        ws: the workspace.
        browser: open one.
        port: TCP port; 0 takes a free one.
    """
    import os
    import secrets
    import subprocess

    from mmlib.config.load import shipped_dir
    from mmlib.engine.orphan import die_with_parent

    _give_params(ws)
    home = ws / "notebooks"
    shipped = shipped_dir("notebooks")
    if not home.exists():
        for path in sorted(shipped.glob("*.ipynb")):
            write_atomic(home / path.name, path.read_bytes())
    port, token = port or _free_port(), secrets.token_hex(24)
    words = [sys.executable, "-m", "jupyterlab", f"--notebook-dir={home}", "--ip=127.0.0.1", f"--port={port}"]
    words += ["--ServerApp.port_retries=0", *([] if browser else ["--no-browser"])]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        words.append("--allow-root")  # a container's only user
    sys.stdout.write(f"http://127.0.0.1:{port}/lab?token={token}\n")
    sys.stdout.flush()
    # the token is not on the command line, where others see it; this environment's kernels come before the user's
    environment = os.environ | {"JUPYTER_TOKEN": token, "JUPYTER_PREFER_ENV_PATH": "1"}
    return subprocess.call(words, env=environment, preexec_fn=die_with_parent)


def _free_port() -> int:
    """A TCP port of this machine that is free now."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _give_params(ws: Path) -> None:
    """Copy the shipped parameter files that the workspace lacks, and say so."""
    from mmlib.config.load import ensure_params

    if ensure_params(ws):
        sys.stderr.write(f"{ws / 'params'}: was not complete; the shipped parameters were copied\n")


def _verdict(ws: Path, profile: str, keys: Sequence[str]) -> Readiness | None:
    """The acceptance table after a run that included readiness."""
    if STEPS[-1].key not in keys:
        return None
    if not profile:
        return collect(ws)
    from mmlib.config.profiles import load_profile

    loaded: Profile = load_profile(ws, profile)
    return collect(ws, loaded.evidence_required, loaded.rehearsal)
