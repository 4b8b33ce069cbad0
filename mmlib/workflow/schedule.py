"""``finishline schedule``: install, remove and show what runs the daily report every morning."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmlib._io import UserError, write_atomic
from mmlib.ops.schedules import Job, cron_lines, service_text, timer_text, without

KINDS = ("cron", "systemd")
Ask = Callable[[str], bool]
_TIMEOUT_S = 30.0


def the_job(ws: Path, at: str = "09:00") -> Job:
    """The job of a workspace, run by this interpreter."""
    return Job(str(ws.resolve()), sys.executable, at)


def install(job: Job, kind: str, ask: Ask) -> list[str]:
    """Print what will change, ask, and do it; an entry of before is replaced.

    Args:
        job: what and when.
        kind: ``cron`` or ``systemd`` (the user's own units).
        ask: takes the plan, gives the answer.

    Returns:
        What was done, line by line.

    Raises:
        UserError: the crontab or systemd cannot be changed; nothing is left half done.
    """
    if kind == "cron":
        lines = cron_lines(job)
        if not ask("\n".join(["This goes into your crontab:", *(f"  {line}" for line in lines)])):
            return ["nothing was changed"]
        _write_crontab(without(_crontab(), job) + "".join(f"{line}\n" for line in lines))
        return [f"crontab: installed, every day at {job.at} on this machine's clock"]
    texts = dict(zip(_units(job), (service_text(job), timer_text(job)), strict=True))
    plan = [part for path, text in texts.items() for part in (f"{path}:", *_indented(text))]
    if not ask(
        "\n".join([*plan, "Then: systemctl --user daemon-reload; enable --now", f"  {job.unit}.timer"])
    ):
        return ["nothing was changed"]
    for path, text in texts.items():
        write_atomic(path, text)
    try:
        _systemctl("daemon-reload")
        _systemctl("enable", "--now", f"{job.unit}.timer")
    except UserError:
        for path in texts:
            path.unlink(missing_ok=True)
        raise
    return [f"systemd: installed, every day at {job.at} on this machine's clock"]


def remove(job: Job, ask: Ask) -> list[str]:
    """Undo ``install``, of whichever kind.

    Raises:
        UserError: the crontab or systemd cannot be changed.
    """
    done = []
    crontab = _crontab(absent_ok=True)
    if without(crontab, job) != crontab:
        ours = [line for line in crontab.splitlines() if line.rstrip().endswith(job.marker)]
        if ask("\n".join(["This goes from your crontab:", *(f"  {line}" for line in ours)])):
            _write_crontab(without(crontab, job))
            done.append("crontab: removed")
    units = [path for path in _units(job) if path.exists()]
    if units and ask("\n".join(["These go:", *(f"  {path}" for path in units)])):
        _systemctl("disable", "--now", f"{job.unit}.timer")
        for path in units:
            path.unlink()
        _systemctl("daemon-reload")
        done.append("systemd: removed")
    return done or ["nothing was changed"]


def state(job: Job, ws: Path) -> dict[str, Any]:
    """What is installed, which days lack a report, and who is at work."""
    from mmlib.workflow.catchup import missing_days
    from mmlib.workflow.lock import holder

    crontab = _crontab(absent_ok=True)
    entries = [line for line in crontab.splitlines() if line.rstrip().endswith(job.marker)]
    held = holder(ws)
    return {
        "workspace": job.workspace,
        "cron": [line for line in entries if not line.startswith("#")],
        "systemd": [str(path) for path in _units(job) if path.exists()],
        "days_without_report": [str(day) for day in missing_days(ws)],
        "running": held.text() if held else "",
    }


def state_text(found: dict[str, Any]) -> str:
    """``state`` for the terminal."""
    lines = [f"workspace: {found['workspace']}"]
    lines += [f"cron: {line}" for line in found["cron"]] or ["cron: not installed"]
    lines += [f"systemd: {path}" for path in found["systemd"]] or ["systemd: not installed"]
    lines.append(f"days without a report: {', '.join(found['days_without_report']) or 'none'}")
    lines.append(f"running now: {found['running'] or 'nothing'}")
    return "\n".join(lines)


def asks(yes: bool) -> Ask:
    """Print the plan; the answer is yes when it was given beforehand, else a person's."""

    def ask(plan: str) -> bool:
        sys.stdout.write(f"{plan}\n")
        if yes:
            return True
        if not sys.stdin.isatty():
            raise UserError("nobody is there to answer; expected --yes")
        sys.stdout.write("Go on? [y/N] ")
        sys.stdout.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    return ask


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]


def _units(job: Job) -> tuple[Path, Path]:
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"
    return home / f"{job.unit}.service", home / f"{job.unit}.timer"


def _crontab(*, absent_ok: bool = False) -> str:
    """The user's crontab; empty when there is none."""
    try:
        done = _run(["crontab", "-l"])
    except UserError:
        if absent_ok:
            return ""
        raise
    if done.returncode and "no crontab" not in done.stderr.lower():
        raise UserError(f"crontab -l: {_said(done)}; expected a crontab, or none")
    return done.stdout if done.returncode == 0 else ""


def _write_crontab(text: str) -> None:
    done = _run(["crontab", "-"], text)
    if done.returncode:
        raise UserError(f"crontab -: {_said(done)}; the crontab is as it was")


def _systemctl(*words: str) -> None:
    done = _run(["systemctl", "--user", *words])
    if done.returncode:
        raise UserError(
            f"systemctl --user {' '.join(words)}: {_said(done)}; expected a running user manager "
            "(loginctl enable-linger), or --kind cron"
        )


def _run(words: list[str], text: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words, input=text, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError as exc:
        raise UserError(f"{words[0]}: not installed; expected it on PATH, or the other --kind") from exc
    except subprocess.TimeoutExpired as exc:
        raise UserError(f"{' '.join(words)}: no answer in {_TIMEOUT_S:g} s") from exc


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
