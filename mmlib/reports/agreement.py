"""FILLS.agreement.md: how well a replay of a desk's own orders agrees with its actual fills."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmlib.market.quality import Quality
from mmlib.metrics.agreement import Agreement
from mmlib.reports.quality import quality_table
from mmlib.reports.render import Provenance, Table, frame_table, num, render

_MEANING = {
    "matched": "both filled it, at the same time within the tolerance",
    "early": "the simulation filled it sooner",
    "late": "the simulation filled it later",
    "missed": "only the market filled it",
    "extra": "only the simulation filled it",
}
_ERRORS = {
    "error": "Simulated minus actual",
    "unit": "Unit",
    "n": "Orders",
    **{f"p{q:02d}": f"p{q:02d}" for q in (5, 25, 50, 75, 95)},
}
_NAMES = {"time_error": "fill time", "price_error": "price, positive is worse for us", "error": "error"}


def agreement_report(
    found: Agreement, provenance: Provenance, counts: Mapping[str, Any], quality: Quality | None = None
) -> str:
    """The report.

    Args:
        found: the comparison.
        provenance: where this comes from.
        counts: what became of the requests, name -> number.
        quality: of the recordings.
    """
    outcomes = [
        (
            row["outcome"],
            _MEANING.get(str(row["outcome"]), ""),
            row["orders"],
            row["share_pct"],
            row["notional"],
        )
        for row in found.outcomes.to_dict("records")
    ]
    errors = found.errors.assign(error=[_NAMES.get(str(name), str(name)) for name in found.errors["error"]])
    return render(
        "agreement.md.j2",
        provenance,
        total=len(found.orders),
        recall=_percent(found.recall),
        precision=_percent(found.precision),
        tolerance_ms=found.tolerance_ms,
        unknown=found.unknown,
        outside=found.outside,
        quality=None if quality is None else quality_table({"": quality}),
        outcomes=Table(("Outcome", "Meaning", "Orders>", "Share [%]>", "Notional>"), outcomes),
        errors=frame_table(errors, _ERRORS),
        counts=Table(("Requests", "Count>"), [(str(k).replace("_", " "), v) for k, v in counts.items()]),
    )


def _percent(share: float) -> str:
    return f"{num(100.0 * share, 3)} %" if share == share else "–"
