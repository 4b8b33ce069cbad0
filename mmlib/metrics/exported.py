"""What a running session exports to Prometheus: names, types, labels and help, once.

The exporter, the recording and alert rules and the dashboards are all made from this table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from mmlib.dtypes import STAGES

Type = Literal["counter", "gauge", "histogram"]

ERROR_CODES: tuple[str, ...] = (
    "ERR_429_RATE_LIMIT",
    "ERR_5XX_SERVER",
    "ERR_TIMEOUT",
    "ERR_WS_DISCONNECT",
    "ERR_OTHER",
)
"""Codes of ``mm_error_total`` and of ``error_codes`` in the feeds; a desk's own further codes are taken as they are."""

FILL_TYPES = ("maker", "taker")
GUARD_LEVELS = ("soft", "hard")
SIGNS = ("plus", "minus")
"""A signed amount is exported as two counters, which only rise and survive a restart: its value is plus less minus."""

LABEL_VALUES: Mapping[str, tuple[str, ...]] = {
    "stage": STAGES,
    "type": FILL_TYPES,
    "code": ERROR_CODES,
    "sign": SIGNS,
    "level": GUARD_LEVELS,
}
"""Label -> values that exist from the first moment on, with 0: what was never exported is absent, not zero."""

DURATION_BUCKETS_S: tuple[float, ...] = (
    *(0.00001, 0.0001, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05),
    *(0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 10.0),
)
SLIPPAGE_BUCKETS_BPS: tuple[float, ...] = (-10.0, -5.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)


@dataclass(frozen=True)
class Exported:
    """One metric family; a counter's name ends in ``_total``, a histogram has ``_bucket``, ``_sum``, ``_count``."""

    name: str
    type: Type
    labels: tuple[str, ...]
    help: str


_EACH = ("symbol", "arm")

EXPORTED: tuple[Exported, ...] = (
    Exported("mm_tick_total", "counter", _EACH, "Ticks of the quoting pipeline"),
    Exported(
        "mm_tick_duration_seconds", "histogram", _EACH, "Latency of a tick, counted from its scheduled time"
    ),
    Exported("mm_stage_duration_seconds", "histogram", (*_EACH, "stage"), "Duration of a stage of a tick"),
    Exported("mm_tick_deadline_miss_total", "counter", _EACH, "Ticks that ended after pipeline.deadline_ms"),
    Exported("mm_md_cache_hit_total", "counter", _EACH, "Ticks priced from a book no older than ttl_ms"),
    Exported("mm_md_cache_miss_total", "counter", _EACH, "Ticks that had to refresh the book"),
    Exported("mm_guard_tick_total", "counter", (*_EACH, "level"), "Ticks on which a risk guard acted"),
    Exported("mm_fills_total", "counter", (*_EACH, "type"), "Fills, maker or taker"),
    Exported(
        "mm_fill_notional_total", "counter", (*_EACH, "type"), "Traded notional, price x qty, quote currency"
    ),
    Exported(
        "mm_fill_slippage_bps",
        "histogram",
        _EACH,
        "Slippage of a fill against the mid one second later, bps of its price",
    ),
    Exported(
        "mm_fill_slippage_cost_total",
        "counter",
        (*_EACH, "sign"),
        "Slippage s q (price - mid one second later), quote currency; plus is a cost",
    ),
    Exported(
        "mm_fill_slippage_notional_total",
        "counter",
        _EACH,
        "Traded notional of the fills whose mid one second later is known, quote currency",
    ),
    Exported("mm_pnl_total", "counter", (*_EACH, "sign"), "Change of equity, fees included, quote currency"),
    Exported("mm_error_total", "counter", (*_EACH, "code"), "Errors by code"),
    Exported(
        "mm_circuit_breaker_open_duration_seconds",
        "gauge",
        _EACH,
        "How long the circuit breaker has been open without a break; 0 when it is closed",
    ),
    Exported(
        "mm_gate_metric",
        "gauge",
        ("metric", *_EACH),
        "Value of a gate's metric in the last whole minute, as the session's own evaluator computed it; "
        "NaN when it has none. Only for metrics that the other families do not determine",
    ),
    Exported("process_resident_memory_bytes", "gauge", (), "Resident memory of the bot's process"),
)

OWN_METRICS: frozenset[str] = frozenset({"tick_p95_regression_pct"})
"""What ``mm_gate_metric`` carries: metrics of sustained gates that no expression over the other families gives."""

FAMILIES: Mapping[str, Exported] = {family.name: family for family in EXPORTED}


def duration_buckets(limits_ms: Iterable[float] = ()) -> tuple[float, ...]:
    """Upper bounds of the two duration histograms [s], rising.

    Args:
        limits_ms: limits of the gates on percentiles [ms]; each is a bound of its own, so that "p95 above the limit" is read
            from the counts exactly instead of being interpolated.
    """
    return tuple(sorted({*DURATION_BUCKETS_S, *(limit / 1e3 for limit in limits_ms if limit > 0)}))


def le_text(bound_s: float) -> str:
    """A bound as the label ``le`` has it (the Python client's spelling): ``0.18``, ``1.0``."""
    return repr(float(bound_s))
