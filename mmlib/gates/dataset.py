"""What the dataset step measures: the acceptance numbers of its summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmlib.gates.evaluate import Measurement


def dataset_measurements(summary: Mapping[str, Any]) -> dict[str, Measurement]:
    """Measurements of the dataset gates from the summary of ``metrics.dataset.build_dataset``.

    ``n`` is the number of intervals that had ticks; without one every gate is NO_DATA.
    """
    present = int(summary["intervals_kept"]) + int(summary["intervals_filtered"])
    window = f"{summary['from']}/{summary['to']}" if summary["from"] else ""
    reason = "" if present else "the feeds hold no ticks in the range"
    names = ("valid_hours", "nonfinite_values", "filtered_pct")
    evidence = f"{summary['grade']}: {summary['source']}" if summary["grade"] else ""
    return {
        name: Measurement(summary[name], n=present, window=window, reason=reason, evidence=evidence)
        for name in names
    }
