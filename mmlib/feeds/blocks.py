"""A feed file in frames, block by block, so that its size costs time and no memory."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pandas as pd

from mmlib.feeds.careful import CUT_SHORT, BadLine
from mmlib.feeds.columns import empty_frame, table_frame
from mmlib.feeds.decode import Origin, decode_all
from mmlib.feeds.schema import Kind
from mmlib.feeds.stream import FeedStream

BLOCK_BYTES = 32 << 20


@dataclass(frozen=True)
class Block:
    """Lines that follow each other in a file.

    Attributes:
        frame: the good ones (see ``columns.typed_frame``), ``_line`` counted from the top of the file.
        bad: the others, numbered likewise.
        lines: how many there are that are not blank.
        broken: why a compressed file could not be unpacked further; "" while it can.
        origins: see ``decode.Decoded``.
    """

    frame: pd.DataFrame
    bad: list[BadLine]
    lines: int
    broken: str = ""
    origins: Counter[Origin] = field(default_factory=Counter)


def read_blocks(source: Path | BinaryIO, kind: Kind, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """Read a feed file, plain or compressed, or an open plain one, block by block.

    Raises:
        OSError: the file cannot be read.
    """
    before = 0  # lines of the blocks before
    torn = False
    stream = FeedStream(source, block_bytes)
    for found in itertools.chain.from_iterable(decode_all(kind, raw) for raw in stream):
        frame = table_frame(kind, found.table)
        frame["_line"] += before
        bad = [BadLine(entry.line + before, entry.reason, entry.text) for entry in found.bad]
        yield Block(frame, bad, len(frame) + len(bad), origins=found.origins)
        before += found.lines
        torn = found.torn
    if stream.broken:
        bad = [] if torn else [BadLine(before + 1, f"{stream.broken}{CUT_SHORT}", "")]
        yield Block(empty_frame(kind), bad, len(bad), stream.broken)
