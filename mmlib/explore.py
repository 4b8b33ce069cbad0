"""A soak for an analyst: its ticks, fills and intervals, opened when they are asked for.

import mmlib as mm

soak = mm.load_soak("artifacts/edge/feeds", start="2025-01-15", end="2025-01-16", symbols=["BTCUSDT"], arm="A")
soak.ticks(columns=["ts", "tick_total_ms"])     # a frame of two columns
soak.fills(start="2025-01-15T09:00:00Z")        # later than the soak's own start
soak.intervals(interval_min=15)                 # what the dataset step computes
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmlib._io import UserError
from mmlib.feeds.cache import Entry
from mmlib.feeds.columns import empty_frame, part_frame, roles
from mmlib.feeds.reader import Feed, feed_files, open_feeds, read_feeds
from mmlib.feeds.schema import FILE_STEM, KINDS, Kind
from mmlib.feeds.sidecar import stated
from mmlib.market.cachehome import cache_home
from mmlib.metrics.dataset import build_dataset
from mmlib.metrics.latency import minute_series

Time = str | datetime | pd.Timestamp | None
_KEYS = ("ts", "symbol", "arm")


def load_soak(
    path: str | Path,
    *,
    start: Time = None,
    end: Time = None,
    symbols: Collection[str] | str | None = None,
    arm: str | None = None,
) -> Soak:
    """Open the feeds of a soak; nothing is read before it is asked for.

    Args:
        path: directory of feeds, or a workspace, whose ``artifacts/edge/feeds`` is taken.
        start, end: look at ``[start, end)``; ISO 8601 or a time, without a zone it is UTC; None is all.
        symbols: one or several; None is all. arm: A or B; None is both.

    Raises:
        UserError: no feeds there, or a range that is none.
    """
    directory = Path(path).expanduser()
    if not _has_feeds(directory) and _has_feeds(directory / "artifacts" / "edge" / "feeds"):
        directory = directory / "artifacts" / "edge" / "feeds"
    if not _has_feeds(directory):
        names = " and ".join(f"{stem}_YYYYMMDD.jsonl" for stem in FILE_STEM.values())
        raise UserError(f"{directory}: no feeds; expected {names}, as finishline soak writes them")
    wanted = (symbols,) if isinstance(symbols, str) else None if symbols is None else tuple(symbols)
    first, last = _moment(start, "start"), _moment(end, "end")
    if first is not None and last is not None and first >= last:
        raise UserError(
            f"start {first.isoformat()}, end {last.isoformat()}: expected the end after the start"
        )
    return Soak(directory, Selection(first, last, wanted, None if arm is None else (arm,)))


@dataclass(frozen=True)
class Selection:
    """Which lines: ``start <= ts < end``, these symbols, these arms; None is all."""

    start: datetime | None = None
    end: datetime | None = None
    symbols: tuple[str, ...] | None = None
    arms: tuple[str, ...] | None = None

    def narrowed(
        self, start: Time, end: Time, symbols: Collection[str] | str | None, arm: str | None
    ) -> Selection:
        """What of it a call wants."""
        first, last = _moment(start, "start"), _moment(end, "end")
        chosen = (symbols,) if isinstance(symbols, str) else None if symbols is None else tuple(symbols)
        return Selection(
            max((t for t in (self.start, first) if t is not None), default=None),
            min((t for t in (self.end, last) if t is not None), default=None),
            self.symbols
            if chosen is None
            else tuple(s for s in chosen if self.symbols is None or s in self.symbols),
            self.arms if arm is None else tuple(a for a in (arm,) if self.arms is None or a in self.arms),
        )


@dataclass(frozen=True)
class Table:
    """One feed of a soak; call it for a frame.

    ``table()`` is everything, ``table(columns=["ts", "mid"])`` some columns, ``table(start=…, end=…, symbols=…, arm=…)``
    a part; ``table.columns`` names what there is.
    """

    directory: Path
    kind: Kind
    selection: Selection

    @property
    def columns(self) -> list[str]:
        """Names of the columns; the JSON Schema explains them (``finishline feeds schema``)."""
        return list(roles(self.kind))

    def __call__(
        self,
        columns: Sequence[str] | None = None,
        *,
        start: Time = None,
        end: Time = None,
        symbols: Collection[str] | str | None = None,
        arm: str | None = None,
    ) -> pd.DataFrame:
        """Rows sorted by ts, symbol, arm, with the columns in the order in which they are named.

        Raises:
            UserError: a column that the feed does not have, or feeds that cannot be read.
        """
        wanted = self.columns if columns is None else list(columns)
        for name in wanted:
            if name not in self.columns:
                raise UserError(
                    f"{self.kind}: no column {name!r}; expected some of {', '.join(self.columns)}"
                )
        chosen = self.selection.narrowed(start, end, symbols, arm)
        empty = chosen.start is not None and chosen.end is not None and chosen.start >= chosen.end
        if empty:
            chosen = replace(chosen, end=None, symbols=())
        return _read(self.directory, self.kind, chosen, wanted)

    def __getitem__(self, name: str) -> pd.Series:
        return self([name])[name]

    def __repr__(self) -> str:
        return f"{self.kind} of {self.directory}: call it for a frame; columns {', '.join(self.columns)}"


@dataclass(frozen=True)
class Soak:
    """Feeds that are read when asked.

    Attributes:
        directory: where they are.
        selection: what of them is looked at.
    """

    directory: Path
    selection: Selection

    @property
    def ticks(self) -> Table:
        """The ticks, a callable table."""
        return Table(self.directory, "ticks", self.selection)

    @property
    def fills(self) -> Table:
        """The fills, a callable table."""
        return Table(self.directory, "fills", self.selection)

    def intervals(
        self,
        interval_min: float = 5,
        *,
        start: Time = None,
        end: Time = None,
        symbols: Collection[str] | str | None = None,
        arm: str | None = None,
    ) -> pd.DataFrame:
        """Intervals aligned to UTC as the dataset step computes them, the filtered ones with their reason."""
        chosen = self.selection.narrowed(start, end, symbols, arm)
        build = partial(
            build_dataset, self.directory, start=chosen.start, end=chosen.end, interval_min=interval_min
        )
        try:
            frame = build(cache_dir=_home()).intervals
        except UserError:
            frame = build().intervals
        keep = pd.Series(True, index=frame.index)
        for name, wanted in (("symbol", chosen.symbols), ("arm", chosen.arms)):
            keep &= frame[name].isin(wanted) if wanted is not None else True
        return frame[keep].reset_index(drop=True)

    def minutes(self, interval_s: float = 60, **part: Any) -> pd.DataFrame:
        """The minute series that the gates are evaluated on; ``part`` is start, end, symbols, arm."""
        return minute_series(self.ticks(**part), self.fills(**part), interval_s)

    @cached_property
    def _groups(self) -> pd.DataFrame:
        """symbol, arm, ticks, first and last ts."""
        frame = self.ticks(columns=list(_KEYS))
        grouped = frame.groupby(["symbol", "arm"], observed=True)["ts"]
        return grouped.agg(ticks="size", first="min", last="max").reset_index()

    @property
    def symbols(self) -> list[str]:
        """Symbols that have ticks in the selection."""
        return sorted(set(self._groups["symbol"]))

    @property
    def arms(self) -> list[str]:
        """Arms that have ticks in the selection."""
        return sorted(set(self._groups["arm"]))

    @property
    def span(self) -> tuple[pd.Timestamp, pd.Timestamp] | None:
        """First and last tick of the selection; None without any."""
        return None if self._groups.empty else (self._groups["first"].min(), self._groups["last"].max())

    @property
    def about(self) -> pd.DataFrame:
        """One row a symbol and arm: ticks, first and last ts."""
        return self._groups.copy()

    @property
    def grade(self) -> str:
        """Evidence grade of the feeds, as their session stated it."""
        return str((stated(self.directory) or {}).get("grade", "unknown"))

    def __repr__(self) -> str:
        chosen = self.selection
        files = sum(len(feed_files(self.directory, kind, chosen.start, chosen.end)) for kind in KINDS)
        parts = [f"{files} feed files", f"grade {self.grade}"]
        parts += [f"from {chosen.start:%Y-%m-%dT%H:%M:%SZ}"] if chosen.start else []
        parts += [f"to {chosen.end:%Y-%m-%dT%H:%M:%SZ}"] if chosen.end else []
        parts += [", ".join(chosen.symbols)] if chosen.symbols else []
        parts += [f"arm {', '.join(chosen.arms)}"] if chosen.arms else []
        return f"Soak({self.directory}: {'; '.join(parts)}; nothing is read before it is asked for)"


def _home() -> Path:
    """Where the feeds are kept as Parquet."""
    return cache_home().with_name("feeds")


def _read(directory: Path, kind: Kind, chosen: Selection, columns: list[str]) -> pd.DataFrame:
    """The chosen rows and columns, from the Parquet cache where it can be written."""
    home = _home()
    try:
        return _from_cache(directory, kind, chosen, columns, home)
    except _Whole:
        feed = _feeds(directory, kind, chosen, home)
    except UserError:
        feed = _feeds(directory, kind, chosen, None)
    return feed.frame[columns]


def _feeds(directory: Path, kind: Kind, chosen: Selection, home: Path | None) -> Feed:
    return read_feeds(
        directory,
        kind,
        start=chosen.start,
        end=chosen.end,
        symbols=chosen.symbols,
        arms=chosen.arms,
        cache_dir=home,
    )


class _Whole(Exception):
    """Lines of several files may repeat each other, which only whole lines can tell."""


def _from_cache(
    directory: Path, kind: Kind, chosen: Selection, columns: list[str], home: Path
) -> pd.DataFrame:
    """Only the columns that are wanted, of the row groups that hold the range."""
    with open_feeds(directory, kind, start=chosen.start, end=chosen.end, cache_dir=home) as entries:
        if kind == "fills" or _overlap(entries):
            raise _Whole
        wanted = list(dict.fromkeys([*_KEYS, *columns]))
        tables = [part for entry in entries if len(part := _part(entry, chosen, wanted))]
    if not tables:
        return empty_frame(kind)[columns]
    table = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    keys = [_ranks(table.column(name)) for name in ("arm", "symbol")]
    order = np.lexsort((*keys, table.column("ts").cast(pa.int64()).to_numpy()))
    return part_frame(kind, table.select(columns).take(order))


def _part(entry: Entry, chosen: Selection, columns: list[str]) -> pa.Table:
    """The rows of one file that are wanted."""
    keep = None
    for edge, compare in ((chosen.start, pc.greater_equal), (chosen.end, pc.less)):
        if edge is not None:
            one = compare(
                pc.field("ts"), pa.scalar(pd.Timestamp(edge).as_unit("ns").value, pa.timestamp("ns"))
            )
            keep = one if keep is None else keep & one
    table = pq.read_table(entry.parquet, columns=columns, filters=keep)
    for name, wanted in (("symbol", chosen.symbols), ("arm", chosen.arms)):
        if wanted is not None:
            text = table.column(name).cast(pa.string())
            table = table.filter(pc.is_in(text, value_set=pa.array(list(wanted), pa.string())))
    return table


def _overlap(entries: Sequence[Entry]) -> bool:
    """Whether two files hold lines of the same symbol, arm and time, so that a line may stand in both."""
    spans: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for entry in entries:
        for symbol, arm, _, first, last in entry.facts.groups:
            spans.setdefault((symbol, arm), []).append((first, last))
    return any(a[1] >= b[0] for held in spans.values() for a, b in pairwise(sorted(held)))


def _ranks(column: pa.ChunkedArray) -> np.ndarray:
    """Place of each text in the order of the alphabet, ``int64[n]``."""
    chunk = pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)
    rank = np.argsort(np.argsort(chunk.dictionary.to_numpy(zero_copy_only=False).astype(str)))
    return np.asarray(rank[chunk.indices.to_numpy()])


def _has_feeds(directory: Path) -> bool:
    return directory.is_dir() and any(feed_files(directory, kind) for kind in KINDS)


def _moment(given: Time, name: str) -> datetime | None:
    """A time in UTC."""
    if given is None or given == "":
        return None
    parse: Callable[[Any], pd.Timestamp] = pd.Timestamp
    try:
        moment = parse(given)
    except (ValueError, TypeError) as exc:
        raise UserError(f"{name} {given!r}: is no time; expected ISO 8601 like 2025-01-15T00:00:00Z") from exc
    if moment is pd.NaT:
        raise UserError(f"{name} {given!r}: is no time; expected ISO 8601 like 2025-01-15T00:00:00Z")
    moment = moment.tz_localize(UTC) if moment.tzinfo is None else moment.tz_convert(UTC)
    return moment.to_pydatetime(warn=False)
