"""One feed file to Parquet: rows in order and without duplicates, bad lines beside, in the memory of a few blocks."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from mmlib.core.feedline import watch
from mmlib.core.fieldvalue import Columns
from mmlib.feeds.careful import BadLine
from mmlib.feeds.columns import pairs_of
from mmlib.feeds.decode import Decoded, Origin, decode, decode_all
from mmlib.feeds.order import FEW, RARE, ROW_GROUP, FewRows, Ordering, open_writer
from mmlib.feeds.schema import Kind
from mmlib.feeds.stream import Block, FeedStream

_AHEAD = 2  # blocks that are decoded, or wait for it, while the caller looks at one
_REASONS = 200  # different ones that are counted by themselves


class Onlooker(Protocol):
    """Sees the rows of a feed while they are converted, so that they need not be read again for it."""

    def begin(self) -> None:
        """Rows will come from the first one on, in the order in which they are kept; what was seen before is void."""

    def see(self, batch: pa.RecordBatch) -> None:
        """More rows, as ``decode.arrow_schema``; their memory is used again afterwards."""


@dataclass
class Found:
    """What the conversion of a file found out; see ``cache.Facts``."""

    size: int = 0
    crc32: int = 0
    lines: int = 0
    rows: int = 0
    duplicates: int = 0
    unfinished: bool = False
    broken: str = ""
    out_of_order: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    groups: list[tuple[str, str, int, int, int]] = field(default_factory=list)
    origins: Counter[Origin] = field(default_factory=Counter)

    @property
    def blank(self) -> int:
        """Lines without text."""
        return self.lines - self.rows - sum(self.quarantined.values()) - self.unfinished

    def refuse(self, reason: str, n: int = 1) -> None:
        """Count lines in quarantine."""
        known = reason in self.quarantined or len(self.quarantined) < _REASONS
        self.quarantined[reason if known else "other"] += n


def convert(
    path: Path,
    kind: Kind,
    rows: Path,
    bad: Path,
    *,
    newest: bool,
    describe: Callable[[Found], dict[str, str]],
    onlooker: Onlooker | None = None,
) -> Found:
    """Read a feed file.

    Args:
        path: the feed file. kind: ticks or fills.
        rows: Parquet file to write. bad: JSON Lines of what could not be used, to write.
        newest: whether a torn last line is one that is still being written.
        describe: what the footer of ``rows`` says, from what was found.
        onlooker: sees the rows that are kept.

    Raises:
        OSError: the file cannot be read, or the others cannot be written.
    """
    found = Found()
    stream = FeedStream(path)
    groups = _Groups(kind)
    if onlooker is not None:
        onlooker.begin()
    with bad.open("wb") as kept, open_writer(rows, kind) as writer:
        for table in _parts(kind, stream, found, kept, source=path.name, newest=newest):
            found.out_of_order += groups.see(table)
            if onlooker is not None and found.out_of_order == 0:
                for batch in table.to_batches():
                    onlooker.see(batch)
            writer.write_table(table, row_group_size=len(table))
        if stream.broken and not found.unfinished:
            found.lines += 1
            if newest:
                found.unfinished = True
            else:
                _keep(kept, found, path.name, [BadLine(found.lines, stream.broken, "")])
        found.size, found.crc32, found.broken = stream.size, stream.crc32, stream.broken
        repeated = groups.repeated()
        again = found.out_of_order > 0 or repeated
        if not again:
            found.groups = groups.summary()
            writer.add_key_value_metadata(describe(found))
    if again:
        raw = rows.with_name("unordered.parquet")
        rows.replace(raw)
        few = kind == "fills" and not repeated and found.rows <= FEW
        ordering = FewRows(raw, kind) if few else Ordering([raw], kind, rows.parent)
        _put_in_order(ordering, path, rows, bad, found, describe, onlooker)
        raw.unlink(missing_ok=True)
    return found


def _parts(
    kind: Kind, stream: FeedStream, found: Found, kept: IO[bytes], *, source: str, newest: bool
) -> Iterator[pa.Table]:
    """Rows of the file, those of a block at a time, in the order of their lines; bad lines go to ``kept``.

    A table may be looked at until the next one is asked for.
    """
    for block, whole in _decoded(kind, stream):
        tables = []
        for part in decode_all(kind, block) if whole is None else (whole,):
            if newest and part.torn and part.bad and part.bad[-1].line == part.lines:
                part.bad.pop()
                found.unfinished = True
            _keep(kept, found, source, part.bad, before=found.lines)
            if len(part.table):
                tables.append(_numbered(part.table, found.lines))
            found.lines += part.lines
            found.rows += len(part.table)
            found.origins += part.origins
        if len(tables) == 1:
            yield tables[0]
        elif tables:
            yield pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def _numbered(table: pa.Table, before: int) -> pa.Table:
    """The rows with numbers of lines that count from the top of the file."""
    place = table.schema.get_field_index("line")
    return table.set_column(place, table.schema.field(place), pc.add(table.column("line"), before))


def _decoded(kind: Kind, stream: FeedStream) -> Iterator[tuple[Block, Decoded | None]]:
    """Blocks and what ``decode`` gives of them, in order; a thread reads and another decodes while the caller looks at one.

    More threads would gain nothing: what the caller does with the rows takes as long as to decode them.
    """
    ahead: deque[tuple[Block, Future[Decoded | None]]] = deque()
    free: list[Columns | None] = []
    blocks: Iterator[Block | None] = iter(stream)
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "decode") as decoder:
        coming = reader.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = reader.submit(next, blocks, None)
            ahead.append((block, decoder.submit(decode, kind, block, free.pop() if free else None)))
            if len(ahead) > _AHEAD:
                first, result = ahead.popleft()
                part = result.result()
                yield first, part
                stream.take_back(first)
                free.append(part.room if part is not None else None)
        while ahead:
            first, result = ahead.popleft()
            yield first, result.result()


class _Groups:
    """Rows, first and last time of each symbol and arm, as the rows come."""

    def __init__(self, kind: Kind) -> None:
        self._number: dict[tuple[str, str], int] = {}
        self._n, self._first, self._last = (np.zeros(64, np.int64) for _ in range(3))
        self._fills = kind == "fills"
        self._ids: list[pa.Table] = []

    def see(self, table: pa.Table | pa.RecordBatch) -> int:
        """Take more rows; how many of them were not later than the one before them of their symbol and arm."""
        found = 0
        if self._fills:
            self._ids.append(pa.table({name: table.column(name) for name in RARE}))
        for batch in table.to_batches() if isinstance(table, pa.Table) else [table]:
            group = self._group(batch)
            ts_ns = batch.column("ts").cast(pa.int64()).to_numpy()
            found += int(watch(ts_ns, group, self._n, self._first, self._last))
        return found

    def _group(self, batch: pa.RecordBatch) -> np.ndarray:
        pairs, of_row = pairs_of(batch)
        numbers = np.array([self._number.setdefault(pair, len(self._number)) for pair in pairs], np.int64)
        while len(self._number) > len(self._n):
            self._n, self._first, self._last = (
                np.concatenate([old, np.zeros_like(old)]) for old in (self._n, self._first, self._last)
            )
        return np.asarray(numbers[of_row])

    def repeated(self) -> bool:
        """Whether a fill may have occurred twice; ticks that did were out of order as well."""
        if not self._ids:
            return False
        ids = pa.concat_tables(self._ids).unify_dictionaries()
        return len(ids.group_by(list(RARE)).aggregate([])) < len(ids)

    def summary(self) -> list[tuple[str, str, int, int, int]]:
        """symbol, arm, rows, first and last time, sorted."""
        return sorted(
            (*pair, int(self._n[k]), int(self._first[k]), int(self._last[k]))
            for pair, k in self._number.items()
        )


def _put_in_order(
    ordering: Ordering | FewRows,
    path: Path,
    rows: Path,
    bad: Path,
    found: Found,
    describe: Callable[[Found], dict[str, str]],
    onlooker: Onlooker | None,
) -> None:
    """Write ``rows`` sorted and without duplicates; these join the bad lines."""
    kind = ordering.kind
    groups = _Groups(kind)
    if onlooker is not None:
        onlooker.begin()
    try:
        repeated = ordering.repeated[:, 1]
        found.duplicates = len(repeated)
        found.rows -= len(repeated)
        if len(repeated):
            for reason, n in Counter(ordering.reasons).items():
                found.refuse(reason, n)
            _merge(bad, path, repeated, ordering.reasons)
        with open_writer(rows, kind) as writer:
            for batch in ordering.batches():
                groups.see(batch)
                if onlooker is not None:
                    onlooker.see(batch)
                writer.write_batch(batch, row_group_size=ROW_GROUP)
            found.groups = groups.summary()
            writer.add_key_value_metadata(describe(found))
    finally:
        ordering.close()


def _merge(bad: Path, path: Path, lines: np.ndarray, reasons: Sequence[str]) -> None:
    """Add the lines of these numbers (rising), each with its reason, to the bad ones, in the order of all numbers."""
    held = bad.with_name("merged.jsonl")
    with bad.open("rb") as before, held.open("wb") as after:
        after.writelines(with_repeated(before, path, lines, reasons))
    held.replace(bad)


def with_repeated(
    bad: Iterable[bytes], path: Path, lines: np.ndarray, reasons: Iterable[str]
) -> Iterator[bytes]:
    """Records of a file's quarantine, and those of the lines of these numbers (rising), in the order of the numbers."""
    more = (
        quarantine_record(path.name, BadLine(number, reason, text))
        for (number, text), reason in zip(lines_at(path, lines), reasons, strict=False)
    )
    return heapq.merge(bad, more, key=lambda record: int(orjson.loads(record)["line"]))


def lines_at(path: Path, numbers: np.ndarray) -> Iterator[tuple[int, str]]:
    """Number and text of the lines with these numbers (rising, 1-based)."""
    first, at = 1, 0
    for block in FeedStream(path):
        if at == len(numbers):
            return
        ends = np.flatnonzero(block.buf[: block.n] == 10)
        while at < len(numbers) and numbers[at] < first + len(ends):
            k = int(numbers[at]) - first
            raw = block.buf[int(ends[k - 1]) + 1 if k else 0 : int(ends[k])].tobytes()
            yield int(numbers[at]), raw.decode("utf-8", "replace").rstrip("\r")
            at += 1
        first += len(ends)


def _keep(kept: IO[bytes], found: Found, source: str, bad: Sequence[BadLine], before: int = 0) -> None:
    """Count bad lines and write them to the quarantine; their numbers count from behind line ``before`` of the file."""
    for reason, n in Counter(one.reason for one in bad).items():
        found.refuse(reason, n)
    kept.writelines(quarantine_record(source, one, before) for one in bad)


def quarantine_record(source: str, one: BadLine, before: int = 0) -> bytes:
    """One line of a quarantine file: file, line (its number counts from behind line ``before``), reason, text."""
    record = {"file": source, "line": before + one.line, "reason": one.reason, "text": one.text}
    return orjson.dumps(record, None, orjson.OPT_APPEND_NEWLINE)
