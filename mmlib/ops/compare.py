"""The day beside the day before, the week before and the locked baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from mmlib.ops.facts import Figures

COMPARED: tuple[tuple[str, str, str], ...] = (
    ("up_pct", "Up", "%"),
    ("tick_total_p95_ms", "Tick total p95", "ms"),
    ("fetch_md_p95_ms", "FetchMD p95", "ms"),
    ("deadline_miss_pct", "Deadline misses", "%"),
    ("hit_ratio", "Cache hit ratio", ""),
    ("errors_per_h", "Errors an hour", ""),
    ("n_fills", "Fills", ""),
    ("notional", "Notional", "quote"),
    ("net_bps", "Net", "bps"),
    ("gross_bps", "Gross", "bps"),
    ("slippage_bps", "Slippage", "bps"),
    ("fees_bps", "Fees", "bps"),
    ("inventory_bps", "Inventory", "bps"),
    ("taker_share_pct", "Taker share", "%"),
)
"""Metric of ``Figures.value``, name, unit."""

_PER_DAY = ("n_fills", "notional")
SLOWER_PCT = 10.0
"""A tick p95 this much above the day before or the baseline is worth a look; the CI gate's own limit."""
_FLOOR_MS = 1.0


def comparison(
    day: Figures, previous: Figures | None, week: Figures | None, n_days: int, baseline: Figures | None
) -> pd.DataFrame:
    """One row a figure.

    Args:
        day: the day.
        previous: the day before; None when it has no report.
        week: the days of the week before that have a report, merged; None when none has.
        n_days: how many those are; counts and notional are shown a day.
        baseline: of the locked stage budgets; None when nothing is locked.

    Returns:
        metric, name, unit, day, previous, change (day less previous), week, baseline; NaN where there is nothing.
    """
    rows = []
    for metric, name, unit in COMPARED:
        now, before, of_week, locked = (
            figures.value(metric) if figures is not None else math.nan
            for figures in (day, previous, week, baseline)
        )
        if metric in _PER_DAY and n_days:
            of_week /= n_days
        rows.append((metric, name, unit, now, before, now - before, of_week, locked))
    return pd.DataFrame(
        rows, columns=["metric", "name", "unit", "day", "previous", "change", "week", "baseline"]
    )


def findings(compared: pd.DataFrame) -> list[str]:
    """What the comparison itself asks for, in sentences."""
    by: dict[str, dict[str, float]] = {
        str(row["metric"]): {c: float(row[c]) for c in ("day", "previous", "change", "baseline")}
        for row in compared.to_dict("records")
    }
    found = []
    for metric, what in (("tick_total_p95_ms", "the whole tick"), ("fetch_md_p95_ms", "FetchMD")):
        now = by[metric]["day"]
        for column, than in (("previous", "the day before"), ("baseline", "the locked baseline")):
            old = by[metric][column]
            grown = 100 * (now / max(old, _FLOOR_MS) - 1)
            if now > _FLOOR_MS and grown > SLOWER_PCT:  # NaN is not
                found.append(
                    f"The p95 of {what} is {grown:.0f} % above {than} ({now:.3g} ms, then {old:.3g} ms): "
                    "compare stage by stage."
                )
    net, before = by["net_bps"]["day"], by["net_bps"]["previous"]
    if net <= 0 < before:
        change = {
            name: sign * by[name]["change"] for name, sign in _PARTS if math.isfinite(by[name]["change"])
        }
        text = f"Net turned from {before:+.2f} to {net:+.2f} bps"
        if change:
            part = min(change, key=lambda name: change[name])
            text += f"; {part.removesuffix('_bps')} changed most ({change[part]:+.2f} bps): begin there"
        found.append(f"{text}.")
    return found


_PARTS: Sequence[tuple[str, int]] = (
    ("gross_bps", 1),
    ("slippage_bps", -1),
    ("fees_bps", -1),
    ("inventory_bps", 1),
)
