"""Feeds compared line for line, what a clock or the operating system measured aside."""

from __future__ import annotations

import hashlib
from pathlib import Path

import orjson

from mmlib.dtypes import STAGES

MEASURED = frozenset([*(f"{stage}_ms" for stage in STAGES), "tick_total_ms", "deadline_miss", "rss_mb"])
"""Fields of a tick that are measured, or follow from what is: durations, whether one was too long, memory."""


def digests(directory: Path) -> dict[str, str]:
    """File name -> SHA-256 of the lines of a directory's feeds without their measured fields.

    Two runs of a session have equal digests when they wrote the same lines in the same order.

    Raises:
        ValueError: a line that is no JSON object, or a file whose last line is torn.
    """
    return {path.name: _digest(path) for path in sorted(directory.glob("*.jsonl"))}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                raise ValueError(f"{path.name}:{number}: torn")
            row = orjson.loads(line)
            digest.update(orjson.dumps({name: row[name] for name in row if name not in MEASURED}) + b"\n")
    return digest.hexdigest()
