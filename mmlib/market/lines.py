"""Lines of a recording, plain or gzipped and possibly cut off, and the quarantine for those that cannot be used."""

from __future__ import annotations

import contextlib
import zlib
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson
from isal import isal_zlib

from mmlib._expansion import check_expansion
from mmlib._io import UserError, regular, write_atomic

_DAMAGED = cast("type[Exception]", isal_zlib.error)
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
        self.marked = False  # whether it began with a byte order mark, which is no part of the first line
        self.torn = b""

    def __iter__(self) -> Iterator[bytes]:
        for block in self.blocks():
            lines = block.split(b"\n")
            lines.pop()
            yield from lines

    def blocks(self, slack: bytes = b"") -> Iterator[bytes]:
        """The file in pieces of whole lines, each with its line break and the piece with ``slack`` behind it.

        The last line is given a line break if it lacks it.
        """
        try:
            with regular(self.path).open("rb") as raw:
                yield from self._whole(raw, slack)
        except OSError as exc:
            raise UserError(f"{self.path}: cannot be read ({exc.strerror}); expected a recording") from exc

    def _whole(self, raw: BinaryIO, slack: bytes) -> Iterator[bytes]:
        tail = b""
        for block in self._unmarked(self._blocks(raw)):
            end = block.rfind(b"\n") + 1
            if end:
                yield b"".join((tail, memoryview(block)[:end], slack))
                tail = b""
            tail += block[end:]
            if len(tail) > _LONGEST_LINE:
                raise UserError(
                    f"{self.path}: no line break in {_LONGEST_LINE} bytes; expected a text recording"
                )
        if self.truncated:
            self.torn = tail
        elif tail:
            yield tail + b"\n" + slack

    def _unmarked(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """The same content without a byte order mark at its begin."""
        begin = b""
        for block in blocks:
            begin += block
            if len(begin) >= len(BOM_UTF8):
                break
        self.marked = begin.startswith(BOM_UTF8)
        yield begin.removeprefix(BOM_UTF8)
        yield from blocks

    def _blocks(self, raw: BinaryIO) -> Iterator[bytes]:
        first = raw.read(_BLOCK)
        if first[:2] != b"\x1f\x8b":
            while first:
                yield first
                first = raw.read(_BLOCK)
            return
        done = 0
        try:
            for content in _inflate(raw, first, isal_zlib.decompressobj):
                yield content
                done += len(content)
        except (_DAMAGED, EOFError):  # zlib says what a damaged stream still gives
            raw.seek(0)
            for content in self._careful(raw):
                yield content[max(done, 0) :]
                done -= len(content)

    def _careful(self, raw: BinaryIO) -> Iterator[bytes]:
        """The content of a damaged gzip stream as far as it goes; sets `truncated`."""
        kept = _Salvage()
        try:
            yield from _inflate(raw, raw.read(_BLOCK), kept.decompressobj)
        except zlib.error:
            yield from kept.rest()
            self.truncated = True
        except EOFError:
            self.truncated = True


def _inflate(raw: BinaryIO, block: bytes, new: Callable[[int], Any]) -> Iterator[bytes]:
    """Content of a gzip stream of any number of members.

    Raises:
        EOFError: it ends inside a member.
        Bomb: it unfolds too far.
    """
    inflater, packed, unpacked = new(31), 0, 0
    while block:
        content = inflater.decompress(block)
        packed, unpacked = packed + len(block), unpacked + len(content)
        check_expansion(packed, unpacked)
        yield content
        rest = inflater.unused_data.lstrip(b"\0")
        if inflater.eof and rest:  # another member follows
            inflater, block = new(31), rest
        else:
            block = raw.read(_BLOCK)
            if inflater.eof and block.strip(b"\0"):
                inflater = new(31)
    if not inflater.eof:
        raise EOFError


class _Salvage:
    """Inflaters that remember how they were before the last block, so that a damaged one can be taken byte by byte."""

    def __init__(self) -> None:
        self._inflater: Any = None
        self._before: Any = None
        self._block = b""

    def decompressobj(self, wbits: int) -> _Salvage:
        """A further member begins."""
        self._inflater = zlib.decompressobj(wbits)
        return self

    def decompress(self, block: bytes) -> bytes:
        """See zlib."""
        self._before, self._block = self._inflater.copy(), block
        return bytes(self._inflater.decompress(block))

    @property
    def unused_data(self) -> bytes:
        """See zlib."""
        return bytes(self._inflater.unused_data)

    @property
    def eof(self) -> bool:
        """See zlib."""
        return bool(self._inflater.eof)

    def rest(self) -> Iterator[bytes]:
        """What the damaged block still gives, byte by byte up to the damage."""
        with contextlib.suppress(zlib.error):
            for at in range(len(self._block)):
                yield self._before.decompress(self._block[at : at + 1])


def read_ahead(items: Iterable[bytes]) -> Iterator[bytes]:
    """The same items, each made in a thread while the one before is worked on."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, iterator, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, iterator, None)
            yield item


def why_refused(*quarantines: Quarantine) -> str:
    """The end of an error that nothing can be used: the commonest reason of the lines refused; empty where none was."""
    reasons = sum((quarantine.reasons for quarantine in quarantines), Counter())
    if not reasons:
        return ""
    reason, count = reasons.most_common(1)[0]
    return f"; {count} of {reasons.total()} refused lines: {reason}"


class Quarantine:
    """Lines of one file that cannot be used: counted, and kept with file, line number and reason."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.reasons: Counter[str] = Counter()
        self._kept: list[bytes] = []

    def add(self, line: int, reason: str, text: bytes) -> None:
        """Keep one line; ``line`` counts from 1."""
        self.count += 1
        self.reasons[reason] += 1
        if len(self._kept) < _LINES_KEPT:
            shown = text[: 4 * _TEXT_KEPT].decode("utf-8", "replace")[:_TEXT_KEPT]
            entry = {"file": self.path.name, "line": line, "reason": reason, "text": shown}
            self._kept.append(orjson.dumps(entry))

    def save(self, directory: Path | None) -> Path | None:
        """Write ``<file>.quarantine.jsonl`` below ``directory``; nothing for no bad lines or no directory."""
        if directory is None or not self.count:
            return None
        return write_atomic(directory / self.name, self.text())

    @property
    def name(self) -> str:
        """Name of the file that `save` writes."""
        return f"{self.path.name}.quarantine.jsonl"

    def text(self) -> bytes:
        """What `save` writes; empty for no bad lines."""
        kept = list(self._kept)
        if self.count > len(kept):
            kept.append(
                orjson.dumps({"file": self.path.name, "reason": f"{self.count - len(kept)} more, not kept"})
            )
        return b"".join(entry + b"\n" for entry in kept)
