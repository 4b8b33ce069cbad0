"""SWEEP/sweep.md and sweep.html: what many settings earned, and how the best one does on what its choice has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from mmlib.inference.reality import RealityCheck
from mmlib.reports.render import Provenance, Table, frame_table, num, render

_TOP = 10
_COLUMNS = {
    "chosen_net_bps": "Chosen on [bps]",
    "unseen_net_bps": "Unseen [bps]",
    "net": "Net",
    "fills": "Fills",
    "markout_1s_bps": "1 s markout [bps]",
    "markout_30s_bps": "30 s markout [bps]",
    "mean_abs_position": "Mean position",
}


def sweep_report(
    table: pd.DataFrame,
    keys: Sequence[str],
    best: Mapping[str, float],
    judged: Mapping[str, Any],
    check: RealityCheck,
    bucket_s: float,
    described: str,
    provenance: Provenance,
) -> str:
    """The report.

    Args:
        table: one row a setting, as in sweep.parquet. keys: what was turned.
        best: the chosen setting. judged: its figures on both parts.
        check: over all settings. bucket_s: what money was added up over.
    """
    first = table.sort_values("chosen_net", ascending=False).head(_TOP)
    return render(
        "sweep.md.j2",
        provenance,
        settings=len(table),
        described=described,
        judged=judged,
        check=check,
        bucket_s=bucket_s,
        best=Table(("Setting", "Value>"), [(key, num(value)) for key, value in best.items()]),
        first=frame_table(first, {**{key: key for key in keys}, **_COLUMNS}),
    )


def sweep_page(figures: Sequence[tuple[str, str]]) -> str:
    """One page of finished figures: what each says in words, and its HTML."""
    parts = [
        f'<figure role="img" aria-label="{escape(label)}">\n{drawn}\n<figcaption>{escape(label)}</figcaption>\n</figure>'
        for label, drawn in figures
    ]
    head = (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Sweep</title></head>\n<body>\n'
    )
    return head + "\n".join(parts) + "\n</body>\n</html>\n"
