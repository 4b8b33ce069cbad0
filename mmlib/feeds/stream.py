"""The bytes of a feed file, plain or compressed, as blocks of whole lines; a file of any size in the memory of a few blocks."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import zstandard
from isal import isal_zlib

from mmlib._expansion import Bomb, check_expansion
from mmlib.core.words import SLACK
from mmlib.feeds.progress import ToldFile

BLOCK = 3 << 22
"""Bytes of a block, unless a line is longer; enough to make a row group, and few enough to hold several of them."""
LONGEST = 1 << 24
"""Bytes of the longest line that is read; what is longer is no tick or fill, and only its beginning is kept."""
SUFFIXES = ("", ".gz", ".zst")
_SPARE = 1 << 14  # bytes; lines are shorter, mostly
_KEPT = 200  # bytes of a line that is too long
_AT_ONCE = 1 << 19  # bytes, few enough to stay in a processor's cache until they are summed up
_BLINK = 1 << 16  # bytes looked at in one go for a line break
_BITE = 1 << 12  # bytes unpacked in one go; a zstd frame may unfold them ten thousandfold
_BREAK = 10
_BROKEN: tuple[Any, ...] = (EOFError, zlib.error, isal_zlib.error, zstandard.ZstdError, Bomb)
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of a file.

    Attributes:
        buf: ``uint8[n + SLACK]``; the last of its ``n`` bytes is a line break, the slack is 0.
        torn: the file ends in the last line, without a line break (one was added).
        too_long: the one line is the beginning of one of more than ``LONGEST`` bytes.
    """

    buf: np.ndarray
    torn: bool = False
    too_long: bool = False

    @property
    def n(self) -> int:
        """Bytes of the lines."""
        return len(self.buf) - SLACK

    def pieces(self, size: int) -> Iterator[Block]:
        """Copies of the lines, as blocks of at most ``size`` bytes, or of one line that is longer."""
        begin = 0
        while begin < self.n:
            end = _behind_last_break(self.buf, begin, min(begin + size, self.n))
            if not end:
                end = begin + int(np.argmax(self.buf[begin : self.n] == _BREAK)) + 1
            buf = np.zeros(end - begin + SLACK, np.uint8)
            buf[:-SLACK] = self.buf[begin:end]
            yield Block(buf, self.torn and end == self.n)
            begin = end


class _Counted(io.RawIOBase):
    """A file that is read once, and the CRC-32 and size of what was read."""

    def __init__(self, source: Path | BinaryIO) -> None:
        self._file: Any = ToldFile(source) if isinstance(source, Path) else source
        self.crc32 = 0
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[:_AT_ONCE]
        n = self._file.readinto(view) or 0
        self.crc32 = isal_zlib.crc32(view[:n], self.crc32)
        self.size += n
        return n

    def close(self) -> None:
        """Nothing: a reader of compressed data closes what it reads, and the count is not complete by then."""

    def shut(self) -> None:
        """Close the file."""
        self._file.close()


class _Unpacked:
    """Decompressed bytes of a file, all up to where it ends early; the libraries' own readers keep part back then."""

    def __init__(self, raw: _Counted, new_frame: Callable[[], Any]) -> None:
        self._raw, self._new, self._frame = raw, new_frame, new_frame()
        self._held = self._packed = memoryview(b"")
        self._begun = False
        self._given = 0

    def readinto(self, view: memoryview) -> int:
        while not self._held:
            packed: Any = b""
            if self._frame.eof:
                packed = self._frame.unused_data.lstrip(b"\0")  # gzip files may be padded
                self._frame, self._begun = self._new(), False
            if not packed:
                self._packed = self._packed or memoryview(self._raw.read(_BLINK) or b"")
                packed, self._packed = self._packed[:_BITE], self._packed[_BITE:]
            if not packed:
                if self._begun:
                    raise EOFError("the file ends within a frame")
                return 0
            self._begun = True
            self._held = memoryview(self._frame.decompress(packed))
            self._given += len(self._held)
            check_expansion(self._raw.size, self._given)
        n = min(len(self._held), len(view))
        view[:n] = self._held[:n]
        self._held = self._held[n:]
        return n


class FeedStream:
    """Blocks of a feed file, and, when they were all read, what is known of its bytes.

    Args:
        source: the file, or one that is open and plain. block: bytes of a block.

    Attributes:
        crc32, size: of the file as it is stored.
        broken: why a compressed file could not be read to its end; "" when it could.

    Raises:
        OSError: the file cannot be opened or read.
    """

    def __init__(self, source: Path | BinaryIO, block: int = BLOCK) -> None:
        self._source, self._block = source, block
        self._free: list[np.ndarray] = []
        self.crc32 = self.size = 0
        self.broken = ""

    def __iter__(self) -> Iterator[Block]:
        raw = _Counted(self._source)
        try:
            yield from self._blocks(_opened(self._source, raw))
            while raw.read(1 << 20):  # what stands behind the end of a compressed stream
                pass
            self.crc32, self.size = raw.crc32, raw.size
        finally:
            raw.shut()

    def checksum(self) -> int:
        """CRC-32 of the file, which nothing else is wanted of."""
        raw = _Counted(self._source)
        try:
            while raw.read(1 << 20):
                pass
            return raw.crc32
        finally:
            raw.shut()

    def _blocks(self, source: Any) -> Iterator[Block]:
        tail = np.empty(0, np.uint8)
        begun = False
        while True:
            buf = self._room(len(tail) + self._block + SLACK)
            buf[: len(tail)] = tail
            n = len(tail) + self._fill(source, _view(buf)[len(tail) : -SLACK])
            if not begun and n >= 3 and bytes(buf[:3]) == _BOM:
                buf, n = buf[3:], n - 3
            begun = True
            if n == len(tail):
                break
            end = _behind_last_break(buf, len(tail), n)
            tail = buf[end:n].copy()
            if end:
                buf[end : end + SLACK] = 0
                yield Block(buf[: end + SLACK])
            if len(tail) > LONGEST:
                yield Block(_closed(tail[:_KEPT]), too_long=True)
                tail = self._next_line(source)
        if len(tail):
            yield Block(_closed(tail), torn=True)

    def take_back(self, block: Block) -> None:
        """Use the memory of a block, which nobody looks at any more, for a later one; to clear fresh memory takes longer."""
        if block.buf.base is not None:
            self._free.append(block.buf.base)

    def _room(self, size: int) -> np.ndarray:
        """Memory of ``uint8[size]``, a view of some more, so that there is room for the next block's tail."""
        held = self._free.pop() if self._free else None
        if held is None or len(held) < size:
            held = np.empty(size + _SPARE, np.uint8)
        return held[:size]

    def _fill(self, source: Any, view: memoryview) -> int:
        """Read until the view is full or the file ends; how many bytes."""
        n = 0
        try:
            while n < len(view) and (got := source.readinto(view[n:])):
                n += got
        except _BROKEN as exc:
            self.broken = f"compressed data end early or are damaged ({exc})"
        return n

    def _next_line(self, source: Any) -> np.ndarray:
        """Pass over the rest of a line; what was read of the next ones."""
        buf = np.empty(self._block, np.uint8)
        while n := self._fill(source, _view(buf)):
            breaks = np.flatnonzero(buf[:n] == _BREAK)
            if len(breaks):
                return buf[breaks[0] + 1 : n].copy()
        return np.empty(0, np.uint8)


def _opened(source: Path | BinaryIO, raw: _Counted) -> Any:
    """What gives the lines' bytes by ``readinto``."""
    suffix = source.suffix if isinstance(source, Path) else ""
    if suffix == ".gz":
        return _Unpacked(raw, lambda: isal_zlib.decompressobj(31))
    if suffix == ".zst":
        return _Unpacked(raw, lambda: zstandard.ZstdDecompressor().decompressobj())
    return raw


def _view(buf: np.ndarray) -> memoryview:
    return memoryview(buf)  # type: ignore[arg-type]


def _behind_last_break(buf: np.ndarray, first: int, n: int) -> int:
    """Place behind the last line break of ``buf[:n]``, 0 without one; there is none before ``first``."""
    for end in range(n, first, -_BLINK):
        begin = max(end - _BLINK, first)
        at = bytes(buf[begin:end]).rfind(b"\n")
        if at >= 0:
            return begin + at + 1
    return 0


def _closed(line: np.ndarray) -> np.ndarray:
    """A line with a line break and the slack behind it."""
    buf = np.zeros(len(line) + 1 + SLACK, np.uint8)
    buf[: len(line)] = line
    buf[len(line)] = _BREAK
    return buf
