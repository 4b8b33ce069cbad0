"""PromQL of the gates' metrics: what a minute of a running session is worth, from the exported families.

A minute is the difference of two counter readings, not ``rate()``: whole numbers stay whole, so that 5.0 % is exactly 5.0 %
and does not violate "> 5 %". Every value exists only for minutes in which there was a tick; a minute without one is missing,
as it is offline (``metrics.latency.minute_series``).
"""

from __future__ import annotations

from collections.abc import Mapping

from mmlib.gates.spec import Gate
from mmlib.metrics.exported import le_text

STEP_S = 60
"""Distance of evaluation points, the same as of the offline minute series [s]."""

HOUR = "59m30s"
"""Sixty points of a minute series, whether the range's left end is open (Prometheus 3) or closed (2)."""
DAY = "23h59m30s"

INVERSE = {">=": "<", "<=": ">", ">": "<=", "<": ">=", "==": "!="}

TICKS = "mm:tick:increase1m"
_LIVE = f"({TICKS} > 0)"
_LIVE_PROCESS = f"on (job, instance) (sum by (job, instance) ({TICKS}) > 0)"
_P95_BUCKETS = {
    "tick_total_p95_ms": "mm:tick_duration_bucket:increase1m",
    "fetch_md_p95_ms": "mm:fetch_md_duration_bucket:increase1m",
}


def _increase(family: str, without: str = "", select: str = "") -> str:
    """Increase of a counter over the last minute; after a restart what was counted since.

    ``last_over_time`` looks past a failed scrape; labels in ``without`` are summed over first.
    """
    now, then = (f"last_over_time({family}{select}[2m]{offset})" for offset in ("", " offset 1m"))
    if without:
        now, then = f"sum without ({without}) ({now})", f"sum without ({without}) ({then})"
    return f"({now} - {then} >= 0) or ({now} and {then})"


INCREASES: Mapping[str, str] = {
    TICKS: _increase("mm_tick_total"),
    "mm:tick_deadline_miss:increase1m": _increase("mm_tick_deadline_miss_total"),
    "mm:md_cache_hit:increase1m": _increase("mm_md_cache_hit_total"),
    "mm:md_cache_miss:increase1m": _increase("mm_md_cache_miss_total"),
    "mm:guard_hard_tick:increase1m": _increase("mm_guard_tick_total", "level", '{level="hard"}'),
    "mm:error:increase1m": _increase("mm_error_total", "code"),
    "mm:tick_duration_bucket:increase1m": _increase("mm_tick_duration_seconds_bucket"),
    "mm:fetch_md_duration_bucket:increase1m": _increase(
        "mm_stage_duration_seconds_bucket", "stage", '{stage="fetch_md"}'
    ),
    "mm:fill_notional:increase1m": _increase("mm_fill_notional_total", "type"),
    "mm:fill_notional_taker:increase1m": _increase("mm_fill_notional_total", "type", '{type="taker"}'),
    "mm:slippage_plus:increase1m": _increase("mm_fill_slippage_cost_total", "sign", '{sign="plus"}'),
    "mm:slippage_minus:increase1m": _increase("mm_fill_slippage_cost_total", "sign", '{sign="minus"}'),
    "mm:slippage_notional:increase1m": _increase("mm_fill_slippage_notional_total"),
    "mm:pnl_plus:increase1m": _increase("mm_pnl_total", "sign", '{sign="plus"}'),
    "mm:pnl_minus:increase1m": _increase("mm_pnl_total", "sign", '{sign="minus"}'),
    "mm:rss_mean_mb:1m": f"avg_over_time(process_resident_memory_bytes[59s]) / 1e6 and {_LIVE_PROCESS}",
}
"""Recorded series -> expression: what a minute added."""


def _sum(what: str, over: str, by: str = "") -> str:
    summed = f"sum_over_time(mm:{what}:increase1m[{over}])"
    return f"sum by ({by}) ({summed})" if by else summed


def _share(over: str, by: str = "") -> str:
    """Taker share of a range [%]; nothing when nothing was traded."""
    return f"100 * ({_sum('fill_notional_taker', over, by)} / ({_sum('fill_notional', over, by)} > 0))"


def _bps(what: str, over: str, by: str = "", of: str = "fill_notional") -> str:
    """A signed amount in bps of traded notional; nothing when nothing was traded."""
    signed = f"({_sum(f'{what}_plus', over, by)} - {_sum(f'{what}_minus', over, by)})"
    return f"10000 * ({signed} / ({_sum(of, over, by)} > 0))"


VALUES: Mapping[str, str] = {
    "deadline_miss_pct": f"100 * (mm:tick_deadline_miss:increase1m / {_LIVE})",
    "guard_hard_pct": f"100 * (mm:guard_hard_tick:increase1m / {_LIVE})",
    "hit_ratio": "mm:md_cache_hit:increase1m / (mm:md_cache_hit:increase1m + mm:md_cache_miss:increase1m > 0)",
    **{
        metric: f"1000 * histogram_quantile(0.95, {bucket}) and {_LIVE}"
        for metric, bucket in _P95_BUCKETS.items()
    },
    "errors_per_min": f"mm:error:increase1m and {_LIVE}",
    "breaker_open_s": f"max_over_time(mm_circuit_breaker_open_duration_seconds[59s]) and {_LIVE}",
    "rss_mb": f"max_over_time(process_resident_memory_bytes[59s]) / 1e6 and {_LIVE_PROCESS}",
    "rss_slope_mb_per_h": (
        f"3600 * deriv(mm:rss_mean_mb:1m[{HOUR}]) and mm:rss_mean_mb:1m and count_over_time(mm:rss_mean_mb:1m[{HOUR}]) >= 30 "
        "and count_over_time(mm:rss_mean_mb:1m[1d] offset 59m) > 0"
    ),
    "taker_share_pct": f"({_share(HOUR)}) and {_LIVE}",
    "slippage_bps": f"{_bps('slippage', HOUR, of='slippage_notional')} and {_LIVE}",
    "net_bps": f"{_bps('pnl', HOUR)} and {_LIVE}",
    "pnl": (
        'sum without (symbol, sign) (last_over_time(mm_pnl_total{sign="plus"}[2m])) - '
        'sum without (symbol, sign) (last_over_time(mm_pnl_total{sign="minus"}[2m])) '
        f"and (sum without (symbol) ({TICKS}) > 0)"
    ),
    "delta_pnl": 'sum without (arm) (finishline:pnl{arm="B"}) - sum without (arm) (finishline:pnl{arm="A"})',
    "delta_slippage_bps": (
        'sum without (arm) (finishline:slippage_bps{arm="B"}) - sum without (arm) (finishline:slippage_bps{arm="A"})'
    ),
}
"""A gate's metric -> its value in the minute that has just ended, recorded as ``finishline:<metric>``, in this order."""

DAY_VALUES: Mapping[str, str] = {
    "net_bps": _bps("pnl", DAY, "job, instance"),
    "slippage_bps": _bps("slippage", DAY, "job, instance", of="slippage_notional"),
    "taker_share_pct": _share(DAY, "job, instance"),
}
"""A day's metric -> its value over the last 24 hours, over all symbols and arms."""


def own_value(metric: str) -> str:
    """A metric that the families do not determine, as the session's evaluator exports it; NaN is missing."""
    value = f'sum without (metric) (last_over_time(mm_gate_metric{{metric="{metric}"}}[59s]))'
    return f"{value} == {value}"


def value(metric: str) -> str:
    """Expression of a metric's value in the minute that has just ended."""
    return VALUES.get(metric) or own_value(metric)


def recorded(metric: str) -> str:
    """Name of the recorded series of a metric."""
    return f"finishline:{metric}"


def operator(gate: Gate) -> str:
    """The comparison that is the violation."""
    return gate.op if gate.sense == "stop" else INVERSE[gate.op]


def limit_text(limit: float) -> str:
    """A limit as PromQL reads it, exactly: ``5``, ``0.5``."""
    return repr(float(limit)).removesuffix(".0")


def violation(gate: Gate) -> str:
    """1 in a minute that violates the gate, 0 in one that does not, nothing in a missing one.

    "p95 above the limit" is "fewer than 95 % of the ticks within it" (nearest rank), which the bucket at the limit counts
    exactly; ``>=`` and ``<`` on a percentile are read as ``>`` and ``<=``, which differ only when it equals the limit.
    """
    op, arm = operator(gate), f'arm="{gate.arm}"' if gate.arm else ""
    bucket = _P95_BUCKETS.get(gate.metric)
    if bucket is None or op in ("==", "!="):
        return f"{recorded(gate.metric)}{f'{{{arm}}}' if arm else ''} {op} bool {limit_text(gate.limit)}"
    of_arm = f", {arm}" if arm else ""
    within = f"sum without (le) ({bucket}{{{_le(gate.limit / 1e3)}{of_arm}}})"
    every = f'sum without (le) ({bucket}{{le="+Inf"{of_arm}}})'
    return f"100 * {within} {'<' if op in ('>', '>=') else '>='} bool 95 * ({every} > 0)"


def _le(bound_s: float) -> str:
    """Matches the bucket, in Python's spelling and, of whole seconds, in Go's."""
    text = le_text(bound_s)
    whole = text.removesuffix(".0")
    return f'le="{text}"' if whole == text else f'le=~"{whole}|{whole}[.]0"'
