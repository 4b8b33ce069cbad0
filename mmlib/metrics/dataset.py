"""The calibration dataset: built from a directory of feeds, judged by its acceptance numbers, written as JSON and Parquet."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmlib._io import UserError, write_atomic, write_json
from mmlib.feeds.reader import Feed, read_feeds
from mmlib.feeds.sidecar import grade_of, read_sidecar
from mmlib.metrics.grid import SECOND_NS, Grid
from mmlib.metrics.intervals import NO_TICKS, interval_frame, nonfinite_values

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Dataset:
    """Intervals and what they amount to.

    Attributes:
        intervals: every interval of the range (see ``intervals.interval_frame``), the filtered ones with their reason.
        summary: builtin types: from, to, interval_min, symbols, arms, grade, valid_hours, nonfinite_values, filtered_pct,
            numbers of intervals, ticks, fills and quarantined lines; a number that cannot be stated is None.
    """

    intervals: pd.DataFrame
    summary: dict[str, Any]

    @property
    def kept(self) -> pd.DataFrame:
        """Intervals that passed every sanity filter."""
        return self.intervals[self.intervals["reason"] == ""].reset_index(drop=True)

    @property
    def filtered(self) -> pd.DataFrame:
        """ts, symbol, arm, reason of the others; intervals without any tick are among them."""
        out = self.intervals[self.intervals["reason"] != ""]
        return out[["ts", "symbol", "arm", "reason"]].reset_index(drop=True)


def build_dataset(
    feeds_dir: Path,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    interval_min: float = 5,
    quarantine_dir: Path | None = None,
) -> Dataset:
    """Aggregate the feeds of ``[start, end)`` into intervals aligned to UTC.

    Args:
        feeds_dir: directory of feeds; an empty one gives an empty dataset.
        start, end: aware; None means from the first, to the last tick.
        interval_min: length of an interval; it must divide a day.
        quarantine_dir: see ``read_feeds``.

    Raises:
        UserError: naive or reversed range, an interval that does not divide a day, feeds that cannot be read.
    """
    step_ns = _step_ns(interval_min)
    ticks = read_feeds(feeds_dir, "ticks", start=start, end=end, quarantine_dir=quarantine_dir)
    fills = read_feeds(feeds_dir, "fills", start=start, end=end, quarantine_dir=quarantine_dir)
    grid = _grid(ticks.frame, fills.frame, start, end, step_ns)
    intervals = interval_frame(ticks.frame, fills.frame, grid)
    summary = _summary(intervals, grid, ticks, fills, feeds_dir)
    summary["from"], summary["to"] = _bounds(grid, start, end)
    return Dataset(intervals, summary)


def write_dataset(workspace: Path, dataset: Dataset) -> tuple[Path, Path]:
    """Write ``artifacts/edge/datasets/calib_YYYYMMDD_YYYYMMDD.json`` (strict JSON, null for missing) and ``.parquet``.

    The JSON holds the summary, the kept intervals and the filtered ones with their reasons; the Parquet file holds all.

    Raises:
        UserError: nothing to write, or the workspace cannot be written.
    """
    summary = dataset.summary
    if summary["from"] is None:
        raise UserError("dataset: has no intervals; expected feeds with at least one tick in the range")
    days = "_".join(summary[key][:10].replace("-", "") for key in ("from", "to"))
    base = workspace / "artifacts" / "edge" / "datasets" / f"calib_{days}"
    payload = {
        "schema": SCHEMA_VERSION,
        "summary": summary,
        "intervals": _records(dataset.kept.drop(columns="reason")),
        "filtered": _records(dataset.filtered),
    }
    buffer = io.BytesIO()
    dataset.intervals.to_parquet(buffer, index=False)
    json_path = write_json(base.with_suffix(".json"), payload)
    return json_path, write_atomic(base.with_suffix(".parquet"), buffer.getvalue())


def _step_ns(interval_min: float) -> int:
    day_ns = 86_400 * SECOND_NS
    step_ns = round(interval_min * 60 * SECOND_NS) if 0 < interval_min <= 1440 else 0
    if step_ns < SECOND_NS or day_ns % step_ns:
        raise UserError(
            f"interval_min {interval_min:g}: expected minutes that divide a day, such as 1, 5, 15 or 60"
        )
    return step_ns


def _grid(
    ticks: pd.DataFrame, fills: pd.DataFrame, start: datetime | None, end: datetime | None, step_ns: int
) -> Grid:
    """Intervals that cover the range; an open end of it is where the feeds begin or end."""
    spanned = Grid.spanning(ticks, fills, step_ns=step_ns)
    if spanned is None and (start is None or end is None):
        return Grid(0, step_ns, 0)
    first = _ns(start) if start is not None else spanned.start_ns if spanned else 0
    last = (
        _ns(end) - 1 if end is not None else spanned.start_ns + spanned.size * step_ns - 1 if spanned else 0
    )
    return Grid.over(first, last, step_ns) if last >= first else Grid(0, step_ns, 0)


def _summary(
    intervals: pd.DataFrame, grid: Grid, ticks: Feed, fills: Feed, feeds_dir: Path
) -> dict[str, Any]:
    sidecar = read_sidecar(feeds_dir)
    present = intervals[intervals["reason"] != NO_TICKS]
    kept = int((present["reason"] == "").sum())
    return {
        "from": None,
        "to": None,
        "interval_min": grid.step_ns / SECOND_NS / 60,
        "symbols": sorted(set(ticks.frame["symbol"])),
        "arms": sorted(set(ticks.frame["arm"])),
        "grade": str(grade_of(feeds_dir)) if ticks.files else None,
        "source": sidecar["source"] if sidecar else "a desk's own feeds",
        "session_complete": sidecar["complete"] if sidecar else None,
        "valid_hours": valid_hours(intervals, grid.step_ns),
        "nonfinite_values": nonfinite_values(intervals) if kept else None,
        "filtered_pct": 100.0 * (len(present) - kept) / len(present) if len(present) else None,
        "intervals": len(intervals),
        "intervals_kept": kept,
        "intervals_filtered": len(present) - kept,
        "intervals_without_ticks": len(intervals) - len(present),
        "ticks": len(ticks.frame),
        "fills": len(fills.frame),
        "quarantined_lines": len(ticks.quarantine) + len(fills.quarantine),
        "feed_files": [path.name for path in (*ticks.files, *fills.files)],
    }


def valid_hours(intervals: pd.DataFrame, step_ns: int) -> float:
    """Hours of valid intervals of the symbol that has fewest.

    An interval of a symbol is valid when at least one arm had ticks in it and every arm that had was kept; arms that
    take turns thus lose nothing, and one broken arm spoils the interval.
    """
    present = intervals[intervals["reason"] != NO_TICKS]
    if len(present) == 0:
        return 0.0
    good = (present["reason"] == "").groupby([present["symbol"], present["ts"]]).all()
    return float(good.groupby(level="symbol").sum().min()) * step_ns / SECOND_NS / 3600.0


def _bounds(grid: Grid, start: datetime | None, end: datetime | None) -> tuple[str | None, str | None]:
    if grid.size == 0:
        return None, None
    first = start or _moment(grid.start_ns)
    last = end or _moment(grid.start_ns + grid.size * grid.step_ns)
    first, last = first.astimezone(UTC), last.astimezone(UTC)
    return tuple(moment.isoformat().replace("+00:00", "Z") for moment in (first, last))  # type: ignore[return-value]


def _moment(ts_ns: int) -> datetime:
    return datetime.fromtimestamp(ts_ns // SECOND_NS, UTC)


def _ns(moment: datetime) -> int:
    return int(pd.Timestamp(moment).as_unit("ns").value)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of builtin types: times as RFC 3339 text, NaN and infinities as None."""
    columns: dict[str, list[Any]] = {}
    for name in frame.columns:
        series = frame[name]
        if isinstance(series.dtype, pd.DatetimeTZDtype):
            columns[name] = series.dt.strftime("%Y-%m-%dT%H:%M:%SZ").tolist()
        elif series.dtype == np.float64:
            columns[name] = [value if math.isfinite(value) else None for value in series.tolist()]
        else:
            columns[name] = series.tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
