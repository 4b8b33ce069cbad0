"""One day of feeds as the daily report reads it: its ticks and fills, and those of the hour before it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pandas as pd

from mmlib._io import UserError
from mmlib.feeds.by_symbol import ticks_by_symbol
from mmlib.feeds.reader import read_feeds
from mmlib.metrics.latency import STAGE_COLUMNS
from mmlib.ops.days import days_with_feeds

LEAD = timedelta(hours=1)
"""Read before midnight as well, so that trailing-hour metrics hold from the first minute of the day."""

TICK_COLUMNS = (
    *("cache_hit", "used_stale", "deadline_miss", "guard_level", "breaker_open", "errors"),
    *(*STAGE_COLUMNS.values(), "cache_age_ms", "rss_mb", "mid", "inventory"),
)
"""What is read of the ticks beside ts, symbol and arm."""


@dataclass(frozen=True)
class Day:
    """The feeds of one UTC day and the hour before it.

    Attributes:
        date: the day.
        ticks, fills: from an hour before midnight on; of the ticks ``TICK_COLUMNS``, sorted by symbol and arm first.
        quarantined: lines that could not be read.
        files: what was read.
        tick_files: those of them that hold ticks of the day itself.
    """

    date: date
    ticks: pd.DataFrame
    fills: pd.DataFrame
    quarantined: int = 0
    files: tuple[Path, ...] = ()
    tick_files: tuple[Path, ...] = ()

    @property
    def start(self) -> pd.Timestamp:
        """Midnight at its beginning, UTC."""
        return pd.Timestamp(datetime.combine(self.date, time(), UTC))

    @property
    def end(self) -> pd.Timestamp:
        """Midnight at its end, UTC."""
        return self.start + pd.Timedelta(days=1)

    @property
    def seconds(self) -> float:
        """Length of the day, or of what has passed of it [s]."""
        return float(min(max((pd.Timestamp.now("UTC") - self.start).total_seconds(), 0.0), 86_400.0))

    def of_day(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of the day itself."""
        return frame[(frame["ts"] >= self.start) & (frame["ts"] < self.end)].reset_index(drop=True)


def load_day(
    directory: Path,
    day: str | date = "latest",
    *,
    quarantine: Path | None = None,
    cache_dir: Path | None = None,
) -> Day:
    """Read one day of feeds and the hour before it.

    Args:
        directory: a feeds directory; a missing or empty one gives a day without data.
        day: a date, ``YYYY-MM-DD``, or ``latest`` for the last day of which there are ticks (today when there are none).
        quarantine: where lines that cannot be read are kept, see ``read_feeds``.
        cache_dir: where feeds are kept as Parquet, see ``read_feeds``.

    Raises:
        UserError: no such date, or a directory that cannot be read.
    """
    wanted = day if isinstance(day, date) else parse_date(day, directory)
    start = datetime.combine(wanted, time(), UTC)
    begin, end = start - LEAD, start + timedelta(days=1)
    ticks = ticks_by_symbol(
        directory, TICK_COLUMNS, begin, end, quarantine_dir=quarantine, cache_dir=cache_dir
    )
    fills = read_feeds(
        directory, "fills", start=begin, end=end, quarantine_dir=quarantine, cache_dir=cache_dir
    )
    start_ns, end_ns = pd.Timestamp(start).value, pd.Timestamp(end).value
    return Day(
        wanted,
        ticks.frame,
        fills.frame,
        ticks.quarantined + fills.quarantined,
        (*ticks.spans_ns, *fills.files),
        tuple(
            path
            for path, span_ns in ticks.spans_ns.items()
            if span_ns is not None and span_ns[0] < end_ns and span_ns[1] >= start_ns
        ),
    )


def parse_date(text: str, directory: Path) -> date:
    """A date from ``YYYY-MM-DD`` or ``latest``.

    Raises:
        UserError: no such date.
    """
    if text != "latest":
        try:
            if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
                raise ValueError
            return date.fromisoformat(text)
        except ValueError as exc:
            raise UserError(f"date {text!r}: no such date; expected YYYY-MM-DD or latest") from exc
    return max(days_with_feeds(directory), default=datetime.now(UTC).date())
