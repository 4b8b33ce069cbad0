"""Alerts from the gate file: which gates raise one, where, and whether what was written holds them all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from mmlib.gates.spec import Gate, GateBook
from mmlib.ops import rules
from mmlib.ops.rule_tests import TESTS_FILE, write_tests
from mmlib.ops.rules import RULES_FILE, of_a_day, sustained, write_rules

SESSION, DAY = "running session", "daily report"
COLUMNS = ["name", "gate", "where", "expr", "rule", "sense", "severity", "title", "runbook", "source"]


def alert_rules(book: GateBook) -> pd.DataFrame:
    """Every alert that follows from the gates.

    Sustained gates become rules on a running session; the thresholds of a day are judged at midnight UTC, and again by the
    daily report. A requirement fires when it is not met, a stop criterion or warning when it is.

    Args:
        book: the gate file.

    Returns:
        name, gate (id), where, expr (PromQL; empty for what only the daily report knows), rule (in words), sense, severity,
        title, runbook, source; in the order of the file.
    """
    return pd.DataFrame([_row(gate) for gate in book if alerts(gate)], columns=COLUMNS)


def alerts(gate: Gate) -> bool:
    """Whether a gate becomes an alert: it watches a series, or judges a day."""
    return sustained(gate) or gate.step == "daily"


def must_alert(gate: Gate) -> bool:
    """Whether the rule file may not leave a gate out: it halts, rolls back or warns while something runs."""
    return sustained(gate)


def write_alert_files(workspace: Path, book: GateBook) -> list[Path]:
    """Write the Prometheus rule file and its promtool unit tests below ``artifacts/alerts``."""
    return [write_rules(workspace / RULES_FILE, book), write_tests(workspace / TESTS_FILE, book)]


def uncovered(book: GateBook, rule_file: Path, document: str) -> list[str]:
    """Criteria that the written alerts do not hold.

    Args:
        book: the gate file.
        rule_file: the Prometheus rule file as written.
        document: ALERT_RULES.md as read back.

    Returns:
        Ids of gates that must alert, and whose recorded series and alert are not all in the file just as the gate asks for, or
        whose id is not in the document.

    Raises:
        UserError: the file is no rule file.
    """
    written = rules.rules_in(rule_file)
    return [
        gate.id
        for gate in book
        if must_alert(gate)
        and not (f"`{gate.id}`" in document and all(rule in written for rule in rules.rules_of(gate)))
    ]


def runbooks(gates: Iterable[Gate]) -> dict[str, str]:
    """Gate id -> what to do first, for the reports."""
    return {gate.id: gate.runbook for gate in gates}


def _row(gate: Gate) -> dict[str, str]:
    return {
        "name": rules.name(gate.id),
        "gate": gate.id,
        "where": SESSION if sustained(gate) else DAY,
        "expr": rules.expression(gate) if sustained(gate) or of_a_day(gate) else "",
        "rule": gate.rule,
        "sense": gate.sense,
        "severity": gate.severity,
        "title": gate.title,
        "runbook": gate.runbook,
        "source": gate.source,
    }
