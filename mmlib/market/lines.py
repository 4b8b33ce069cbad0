"""Lines of a recording, plain or gzipped and possibly cut off, and the quarantine for those that cannot be used."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from mmlib._io import UserError, write_atomic

_BLOCK = 1 << 17
_LONGEST_LINE = 1 << 26
_TEXT_KEPT = 200  # characters of a bad line
_LINES_KEPT = 100_000  # bad lines of one file; the counter goes on


class Lines:
    """Iterate over the lines of a file as bytes without the line break; gzip is known by its first bytes.

    A gzip stream that is cut or damaged ends the iteration and sets `truncated`; the unfinished last line
    of such a file is in `torn` and is not handed out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.truncated = False
        self.torn = b""

    def __iter__(self) -> Iterator[bytes]:
        for block in self.blocks():
            lines = block.split(b"\n")
            lines.pop()
            yield from lines

    def blocks(self) -> Iterator[bytes]:
        """The file in pieces of whole lines, each with its line break; the last line is given one if it lacks it."""
        try:
            with self.path.open("rb") as raw:
                yield from self._whole(raw)
        except OSError as exc:
            raise UserError(f"{self.path}: cannot be read ({exc.strerror}); expected a recording") from exc

    def _whole(self, raw: BinaryIO) -> Iterator[bytes]:
        tail = b""
        for block in self._blocks(raw):
            end = block.rfind(b"\n") + 1
            if end:
                yield tail + block[:end]
                tail = b""
            tail += block[end:]
            if len(tail) > _LONGEST_LINE:
                raise UserError(
                    f"{self.path}: no line break in {_LONGEST_LINE} bytes; expected a text recording"
                )
        if self.truncated:
            self.torn = tail
        elif tail:
            yield tail + b"\n"

    def _blocks(self, raw: BinaryIO) -> Iterator[bytes]:
        first = raw.read(_BLOCK)
        if first[:2] != b"\x1f\x8b":
            while first:
                yield first
                first = raw.read(_BLOCK)
            return
        try:
            yield from self._inflate(raw, first)
        except zlib.error:
            self.truncated = True

    def _inflate(self, raw: BinaryIO, block: bytes) -> Iterator[bytes]:
        inflater = zlib.decompressobj(31)
        while block:
            before = inflater.copy()
            try:
                content = inflater.decompress(block)
            except zlib.error:
                yield from _salvage(before, block)
                raise
            yield content
            rest = inflater.unused_data.lstrip(b"\0")
            if inflater.eof and rest:  # another member follows
                inflater, block = zlib.decompressobj(31), rest
            else:
                block = raw.read(_BLOCK)
                if inflater.eof and block.strip(b"\0"):
                    inflater = zlib.decompressobj(31)
        self.truncated = not inflater.eof


def read_ahead(items: Iterable[bytes]) -> Iterator[bytes]:
    """The same items, each made in a thread while the one before is worked on."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, iterator, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, iterator, None)
            yield item


def _salvage(inflater: Any, block: bytes) -> Iterator[bytes]:
    """What a damaged block still gives, byte by byte up to the damage."""
    with contextlib.suppress(zlib.error):
        for at in range(len(block)):
            yield inflater.decompress(block[at : at + 1])


class Quarantine:
    """Lines of one file that cannot be used: counted, and kept with file, line number and reason."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._kept: list[bytes] = []

    def add(self, line: int, reason: str, text: bytes) -> None:
        """Keep one line; ``line`` counts from 1."""
        self.count += 1
        if len(self._kept) < _LINES_KEPT:
            shown = text[: 4 * _TEXT_KEPT].decode("utf-8", "replace")[:_TEXT_KEPT]
            entry = {"file": self.path.name, "line": line, "reason": reason, "text": shown}
            self._kept.append(orjson.dumps(entry))

    def save(self, directory: Path | None) -> Path | None:
        """Write ``<file>.quarantine.jsonl`` below ``directory``; nothing for no bad lines or no directory."""
        if directory is None or not self.count:
            return None
        return write_atomic(directory / f"{self.path.name}.quarantine.jsonl", self.text())

    def text(self) -> bytes:
        """What `save` writes; empty for no bad lines."""
        kept = list(self._kept)
        if self.count > len(kept):
            kept.append(
                orjson.dumps({"file": self.path.name, "reason": f"{self.count - len(kept)} more, not kept"})
            )
        return b"".join(entry + b"\n" for entry in kept)
