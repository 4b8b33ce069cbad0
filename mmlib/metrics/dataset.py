"""The calibration dataset: built from a directory of feeds, judged by its acceptance numbers, written as JSON and Parquet."""

from __future__ import annotations

import contextlib
import io
import math
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from mmlib._heap import give_back
from mmlib._io import UserError, write_atomic, write_json
from mmlib.feeds.cache import sweep
from mmlib.feeds.held import file_span
from mmlib.feeds.progress import told
from mmlib.feeds.reader import Feed, time_range
from mmlib.feeds.sidecar import read_sidecar, stated
from mmlib.metrics.farm import Farm, Progress, collect, threads
from mmlib.metrics.fills import read_fills
from mmlib.metrics.grid import SECOND_NS, Grid, ns
from mmlib.metrics.intervals import NO_TICKS, Whole, interval_frame, nonfinite_values
from mmlib.metrics.kept import Source, reduced, save
from mmlib.metrics.passing import Passing
from mmlib.metrics.slices import Pair, plan
from mmlib.metrics.ticks import Ticks, open_ticks

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Dataset:
    """Intervals and what they amount to.

    Attributes:
        intervals: every interval of the range (see ``intervals.interval_frame``), the filtered ones with their reason.
        summary: builtin types: from, to, interval_min, symbols, arms, grade, valid_hours, nonfinite_values, filtered_pct,
            numbers of intervals, ticks, fills and quarantined lines; a number that cannot be stated is None.
        sources: how many slices of the ticks came whence, see ``kept.Source``.
    """

    intervals: pd.DataFrame
    summary: dict[str, Any]
    sources: dict[Source, int] = field(default_factory=dict)

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
    cache_dir: Path | None = None,
    farm: Farm | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Aggregate the feeds of ``[start, end)`` into intervals aligned to UTC.

    The ticks pass through memory once, in slices of time; of the fills, what the intervals need is held. Whoever works the
    slices out, the result is the same to the last bit.

    Args:
        feeds_dir: directory of feeds; an empty one gives an empty dataset.
        start, end: aware; None means from the first, to the last tick.
        interval_min: length of an interval; it must divide a day.
        quarantine_dir: see ``read_feeds``.
        cache_dir: where the feeds are kept as Parquet, see ``feeds.cache``; None keeps nothing. What it holds of feed files
            that are gone is removed when one is added.
        farm: who works: threads of this process by default, or a cluster (see ``metrics.farm``), which has to see
            ``feeds_dir`` and ``cache_dir`` under the same names.
        progress: told what is done, and how much of how much.

    Raises:
        UserError: naive or reversed range, an interval that does not divide a day, feeds that cannot be read, a cluster
            that cannot be reached or lost too many workers.
    """
    time_range(start, end)
    step_ns = _step_ns(interval_min)
    work = farm or threads()
    with tempfile.TemporaryDirectory(prefix="finishline-") as scratch, told(progress):
        home = cache_dir or Path(scratch)
        fills = read_fills(feeds_dir, start, end, home, quarantine_dir, work, progress)
        give_back()  # frames of all fills, of which little is held
        limits = _limits(start, end)
        onlooker = partial(_onlooker, asked=fills.asked_ns, step_ns=step_ns, limits=limits)
        for last_try in (False, True):
            ticks = open_ticks(feeds_dir, start, end, home, work, progress, onlooker)
            grid = _grid(ticks, fills.feed.frame, start, end, step_ns)
            whole = Whole(sorted({*ticks.pairs, *fills.by_pair}), grid)
            try:
                sources = _reduce(
                    ticks, whole, fills.asked_ns, limits, work, progress, keep=cache_dir is not None
                )
                break
            except (OSError, pa.ArrowException) as exc:
                if last_try:
                    raise UserError(
                        f"{home}: {exc}; expected a cache that gives back what was written"
                    ) from exc
                ticks.forget()
        if quarantine_dir is not None:
            ticks.keep(quarantine_dir)
        if sources.keys() - {"kept"}:
            with contextlib.suppress(OSError):
                sweep(home)
    intervals = interval_frame(whole, fills.by_pair)
    summary = _summary(intervals, grid, ticks, fills.feed, feeds_dir)
    summary["from"], summary["to"] = _bounds(grid, start, end)
    return Dataset(intervals, summary, sources)


def _onlooker(
    path: Path, *, asked: Mapping[Pair, np.ndarray], step_ns: int, limits: tuple[int, int]
) -> Passing:
    """What works out the slices of a feed file; of the questions it gets those of the days that the file can hold."""
    span = file_span(path)
    lower, upper = _limits(*span) if span else _limits(None, None)
    some = {pair: one[slice(*np.searchsorted(one, (lower, upper)))] for pair, one in asked.items()}
    return Passing(some, step_ns, limits, (lower, upper))


def _reduce(
    ticks: Ticks,
    whole: Whole,
    asked: Mapping[Pair, np.ndarray],
    limits: tuple[int, int],
    work: Farm,
    progress: Progress | None,
    *,
    keep: bool,
) -> dict[Source, int]:
    """Put what the slices of the ticks come to into ``whole``; how many came whence."""
    questions = [asked.get(pair, np.empty(0, np.int64)) for pair in whole.pairs]
    slices = plan(ticks.files, whole.pairs, whole.grid, *limits, questions)
    missing = [task for task in slices if not ticks.has_passed(task)]
    rest = collect(work, partial(reduced, keep=keep), missing, "slices of the ticks", progress)
    sources: Counter[Source] = Counter()
    for task in slices:
        source: Source = "conversion"
        if ticks.has_passed(task):
            found = ticks.hand_over(task)
            if keep:
                save(task, found)
        else:
            found, source = next(rest)
        whole.add(found)
        sources[source] += 1
    return dict(sources)


def _limits(start: datetime | None, end: datetime | None) -> tuple[int, int]:
    """Half-open range in ns; an open end is beyond every time."""
    bounds = np.iinfo(np.int64)
    return bounds.min + 1 if start is None else _ns(start), bounds.max if end is None else _ns(end)


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
    ticks: Ticks, fills: pd.DataFrame, start: datetime | None, end: datetime | None, step_ns: int
) -> Grid:
    """Intervals that cover the range; an open end of it is where the feeds begin or end."""
    lower, upper = _limits(start, end)
    spans = [(first, last) for _, first, last in ticks.files if first < upper and last >= lower]
    if len(fills):
        spans.append((int(ns(fills["ts"]).min()), int(ns(fills["ts"]).max())))
    if not spans and (start is None or end is None):
        return Grid(0, step_ns, 0)
    first = lower if start is not None else min(span[0] for span in spans)
    last = upper - 1 if end is not None else max(span[1] for span in spans)
    return Grid.over(first, last, step_ns) if last >= first else Grid(0, step_ns, 0)


def _summary(
    intervals: pd.DataFrame, grid: Grid, ticks: Ticks, fills: Feed, feeds_dir: Path
) -> dict[str, Any]:
    sources = fills.sources.union(*(entry.facts.sources for entry in ticks.entries))
    sidecar, said = read_sidecar(feeds_dir), stated(feeds_dir, sources) if ticks.entries else None
    present = _present(intervals)
    kept = int((present["reason"] == "").sum())
    return {
        "from": None,
        "to": None,
        "interval_min": grid.step_ns / SECOND_NS / 60,
        "symbols": sorted(present["symbol"].unique()),
        "arms": sorted(present["arm"].unique()),
        "grade": str(said["grade"]) if said else None,
        "source": said["source"] if said else "a desk's own feeds",
        "session_complete": sidecar["complete"] if sidecar else None,
        "valid_hours": valid_hours(intervals, grid.step_ns),
        "nonfinite_values": nonfinite_values(intervals) if kept else None,
        "filtered_pct": 100.0 * (len(present) - kept) / len(present) if len(present) else None,
        "intervals": len(intervals),
        "intervals_kept": kept,
        "intervals_filtered": len(present) - kept,
        "intervals_without_ticks": len(intervals) - len(present),
        "ticks": int(intervals["n_ticks"].sum()) if len(present) else 0,
        "fills": len(fills.frame),
        "quarantined_lines": ticks.quarantined + fills.quarantined,
        "duplicate_lines": ticks.duplicates + fills.duplicates,
        "ticks_out_of_order": sum(entry.facts.out_of_order for entry in ticks.entries),
        "unfinished_files": [
            *(entry.source.name for entry in ticks.entries if entry.facts.unfinished),
            *(path.name for path in fills.unfinished),
        ],
        "feed_files": [path.name for path in (*(e.source for e in ticks.entries), *fills.files)],
    }


def valid_hours(intervals: pd.DataFrame, step_ns: int) -> float:
    """Hours of valid intervals of the symbol that has fewest.

    An interval of a symbol is valid when at least one arm had ticks in it and every arm that had was kept; arms that
    take turns thus lose nothing, and one broken arm spoils the interval.
    """
    present = _present(intervals)
    if len(present) == 0:
        return 0.0
    good = (present["reason"] == "").groupby([present["symbol"], present["ts"]]).all()
    return float(good.groupby(level="symbol").sum().min()) * step_ns / SECOND_NS / 3600.0


def _present(intervals: pd.DataFrame) -> pd.DataFrame:
    """Names and reasons of the intervals with ticks."""
    return intervals[["ts", "symbol", "arm", "reason"]][intervals["reason"] != NO_TICKS]


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
