"""Line-by-line reading of a feed file: a line that does not fit the schema is set aside with its reason."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastjsonschema
import orjson

from mmlib.feeds.columns import NAT, roles
from mmlib.feeds.schema import Kind, validator
from mmlib.feeds.timestamps import to_ns

CUT_SHORT = "; the file ends in this line"
"""How the reason of a last line ends that was not written whole, or not yet."""

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that could not be used: 1-based number, why, and its text (undecodable bytes replaced)."""

    line: int
    reason: str
    text: str


def read_careful(path: Path, kind: Kind) -> tuple[dict[str, list[Any]], list[BadLine]]:
    """Columns of the good lines (see ``columns.typed_frame``) and the bad lines; blank lines are neither.

    Raises:
        OSError: the file cannot be read.
    """
    return careful_rows(numbered_lines(path), kind)


def careful_rows(
    lines: Iterable[tuple[int, bytes]], kind: Kind
) -> tuple[dict[str, list[Any]], list[BadLine]]:
    """What ``read_careful`` gives, of numbered lines from anywhere, such as a part of a large file."""
    fields = roles(kind)
    times = [name for name, role in fields.items() if role == "time"]
    ids = [name for name, role in fields.items() if role == "id"]
    check = validator(kind)
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    bad: list[BadLine] = []
    for number, raw in lines:
        try:
            row = orjson.loads(raw)
            check(row)
            for name in times:
                value = row.get(name)
                row[name] = NAT if value is None else to_ns(value)
        except orjson.JSONDecodeError as exc:
            cut = "" if raw.endswith(b"\n") else CUT_SHORT
            bad.append(BadLine(number, f"not JSON: {exc.msg}{cut}", _text(raw)))
            continue
        except fastjsonschema.JsonSchemaValueException as exc:
            bad.append(BadLine(number, _schema_reason(exc), _text(raw)))
            continue
        except ValueError as exc:
            bad.append(BadLine(number, f"timestamp: {exc}", _text(raw)))
            continue
        for name in ids:
            if row.get(name) is not None:
                row[name] = str(row[name])
        rows.append(row)
        numbers.append(number)
    columns = {name: [row.get(name) for row in rows] for name in fields}
    columns["_line"] = list(numbers)
    return columns, bad


def lines_at(path: Path, numbers: Collection[int]) -> dict[int, str]:
    """Text of the lines with these 1-based numbers."""
    wanted = set(numbers)
    return {number: _text(raw) for number, raw in numbered_lines(path) if number in wanted}


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines that are not blank, with their line end."""
    with path.open("rb") as handle:
        for number, raw in enumerate(handle, 1):
            line = raw.removeprefix(_BOM) if number == 1 else raw
            if line.strip():
                yield number, line


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").rstrip("\r\n")


def _schema_reason(exc: fastjsonschema.JsonSchemaValueException) -> str:
    """One line that names the field and what was expected of it."""
    text = str(exc.message).replace("data.", "").replace("data ", "line ")
    return " ".join(text.split())[:300]
