"""The careful look at one line of a feed: what it holds, or why it does not fit the schema."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import fastjsonschema
import orjson

from mmlib.feeds.columns import NAT, roles
from mmlib.feeds.schema import Kind, validator
from mmlib.feeds.timestamps import to_ns

CUT_SHORT = "; the file ends in this line"
"""How the reason of a last line ends that was not written whole, or not yet."""
HEAD_KEY = "head"
"""Key under which ``judge`` gives the line's schema version and stated source, "" for none; they are no columns."""
_LONG = 1 << 20  # bytes of a line; longer ones take turns, as objects may take thirty times as much
_IN_TURN = threading.Lock()


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that could not be used: 1-based number, why, and its text (undecodable bytes replaced)."""

    line: int
    reason: str
    text: str


def judge(kind: Kind, raw: bytes, line: int, *, torn: bool = False) -> dict[str, Any] | BadLine | None:
    """What a line comes to: its fields (times as nanoseconds or ``NAT``, ids as text), why it is bad, or None when blank.

    Args:
        kind: ticks or fills. raw: the line. line: its 1-based number.
        torn: the file ends in this line.
    """
    if len(raw) <= _LONG:
        return _judged(kind, raw, line, torn)
    with _IN_TURN:
        return _judged(kind, raw, line, torn)


def _judged(kind: Kind, raw: bytes, line: int, torn: bool) -> dict[str, Any] | BadLine | None:
    if not raw.strip():
        return None
    try:
        row = orjson.loads(raw)
        validator(kind)(row)
        for name, role in roles(kind).items():
            value = row.get(name)
            if role == "time":
                row[name] = NAT if value is None else to_ns(value)
            elif role == "id":
                row[name] = None if value is None else str(value)
    except orjson.JSONDecodeError as exc:
        cut = CUT_SHORT if torn else ""
        return BadLine(line, f"not JSON: {exc.msg}{cut}", _text(raw))
    except fastjsonschema.JsonSchemaValueException as exc:
        return BadLine(line, _schema_reason(exc), _text(raw))
    except ValueError as exc:
        return BadLine(line, f"timestamp: {exc}", _text(raw))
    head = int(row["schema"]), row.get("source") or ""
    return {name: row.get(name) for name in roles(kind)} | {HEAD_KEY: head}


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").rstrip("\r\n")


def _schema_reason(exc: fastjsonschema.JsonSchemaValueException) -> str:
    """One line that names the field and what was expected of it."""
    text = str(exc.message).replace("data.", "").replace("data ", "line ")
    return " ".join(text.split())[:300]
