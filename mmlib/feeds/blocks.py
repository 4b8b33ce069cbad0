"""A feed file in blocks of whole lines, each read fast where every line is good and line by line where one is not.

What a block costs in memory does not grow with the file, and a bad line costs the slow reading of its block only.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pandas as pd

from mmlib.feeds.careful import BadLine, careful_rows
from mmlib.feeds.columns import empty_frame, typed_frame
from mmlib.feeds.fast import read_fast
from mmlib.feeds.schema import Kind

BLOCK_BYTES = 32 << 20
MAX_LINE_BYTES = 64 << 20  # a longer line is no line of a feed; it is passed over without being held
_BOM = b"\xef\xbb\xbf"
_EXCERPT = 200  # bytes of a line that is too long to keep


@dataclass(frozen=True)
class Block:
    """Lines that follow each other in a file.

    Attributes:
        frame: the good ones (see ``columns.typed_frame``), ``_line`` counted from the top of the file.
        bad: the others, numbered likewise.
        lines: how many there are that are not blank.
    """

    frame: pd.DataFrame
    bad: list[BadLine]
    lines: int


def read_blocks(handle: BinaryIO, kind: Kind, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """Read a feed from an open (if need be decompressing) file, block by block.

    Raises:
        OSError: the file cannot be read.
    """
    before = 0  # lines of the blocks before
    for data in _whole_lines(handle, block_bytes):
        if isinstance(data, BadLine):
            yield Block(empty_frame(kind), [BadLine(before + 1, data.reason, data.text)], 1)
            before += 1
            continue
        text = data.removeprefix(_BOM) if before == 0 else data
        frame = _fast(text, kind)
        bad: list[BadLine] = []
        if frame is None:
            columns, bad = careful_rows(_numbered(text), kind)
            frame = typed_frame(kind, columns)
        frame["_line"] += before
        bad = [BadLine(entry.line + before, entry.reason, entry.text) for entry in bad]
        yield Block(frame, bad, len(frame) + len(bad))
        before += data.count(b"\n") + (not data.endswith(b"\n"))


def _fast(data: bytes, kind: Kind) -> pd.DataFrame | None:
    """DuckDB's reading of the lines, through a file that lives in memory; None where there is no such thing."""
    if not hasattr(os, "memfd_create"):
        return None
    fd = os.memfd_create("feed")
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        return read_fast(Path(f"/proc/self/fd/{fd}"), kind)
    except OSError:
        return None
    finally:
        os.close(fd)


def _numbered(data: bytes) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(io.BytesIO(data), 1):
        if line.strip():
            yield number, line


def _whole_lines(handle: BinaryIO, block_bytes: int) -> Iterator[bytes | BadLine]:
    """The file cut after line ends; a line beyond ``MAX_LINE_BYTES`` comes as a bad one, numbered by the caller."""
    rest = b""
    while block := handle.read(block_bytes):
        cut = block.rfind(b"\n") + 1
        if cut:
            yield rest + block[:cut]
            rest = block[cut:]
            continue
        rest += block
        if len(rest) > MAX_LINE_BYTES:
            start = rest[:_EXCERPT].decode("utf-8", "replace")
            rest = _after_line(handle, block_bytes)
            yield BadLine(0, f"longer than {MAX_LINE_BYTES >> 20} MiB", start)
    if rest:
        yield rest


def _after_line(handle: BinaryIO, block_bytes: int) -> bytes:
    """What follows the end of the line that is being read."""
    while block := handle.read(block_bytes):
        end = block.find(b"\n")
        if end >= 0:
            return block[end + 1 :]
    return b""
