"""Which days lack a report, and telling somebody when a run failed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from mmlib._io import UserError
from mmlib.engine.orphan import die_with_parent

REPORTS = Path("artifacts") / "reports" / "daily"
FEEDS = Path("artifacts") / "edge" / "feeds"


def missing_days(ws: Path, feeds: Path | None = None, *, today: date | None = None) -> list[date]:
    """Days whose report is missing: every finished day with feeds, and yesterday, which says NO DATA when it has none.

    Args:
        ws: the workspace.
        feeds: a desk's own feeds; None for the workspace's.
        today: the UTC day that is still running, and not reported yet.
    """
    from mmlib.ops.days import days_with_feeds

    today = today or datetime.now(UTC).date()
    due = {day for day in days_with_feeds(feeds or ws / FEEDS) if day < today} | {today - timedelta(days=1)}
    return sorted(day for day in due if not (ws / REPORTS / f"{day}.md").is_file())


def notify(command: Sequence[str], subject: str, text: str, *, timeout_s: float) -> str:
    """Run the command that tells somebody: no shell, the text on its standard input, both in its environment.

    Args:
        command: argument list; an empty one tells nobody.
        subject: one line (``FINISHLINE_SUBJECT``).
        text: what happened (``FINISHLINE_TEXT``).
        timeout_s: longest run of the command [s].

    Returns:
        Why nobody was told; empty when somebody was.
    """
    if not command:
        return "notify.command is empty in params/config.yaml; nobody was told"
    given = os.environ | {"FINISHLINE_SUBJECT": subject, "FINISHLINE_TEXT": text[:30_000]}
    try:
        done = subprocess.run(
            list(command),
            input=f"{subject}\n\n{text}\n",
            env=given,
            preexec_fn=die_with_parent,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as exc:
        return f"notify.command {command[0]}: {exc}; nobody was told"
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[:200]
        return f"notify.command {command[0]}: exit code {done.returncode} {said}".rstrip()
    return ""


def tell(ws: Path, subject: str, text: str) -> None:
    """``notify`` as the workspace's configuration says; what goes wrong with it is said on standard error."""
    from mmlib.config.load import load_config

    try:
        settings = load_config(ws).config.notify
        failed = notify(settings.command, subject, text, timeout_s=settings.timeout_s)
    except UserError as exc:
        failed = f"nobody was told: {exc}"
    if failed:
        sys.stderr.write(f"{failed}\n")
