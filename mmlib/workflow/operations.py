"""Verbs of daily operations: the alerts and dashboards of the gates in force, and the daily reports of several days."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmlib.workflow.manifest import GATE, OK

ALERTS_DOCUMENT = Path("artifacts") / "reports" / "ALERT_RULES.md"
_PROMTOOL_S = 600.0


@dataclass(frozen=True)
class Written:
    """What ``finishline alerts`` wrote, and what promtool says of it."""

    files: tuple[Path, ...]
    promtool: tuple[str, ...]
    returncode: int

    def text(self) -> str:
        """For the terminal."""
        return "\n".join([*map(str, self.files), *self.promtool])

    def to_dict(self) -> dict[str, Any]:
        """For a machine."""
        return {
            "files": [str(path) for path in self.files],
            "promtool": list(self.promtool),
            "returncode": self.returncode,
        }


def write_alerts(ws: Path, *, check: bool = False) -> Written:
    """Write ALERT_RULES.md, the Prometheus rules with their unit tests, and the dashboard.

    Args:
        ws: the workspace; its ``params/gates.yaml`` is the only source.
        check: let promtool check the rules and run their tests; without promtool this is SKIPPED, and says so.

    Raises:
        UserError: a gate file that is wrong, or files that cannot be written.
    """
    from mmlib.config.load import ensure_params
    from mmlib.gates.spec import load_gates
    from mmlib.ops.alerts import alert_rules, write_alert_files
    from mmlib.ops.dashboards import DASHBOARD_FILE, write_dashboard
    from mmlib.reports import alert_rules as reports
    from mmlib.reports.render import Provenance, write

    ensure_params(ws)
    book = load_gates(ws)
    source = Provenance("finishline alerts", gates_sha256=book.sha256)
    document = write(ws / ALERTS_DOCUMENT, reports.alert_rules(alert_rules(book), source))
    rule_file, test_file = write_alert_files(ws, book)
    dashboard = write_dashboard(ws / DASHBOARD_FILE, book)
    said, code = _promtool(rule_file, test_file) if check else ((), OK)
    return Written((document, rule_file, test_file, dashboard), said, code)


def write_week(ws: Path, date: str) -> Path:
    """Write the roll-up of a date's ISO week from the figures that its daily reports kept.

    Args:
        ws: the workspace.
        date: YYYY-MM-DD, or latest: the last day with a report.

    Raises:
        UserError: no such date, no report at all, or damaged figures.
    """
    from mmlib._io import UserError
    from mmlib.gates.spec import load_gates
    from mmlib.ops.facts import facts_path, read_figures, week_name, week_of
    from mmlib.reports.render import Provenance, write
    from mmlib.reports.weekly import weekly
    from mmlib.workflow.catchup import REPORTS
    from mmlib.workflow.times import parse_date

    home = ws / REPORTS
    if date == "latest":
        names = sorted(path.stem for path in home.glob("????-??-??.json"))
        if not names:
            raise UserError(f"{home}: holds no daily report; expected one of finishline daily first")
        date = names[-1]
    days = week_of(parse_date(date, "--date"))
    known = {day: found for day in days if (found := read_figures(facts_path(home, day))) is not None}
    book = load_gates(ws)
    source = Provenance(f"finishline daily --week --date {date}", gates_sha256=book.sha256)
    return write(home / f"{week_name(days[0])}.md", weekly(days, known, book, source))


def run_days(
    ws: Path,
    date: str,
    one: Callable[[str], int],
    *,
    feeds: str = "",
    catch_up: bool = False,
    tell: bool = False,
) -> int:
    """Run the daily report of one day or of every missing one, alone in its workspace.

    Args:
        ws: the workspace.
        date: the day, when it is not to catch up.
        one: runs a day (``YYYY-MM-DD`` or ``latest``) and returns its exit code.
        feeds: a desk's own feeds; empty for the workspace's.
        catch_up: every finished day with feeds but without report, and yesterday.
        tell: run ``notify.command`` when a run fails, or when a day was CRITICAL or without data.

    Returns:
        The worst exit code.

    Raises:
        UserError: another daily run is at work; bad input. With ``tell`` somebody was told.
    """
    from mmlib.workflow.catchup import missing_days
    from mmlib.workflow.catchup import tell as inform
    from mmlib.workflow.lock import alone

    worst, found = OK, []
    try:
        with alone(ws):
            days = (
                [str(day) for day in missing_days(ws, Path(feeds) if feeds else None)] if catch_up else [date]
            )
            if not days:
                sys.stdout.write("every finished day has its report\n")
            for day in days:
                code = one(day)
                worst = max(worst, code)
                if bad := _bad_day(ws, day, code):
                    found.append(bad)
    except Exception as exc:
        found.append(f"{date if not catch_up else 'catch-up'}: {type(exc).__name__}: {exc}")
        raise
    finally:
        if tell and found:
            inform(
                ws, f"finishline daily: {found[0].splitlines()[0]}", "\n".join([*found, f"workspace: {ws}"])
            )
    return worst


def day_facts(ws: Path) -> dict[str, str]:
    """``date``, ``health`` and ``report`` (its path) of the last daily report; empty where its step left none."""
    from mmlib.workflow.catchup import REPORTS
    from mmlib.workflow.record import latest

    record = latest(ws).get("daily_ops")
    facts = record.data.get("facts", {}) if record else {}
    if not isinstance(facts, dict) or "health" not in facts:
        return {}
    day = str(facts.get("date", ""))
    return {"date": day, "health": str(facts["health"]), "report": str(ws / REPORTS / f"{day}.md")}


def fired_last(ws: Path) -> set[str]:
    """Gates of the criteria that fired on the last day with a daily report; empty without one."""
    from mmlib.ops.facts import read_words
    from mmlib.workflow.catchup import REPORTS

    paths = sorted((ws / REPORTS).glob("????-??-??.json"))
    found = read_words(paths[-1]) if paths else None
    return {str(row.get("gate", "")) for row in found.fired} if found else set()


def _bad_day(ws: Path, day: str, code: int) -> str:
    """What is wrong with a day that was run, in one line; empty when nothing is."""
    from mmlib.workflow.record import latest

    record = latest(ws).get("daily_ops")
    facts = record.data.get("facts", {}) if record else {}
    health = str(facts.get("health", "")) if isinstance(facts, dict) else ""
    if code == OK and health not in ("CRITICAL", "NO DATA"):
        return ""
    return f"{facts.get('date', day)}: {health or 'no report'} (exit code {code})"


def _promtool(rule_file: Path, test_file: Path) -> tuple[tuple[str, ...], int]:
    """What promtool says of a rule file and its tests: lines, exit code."""
    if shutil.which("promtool") is None:
        return ("promtool: SKIPPED, it is not installed (Debian package prometheus)",), OK
    lines, code = [], OK
    for words in (("check", "rules", rule_file.name), ("test", "rules", test_file.name)):
        done = subprocess.run(
            ["promtool", *words],
            cwd=rule_file.parent,
            capture_output=True,
            text=True,
            timeout=_PROMTOOL_S,
            check=False,
        )
        lines.append(f"promtool {' '.join(words)}: {'SUCCESS' if done.returncode == 0 else 'FAILED'}")
        if done.returncode:
            lines.append((done.stdout + done.stderr).strip())
            code = GATE
    return tuple(lines), code
