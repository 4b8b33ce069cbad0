"""The Prometheus rule file: recorded series and alerts of every gate that watches a running session, from the gate file.

A Prometheus ``for`` clears on a missing sample; our criteria say that a missing minute neither extends nor clears. So the
duration is not left to ``for`` but counted in recorded series, one point a minute, with the outcome of ``gates.sustained``:

- ``finishline:violating``  1 or 0 in a minute that has a value, absent in a missing one
- ``finishline:bridged``    the same, carried over missing minutes as long as neighbours are at most two intervals apart
- ``finishline:fired``      1 from the first present minute at which violating minutes cover the duration, else 0

The offline evaluator names a minute by its start, Prometheus sees it at its end: every time here is one minute later.
Through a missing minute an alert stays as it was. Where the two cannot agree: what the scrape interval blurs (breaker, memory,
a value of the session itself) may cross its limit one scrape sooner or later; a minute in which Prometheus did not
evaluate is missing for it alone, and its window must fill again; a day's alert judges the 24 hours before its evaluation, which
is up to a minute off midnight.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from mmlib._io import UserError, write_atomic
from mmlib.gates.spec import Gate, GateBook
from mmlib.metrics.exported import EXPORTED, Exported
from mmlib.ops import promql

RULES_FILE = Path("artifacts") / "alerts" / "finishline.rules.yml"
ABSENT_FOR = "2m"
"""Over two intervals without a sample is NO_DATA."""

_HEADING = (
    "# Made from params/gates.yaml by `finishline alerts`; change a limit there and write this again.\n"
)
_NO_FILL = frozenset({"mm_gate_metric"})
"""Families that only some sessions export: their absence says nothing."""


def sustained(gate: Gate) -> bool:
    """Whether a gate watches a running session."""
    return gate.kind == "sustained"


def of_a_day(gate: Gate) -> bool:
    """Whether a gate judges a day, with a metric that Prometheus knows over 24 hours."""
    return gate.kind == "threshold" and gate.step == "daily" and gate.metric in promql.DAY_VALUES


def rule_file(book: GateBook) -> dict[str, Any]:
    """The rule file as plain data: groups of recording and alerting rules."""
    gates = [gate for gate in book if sustained(gate)]
    minutes = [{"record": name, "expr": expr} for name, expr in promql.INCREASES.items()]
    minutes += [
        {"record": promql.recorded(metric), "expr": promql.value(metric)} for metric in _metrics(gates)
    ]
    for gate in gates:
        minutes += rules_of(gate)
    minutes += [alert(gate) for gate in book if of_a_day(gate)]
    # Groups are evaluated independently of each other: what reads a recorded series belongs behind it, in its own group.
    missing = absences()
    minutes += [rule for rule in missing if _reads_recorded(rule)]
    missing = [rule for rule in missing if not _reads_recorded(rule)]
    return {
        "groups": [
            {"name": "finishline", "interval": f"{promql.STEP_S}s", "rules": minutes},
            {"name": "finishline-absent", "interval": f"{promql.STEP_S}s", "rules": missing},
        ]
    }


def _reads_recorded(rule: dict[str, Any]) -> bool:
    return any(name in rule["expr"] for name in promql.INCREASES)


def to_yaml(payload: Any) -> str:
    """A rule or test file as YAML text."""
    return _HEADING + yaml.safe_dump(payload, sort_keys=False, allow_unicode=True, width=120)


def write_rules(path: Path, book: GateBook) -> Path:
    """Write the rule file."""
    return write_atomic(path, to_yaml(rule_file(book)))


def rules_in(path: Path) -> list[dict[str, Any]]:
    """Every rule of a rule file as read back; none when there is no file.

    Raises:
        UserError: not a rule file.
    """
    if not path.is_file():
        return []
    try:
        groups = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        return [rule for group in groups for rule in group["rules"]]
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError) as exc:
        raise UserError(f"{path}: expected a Prometheus rule file ({type(exc).__name__})") from exc


def rules_of(gate: Gate) -> list[dict[str, Any]]:
    """The recorded series and the alert of a sustained gate."""
    return [*_steps(gate), alert(gate)]


def alert(gate: Gate) -> dict[str, Any]:
    """The alerting rule of a gate."""
    return {
        "alert": name(gate.id),
        "expr": expression(gate),
        "labels": {"severity": gate.severity, "gate": gate.id, "step": gate.step},
        "annotations": {
            "summary": plain(gate.title),
            "description": f"{plain(gate.rule)}; now " + '{{ printf "%.4g" $value }}.',
            "runbook": plain(gate.runbook),
            "source": plain(gate.source),
        },
    }


def expression(gate: Gate) -> str:
    """The alert's expression: its value is the metric's, its series those that fired."""
    if of_a_day(gate):
        # at midnight UTC the last 24 hours are the day; it stands for the hour after
        limit = promql.limit_text(gate.limit)
        return f"({promql.DAY_VALUES[gate.metric]}) {promql.operator(gate)} {limit} and on () hour() == 0"
    held = f"[{_held(gate)}]"
    return (
        f"last_over_time({promql.recorded(gate.metric)}{held}) and ignoring (gate) "
        f'last_over_time(finishline:fired{{gate="{gate.id}"}}{held}) == 1'
    )


def name(gate_id: str) -> str:
    """A rule's name: ``soak.stop.hit_ratio`` becomes ``SoakStopHitRatio``."""
    return "".join(word.capitalize() for word in gate_id.replace(".", "_").split("_"))


def plain(text: str) -> str:
    """Text as an annotation shows it literally: a template in it is quoted."""
    return " ".join(text.split()).replace("{{", '{{ "{{" }}')


def duration(seconds: float) -> str:
    """Seconds as a Prometheus duration: ``90s``, ``10m``, ``1h``."""
    whole = round(seconds)
    for size, unit in ((3600, "h"), (60, "m")):
        if whole and whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def points(gate: Gate) -> int:
    """Minutes that a violation must reach, both ends counted, before it fires: 11 for ten minutes, 1 for none."""
    return math.ceil(gate.for_s / promql.STEP_S) + 1


def absences() -> list[dict[str, Any]]:
    """Alerts on what is not there: a family, a symbol that vanished, a session that does not tick."""
    rules = [_absent(family) for family in EXPORTED if family.name not in _NO_FILL]
    vanished = "last_over_time(mm_tick_total[2m] offset 15m) unless last_over_time(mm_tick_total[2m])"
    rules.append(
        _silence(
            "FinishlineSymbolVanished",
            vanished,
            "A symbol or arm is not exported any more",
            "Was it taken out on purpose? Otherwise read the session's log for its last error.",
        )
    )
    rules.append(
        _silence(
            "FinishlineNoTicks",
            f"{promql.TICKS} == 0",
            "The session is there, but does not tick",
            "Halt. A stuck loop quotes on an old book; take a stack dump before restarting it.",
        )
    )
    return rules


def series_of(family: Exported) -> str:
    """The series of a family that a rule reads."""
    return f"{family.name}_bucket" if family.type == "histogram" else family.name


def absent_name(family: Exported) -> str:
    """Name of the alert on a family's absence."""
    return f"FinishlineAbsent{''.join(word.capitalize() for word in family.name.split('_'))}"


def _absent(family: Exported) -> dict[str, Any]:
    series = series_of(family)
    return _silence(
        absent_name(family),
        f"absent({series})",
        f"{series} is not exported",
        "Nothing that needs it can fire: check the session, its telemetry port and the scrape, in this order.",
    )


def _silence(title: str, expr: str, summary: str, runbook: str) -> dict[str, Any]:
    return {
        "alert": title,
        "expr": expr,
        "for": ABSENT_FOR,
        "labels": {"severity": "critical"},
        "annotations": {"summary": summary, "description": "No data is not a pass.", "runbook": runbook},
    }


def _steps(gate: Gate) -> list[dict[str, Any]]:
    """The three recorded series of a gate."""
    count, label = points(gate), {"gate": gate.id}
    match = f'{{gate="{gate.id}"}}'
    window = f"[{duration((count - 1) * promql.STEP_S + promql.STEP_S / 2)}]"
    covered = (
        f"count_over_time(finishline:bridged{match}{window}) == {count} "
        f"and min_over_time(finishline:bridged{match}{window}) == 1"
    )
    mark = f"finishline:violating{match}"
    return [
        {"record": "finishline:violating", "expr": promql.violation(gate), "labels": label},
        {
            "record": "finishline:bridged",
            "expr": f"last_over_time({mark}[{_held(gate)}])",
            "labels": label,
        },
        {
            "record": "finishline:fired",
            "expr": f"({mark} == 1 and {covered}) or 0 * {mark}",
            "labels": label,
        },
    ]


def _held(gate: Gate) -> str:
    """How far a present minute reaches: its neighbour may be two intervals away."""
    return duration(max(2 * gate.interval_s, promql.STEP_S) - promql.STEP_S / 2)


def _metrics(gates: Sequence[Gate]) -> Iterable[str]:
    """Every metric that has an expression, then those of the gates that the session itself must export."""
    own = sorted({gate.metric for gate in gates} - set(promql.VALUES))
    return [*promql.VALUES, *own]
