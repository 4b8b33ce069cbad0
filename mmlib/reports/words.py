"""One wording of gate results for every reader: values, limits, windows and reasons, in tables and sentences."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mmlib.gates.spec import duration_text

MISSING = "–"
_OPS = {">=": "≥", "<=": "≤", "==": "="}
_ECHO = re.compile(r"\b\w+ is -?[\d.]+(e[+-]?\d+)?( \S+)?, expected (>=|<=|==|>|<) [^\s;]+( [^\s;]+)?$")

_TIMES = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z(/\d{4}-\d\d-\d\dT[\d:.]+Z)?")


def number(value: Any) -> str:
    """A number for reading: four significant digits, thousands apart, ``–`` for nothing."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return MISSING
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if float(value).is_integer() or abs(value) >= 10_000:
        return f"{round(value):,}"
    if abs(value) < 1e-3:  # no exponents: 0.00014, not 1.4e-04
        return f"{value:.{1 - math.floor(math.log10(abs(value)))}f}" if abs(value) >= 1e-9 else f"{value:.1g}"
    return f"{value:,.4g}"


def unit_text(gate: Mapping[str, Any]) -> str:
    """The unit of a gate for reading; counts and yes-or-no values have none."""
    unit = str(gate.get("unit") or "")
    return {"1": "", "bool": "", "1/min": "a minute"}.get(unit, unit)


def value_text(gate: Mapping[str, Any]) -> str:
    """The value of a gate with its unit, yes or no for a flag, ``–`` for nothing."""
    value = gate.get("value")
    if value is None:
        return MISSING
    if gate.get("unit") == "bool":
        return "yes" if value else "no"
    return f"{number(value)} {unit_text(gate)}".strip()


def limit_text(gate: Mapping[str, Any]) -> str:
    """What a gate asks for: ``≥ 0.7``, and ``≤ 9 %, missed under 10 min`` where a short miss is forgiven.

    A stop criterion reads ``not > 5 % for 10 min``, a flag ``yes``.
    """
    if gate.get("unit") == "bool":
        return "yes" if gate.get("limit") else "no"
    op = str(gate.get("op") or "")
    rule = f"{_OPS.get(op, op)} {number(gate.get('limit'))} {unit_text(gate)}".strip()
    lasting = float(gate.get("for_s") or 0)
    if gate.get("sense") != "stop":
        return f"{rule}, missed under {duration_text(lasting)}" if lasting else rule
    return f"not {rule} for {duration_text(lasting)}" if lasting else f"not {rule}"


def window_text(window: Any) -> str:
    """An ISO 8601 interval to the minute, the day once when it is one day; other text as it is."""
    text = str(window or "")
    start, slash, end = text.partition("/")
    if not slash:
        return text
    try:
        first, last = (datetime.fromisoformat(part).astimezone(UTC) for part in (start, end))
    except ValueError:
        return text
    tail = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
    return f"{first:%Y-%m-%d %H:%M} – {tail} UTC"


def minute_text(iso: Any) -> str:
    """An ISO 8601 time to the minute, ``2025-01-15 09:30 UTC``; other text as it is."""
    text = str(iso or "")
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return text


def reason_text(gate: Mapping[str, Any]) -> str:
    """The reason with times to the minute, without the part that only repeats value and limit beside it."""
    parts = [
        _ECHO.sub("", part).strip(": ") if part != "value is nan" else ""
        for part in str(gate.get("reason") or "").split("; ")
    ]
    text = "; ".join(part for part in parts if part)
    return _TIMES.sub(lambda found: window_text(found[0]) if "/" in found[0] else minute_text(found[0]), text)
