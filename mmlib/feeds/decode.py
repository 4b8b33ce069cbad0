"""A block of lines to an Arrow table: the good ones by the compiled decoder, what it sets aside by the careful look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from mmlib.core.decimals import new_decimals
from mmlib.core.feedline import decode_lines, gather
from mmlib.core.fieldvalue import (
    COUNT,
    FLAG,
    ID,
    KEY_BYTES,
    NAT,
    NUMBER,
    TEXT,
    TIME,
    Columns,
    Fields,
)
from mmlib.core.likelines import room as places_room
from mmlib.core.textcodes import RECENT, TEXT_WORDS, Texts
from mmlib.core.words import SLACK
from mmlib.feeds import stream
from mmlib.feeds.careful import HEAD_KEY, BadLine, judge
from mmlib.feeds.columns import Role, roles
from mmlib.feeds.schema import HEAD, Kind, schema, types_of
from mmlib.feeds.stream import Block

_HEAD_ROLES = {"schema": COUNT, "source": TEXT}
_ROLES: dict[Role, int] = {
    "time": TIME,
    "text": TEXT,
    "id": ID,
    "flag": FLAG,
    "count": COUNT,
    "number": NUMBER,
}
_ARROW: dict[Role, pa.DataType] = {
    "time": pa.timestamp("ns"),
    "text": pa.dictionary(pa.int32(), pa.string()),
    "id": pa.string(),
    "flag": pa.bool_(),
    "count": pa.int64(),
    "number": pa.float64(),
}
_MAY_BE_NULL = ("time", "text", "id")
_TEXTS = 1024  # different ones that a block may hold; lines with more are looked at one by one
_LARGEST = float(np.finfo(np.float64).max)
_SMALLEST = float(np.nextafter(0.0, 1.0))
_SPARE = 1 << 12  # rows: blocks differ by a part of a line, and their rooms are to serve all of them
_ODD = 1024  # lines set aside for which there is room at first
_MOST_ODD = 1 << 14  # of which each may become objects of a kilobyte or two, in every block that is in work
_SHARE = 8  # pieces of a block with more of them


@cache
def arrow_schema(kind: Kind) -> pa.Schema:
    """Columns of a feed in Arrow and Parquet: as in ``columns.typed_frame``, then ``line`` (int64, 1-based).

    Times are UTC and have no zone, since DuckDB keeps nanoseconds of those only. A number that is unknown is NaN; a time,
    a text or an id that is unknown is null.
    """
    fields = [pa.field(name, _ARROW[role], role in _MAY_BE_NULL) for name, role in roles(kind).items()]
    return pa.schema([*fields, pa.field("line", pa.int64(), nullable=False)])


Origin = tuple[int, str]
"""Schema version and stated source of a line, "" for none."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a block of lines holds.

    Attributes:
        table: rows, see ``arrow_schema``. bad: bad lines. lines: how many the block has; numbers count from 1 in the block.
        torn: the file ends in the last line, without a line break. room: the memory of the table's columns.
        origins: (schema version, stated source, "" for none) -> rows; every one of them is looked at.
    """

    table: pa.Table
    bad: list[BadLine]
    lines: int
    torn: bool = False
    room: Columns | None = None
    origins: Counter[Origin] = field(default_factory=Counter)


def decode(kind: Kind, block: Block, room: Columns | None = None) -> Decoded | None:
    """Decode the lines of a block; None when too many have to be looked at one by one; see ``decode_all``.

    Args:
        kind: ticks or fills. block: the lines.
        room: of an earlier block whose table nobody looks at any more; to clear fresh memory takes longer.
    """
    if block.too_long:
        start = bytes(block.buf[: block.n - 1]).decode("utf-8", "replace")
        reason = f"longer than {stream.LONGEST >> 20} MiB; only its beginning is kept"
        return Decoded(arrow_schema(kind).empty_table(), [BadLine(1, reason, start)], 1, room=room)
    fields, texts = _fields(kind), _texts(kind)
    most = block.n // _shortest(kind) + 1
    columns = room if room is not None and len(room.line) >= most else _room(kind, most + _SPARE)
    lines, rows, n_odd = decode_lines(block.buf, block.n, fields, texts, columns)
    if lines < 0:
        columns = columns._replace(odd=np.empty((_MOST_ODD, 3), np.int64))
        lines, rows, n_odd = decode_lines(block.buf, block.n, fields, texts, columns)
        if lines < 0:
            return None
    table = _table(kind, block.buf, columns, texts, rows)
    origins = _origins(kind, columns, texts, rows)
    if n_odd == 0:
        return Decoded(table, [], lines, block.torn, columns, origins)
    good, bad = _careful(kind, block, columns.odd[:n_odd], lines)
    if good:
        origins.update(row[HEAD_KEY] for row in good)
        more = _rows_table(kind, good)
        table = pa.concat_tables([table.unify_dictionaries(), more]).unify_dictionaries().combine_chunks()
        table = table.take(np.argsort(table.column("line").to_numpy(), kind="stable"))
    return Decoded(table, bad, lines, block.torn, columns, origins)


def decode_all(kind: Kind, block: Block) -> Iterator[Decoded]:
    """Decode the lines of a block, whatever they are: in pieces where bad lines would need too much memory all at once."""
    whole = decode(kind, block)
    if whole is not None:
        yield whole
        return
    for piece in block.pieces(block.n // _SHARE):
        yield from decode_all(kind, piece)


def _careful(
    kind: Kind, block: Block, odd: np.ndarray, lines: int
) -> tuple[list[dict[str, Any]], list[BadLine]]:
    """Rows and bad lines among those set aside; of lines that are the same, the first one is judged."""
    good: list[dict[str, Any]] = []
    bad: list[BadLine] = []
    met: dict[bytes, BadLine] = {}
    data = block.buf[: block.n].tobytes()
    for number, begin in zip(odd[:, 0].tolist(), odd[:, 1].tolist(), strict=True):
        raw = data[begin : data.index(b"\n", begin)]
        torn = block.torn and number == lines - 1
        if (same := met.get(raw)) is not None and not torn:
            bad.append(BadLine(number + 1, same.reason, same.text))
            continue
        found = judge(kind, raw, number + 1, torn=torn)
        if isinstance(found, BadLine):
            bad.append(found)
            met[raw] = found
        elif found is not None:
            good.append({**found, "line": number + 1})
    return good, bad


@cache
def _names(kind: Kind) -> tuple[str, ...]:
    """Fields that the decoder looks for: the schema's version and all columns."""
    return (*HEAD, *roles(kind))


@cache
def _slots(kind: Kind) -> dict[str, tuple[int, int]]:
    """Field -> its role and the row that it has in the table of its storage."""
    counts = {"whole": 0, "real": 0, "flag": 0, "span": 0}
    storage = {NUMBER: "real", FLAG: "flag", ID: "span"}
    result = {}
    for name in _names(kind):
        role = _HEAD_ROLES.get(name) or _ROLES[roles(kind)[name]]
        place = storage.get(role, "whole")
        result[name] = role, counts[place]
        counts[place] += 1
    return result


@cache
def _named(kind: Kind) -> tuple[str, ...]:
    """Texts that the schema names; they have the first codes."""
    properties = schema(kind)["properties"].values()
    return tuple(
        dict.fromkeys(text for spec in properties for text in spec.get("enum", ()) if text is not None)
    )


@cache
def _shortest(kind: Kind) -> int:
    """Bytes that a good line has at least: the keys that it must have, each with a colon, a value and a comma."""
    return sum(len(name) + 5 for name in schema(kind)["required"])


def _fields(kind: Kind) -> Fields:
    """What the fields look like, and nothing met yet."""
    alike = _alike_fields(kind)
    n = len(alike.order)
    return alike._replace(
        order=np.arange(n),
        keys=np.zeros(1, np.int64),
        places=np.empty(places_room(n), np.int64),
        decimals=new_decimals(),
    )


@cache
def _alike_fields(kind: Kind) -> Fields:
    """What the fields of all blocks look like."""
    names, slots = _names(kind), _slots(kind)
    key = np.zeros((len(names), KEY_BYTES), np.uint8)
    low, high = np.full(len(names), -_LARGEST), np.full(len(names), _LARGEST)
    allowed = np.zeros(len(names), np.int64)
    optional = np.zeros(len(names), np.bool_)
    for k, name in enumerate(names):
        spec = schema(kind)["properties"][name]
        key[k] = np.frombuffer(f'"{name}":'.encode().ljust(KEY_BYTES, b"\0"), np.uint8)
        low[k] = spec.get("minimum", spec.get("const", spec.get("minLength", low[k])))
        if "exclusiveMinimum" in spec:
            assert spec["exclusiveMinimum"] == 0, name
            low[k] = _SMALLEST
        high[k] = spec.get("maximum", spec.get("const", high[k]))
        allowed[k] = sum(1 << _named(kind).index(text) for text in spec.get("enum", ()) if text is not None)
        optional[k] = "null" in types_of(spec)
    role, slot = (np.array([slots[name][part] for name in names], np.int64) for part in (0, 1))
    length = np.array([len(name) + 3 for name in names], np.int64)
    none = np.empty(0, np.int64)
    return Fields(key.ravel(), length, role, slot, optional, low, high, allowed, role, none, none, none)


def _texts(kind: Kind) -> Texts:
    texts = Texts(
        np.zeros((_TEXTS, TEXT_WORDS), np.uint64),
        np.zeros(_TEXTS, np.int64),
        np.zeros(1, np.int64),
        np.zeros(RECENT, np.int64),
        np.zeros(3, np.uint64),
    )
    for code, text in enumerate(_named(kind)):
        raw = text.encode().ljust(8 * TEXT_WORDS, b"\0")
        texts.words[code] = np.frombuffer(raw, "<u8")
        texts.length[code] = len(text)
    texts.count[0] = len(_named(kind))
    return texts


def _room(kind: Kind, rows: int) -> Columns:
    roles_of = [role for role, _ in _slots(kind).values()]
    n_real, n_flag, n_id = (roles_of.count(role) for role in (NUMBER, FLAG, ID))
    return Columns(
        whole=np.empty((len(roles_of) - n_real - n_flag - n_id, rows), np.int64),
        real=np.empty((n_real, rows), np.float64),
        flag=np.empty((n_flag, rows), np.uint8),
        span=np.empty((2 * n_id, rows), np.int64),
        line=np.empty(rows, np.int64),
        odd=np.empty((_ODD, 3), np.int64),
    )


def _table(kind: Kind, buf: np.ndarray, columns: Columns, texts: Texts, rows: int) -> pa.Table:
    dictionary = pa.array(_met(texts), pa.string())
    arrays: list[pa.Array] = []
    for name, role in roles(kind).items():
        slot = _slots(kind)[name][1]
        if role == "number":
            arrays.append(pa.array(columns.real[slot, :rows]))
        elif role == "flag":
            bits = pa.py_buffer(np.packbits(columns.flag[slot, :rows], bitorder="little"))
            arrays.append(pa.BooleanArray.from_buffers(pa.bool_(), rows, [None, bits]))
        elif role == "count":
            arrays.append(pa.array(columns.whole[slot, :rows]))
        elif role == "time":
            arrays.append(_times(columns.whole[slot, :rows]))
        elif role == "text":
            codes = pa.array(columns.whole[slot, :rows].astype(np.int32))
            arrays.append(pa.DictionaryArray.from_arrays(codes, dictionary))
        else:
            arrays.append(_ids(buf, columns.span[2 * slot, :rows], columns.span[2 * slot + 1, :rows]))
    columns.line[:rows] += 1
    return pa.table([*arrays, pa.array(columns.line[:rows])], schema=arrow_schema(kind))


def _met(texts: Texts) -> list[str]:
    lengths = texts.length[: texts.count[0]].tolist()
    return [
        row.astype("<u8").tobytes()[:n].decode("ascii") for row, n in zip(texts.words, lengths, strict=False)
    ]


def _origins(kind: Kind, columns: Columns, texts: Texts, rows: int) -> Counter[Origin]:
    """What every row states of itself; see ``Decoded``."""
    version, source = (columns.whole[_slots(kind)[name][1], :rows] for name in HEAD)
    names = ["", *_met(texts)]
    counts = np.bincount(version * len(names) + source + 1)
    return Counter(
        {(int(k) // len(names), names[int(k) % len(names)]): int(counts[k]) for k in np.flatnonzero(counts)}
    )


def _times(ns: np.ndarray) -> pa.Array:
    missing = ns == NAT
    return pa.array(ns, pa.timestamp("ns"), mask=missing if missing.any() else None)


def _ids(buf: np.ndarray, begin: np.ndarray, end: np.ndarray) -> pa.Array:
    offsets = np.zeros(len(begin) + 1, np.int32)
    np.cumsum(end - begin, out=offsets[1:])
    out = np.empty(int(offsets[-1]), np.uint8)
    gather(buf, begin, end, out)
    present = None
    if (begin < 0).any():
        present = pa.py_buffer(np.packbits(begin >= 0, bitorder="little"))
    return pa.StringArray.from_buffers(len(begin), pa.py_buffer(offsets), pa.py_buffer(out), present)


def _rows_table(kind: Kind, rows: list[dict[str, Any]]) -> pa.Table:
    arrays: list[pa.Array] = []
    for name, role in roles(kind).items():
        values = [row[name] for row in rows]
        if role == "time":
            arrays.append(_times(np.array(values, np.int64)))
        elif role == "number":
            arrays.append(pa.array([np.nan if v is None else float(v) for v in values], pa.float64()))
        elif role == "text":
            arrays.append(pa.array(values, pa.string()).dictionary_encode().cast(_ARROW[role]))
        else:
            arrays.append(pa.array([int(v) for v in values] if role == "count" else values, _ARROW[role]))
    return pa.table([*arrays, pa.array([row["line"] for row in rows])], schema=arrow_schema(kind))


assert SLACK >= KEY_BYTES
