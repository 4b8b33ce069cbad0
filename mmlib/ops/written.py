"""Whether the daily reports are there: looked up on disk, after they were written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from mmlib.dtypes import Status
from mmlib.gates.evaluate import Measurement
from mmlib.gates.result import GateResult
from mmlib.gates.spec import GateBook
from mmlib.ops.alerts import must_alert, uncovered
from mmlib.ops.daily import CRITICAL, DailySummary


def written_measurements(
    summary: DailySummary, report: Path, alerts: Path, rule_file: Path, book: GateBook
) -> dict[str, Measurement]:
    """Measurements of the ``daily_ops`` gates; a day without a tick has no report to speak of, a critical one does not pass.

    Args:
        summary: the judged day.
        report: the daily report as written.
        alerts: ALERT_RULES.md, rule_file: the Prometheus rules, both as written.
        book: what they were made from.
    """
    text = report.read_text(encoding="utf-8") if report.is_file() else ""
    rules = alerts.read_text(encoding="utf-8") if alerts.is_file() else ""
    ticks = int(summary.totals["n_ticks"])
    missing = uncovered(book, rule_file, rules)
    wanted = sum(must_alert(gate) for gate in book)
    critical = summary.health == CRITICAL
    fired = summary.fired.loc[summary.fired["severity"] == "critical", "gate"]
    failed = [r.id for r in summary.results if r.blocking and r.status in (Status.FAIL, Status.ERROR)]
    causes = ", ".join(dict.fromkeys([*fired, *failed]))
    return {
        "day_not_critical": Measurement(
            float(not critical),
            n=max(ticks, int(critical)),
            reason=f"{summary.date} was {summary.health}{f': {causes}' if critical else ''}",
        ),
        "reports_written": Measurement(
            float(str(summary.date) in text),
            n=ticks,
            reason=f"{report.name}: {ticks} ticks" if ticks else f"no tick was written on {summary.date}",
        ),
        "alerts_written": Measurement(
            float(not missing),
            n=wanted,
            reason=f"without a rule: {', '.join(missing)}" if missing else f"{wanted} criteria have a rule",
        ),
    }


def as_notes(results: Iterable[GateResult]) -> list[GateResult]:
    """The day's own gates as information: ``daily_ops.health`` says once whether one of them was critical."""
    return [replace(result, severity="info") for result in results]
