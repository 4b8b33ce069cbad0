"""Rows of files in other formats: CSV or JSON Lines, plain or packed; a line that is no row comes with the reason."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import zstandard
from isal import igzip

from mmlib._expansion import check_expansion
from mmlib._io import UserError
from mmlib.feeds.mapping import FeedRule, FormatMapping
from mmlib.feeds.progress import ToldFile

_BOM = b"\xef\xbb\xbf"
_AT_ONCE = 1 << 18  # bytes
_BITE = 1 << 12  # bytes of a zstd file unpacked in one go
Row = tuple[int, bytes, dict[str, Any] | str]
"""Number of the line, its bytes, and what it holds or why it holds nothing."""


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked when its name ends in .gz or .zst."""
    with io.BufferedReader(ToldFile(path), _AT_ONCE) as packed:
        if path.suffix == ".gz":
            with (
                igzip.open(packed, "rb") as inflated,
                io.BufferedReader(_Bounded(inflated, packed), 1 << 20) as lines,
            ):
                yield lines
        elif path.suffix == ".zst":
            with (
                io.BufferedReader(_Zst(packed), 1 << 20) as inflated,
                io.BufferedReader(_Bounded(inflated, packed), 1 << 20) as lines,
            ):
                yield lines
        else:
            yield packed


class _Bounded(io.RawIOBase):
    """Unpacked bytes, as long as they do not unfold too far."""

    def __init__(self, inflated: Any, packed: BinaryIO) -> None:
        self._inflated, self._packed, self._given = inflated, packed, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n = int(self._inflated.readinto(buffer) or 0)
        self._given += n
        check_expansion(self._packed.tell(), self._given)
        return n


class _Zst(io.RawIOBase):
    """The bytes of a zstd file; one that ends within a frame is an error, not an end."""

    def __init__(self, packed: BinaryIO) -> None:
        self._parts = _unpacked(packed)
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            part = next(self._parts, None)
            if part is None:
                return 0
            self._ready = memoryview(part)
        n = min(len(buffer), len(self._ready))
        buffer[:n] = self._ready[:n]
        self._ready = self._ready[n:]
        return n


def _unpacked(handle: BinaryIO) -> Iterator[bytes]:
    frame = None
    while packed := handle.read(_AT_ONCE):
        while packed:
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            bite, packed = packed[:_BITE], packed[_BITE:]
            yield frame.decompress(bite)
            packed = frame.unused_data + packed if frame.eof else packed
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError("the file ends within a zstd frame")


def rows(path: Path, handle: BinaryIO, rule: FeedRule, mapping: FormatMapping) -> Iterator[Row]:
    """Every line that is not blank; one that is no row comes with the reason."""
    lines = _lines(path, handle)
    if mapping.format == "jsonl":
        for number, raw in lines:
            yield number, raw, _json_row(raw)
        return
    header = next(lines, None)
    names = [] if header is None else _cells(header[1], mapping.delimiter)
    if isinstance(names, str):
        raise UserError(f"{path}:1: {names}; expected a line of column names")
    for name, wanted in rule.fields.items():
        for column in wanted.columns:
            if column not in names and wanted.default is None:
                held = ", ".join(names) or "nothing"
                raise UserError(
                    f"{path}:1: no column {column!r}, which {rule.kind}.{name} is read from; expected it among {held}"
                )
    for number, raw in lines:
        cells = _cells(raw, mapping.delimiter)
        if isinstance(cells, list) and len(cells) != len(names):
            cells = f"{len(cells)} cells; expected {len(names)}, as in the first line"
        yield number, raw, cells if isinstance(cells, str) else dict(zip(names, cells, strict=True))


def _lines(path: Path, handle: BinaryIO) -> Iterator[tuple[int, bytes]]:
    try:
        for number, raw in enumerate(handle, 1):
            line = raw.removeprefix(_BOM) if number == 1 else raw
            if line.strip():
                yield number, line
    except (EOFError, OSError, igzip.BadGzipFile, zstandard.ZstdError) as exc:
        raise UserError(f"{path}: cannot be read to its end ({exc}); expected a whole file") from exc


def _json_row(raw: bytes) -> dict[str, Any] | str:
    try:
        row = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        return f"not JSON: {exc.msg}"
    return row if isinstance(row, dict) else f"not an object but {type(row).__name__}"


def _cells(raw: bytes, delimiter: str) -> list[str] | str:
    try:
        text = raw.decode("utf-8").rstrip("\r\n")
        return [cell.strip() for cell in next(csv.reader([text], delimiter=delimiter, strict=True), [])]
    except UnicodeDecodeError as exc:
        return f"byte {exc.start} is not UTF-8"
    except csv.Error as exc:
        return f"not CSV: {exc}"
