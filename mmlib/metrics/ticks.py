"""The ticks of a directory as Parquet files whose times rise within each symbol and arm, over all files."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmlib import intact
from mmlib._io import UserError
from mmlib.feeds.cache import Entry, cached, joined
from mmlib.feeds.order import Ordering, write_ordered
from mmlib.feeds.reader import feed_files, keep_quarantine, newest_file, quarantine_of
from mmlib.feeds.schema import Kind
from mmlib.metrics.farm import Farm, Progress, collect
from mmlib.metrics.passing import Passing
from mmlib.metrics.slices import Partial, Slice, period_ns


@dataclass(frozen=True)
class Ticks:
    """Ticks to be read.

    Attributes:
        entries: a feed file each.
        files: Parquet file, first and last time of it, in the order in which times rise.
        repeated: feed file -> numbers of the lines that an earlier file holds as well.
        passed: Parquet file and time at which a slice of it begins -> the slice, for files that were converted just now.
    """

    entries: list[Entry]
    files: list[tuple[Path, int, int]]
    repeated: dict[Path, np.ndarray] = field(default_factory=dict)
    passed: dict[tuple[Path, int], Partial] = field(default_factory=dict)

    @property
    def pairs(self) -> set[tuple[str, str]]:
        """Symbols and arms."""
        return {(symbol, arm) for entry in self.entries for symbol, arm, *_ in entry.facts.groups}

    @property
    def duplicates(self) -> int:
        """Lines that repeat an earlier one."""
        between = sum(len(lines) for lines in self.repeated.values())
        return between + sum(entry.facts.duplicates for entry in self.entries)

    @property
    def quarantined(self) -> int:
        """Lines that are no ticks of the dataset, duplicates among them."""
        between = sum(len(lines) for lines in self.repeated.values())
        return between + sum(sum(entry.facts.quarantined.values()) for entry in self.entries)

    def has_passed(self, task: Slice) -> bool:
        """Whether a slice was worked out while its only file was converted."""
        found = self.passed.get(_passed_as(task)) if len(task.files) == 1 else None
        return found is not None and {*found.pairs} <= {*task.pairs}

    def hand_over(self, task: Slice) -> Partial:
        """Such a slice, which is not held any longer."""
        return self.passed.pop(_passed_as(task))

    def forget(self) -> None:
        """Take what was read from the cache, which turned out to be damaged."""
        for path in {*(entry.parquet for entry in self.entries), *(path for path, _, _ in self.files)}:
            intact.drop([path])

    def keep(self, directory: Path) -> None:
        """Write the quarantine of every file."""
        for entry in self.entries:
            with quarantine_of(entry, "ticks", self.repeated.get(entry.source)) as records:
                keep_quarantine(directory, entry.source, records)


def _passed_as(task: Slice) -> tuple[Path, int]:
    period = period_ns(task.grid.step_ns)
    return task.files[0], task.grid.start_ns // period * period


def open_ticks(
    directory: Path,
    start: datetime | None,
    end: datetime | None,
    home: Path,
    farm: Farm,
    progress: Progress | None,
    onlooker: Callable[[Path], Passing],
) -> Ticks:
    """The tick files that can hold ``[start, end)``, converted by the farm where the cache does not hold them.

    ``onlooker`` gives each of them what works its slices out while it is converted.

    Raises:
        UserError: as ``feeds.reader.read_feeds``.
    """
    found = convert_files(directory, "ticks", start, end, home, farm, progress, onlooker)
    entries = [entry for entry, _ in found]
    held = [entry for entry in entries if entry.facts.rows]
    files, repeated = [], {}
    for some in _overlapping(held):
        spans = [entry.facts.span_ns or (0, -1) for entry in some]
        first, last = min(span[0] for span in spans), max(span[1] for span in spans)
        if len(some) == 1:
            files.append((some[0].parquet, first, last))
            continue
        path, doubled = _together(some, home)
        files.append((path, first, last))
        for number, entry in enumerate(some):
            lines = np.sort(doubled[doubled[:, 0] == number, 1])
            if len(lines):
                repeated[entry.source] = lines
    passed = {(entry.parquet, start): one for entry, slices in found for start, one in slices.items()}
    return Ticks(entries, files, repeated, passed)


def convert_files(
    directory: Path,
    kind: Kind,
    start: datetime | None,
    end: datetime | None,
    home: Path,
    farm: Farm,
    progress: Progress | None,
    onlooker: Callable[[Path], Passing | None] = lambda path: None,
) -> list[tuple[Entry, dict[int, Partial]]]:
    """The files of a feed that can hold ``[start, end)``, converted by the farm, and the slices worked out on the way."""
    make = partial(_entry, kind=kind, home=home, newest=newest_file(directory, kind))
    tasks = [(path, onlooker(path)) for path in feed_files(directory, kind, start, end)]
    return list(collect(farm, make, tasks, f"files of {kind}", progress))


def _entry(
    task: tuple[Path, Passing | None], kind: Kind, home: Path, newest: Path | None
) -> tuple[Entry, dict[int, Partial]]:
    path, onlooker = task
    entry = cached(path, kind, home, newest=path == newest, onlooker=onlooker, whole=kind == "fills")
    return entry, onlooker.partials() if onlooker is not None else {}


def _overlapping(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Entries in runs: within one, a symbol and arm has times that do not rise from file to file."""
    runs: list[list[Entry]] = []
    last: dict[tuple[str, str], tuple[int, int]] = {}
    for entry in entries:
        joins = len(runs)
        for symbol, arm, _, first_ns, last_ns in entry.facts.groups:
            before, run = last.get((symbol, arm), (None, -1))
            if before is not None and first_ns <= before:
                joins = min(joins, run)
            last[symbol, arm] = max(last_ns, before or last_ns), len(runs)
        if joins < len(runs):
            runs[joins:] = [[one for run in runs[joins:] for one in run] + [entry]]
        else:
            runs.append([entry])
        last = {pair: (latest, min(run, len(runs) - 1)) for pair, (latest, run) in last.items()}
    return runs


def _together(entries: Sequence[Entry], home: Path) -> tuple[Path, np.ndarray]:
    """One file of several that overlap, and the number of the file and the line of each duplicate; kept in the cache."""
    key = hashlib.sha256(repr([(entry.parquet.name, entry.facts.crc32) for entry in entries]).encode())
    base = home / f"together-{key.hexdigest()[:16]}"
    rows, found = base.with_suffix(".parquet"), base.with_suffix(".npy")
    try:
        intact.check_file(rows)
        return rows, intact.read_arrays(found)["repeated"]
    except (OSError, ValueError, pa.ArrowException):
        pass
    try:
        with tempfile.TemporaryDirectory(dir=home, prefix=".together.") as scratch:
            for entry in entries:
                intact.check_file(entry.parquet)
            ordering = Ordering([entry.parquet for entry in entries], "ticks", Path(scratch))
            try:
                write_ordered(ordering, Path(scratch) / "rows.parquet", joined(entries))
            finally:
                ordering.close()
            intact.write_arrays(found, {"repeated": ordering.repeated}, sync=False)
            intact.seal_file(Path(scratch) / "rows.parquet", at=rows)
            (Path(scratch) / "rows.parquet").replace(rows)
    except OSError as exc:
        raise UserError(
            f"{home}: cannot be written ({exc.strerror or exc}); expected a writable directory"
        ) from exc
    return rows, ordering.repeated
