"""Feed files as Parquet: read once, then never parsed again.

One Parquet file (LZ4) a feed file, which is one of a UTC day: it is written as the lines come, whatever the number of symbols,
and row groups carry the range of their times, so that a reader takes only what it needs. What was found out about the feed
(``Facts``) stands in the same file, so that an entry is whole or absent.

An entry holds for a feed file of the same size and mtime; where only the mtime differs, or the file was being written while it
was read, the CRC-32 of its bytes decides. Anything else replaces the entry, and so does an entry that cannot be read.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmlib import intact
from mmlib._io import UserError
from mmlib.feeds.convert import Found, Onlooker, convert
from mmlib.feeds.schema import Kind, schema_text
from mmlib.feeds.stream import FeedStream

VERSION = 4
DECIDING = (
    *(f"core/{name}.py" for name in ("_jit", "clock", "decimals", "feedline", "fieldvalue", "jsonline")),
    *(f"core/{name}.py" for name in ("kernel", "likelines", "number", "separators", "textcodes", "words")),
    *(f"feeds/{name}.py" for name in ("careful", "columns", "convert", "decode", "order")),
    *(f"feeds/{name}.py" for name in ("schema", "stream", "timestamps")),
)
"""Sources that decide, with the schemas, what an entry holds."""
_FACTS = b"finishline"
_WORKED_OUT = ".npz"
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)  # a write that fails names no file
_HOT_NS = (
    2_000_000_000  # a file changed this shortly before it was read may change again within the same mtime
)


@dataclass(frozen=True)
class Facts:
    """What reading a feed file found out; times are nanoseconds since 1970.

    Attributes:
        source: name of the feed file. size, mtime_ns, crc32: of its bytes. hot: it was being written when it was read.
        lines, blank, rows: lines in it, lines without text, and rows in the Parquet file.
        quarantined: reason -> lines. duplicates: how many of them repeat an earlier line.
        unfinished: the file ends in a line that was still being written; it is not in quarantine.
        broken: why a compressed file could not be read to its end, or "".
        out_of_order: rows that were not later than the one before them of the same symbol and arm; the Parquet file is sorted.
        groups: symbol, arm, rows, first and last time of each symbol and arm.
        origins: schema version, stated source ("" for none), and how many lines state them, duplicates among them.
    """

    source: str
    size: int
    mtime_ns: int
    crc32: int
    hot: bool
    lines: int
    blank: int
    rows: int
    quarantined: dict[str, int]
    duplicates: int
    unfinished: bool
    broken: str
    out_of_order: int
    groups: list[tuple[str, str, int, int, int]]
    origins: list[tuple[int, str, int]]

    @property
    def sources(self) -> set[str]:
        """What lines state as their source, "" for those that state none."""
        return {source for _, source, _ in self.origins}

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """First and last time, None without rows."""
        if not self.groups:
            return None
        return min(group[3] for group in self.groups), max(group[4] for group in self.groups)


@dataclass(frozen=True)
class Entry:
    """A feed file in Parquet.

    Attributes:
        source: the feed file.
        parquet: rows as ``decode.arrow_schema``, rising in ts within each symbol and arm, without duplicates.
        quarantine: JSON Lines of file, line, reason, text; empty when every line could be read.
        facts: see ``Facts``.
    """

    source: Path
    parquet: Path
    quarantine: Path
    facts: Facts

    def table(
        self,
        columns: list[str] | None = None,
        between_ns: tuple[int | None, int | None] = (None, None),
    ) -> pa.Table:
        """All rows, or some columns of them, or those of a half-open range of ``ts``, whose ends may be open."""
        bounds = [
            ("ts", op, pa.scalar(at, pa.timestamp("ns")))
            for op, at in zip((">=", "<"), between_ns, strict=True)
            if at is not None
        ]
        return pq.read_table(self.parquet, columns=columns, filters=bounds or None)

    def bad_lines(self) -> list[dict[str, Any]]:
        """The quarantine: file, line, reason, text of each."""
        with self.quarantine.open("rb") as lines:
            return [json.loads(line) for line in lines]


def cached(
    path: Path,
    kind: Kind,
    home: Path,
    *,
    newest: bool = True,
    onlooker: Onlooker | None = None,
    whole: bool = True,
) -> Entry:
    """The Parquet file of a feed file, made when it is not there yet, no longer holds, or cannot be read.

    Args:
        path: a feed file, plain or compressed (.gz, .zst).
        kind: ticks or fills.
        home: directory of the cache; made when missing.
        newest: whether the file may still be written; a torn last line is then waited for, and otherwise a bad one.
        onlooker: sees the rows when they have to be made, and nothing when the cache holds them.
        whole: verify every byte of what the cache holds; False for who may read no rows, and uses ``verified`` when it does.

    Raises:
        UserError: the file cannot be read, or ``home`` cannot be written.
    """
    try:
        stat = path.stat()
        base = home / f"{path.name}.{_place(path, kind, newest)}"
        entry = _load(path, base, whole)
        if entry is not None and _holds(entry, path, stat):
            return entry
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    return _store(path, kind, base, newest, stat, onlooker)


def without_cache(path: Path, kind: Kind, *, newest: bool = True) -> contextlib.AbstractContextManager[Entry]:
    """The same in a temporary directory that goes when the context is left."""
    return _temporary(path, kind, newest)


@contextlib.contextmanager
def _temporary(path: Path, kind: Kind, newest: bool) -> Iterator[Entry]:
    with tempfile.TemporaryDirectory(prefix="finishline-") as home:
        yield cached(path, kind, Path(home), newest=newest)


@cache
def _code_version() -> str:
    """Hash of the sources and schemas that decide what an entry holds."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256((schema_text("ticks") + schema_text("fills")).encode())
    for name in DECIDING:
        digest.update((package / name).read_bytes())
    return digest.hexdigest()


def _place(path: Path, kind: Kind, newest: bool) -> str:
    """What tells the entries of feed files of the same name apart."""
    return hashlib.sha256(f"{path.resolve()}|{kind}|{newest}".encode()).hexdigest()[:12]


def _load(path: Path, base: Path, whole: bool) -> Entry | None:
    """The entry, None when it is absent, not whole, or of other code."""
    parquet, quarantine = _files(base)
    try:
        intact.check_file(parquet, footer_only=not whole)
        intact.check_file(quarantine)
        metadata = pq.read_metadata(parquet)
        held = json.loads(metadata.metadata[_FACTS])
        if held.pop("version") != VERSION or held.pop("code") != _code_version():
            return None
        held.pop("path")
        if held["rows"] != metadata.num_rows:
            return None
        for name in ("groups", "origins"):
            held[name] = [tuple(group) for group in held[name]]
        return Entry(path, parquet, quarantine, Facts(**held))
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def _holds(entry: Entry, path: Path, stat: os.stat_result) -> bool:
    """Whether the feed file is still the one that was read."""
    facts = entry.facts
    if facts.size != stat.st_size:
        return False
    if facts.mtime_ns == stat.st_mtime_ns and not facts.hot:
        return True
    return FeedStream(path).checksum() == facts.crc32


def _files(base: Path) -> tuple[Path, Path]:
    return base.with_name(base.name + ".parquet"), base.with_name(base.name + ".quarantine.jsonl")


def beside(parquet: Path, key: str) -> Path:
    """Where to keep what was worked out of a Parquet file of the cache; it goes when the file is replaced."""
    return parquet.with_suffix(f".{key}{_WORKED_OUT}")


def worked_out(parquet: Path) -> list[Path]:
    """What is kept beside a Parquet file of the cache."""
    return list(parquet.parent.glob(f"{glob.escape(parquet.stem)}.*{_WORKED_OUT}"))


def joined(parts: Sequence[Entry]) -> dict[str, str]:
    """What the footer of a Parquet file says that was made of several entries, so that it goes when one of them does."""
    return {_FACTS.decode(): json.dumps({"parts": [(one.parquet.name, one.facts.crc32) for one in parts]})}


def sweep(home: Path) -> int:
    """Remove what a cache holds of feed files that are gone, and say of how many; what cannot be read is left alone.

    Files that were made of several entries go when one of them is gone, or is of other bytes by now.
    """
    told = {parquet: _told(parquet) for parquet in home.glob("*.parquet")}
    current = {
        (path.name, said["crc32"])
        for path, said in told.items()
        if "path" in said and Path(said["path"]).exists()
    }
    gone = [
        path
        for path, said in told.items()
        if ("path" in said and (path.name, said["crc32"]) not in current)
        or ("parts" in said and not {(name, crc32) for name, crc32 in said["parts"]} <= current)
    ]
    for parquet in gone:
        base = parquet.with_suffix("")
        intact.drop((*_files(base), base.with_suffix(".npy"), *worked_out(parquet)))
    return len(gone)


@contextlib.contextmanager
def verified(parquet: Path) -> Iterator[pq.ParquetFile]:
    """A Parquet file of the cache, open and mapped, every byte of which is as it was written.

    Raises:
        OSError: it is gone or damaged (``intact.Damaged``).
    """
    intact.check_file(parquet)
    with pq.ParquetFile(parquet, memory_map=True) as file:
        yield file


def row_groups(file: pq.ParquetFile, lower_ns: int, upper_ns: int) -> list[int]:
    """Numbers of the row groups of an open entry that may hold rows of a half-open range of ``ts``."""
    place = file.schema_arrow.get_field_index("ts")
    found = []
    for number in range(file.metadata.num_row_groups):
        told = file.metadata.row_group(number).column(place).statistics
        known = told is not None and told.has_min_max
        if not (known and (told.min_raw >= upper_ns or told.max_raw < lower_ns)):
            found.append(number)
    return found


def _told(parquet: Path) -> dict[str, Any]:
    """What the footer of a file of the cache says of it; nothing where it cannot be read."""
    try:
        intact.check_file(parquet, footer_only=True)
        return dict(json.loads(pq.read_metadata(parquet).metadata[_FACTS]))
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return {}


def _store(
    path: Path, kind: Kind, base: Path, newest: bool, stat: os.stat_result, onlooker: Onlooker | None
) -> Entry:
    parquet, quarantine = _files(base)
    began = time.time_ns()
    made: list[Facts] = []
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=base.parent, prefix=f".{path.name}.") as scratch:
            rows, bad = Path(scratch) / "rows.parquet", Path(scratch) / "bad.jsonl"

            def describe(found: Found) -> dict[str, str]:
                made.append(_facts(path, found, stat, began))
                held = {"version": VERSION, "code": _code_version()}
                held["path"] = str(path.resolve())
                return {_FACTS.decode(): json.dumps(asdict(made[0]) | held)}

            convert(path, kind, rows, bad, newest=newest, describe=describe, onlooker=onlooker)
            for old in worked_out(parquet):
                old.unlink()
            for made_now, place in ((bad, quarantine), (rows, parquet)):
                intact.seal_file(made_now, at=place)
                made_now.replace(place)
    except OSError as exc:
        if exc.filename in (None, str(path)) and exc.errno not in _OF_WRITING:
            raise _unreadable(path, exc) from exc
        raise UserError(
            f"{base.parent}: cannot be written ({exc.strerror or exc}); expected a writable directory with free space"
        ) from exc
    return Entry(path, parquet, quarantine, made[0])


def _facts(path: Path, found: Found, stat: os.stat_result, began: int) -> Facts:
    """What the footer of the Parquet file says of the feed."""
    return Facts(
        source=path.name,
        size=found.size,
        mtime_ns=stat.st_mtime_ns,
        crc32=found.crc32,
        hot=began - stat.st_mtime_ns < _HOT_NS or found.size != stat.st_size,
        lines=found.lines,
        blank=found.blank,
        rows=found.rows,
        quarantined=dict(found.quarantined),
        duplicates=found.duplicates,
        unfinished=found.unfinished,
        broken=found.broken,
        out_of_order=found.out_of_order,
        groups=found.groups,
        origins=[(*origin, n) for origin, n in sorted(found.origins.items())],
    )


def _unreadable(path: Path, exc: OSError) -> UserError:
    return UserError(f"{path}: cannot be read ({exc.strerror or exc}); expected a readable feed file")
