"""The gate table that ends every notebook: status as text and colour, every value escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mmlib.reports.words import limit_text, number, reason_text, value_text, window_text

_COLOURS = {
    "PASS": "#1a7f37",
    "FAIL": "#b42318",
    "ERROR": "#b42318",
    "INCONCLUSIVE": "#9a6700",
    "NO_DATA": "#57606a",
}
_MARKS = {"PASS": "✓", "FAIL": "✗", "ERROR": "✗", "INCONCLUSIVE": "?", "NO_DATA": "∅"}
_COLUMNS = ("Gate", "Status", "Value", "Asked for", "n", "Window", "Why")
_CLASSES = ("gate", "status", "value", "limit", "n", "window", "why")
_OPTIONAL = ("Window", "Why")
_UNBROKEN = ("Value", "Asked for", "n")


def explain(gates: Sequence[Mapping[str, Any]], most: int = 4) -> str:
    """What decided a step, in words: its blocking gates that did not pass, or the values of those that all did.

    Violations come first; gates that are open for the same reason are named together.
    """
    blocking = [gate for gate in gates if gate.get("severity") == "critical"]
    open_ones = [gate for gate in blocking if gate.get("status") != "PASS"]
    parts = _open_together(open_ones) if open_ones else _passed(blocking)
    more = f"; and {len(parts) - most} more" if len(parts) > most else ""
    return "; ".join(parts[:most]) + more


def _open_together(gates: Sequence[Mapping[str, Any]]) -> list[str]:
    together: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for gate in sorted(gates, key=lambda gate: gate.get("status") not in ("ERROR", "FAIL")):
        together.setdefault((str(gate.get("status")), reason_text(gate)), []).append(gate)
    parts = []
    for (status, reason), group in together.items():
        if len(group) == 1 or not reason:
            parts += [_open(gate) for gate in group]
            continue
        names = ", ".join(_name(gate) for gate in group[:2])
        others = f" and {len(group) - 2} more" if len(group) > 2 else ""
        parts.append(f"{names}{others} {status}: {reason}")
    return parts


def _passed(gates: Sequence[Mapping[str, Any]]) -> list[str]:
    """Requirements with their values (a flag needs none), after them how many stop criteria stayed silent."""
    met = [gate for gate in gates if gate.get("sense") != "stop"]
    parts = [
        _name(gate) if gate.get("unit") == "bool" else f"{_name(gate)} {value_text(gate)}" for gate in met
    ]
    silent = len(gates) - len(met)
    halts = [f"none of {silent} stop criteria fired" if silent > 1 else "the stop criterion did not fire"]
    return (halts if silent else []) + parts


def _open(gate: Mapping[str, Any]) -> str:
    asked = f"{value_text(gate)}, asked for {limit_text(gate)}"
    value = "" if gate.get("value") is None or gate.get("unit") == "bool" else f" ({asked})"
    reason = f": {reason_text(gate)}" if reason_text(gate) else ""
    return f"{_name(gate)} {gate.get('status')}{value}{reason}"


def _name(gate: Mapping[str, Any]) -> str:
    return str(gate.get("title") or gate.get("id"))


def status_mark(status: str) -> str:
    """Status with its mark, readable without colour."""
    return f"{_MARKS.get(status, '')} {status}".strip()


class GateTable:
    """Gate results of one step, displayed as a table in Jupyter and as lines of text elsewhere."""

    def __init__(self, step: str, status: str, gates: Sequence[Mapping[str, Any]], note: str = "") -> None:
        self.step = step
        self.status = status
        self.gates = list(gates)
        self.note = note

    def rows(self) -> list[tuple[str, ...]]:
        """Cells as text, one row a gate, in the order of the columns."""
        out: list[tuple[str, ...]] = []
        for gate in self.gates:
            name = _name(gate)
            if gate.get("severity") == "warning":
                name += " (warning)"
            elif gate.get("severity") == "info":
                name += " (does not block)"
            out.append(
                (
                    name,
                    str(gate.get("status")),
                    value_text(gate),
                    limit_text(gate),
                    number(gate.get("n")),
                    window_text(gate.get("window")),
                    reason_text(gate),
                )
            )
        return out

    def __repr__(self) -> str:
        lines = [f"{self.step}: {self.status}"]
        for name, status, value, limit, n, window, reason in self.rows():
            tail = "; ".join(part for part in (window, reason) if part)
            asked = f"asked for {limit}, n {n}"
            lines.append(f"  {status:<12} {name}: {value} ({asked}){' - ' + tail if tail else ''}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = self.rows()
        shown = [i for i, name in enumerate(_COLUMNS) if name not in _OPTIONAL or any(row[i] for row in rows)]
        head = "".join(f'<th scope="col" style="text-align:left">{_COLUMNS[i]}</th>' for i in shown)
        body = "".join(_row(row, shown) for row in rows)
        caption = f"{escape(self.step)}: {_badge(self.status)} {escape(self.note)}"
        return (
            f'<table class="gates"><caption style="text-align:left;font-weight:bold">{caption}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )


def _badge(status: str) -> str:
    colour = _COLOURS.get(status, "#57606a")
    css = "".join(c for c in status.lower() if c.isalnum())
    style = f"color:{colour};font-weight:600"
    return f'<span class="status {css}" style="{style}">{escape(status_mark(status))}</span>'


def _row(cells: tuple[str, ...], shown: Sequence[int]) -> str:
    """One row; a value, a limit and a count are never broken over lines."""
    out = [f'<th scope="row" style="text-align:left">{escape(cells[0])}</th><td>{_badge(cells[1])}</td>']
    for i in shown[2:]:
        kept = ";white-space:nowrap" if _COLUMNS[i] in _UNBROKEN else ""
        out.append(f'<td class="{_CLASSES[i]}" style="text-align:left{kept}">{escape(cells[i])}</td>')
    return f"<tr>{''.join(out)}</tr>"
