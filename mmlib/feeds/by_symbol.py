"""Some columns of ticks, sorted by symbol and arm: what reports on a whole day need of its millions of rows, and no more.

The rows of a file rise in time within each symbol and arm, so that one stable sort by symbol and arm puts those of several
files in order, as long as no file holds times of another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from mmlib import intact
from mmlib.feeds.cache import Entry, row_groups, verified
from mmlib.feeds.reader import keep_quarantine, open_feeds, quarantine_of, read_feeds

KEYS = ("ts", "symbol", "arm")


@dataclass(frozen=True)
class GroupedTicks:
    """Ticks by symbol and arm.

    Attributes:
        frame: ts, symbol, arm and the columns asked for, typed as by ``read_feeds`` but symbol and arm, which are categories;
            sorted by symbol, arm, ts, and lines that agree in all three stay in the order in which they were written.
        quarantined: lines of the files that could not be used.
        spans_ns: file that was read -> first and last time in it, None without a row.
    """

    frame: pd.DataFrame
    quarantined: int
    spans_ns: dict[Path, tuple[int, int] | None]


def ticks_by_symbol(
    directory: Path,
    columns: Sequence[str],
    start: datetime,
    end: datetime,
    *,
    quarantine_dir: Path | None = None,
    cache_dir: Path | None = None,
) -> GroupedTicks:
    """Read some columns of the ticks of ``[start, end)``, both aware.

    The same rows as ``read_feeds`` gives, which also reads them where files overlap in time and may repeat each other, or where
    a file of the cache is damaged.

    Raises:
        UserError: as ``read_feeds``.
    """
    with open_feeds(directory, "ticks", start=start, end=end, cache_dir=cache_dir) as entries:
        spans_ns = {entry.source: entry.facts.span_ns for entry in entries}
        frame = _read(entries, columns, pd.Timestamp(start).value, pd.Timestamp(end).value)
        if frame is not None and quarantine_dir is not None:
            for entry in entries:
                with quarantine_of(entry, "ticks") as records:
                    keep_quarantine(quarantine_dir, entry.source, records)
        quarantined = sum(sum(entry.facts.quarantined.values()) for entry in entries)
    if frame is None:
        feed = read_feeds(
            directory, "ticks", start=start, end=end, quarantine_dir=quarantine_dir, cache_dir=cache_dir
        )
        frame = feed.frame[[*KEYS, *columns]].sort_values(["symbol", "arm"], kind="stable", ignore_index=True)
        frame, quarantined = frame.astype({"symbol": "category", "arm": "category"}), feed.quarantined
    return GroupedTicks(frame, quarantined, spans_ns)


def _read(
    entries: Sequence[Entry], columns: Sequence[str], lower_ns: int, upper_ns: int
) -> pd.DataFrame | None:
    """The frame from Parquet, None where that takes more than a sort by symbol and arm."""
    touched = [
        entry
        for entry in entries
        if (span := entry.facts.span_ns) is not None and span[0] < upper_ns and span[1] >= lower_ns
    ]
    if not touched or not _apart(touched):
        return None
    tables = []
    for entry in touched:
        try:
            tables.append(_table(entry, columns, lower_ns, upper_ns))
        except (OSError, pa.ArrowException):
            intact.drop([entry.parquet])  # it is made again
            return None
    return _frame(pa.concat_tables(tables).unify_dictionaries(), columns, lower_ns, upper_ns)


def _apart(entries: Sequence[Entry]) -> bool:
    """Whether the times of each symbol and arm rise from file to file."""
    latest: dict[tuple[str, str], int] = {}
    for entry in entries:
        for symbol, arm, _, first_ns, last_ns in entry.facts.groups:
            if first_ns <= latest.get((symbol, arm), first_ns - 1):
                return False
            latest[symbol, arm] = last_ns
    return True


def _table(entry: Entry, columns: Sequence[str], lower_ns: int, upper_ns: int) -> pa.Table:
    """The row groups of a file that may hold ticks of a half-open range."""
    with verified(entry.parquet) as file:
        return file.read_row_groups(row_groups(file, lower_ns, upper_ns), columns=[*KEYS, *columns])


def _frame(table: pa.Table, columns: Sequence[str], lower_ns: int, upper_ns: int) -> pd.DataFrame:
    """The rows of a half-open range, sorted by symbol and arm."""
    ts_ns = table.column("ts").cast(pa.int64()).to_numpy()
    symbol, arm = (_category(table.column(name)) for name in ("symbol", "arm"))
    kept = np.flatnonzero((ts_ns >= lower_ns) & (ts_ns < upper_ns))
    code = symbol.codes[kept].astype(np.int64) * len(arm.categories) + arm.codes[kept]
    few = np.min_scalar_type(len(symbol.categories) * len(arm.categories))  # two bytes are sorted in one pass
    order = kept[np.argsort(code.astype(few), kind="stable")]
    keys = {
        "ts": pd.DatetimeIndex(ts_ns[order].view("M8[ns]")).tz_localize("UTC"),
        "symbol": symbol.take(order),
        "arm": arm.take(order),
    }
    return pd.DataFrame(keys | {name: table.column(name).to_numpy()[order] for name in columns}, copy=False)


def _category(column: pa.ChunkedArray) -> pd.Categorical:
    """A column of texts, whose chunks have one dictionary, with sorted categories."""
    texts = column.combine_chunks()
    names = texts.dictionary.to_pylist()
    ordered = sorted(names)
    number = np.array([ordered.index(name) for name in names], np.int64)
    return pd.Categorical.from_codes(number[texts.indices.to_numpy()], pd.Index(ordered, dtype="str"))
