"""Where feeds came from: what their lines state, and what a desk signed.

Every line that a session of ours writes states its ``source``, the grade of its market. A desk's are *stated by the desk*:
nobody here saw them come about. They count as live when the desk has signed a declaration beside them, which the evidence then
names; feeds whose lines state something weaker never do, whether or not ``feeds.json`` is there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmlib._io import UserError, sha256_file
from mmlib.dtypes import Grade
from mmlib.feeds.stream import FeedStream
from mmlib.yamlfile import read_mapping

DECLARATION = "declaration.yaml"
STATEMENT = "These feeds were written by our bot while it traded on a live market."
_KEYS = ("schema", "statement", "signed_by", "signed_on")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_SOURCE = re.compile(rb'"source"\s*:\s*"([^"\\]{1,64})"')
_PROBES = 64
_PROBE_BYTES = 8192


@dataclass(frozen=True)
class Declaration:
    """What a desk signed: by whom, on which day, and the SHA-256 of the file."""

    signed_by: str
    signed_on: str
    sha256: str

    def text(self) -> str:
        """For the evidence."""
        return f"declared live by {self.signed_by} on {self.signed_on} ({DECLARATION}, SHA-256 {self.sha256[:12]})"


def read_declaration(directory: Path) -> Declaration | None:
    """The declaration beside feeds, None where there is none.

    Raises:
        UserError: it is not what was expected, by file and key.
    """
    path = directory / DECLARATION
    if not path.exists():
        return None
    document = read_mapping(path)
    held: dict[str, Any] = {**document.tree}
    for name in (*held, *_KEYS):
        if name not in _KEYS or name not in held:
            what = "unknown key" if name not in _KEYS else "missing"
            raise UserError(f"{document.place(name)}: {name}: {what}; expected {', '.join(_KEYS)}")
    if held["schema"] != 1:
        raise UserError(f"{document.place('schema')}: schema: expected 1, got {held['schema']!r}")
    if held["statement"] != STATEMENT:
        raise UserError(f"{document.place('statement')}: statement: expected {STATEMENT!r}")
    name, day = held["signed_by"], str(held["signed_on"])
    if not isinstance(name, str) or not 2 <= len(name.strip()) <= 100 or not name.isprintable():
        raise UserError(f"{document.place('signed_by')}: signed_by: expected the name of who signs")
    if not _DAY.fullmatch(day):
        raise UserError(
            f"{document.place('signed_on')}: signed_on: expected a date such as 2025-01-15, got {day!r}"
        )
    return Declaration(name.strip(), day, sha256_file(path))


def sources_in(directory: Path) -> set[str]:
    """What lines of the feeds state as their source, "" for lines that state none.

    Of each file the first and the last lines are looked at, and 64 places between; of a packed one, its first block: for who
    has not read the feeds. Who has knows of every line (``cache.Facts.sources``).
    """
    found: set[str] = set()
    for path in sorted(directory.glob("*.jsonl*")) if directory.is_dir() else ():
        for line in _some_lines(path):
            if line.strip():
                hit = _SOURCE.search(line)
                found.add(hit[1].decode("utf-8", "replace") if hit else "")
    return found


def weakest_stated(directory: Path, sources: Collection[str] = ()) -> Grade | None:
    """The weakest grade that lines of the feeds state, None where they state none of ours.

    Args:
        sources: what lines were found to state when the feeds were read; ``sources_in`` is looked at as well.
    """
    every = {*sources_in(directory), *sources}
    return Grade.weakest([Grade(one) for one in every if one in list(Grade)])


def _some_lines(path: Path) -> Iterator[bytes]:
    try:
        if path.suffix != ".jsonl":
            for block in FeedStream(path):
                yield from bytes(block.buf[: block.n]).splitlines()
                return
            return
        size = path.stat().st_size
        with path.open("rb", buffering=0) as handle:
            for k in range(_PROBES + 1):
                at = max((size - _PROBE_BYTES) * k // _PROBES, 0)
                handle.seek(at)
                piece = handle.read(_PROBE_BYTES).split(b"\n")
                yield from piece[bool(at) : -1] or piece[bool(at) :]
                if size <= _PROBE_BYTES:
                    return
    except (OSError, EOFError):
        return
