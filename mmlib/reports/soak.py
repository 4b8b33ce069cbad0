"""SOAK_START.md and SOAK_DASHBOARD_CHECKLIST.md: how to launch the soak, when to stop it, what to watch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmlib.config.relief import RELIEF
from mmlib.gates.metrics import METRICS
from mmlib.gates.spec import Gate, GateBook
from mmlib.ops.panels import panels as dashboard_panels
from mmlib.reports.render import Provenance, Table, code, render
from mmlib.reports.verdict import gate_table, judge


def rules_table(gates: Iterable[Gate], empty: str) -> Table:
    """Gates as rules: what fires, and what to do then."""
    rows = [(code(gate.id), code(gate.rule), gate.title, gate.runbook) for gate in gates]
    return Table(("Gate", "Rule", "What it says", "What to do"), rows, empty)


def stops(gates: Iterable[Gate]) -> list[Gate]:
    """The criteria that halt a session at once."""
    return [gate for gate in gates if gate.sense == "stop" and gate.severity == "critical"]


def warnings(gates: Iterable[Gate]) -> list[Gate]:
    """The criteria that only warn."""
    return [gate for gate in gates if gate.severity == "warning"]


def soak_start(
    book: GateBook,
    provenance: Provenance,
    *,
    command: str,
    hours: float,
    before: Iterable[Any] = (),
    settings: Mapping[str, object] | None = None,
    feeds: str = "artifacts/edge/feeds",
    halted: Sequence[str] = (),
) -> str:
    """Launch instructions and stop criteria.

    Args:
        book: every gate; the soak's are used.
        provenance: where this comes from.
        command: what starts the soak.
        hours: planned length.
        before: gate results of the steps before, to state whether the soak may start; empty leaves it open.
        settings: dotted key -> value of the soak overrides in force.
        feeds: where the session writes, below the workspace.
        halted: the stop criteria that ended the session, in words; empty before it and when none did.
    """
    gates, before = book.step("soak"), list(before)
    others = [gate for gate in gates if gate.severity == "critical" and gate.sense == "require"]
    return render(
        "soak_start.md.j2",
        provenance,
        command=command,
        hours=hours,
        feeds=feeds,
        halted=list(halted),
        before=judge(before) if before else None,
        before_gates=gate_table(before),
        reliefs=_reliefs(gates),
        stops=rules_table(stops(gates), "gates.yaml holds no stop criterion."),
        warnings=rules_table(warnings(gates), "gates.yaml holds no warning."),
        requirements=rules_table(others, "gates.yaml holds no further requirement."),
        settings=Table(("Setting", "Value"), [(code(k), code(v)) for k, v in (settings or {}).items()]),
    )


def _reliefs(gates: Sequence[Gate]) -> Table:
    """What each gradual rollback is for: its command, the criteria that it relieves, and what it costs."""
    rows = []
    for way, relief in RELIEF.items():
        relieved = [code(gate.id) for gate in gates if gate.metric in relief.metrics]
        command = f'finishline rollback --gradual {way} --reason "which criterion fired"'
        rows.append((code(command), ", ".join(relieved) or "none of these criteria", relief.text))
    return Table(("Command", "Relieves", "Note"), rows)


def dashboard_checklist(book: GateBook, provenance: Provenance) -> str:
    """What to look at during a soak, one panel a metric, with the rules that apply to it.

    Args:
        book: every gate; those of the soak and of a day are used.
        provenance: where this comes from.
    """
    panels = _panels([*book.step("soak"), *book.step("daily")])
    board = dashboard_panels(book)
    names = {panel.metric: f"{panel.row} / {panel.title}" for panel in reversed(board) if panel.metric}
    shown = {panel["metric"] for panel in panels}
    named = {name for metric, name in names.items() if metric in shown}
    others = [(p.row, p.title) for p in board if f"{p.row} / {p.title}" not in named]
    return render(
        "soak_dashboard_checklist.md.j2",
        provenance,
        panels=panels,
        names=names,
        others=Table(("Row", "Panel"), others),
    )


def _panels(gates: Sequence[Gate]) -> list[dict[str, Any]]:
    """One panel a metric that has a time course, worst rules first."""
    panels: dict[str, dict[str, Any]] = {}
    for gate in sorted(gates, key=lambda g: g.severity != "critical"):
        if gate.kind != "sustained" and gate.step != "daily":
            continue
        unit, description = METRICS[gate.metric]
        shown = "" if unit in ("1", "bool") else unit
        panel = panels.setdefault(
            gate.metric, {"metric": gate.metric, "unit": shown, "description": description, "rules": []}
        )
        panel["rules"].append(gate)
    return list(panels.values())
