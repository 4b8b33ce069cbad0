"""Fast reading of a feed file by DuckDB; declines any file in which a single line is out of order.

What the schema asks of a line is asked of whole columns here, so a line meets the same fate on both paths.
"""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from mmlib.feeds.columns import NAT, Role, roles, typed_frame
from mmlib.feeds.schema import Kind, schema, types_of
from mmlib.feeds.timestamps import MAX_NS, MIN_NS, UNIT_LIMITS

_STORAGE: dict[Role, str] = {
    "time": "VARCHAR",
    "text": "VARCHAR",
    "id": "VARCHAR",
    "flag": "BOOLEAN",
    "count": "BIGINT",
    "number": "DOUBLE",
}
_WHOLE = frozenset({"BIGINT", "UBIGINT"})
_DETECTED: dict[Role, frozenset[str]] = {
    "time": frozenset({"VARCHAR", "JSON", "DATE", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"})
    | _WHOLE,
    "text": frozenset({"VARCHAR"}),
    "id": frozenset({"VARCHAR", "UUID"}) | _WHOLE,
    "flag": frozenset({"BOOLEAN"}),
    "count": _WHOLE,
    "number": frozenset({"DOUBLE"}) | _WHOLE,
}
_BLOCK = 1 << 22  # bytes
_NULLS = '"NULL"'  # a column that holds nothing else
_ZULU = r"\d{4}-\d\d-\d\d[Tt ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?[Zz]"
_SETTINGS = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "temp_directory": "",  # nothing is written outside the workspace
}


def read_fast(path: Path, kind: Kind) -> pd.DataFrame | None:
    """Frame of a feed file (see ``columns.typed_frame``), or None when it wants a careful reading.

    Raises:
        OSError: the file cannot be read.
    """
    expected = _line_count(path)
    if expected is None:
        return None
    name = glob.escape(str(path))
    with duckdb.connect(config=_SETTINGS) as connection:
        try:
            if not _types_fit(connection, name, kind):
                return None
            connection.execute(f"CREATE TEMP TABLE feed AS {_select(kind)}", {"path": name})
            offences, rows = connection.execute(_offences_query(kind)).fetchall()[0]
            if offences or rows != expected:
                return None
            table = connection.sql("SELECT * EXCLUDE (schema) FROM feed").to_arrow_table()
        except duckdb.Error:
            return None
    columns: dict[str, Any] = {}
    for field, role in roles(kind).items():
        columns[field] = (
            table.column(field).to_numpy() if role in ("time", "number") else table.column(field).to_pandas()
        )
    columns["_line"] = np.arange(1, len(table) + 1)
    return typed_frame(kind, columns)


def _line_count(path: Path) -> int | None:
    """Number of lines; None for an empty file or one with trailing commas, which DuckDB would let pass."""
    lines, tail = 0, b""
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            text = tail + block
            if b",}\n" in text or b", }\n" in text:
                return None
            lines += block.count(b"\n")
            tail = block[-3:]
    return lines + (not tail.endswith(b"\n")) if tail else None


def _types_fit(connection: duckdb.DuckDBPyConnection, name: str, kind: Kind) -> bool:
    """Whether every column holds one JSON type throughout, and the right one.

    Without this, DuckDB would take the text "1.5" for a number and true for 1.
    """
    options = "format='newline_delimited', sample_size=-1, map_inference_threshold=-1"
    query = f"DESCRIBE SELECT * FROM read_json($path, {options})"  # noqa: S608  (constants only)
    detected = dict(row[:2] for row in connection.execute(query, {"path": name}).fetchall())
    if detected.get("schema") not in _WHOLE:
        return False
    for field, role in roles(kind).items():
        found = detected.get(field)
        optional = "null" in types_of(schema(kind)["properties"][field])
        if found not in _DETECTED[role] and not (optional and found in (None, _NULLS)):
            return False
    return True


def _select(kind: Kind) -> str:
    """The query that reads one file; times become nanoseconds."""
    fields = {"schema": "BIGINT"} | {field: _STORAGE[role] for field, role in roles(kind).items()}
    columns = ", ".join(f"{field}: '{storage}'" for field, storage in fields.items())
    times = [field for field, role in roles(kind).items() if role == "time"]
    replaced = ", ".join(f"{_time_sql(field)} AS {field}" for field in times)
    return (
        f"SELECT * REPLACE ({replaced}) "  # noqa: S608  (names come from our schema, the path is a parameter)
        f"FROM read_json($path, format='newline_delimited', columns={{{columns}}})"
    )


def _time_sql(field: str) -> str:
    """SQL for ``timestamps.to_ns``; -1 for what that function or the careful path must look at."""
    whole = f"TRY_CAST({field} AS BIGINT)"
    units = " ".join(f"WHEN {whole} < {limit} THEN {whole} * {factor}" for limit, factor in UNIT_LIMITS)
    text_ns = f"epoch_ns(TRY_CAST({field} AS TIMESTAMP_NS))"
    return (
        f"CASE WHEN {field} IS NULL THEN {NAT} "
        f"WHEN regexp_full_match({field}, '[0-9]{{9,19}}') THEN coalesce(CASE {units} ELSE {whole} END, -1) "
        f"WHEN regexp_full_match({field}, '{_ZULU}') THEN coalesce({text_ns}, -1) "
        f"ELSE -1 END"
    )


def _offences_query(kind: Kind) -> str:
    """The query that counts rows breaking a rule of the schema, and all rows."""
    role = roles(kind)
    rules = [
        _rule(field, role.get(field, "count"), spec) for field, spec in schema(kind)["properties"].items()
    ]
    return f"SELECT count(*) FILTER (WHERE NOT ({' AND '.join(rules)})), count(*) FROM feed"  # noqa: S608


def _rule(field: str, role: Role, spec: dict[str, Any]) -> str:
    """SQL condition that a value of the field must meet."""
    optional = "null" in types_of(spec)
    if role == "time":
        valid = f"({field} >= {MIN_NS} AND {field} < {MAX_NS})"
        return f"({valid} OR {field} = {NAT})" if optional else valid
    parts = ["isfinite(" + field + ")"] if role == "number" else []
    for key, operator in (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("const", "=")):
        if key in spec:
            parts.append(f"{field} {operator} {spec[key]}")
    if "enum" in spec:
        parts.append(f"{field} IN ({', '.join(repr(value) for value in spec['enum'])})")
    for key, operator in (("minLength", ">="), ("maxLength", "<=")):
        if key in spec:
            parts.append(f"length({field}) {operator} {spec[key]}")
    condition = " AND ".join(parts) or "true"
    return f"({field} IS NULL OR ({condition}))" if optional else f"({field} IS NOT NULL AND {condition})"
