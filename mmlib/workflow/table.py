"""The gate table that ends every notebook: status as text and colour, every value escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_COLOURS = {
    "PASS": "#1a7f37",
    "FAIL": "#b42318",
    "ERROR": "#b42318",
    "INCONCLUSIVE": "#9a6700",
    "NO_DATA": "#57606a",
}
_MARKS = {"PASS": "✓", "FAIL": "✗", "ERROR": "✗", "INCONCLUSIVE": "?", "NO_DATA": "∅"}
_COLUMNS = ("Gate", "Status", "Value", "Limit", "n", "Window", "Why")


def number(value: Any) -> str:
    """A number for reading: four significant digits, ``–`` for nothing."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.4g}"


def unit_text(gate: Mapping[str, Any]) -> str:
    """The unit of a gate for reading; counts and yes-or-no values have none."""
    unit = str(gate.get("unit") or "")
    return "" if unit in ("1", "bool") else unit


def value_text(gate: Mapping[str, Any]) -> str:
    """The value of a gate with its unit, yes or no for a flag, ``–`` for nothing."""
    value = gate.get("value")
    if gate.get("unit") == "bool" and value is not None:
        return "yes" if value else "no"
    return f"{number(value)} {unit_text(gate)}".strip()


def limit_text(gate: Mapping[str, Any]) -> str:
    """The limit of a gate with its comparison and unit; ``yes`` or ``no`` for a flag."""
    if gate.get("unit") == "bool":
        return "yes" if gate.get("limit") else "no"
    return f"{gate.get('op', '')} {number(gate.get('limit'))} {unit_text(gate)}".strip()


def explain(gates: Sequence[Mapping[str, Any]], most: int = 3) -> str:
    """What decided a step, in words: its blocking gates that did not pass, or the values of those that all did."""
    blocking = [gate for gate in gates if gate.get("severity") == "critical"]
    open_ones = [gate for gate in blocking if gate.get("status") != "PASS"]
    parts = [_open(gate) for gate in open_ones] or [f"{_name(gate)} {value_text(gate)}" for gate in blocking]
    more = f"; and {len(parts) - most} more" if len(parts) > most else ""
    return "; ".join(parts[:most]) + more


def _open(gate: Mapping[str, Any]) -> str:
    value = f" {value_text(gate)} (limit {limit_text(gate)})" if gate.get("value") is not None else ""
    reason = f": {gate['reason']}" if gate.get("reason") else ""
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
            out.append(
                (
                    name,
                    str(gate.get("status")),
                    value_text(gate),
                    limit_text(gate),
                    number(gate.get("n")),
                    str(gate.get("window") or ""),
                    str(gate.get("reason") or ""),
                )
            )
        return out

    def __repr__(self) -> str:
        lines = [f"{self.step}: {self.status}"]
        for name, status, value, limit, n, window, reason in self.rows():
            tail = "; ".join(part for part in (window, reason) if part)
            lines.append(f"  {status:<12} {name}: {value} ({limit}, n {n}){' - ' + tail if tail else ''}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col" style="text-align:left">{c}</th>' for c in _COLUMNS)
        body = "".join(_row(row) for row in self.rows())
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


def _row(cells: tuple[str, ...]) -> str:
    name, status, *rest = cells
    tail = "".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in rest)
    return (
        f'<tr><th scope="row" style="text-align:left">{escape(name)}</th><td>{_badge(status)}</td>{tail}</tr>'
    )
