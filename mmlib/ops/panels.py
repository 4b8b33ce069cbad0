"""The panels of the dashboard: what each shows, and which gates draw their limits in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmlib.gates.metrics import ACCOUNT_METRICS, METRICS
from mmlib.gates.spec import Gate, GateBook
from mmlib.ops import promql
from mmlib.ops.rules import of_a_day, sustained

CRITERIA, DAY, LATENCY, TRADING, RESOURCES = "Criteria", "Last 24 hours", "Latency", "Trading", "Session"
ROWS = (CRITERIA, DAY, LATENCY, TRADING, RESOURCES)

_WHERE = '{symbol=~"$symbol", arm=~"$arm"}'
_EACH = "{{symbol}} {{arm}}"
_PROCESS_WIDE = ("rss_mb", "rss_slope_mb_per_h")

UNITS = {
    "ms": "ms",
    "s": "s",
    "%": "percent",
    "MB": "decmbytes",
    "bps": "none",
    "1": "percentunit",
    "1/min": "cpm",
    "MB/h": "none",
}
"""Unit of a metric -> Grafana's unit."""


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        id: unique in the dashboard.
        row: one of ``ROWS``.
        title: with the unit when Grafana has none.
        kind: timeseries or stat.
        metric: the gate's metric, empty for a panel without one.
        unit: Grafana's unit.
        queries: (PromQL, legend).
        gates: their limits are drawn.
        text: what the panel shows, and its rules.
    """

    id: int
    row: str
    title: str
    kind: str
    metric: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    gates: tuple[Gate, ...] = ()
    text: str = ""


def panels(book: GateBook) -> list[Panel]:
    """Every panel, in order; panels of metrics that a gate watches come first."""
    watched = [gate for gate in book if sustained(gate)]
    metrics = [*promql.VALUES, *sorted({g.metric for g in watched} - set(promql.VALUES))]
    metrics.sort(key=lambda m: all(g.metric != m for g in watched))
    found = [_of_metric(metric, [g for g in watched if g.metric == metric]) for metric in metrics]
    found += [_of_day(gate) for gate in book if of_a_day(gate)]
    found += _raw()
    return [Panel(**{**vars(panel), "id": number}) for number, panel in enumerate(found, start=1)]


def _of_metric(metric: str, gates: Sequence[Gate]) -> Panel:
    unit, text = METRICS[metric]
    labels, legend = (_WHERE, _EACH) if metric in promql.VALUES else ("", "{{symbol}}")
    if metric in _PROCESS_WIDE:
        labels, legend = "", "{{instance}}"
    elif metric in ACCOUNT_METRICS:
        labels, legend = ('{arm=~"$arm"}', "{{arm}}") if metric == "pnl" else ("", "B - A")
    elif metric == "delta_slippage_bps":
        labels, legend = '{symbol=~"$symbol"}', "{{symbol}}"
    return Panel(
        0,
        CRITERIA,
        _title(metric, unit),
        "timeseries",
        metric,
        UNITS.get(unit, "none"),
        ((f"{promql.recorded(metric)}{labels}", legend),),
        tuple(gates),
        _text(text, gates),
    )


def _of_day(gate: Gate) -> Panel:
    unit, text = METRICS[gate.metric]
    return Panel(
        0,
        DAY,
        f"{_title(gate.metric, unit)}, 24 h",
        "stat",
        gate.metric,
        UNITS.get(unit, "none"),
        ((promql.DAY_VALUES[gate.metric], "{{instance}}"),),
        (gate,),
        _text(text, [gate]),
    )


def _title(metric: str, unit: str) -> str:
    return f"{metric} [{unit}]" if UNITS.get(unit, "none") == "none" and unit not in ("1", "bool") else metric


def _text(description: str, gates: Sequence[Gate]) -> str:
    lines = [description, *(f"{gate.id}: {gate.rule}. {gate.runbook}" for gate in gates)]
    return "\n\n".join(" ".join(line.split()) for line in lines)


def _quantiles(family: str, by: str) -> tuple[tuple[str, str], ...]:
    rate = f"sum by ({by}, le) (rate({family}_bucket{_WHERE}[5m]))"
    legend = " ".join(f"{{{{{name}}}}}" for name in by.split(", "))
    return tuple(
        (f"histogram_quantile({q}, {rate})", f"{legend} p{round(100 * q)}") for q in (0.5, 0.95, 0.99)
    )


def _raw() -> list[Panel]:
    """Panels straight from the exported families: without the rule file they still show something."""

    def rate(family: str, by: str) -> str:
        return f"sum by ({by}) (rate({family}{_WHERE}[5m]))"

    def panel(row: str, title: str, unit: str, *queries: tuple[str, str]) -> Panel:
        return Panel(0, row, title, "timeseries", "", unit, queries)

    signed = 'sum by (symbol, arm) ({0}{1}sign="plus"}}) - sum by (symbol, arm) ({0}{1}sign="minus"}})'
    where = '{symbol=~"$symbol", arm=~"$arm", '
    return [
        panel(
            LATENCY,
            "Whole tick, from its scheduled time",
            "s",
            *_quantiles("mm_tick_duration_seconds", "symbol, arm"),
        ),
        panel(LATENCY, "Stages", "s", *_quantiles("mm_stage_duration_seconds", "stage")),
        panel(
            LATENCY,
            "Ticks and deadline misses",
            "cps",
            (rate("mm_tick_total", "symbol, arm"), f"{_EACH} ticks"),
            (rate("mm_tick_deadline_miss_total", "symbol, arm"), f"{_EACH} misses"),
        ),
        panel(
            LATENCY,
            "Market data cache",
            "cps",
            (rate("mm_md_cache_hit_total", "symbol, arm"), f"{_EACH} hits"),
            (rate("mm_md_cache_miss_total", "symbol, arm"), f"{_EACH} misses"),
        ),
        panel(
            TRADING, "Fills", "cps", (rate("mm_fills_total", "symbol, arm, type"), f"{_EACH} {{{{type}}}}")
        ),
        panel(
            TRADING,
            "Traded notional a second [quote]",
            "none",
            (rate("mm_fill_notional_total", "symbol, arm, type"), f"{_EACH} {{{{type}}}}"),
        ),
        panel(TRADING, "Slippage of fills [bps]", "none", *_quantiles("mm_fill_slippage_bps", "symbol, arm")),
        panel(
            TRADING,
            "Slippage since the start [quote]",
            "none",
            (signed.format("mm_fill_slippage_cost_total", where), _EACH),
        ),
        panel(
            TRADING, "Result since the start [quote]", "none", (signed.format("mm_pnl_total", where), _EACH)
        ),
        panel(
            RESOURCES,
            "Errors by code, a minute",
            "cpm",
            (f"60 * {rate('mm_error_total', 'code')}", "{{code}}"),
        ),
        panel(
            TRADING,
            "Ticks on which a guard acted",
            "cps",
            (rate("mm_guard_tick_total", "symbol, arm, level"), f"{_EACH} {{{{level}}}}"),
        ),
        panel(
            RESOURCES,
            "Circuit breaker open",
            "s",
            (f"mm_circuit_breaker_open_duration_seconds{_WHERE}", _EACH),
        ),
        panel(RESOURCES, "Resident memory", "bytes", ("process_resident_memory_bytes", "{{instance}}")),
        panel(
            RESOURCES,
            "Alerts that fire",
            "none",
            ('sum by (alertname, severity) (ALERTS{alertstate="firing"})', "{{severity}} {{alertname}}"),
        ),
    ]
