"""Alert rules from the gate file: one a criterion that a running session or a day can violate."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from mmlib.gates.spec import Gate, GateBook

PREFIX = "finishline_"
INVERSE = {">=": "<", "<=": ">", ">": "<=", "<": ">=", "==": "!="}
SESSION, DAY = "running session", "daily report"
COLUMNS = ["name", "gate", "where", "expr", "for", "severity", "title", "runbook", "source"]


def alert_rules(book: GateBook) -> pd.DataFrame:
    """Every alert that follows from the gates.

    Sustained gates become rules on a running session, the thresholds of a day are checked by the daily report.
    A requirement fires when it is not met, a stop criterion or warning when it is.

    Args:
        book: the gate file.

    Returns:
        name, gate (id), where, expr (PromQL), for (Prometheus duration, empty for the daily report), severity,
        title, runbook, source; in the order of the file.
    """
    return pd.DataFrame([_row(gate) for gate in book if alerts(gate)], columns=COLUMNS)


def alerts(gate: Gate) -> bool:
    """Whether a gate becomes an alert: it watches a series, or judges a day."""
    return gate.kind == "sustained" or gate.step == "daily"


def must_alert(gate: Gate) -> bool:
    """Whether the alert rules may not leave a gate out: it halts or rolls back something that runs."""
    return gate.severity == "critical" and gate.kind == "sustained"


def uncovered(book: GateBook, text: str) -> list[str]:
    """Criteria that a written rules document does not hold.

    Args:
        book: the gate file.
        text: the document as read back.

    Returns:
        Ids of gates that must alert and whose id and expression are not both there.
    """
    return [
        g.id for g in book if must_alert(g) and not (f"`{g.id}`" in text and f"`{expression(g)}`" in text)
    ]


def expression(gate: Gate) -> str:
    """The violation as PromQL, e.g. ``finishline_taker_share_pct{arm="B"} > 9``."""
    op = gate.op if gate.sense == "stop" else INVERSE[gate.op]
    arm = f'{{arm="{gate.arm}"}}' if gate.arm else ""
    return f"{PREFIX}{gate.metric}{arm} {op} {gate.limit:g}"


def name(gate_id: str) -> str:
    """A rule's name: ``soak.stop.hit_ratio`` becomes ``SoakStopHitRatio``."""
    return "".join(word.capitalize() for word in gate_id.replace(".", "_").split("_"))


def duration(seconds: float) -> str:
    """Seconds as a Prometheus duration: ``90s``, ``10m``, ``1h``."""
    whole = round(seconds)
    for size, unit in ((3600, "h"), (60, "m")):
        if whole and whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def runbooks(gates: Iterable[Gate]) -> dict[str, str]:
    """Gate id -> what to do first, for the reports."""
    return {gate.id: gate.runbook for gate in gates}


def _row(gate: Gate) -> dict[str, str]:
    live = gate.kind == "sustained"
    return {
        "name": name(gate.id),
        "gate": gate.id,
        "where": SESSION if live else DAY,
        "expr": expression(gate),
        "for": duration(gate.for_s) if live else "",
        "severity": gate.severity,
        "title": gate.title,
        "runbook": gate.runbook,
        "source": gate.source,
    }
