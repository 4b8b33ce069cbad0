"""Which times a feed file holds, by its content: a name may follow a local calendar, and decides nothing."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
import zstandard
from isal import igzip, isal_zlib

from mmlib.feeds.timestamps import DAY_NS, MAX_NS, to_ns

_NAME = re.compile(r"_(\d{8})\.jsonl(\.gz|\.zst)?$")
_PEEK = 1 << 16  # bytes
_LONGEST = 1 << 24  # bytes of a line
_HOUR_NS = 3_600_000_000_000
_BROKEN: tuple[Any, ...] = (OSError, EOFError, zlib.error, isal_zlib.error, zstandard.ZstdError)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SLACK = timedelta(days=1)


def name_day(path: Path) -> date | None:
    """The day in a feed file's name; None where there is none that exists."""
    match = _NAME.search(path.name)
    try:
        return datetime.strptime(match[1], "%Y%m%d").date() if match else None
    except ValueError:
        return None


def held_ns(path: Path) -> tuple[int, int] | None:
    """Times of the first and the last readable line [ns]; None where there is none.

    A compressed file whose first line lies in the first hour of the day of its name is taken to end with that day; any
    other is unpacked to its end.
    """
    try:
        stat = path.stat()
        return _held(path, stat.st_size, stat.st_mtime_ns) if path.is_file() else None
    except OSError:
        return None


def held_days(path: Path) -> list[date]:
    """The UTC days of what a file holds; of one in which no line can be read, the day of its name."""
    held = held_ns(path)
    if held is None:
        named = name_day(path)
        return [] if named is None else [named]
    first, last = (at // DAY_NS for at in held)
    return [_moment(day * DAY_NS).date() for day in range(first, last + 1)]


def file_span(path: Path) -> tuple[datetime, datetime] | None:
    """Half-open range of the times that a file can hold, a day of slack around its name's day and its content.

    None where it has neither.
    """
    named, held = name_day(path), held_ns(path)
    edges: list[datetime] = []
    if named is not None:
        start = datetime(named.year, named.month, named.day, tzinfo=UTC)
        edges += [start - _SLACK, start + 2 * _SLACK]
    if held is not None:
        edges += [_moment(held[0]) - _SLACK, _moment(held[1]) + _SLACK]
    return (min(edges), max(edges)) if edges else None


@lru_cache(maxsize=8192)
def _held(path: Path, size: int, _mtime_ns: int) -> tuple[int, int] | None:
    first: int | None = None
    last: int | None = None
    for lines in _pieces(path):
        if first is None:
            first = next(_times(lines), None)
            if first is not None and path.suffix == ".jsonl":
                break
            if first is not None and (end := _whole_day(path, first)):
                return first, end
        last = next(_times(reversed(lines)), last)
    if first is None:
        return None
    if path.suffix == ".jsonl":
        last = _last_of_plain(path, size)
    return min(first, last or first), max(first, last or first)


def _pieces(path: Path) -> Iterator[list[bytes]]:
    """Lines of a file, some at a time; of a damaged compressed one as far as it goes."""
    tail = b""
    try:
        with path.open("rb") as raw:
            file: Any = raw
            if path.suffix == ".gz":
                file = igzip.IGzipFile(fileobj=raw)
            elif path.suffix == ".zst":
                file = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
            while piece := file.read(_PEEK):
                *lines, tail = (tail + piece).split(b"\n")
                tail = tail[:_LONGEST]  # what is longer is no tick or fill
                yield lines
    except _BROKEN:
        pass
    yield [tail]


def _last_of_plain(path: Path, size: int) -> int | None:
    """The time of the last readable line, looked for in ever longer ends of the file."""
    length = _PEEK
    with path.open("rb") as file:
        while True:
            file.seek(max(size - length, 0))
            found = next(_times(reversed(file.read().splitlines())), None)
            if found is not None or length >= size:
                return found
            length *= 16


def _whole_day(path: Path, first_ns: int) -> int | None:
    """The last nanosecond of the day of a file's name, where the file begins in the first hour of it."""
    named = name_day(path)
    day = first_ns // DAY_NS
    if named is None or _moment(first_ns).date() != named or first_ns - day * DAY_NS >= _HOUR_NS:
        return None
    return (day + 1) * DAY_NS - 1


def _times(lines: Iterable[bytes]) -> Iterator[int]:
    """Times of the lines that have one."""
    for line in lines:
        try:
            yield to_ns(orjson.loads(line)["ts"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, RecursionError):
            continue


def _moment(ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=min(ns, MAX_NS) // 1000)
