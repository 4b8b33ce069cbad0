"""Which days there are feeds of, by the names of files; reads none."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path


def days_with_feeds(directory: Path) -> list[date]:
    """The UTC days that have a tick file, in order."""
    found = set()
    for path in directory.glob("pipeline_ticks_*.jsonl*"):
        if match := re.match(r"pipeline_ticks_(\d{4})(\d{2})(\d{2})\.", path.name):
            try:
                found.add(date(*(int(part) for part in match.groups())))
            except ValueError:
                continue
    return sorted(found)
