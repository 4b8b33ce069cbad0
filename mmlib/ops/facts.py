"""A day's figures as a file, so that the next day, the week and the history need not read its feeds again.

Sums and histograms are kept, not ratios and percentiles: a week's taker share and a week's p95 are computed from its days'
sums and merged histograms, never from seven shares or seven p95s.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmlib._io import UserError, read_json, write_json

if TYPE_CHECKING:  # it brings numba, which who asks for a day's words can do without
    from mmlib.core.histogram import Histogram

SCHEMA = 2
_SLIPPED = 0.1  # as metrics.money.MIN_SLIPPED_PCT, which brings what a day's words can do without
_FIRST_SCHEMA = 1
"""Its slippage_cost was the quote travel; slippage itself was not kept."""
SUMS = (
    *("n_ticks", "hits", "deadline_misses", "errors", "breaker_openings", "up_s", "day_s", "n_fills"),
    *("notional", "taker_notional", "gross_pnl", "travel_cost", "fees", "inventory_pnl", "pnl"),
    *("slippage_cost", "slippage_notional"),
)
_MONEY = ("net_bps", "gross_bps", "quote_travel_bps", "fees_bps", "inventory_bps")
_MONEY_OF = dict(zip(_MONEY, ("pnl", "gross_pnl", "travel_cost", "fees", "inventory_pnl"), strict=True))


@dataclass(frozen=True)
class Figures:
    """Figures of a day, of a week, or of the locked baseline (which knows no money).

    Attributes:
        name: what they are of, such as 2025-01-15.
        sums: by name, see ``SUMS``; what is not known is absent.
        histograms: by stage and tick_total [ms].
        health: HEALTHY, DEGRADED, CRITICAL or NO DATA; empty for a baseline.
        fired: alerts as plain rows: gate, severity, who, start, end, fired, worst, unit.
        actions: what was to do.
    """

    name: str
    sums: Mapping[str, float]
    histograms: Mapping[str, Histogram]
    health: str = ""
    fired: tuple[Mapping[str, Any], ...] = ()
    actions: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def value(self, metric: str) -> float:
        """One figure by name; NaN when it is not known."""
        if metric.endswith(("_p50_ms", "_p95_ms", "_p99_ms")):
            stage, quantile = metric[:-7], int(metric[-5:-3]) / 100
            histogram = self.histograms.get(stage)
            return histogram.quantile(quantile) if histogram is not None and histogram.n else math.nan
        part, whole, scale = _RATIOS.get(metric, (metric, "", 1.0))
        if not whole:
            return float(self.sums.get(part, math.nan))
        below = self.sums.get(whole, math.nan)
        if whole == "slippage_notional" and not below >= _SLIPPED * self.sums.get("notional", math.nan):
            return math.nan
        return scale * self.sums.get(part, math.nan) / below if below else math.nan

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "health": self.health,
            "sums": {k: v if math.isfinite(v) else None for k, v in self.sums.items()},
            "histograms": {k: h.to_dict() for k, h in self.histograms.items()},
            "fired": [dict(row) for row in self.fired],
            "actions": list(self.actions),
        }


_RATIOS: Mapping[str, tuple[str, str, float]] = {
    "hit_ratio": ("hits", "n_ticks", 1.0),
    "deadline_miss_pct": ("deadline_misses", "n_ticks", 100.0),
    "errors_per_h": ("errors", "up_s", 3600.0),
    "up_pct": ("up_s", "day_s", 100.0),
    "taker_share_pct": ("taker_notional", "notional", 100.0),
    **{name: (amount, "notional", 1e4) for name, amount in _MONEY_OF.items()},
    "slippage_bps": ("slippage_cost", "slippage_notional", 1e4),
}


def facts_path(reports: Path, day: date) -> Path:
    """Where a day's figures are, beside its report."""
    return reports / f"{day}.json"


def write_figures(path: Path, figures: Figures) -> Path:
    """Write a day's figures."""
    return write_json(path, figures.to_dict())


@dataclass(frozen=True)
class Words:
    """What a day's figures say without a number: its health, and the criteria that fired."""

    health: str
    fired: tuple[dict[str, Any], ...]


def read_words(path: Path) -> Words | None:
    """Health and criteria of what ``write_figures`` wrote; None when there is no such file, or it is damaged."""
    try:
        found = read_json(path) if path.exists() else {}
        if found.get("schema") not in (_FIRST_SCHEMA, SCHEMA):
            return None
        return Words(str(found["health"]), tuple(dict(row) for row in found["fired"]))
    except (UserError, KeyError, TypeError, ValueError, AttributeError):
        return None


def read_figures(path: Path) -> Figures | None:
    """What ``write_figures`` wrote; None when there is no such file.

    Raises:
        UserError: damaged.
    """
    if not path.exists():
        return None
    from mmlib.core.histogram import Histogram

    found = read_json(path)
    try:
        if found["schema"] not in (_FIRST_SCHEMA, SCHEMA):
            raise ValueError(f"schema {found['schema']!r}")
        old = {"slippage_cost": "travel_cost"} if found["schema"] == _FIRST_SCHEMA else {}
        return Figures(
            str(found["name"]),
            {old.get(k, k): math.nan if v is None else float(v) for k, v in found["sums"].items()},
            {k: Histogram.from_dict(v) for k, v in found["histograms"].items()},
            str(found["health"]),
            tuple(dict(row) for row in found["fired"]),
            tuple(str(text) for text in found["actions"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise UserError(
            f"{path}: expected a day's figures as `finishline daily` writes them ({exc}); write that day again"
        ) from exc


def before(reports: Path, day: date, days: int) -> list[Figures]:
    """Figures of the ``days`` days before a day, in order; days without are left out."""
    wanted = [facts_path(reports, day - timedelta(days=k)) for k in range(days, 0, -1)]
    return [found for path in wanted if (found := read_figures(path)) is not None]


def merged(name: str, parts: Sequence[Figures]) -> Figures | None:
    """Figures over several days; None of none."""
    if not parts:
        return None
    sums = {key: math.fsum(p.sums[key] for p in parts if key in p.sums) for key in SUMS}
    histograms: dict[str, Histogram] = {}
    for part in parts:
        for stage, histogram in part.histograms.items():
            histograms[stage] = histograms[stage].merge(histogram) if stage in histograms else histogram
    fired = tuple({**row, "day": part.name} for part in parts for row in part.fired)
    return Figures(name, sums, histograms, fired=fired)


def week_of(day: date) -> list[date]:
    """The ISO week of a day, Monday to Sunday."""
    monday = day - timedelta(days=day.weekday())
    return [monday + timedelta(days=k) for k in range(7)]


def week_name(day: date) -> str:
    """``2025-W03``."""
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02d}"


def plain_rows(rows: Iterable[Mapping[Any, Any]]) -> tuple[dict[str, Any], ...]:
    """Rows of a firings frame as JSON holds them."""
    return tuple(
        {
            str(k): v.isoformat().replace("+00:00", "Z") if hasattr(v, "isoformat") else v
            for k, v in row.items()
        }
        for row in rows
    )
