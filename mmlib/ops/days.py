"""Which days there are feeds of, by the times in them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from mmlib.feeds.held import held_days


def days_with_feeds(directory: Path) -> list[date]:
    """The UTC days that the tick files hold, in order, whatever their names say."""
    found: set[date] = set()
    for path in directory.glob("pipeline_ticks_*.jsonl*"):
        found.update(held_days(path))
    return sorted(found)
