"""Column types of the feed frames, derived from the JSON Schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from mmlib.feeds.schema import HEAD, Kind, schema, types_of

Role = Literal["time", "text", "id", "flag", "count", "number"]
"""time: int64 ns; text, id: str; flag: bool; count: int64; number: float64."""

NAT = np.iinfo(np.int64).min
"""What a missing time is among int64 nanoseconds."""

_DTYPES: dict[Role, str] = {"text": "str", "id": "str", "flag": "bool", "count": "int64", "number": "float64"}


@cache
def roles(kind: Kind) -> dict[str, Role]:
    """Role of each field of a feed, without ``schema.HEAD``, in the order of the frame's columns."""
    return {name: _role(name, spec) for name, spec in schema(kind)["properties"].items() if name not in HEAD}


def _role(name: str, spec: dict[str, Any]) -> Role:
    types = types_of(spec) - {"null"}
    if types == {"string", "integer"}:
        return "time" if name in ("ts", "scheduled_ts") else "id"
    by_type: dict[str, Role] = {"string": "text", "boolean": "flag", "integer": "count", "number": "number"}
    return by_type[next(iter(types))]


def typed_frame(kind: Kind, columns: Mapping[str, Sequence[Any] | np.ndarray | pd.Series]) -> pd.DataFrame:
    """Frame of a feed from its columns, plus ``_line`` (int64, 1-based).

    Args:
        kind: ticks or fills.
        columns: every field; times as int64 nanoseconds (``NAT``: missing), numbers may be None or NaN.
    """
    typed: dict[str, Any] = {}
    for name, role in roles(kind).items():
        typed[name] = _typed(role, columns[name])
    typed["_line"] = np.asarray(columns["_line"], dtype="i8")
    return pd.DataFrame(typed)


def table_frame(kind: Kind, table: pa.Table) -> pd.DataFrame:
    """The same from an Arrow table of ``decode.arrow_schema``."""
    columns = {name: _values(role, table.column(name)) for name, role in roles(kind).items()}
    return typed_frame(kind, columns | {"_line": table.column("line").to_numpy()})


def part_frame(kind: Kind, table: pa.Table) -> pd.DataFrame:
    """The fields that an Arrow table holds, in its order, typed as in the whole frame."""
    fields = roles(kind)
    names = table.column_names
    return pd.DataFrame(
        {n: _typed(fields[n], _values(fields[n], table.column(n))) for n in names}, columns=names
    )


def _values(role: Role, column: pa.ChunkedArray) -> np.ndarray | pd.Series:
    if role == "time":
        return column.cast(pa.int64()).fill_null(NAT).to_numpy()
    if role == "number":
        return column.to_numpy()
    return (column.cast(pa.string()) if role == "text" else column).to_pandas()


def _typed(role: Role, values: Any) -> pd.DatetimeIndex | pd.Series:
    if role == "time":
        return pd.DatetimeIndex(np.asarray(values, dtype="i8").view("M8[ns]")).tz_localize("UTC")
    return pd.Series(values, dtype=_DTYPES[role])


def pairs_of(batch: pa.RecordBatch) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Symbols and arms of a batch of ``decode.arrow_schema``, and which of them each row has, ``int64[n]``."""
    symbol, arm = batch.column("symbol"), batch.column("arm")
    symbols, arms = symbol.dictionary.to_pylist(), arm.dictionary.to_pylist()
    code = symbol.indices.to_numpy().astype(np.int64) * len(arms) + arm.indices.to_numpy()
    found = np.flatnonzero(np.bincount(code, minlength=1))
    number = np.zeros(int(found[-1]) + 1 if len(found) else 1, np.int64)
    number[found] = np.arange(len(found))
    return [(symbols[one // len(arms)], arms[one % len(arms)]) for one in found.tolist()], number[code]


def empty_frame(kind: Kind) -> pd.DataFrame:
    """A frame of no lines with the columns and types of a full one, plus ``_line``."""
    return typed_frame(kind, {name: [] for name in (*roles(kind), "_line")})
