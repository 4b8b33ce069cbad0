"""ALERT_RULES.md: every alert with what it fires on and what to do first."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from mmlib.ops.alerts import DAY, SESSION
from mmlib.ops.rules import absences
from mmlib.reports.render import Provenance, Table, code, render


def alert_rules(rules: pd.DataFrame, provenance: Provenance) -> str:
    """The alert rules, for a person who is woken by one and for whoever writes them into a monitor.

    Args:
        rules: ``ops.alerts.alert_rules``.
        provenance: where this comes from.
    """
    by_place: Mapping[str, pd.DataFrame] = {
        place: rules[rules["where"] == place] for place in (SESSION, DAY) if len(rules)
    }
    silent = [
        (rule["alert"], code(rule["expr"]), rule["annotations"]["summary"], rule["annotations"]["runbook"])
        for rule in absences()
    ]
    return render(
        "alert_rules.md.j2",
        provenance,
        count=len(rules) + len(silent),
        places={place: _rules(of_place) for place, of_place in by_place.items()},
        absences=Table(("Alert", "Fires on", "What it says", "What to do first"), silent),
    )


def _rules(rules: pd.DataFrame) -> Table:
    rows = [
        (row["severity"], row["name"], code(row["gate"]), _fires_on(row), row["runbook"])
        for row in rules.to_dict("records")
    ]
    return Table(("Severity", "Alert", "Gate", "Fires on", "What to do first"), rows, "No rule.")


def _fires_on(row: Mapping[Hashable, Any]) -> Markup:
    """The rule, or that it is not met."""
    return code(row["rule"]) if row["sense"] == "stop" else Markup("not met: ") + code(row["rule"])
