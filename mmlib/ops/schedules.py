"""Texts that run the daily report every morning: a cron entry, a systemd service and timer."""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import dataclass

from mmlib._io import UserError

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True)
class Job:
    """What is to run, and when.

    Attributes:
        workspace: absolute path.
        python: absolute path of the interpreter that has the package.
        at: HH:MM on the machine's own clock.
    """

    workspace: str
    python: str
    at: str

    def __post_init__(self) -> None:
        if not _TIME.fullmatch(self.at):
            raise UserError(f"--at {self.at}: expected HH:MM, such as 09:00")
        for name, text in (("--workspace", self.workspace), ("python", self.python)):
            if not text.isprintable():
                raise UserError(f"{name} {text!r}: expected a path of printable characters")

    @property
    def id(self) -> str:
        """Tells the entries of one workspace from those of another."""
        return hashlib.sha256(self.workspace.encode()).hexdigest()[:8]

    @property
    def marker(self) -> str:
        """Ends every line of ours in a crontab."""
        return f"# finishline:{self.id}"

    @property
    def unit(self) -> str:
        """Stem of the systemd units."""
        return f"finishline-daily-{self.id}"

    @property
    def words(self) -> list[str]:
        """The command."""
        return [self.python, "-m", "mmlib", "daily", "--catch-up", "--notify", "--workspace", self.workspace]


def cron_lines(job: Job) -> list[str]:
    """Two lines of a crontab: what it is, and the entry; cron reads ``%`` as a line break, so it is escaped."""
    hour, minute = job.at.split(":")
    log = shlex.quote(f"{job.workspace}/artifacts/logs/daily.log")
    folder = shlex.quote(f"{job.workspace}/artifacts/logs")
    command = f"mkdir -p {folder} && {shlex.join(job.words)} >> {log} 2>&1".replace("%", r"\%")
    return [
        f"# Daily report of {job.workspace}; undo: finishline schedule remove {job.marker}",
        f"{int(minute)} {int(hour)} * * * {command} {job.marker}",
    ]


def without(crontab: str, job: Job) -> str:
    """A crontab without our lines; everybody else's stay as they are."""
    kept = [line for line in crontab.splitlines() if not line.rstrip().endswith(job.marker)]
    return "".join(f"{line}\n" for line in kept)


def service_text(job: Job) -> str:
    """The systemd service: runs once, names its workspace; ``%`` and ``$`` are escaped."""
    words = " ".join(_systemd_word(word) for word in job.words)
    return (
        f"[Unit]\nDescription=Daily report of {job.workspace.replace('%', '%%')}\n\n"
        f"[Service]\nType=oneshot\nWorkingDirectory={job.workspace.replace('%', '%%')}\nExecStart={words}\nNice=10\n"
    )


def timer_text(job: Job) -> str:
    """The systemd timer; a time at which the machine was off is made up for."""
    return (
        f"[Unit]\nDescription=Every day at {job.at}: {job.unit}.service\n\n"
        f"[Timer]\nOnCalendar=*-*-* {job.at}:00\nPersistent=true\n\n[Install]\nWantedBy=timers.target\n"
    )


def _systemd_word(word: str) -> str:
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if re.search(r"[\s\"'\\;]", word) or not word else text
