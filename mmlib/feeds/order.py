"""Rows of feeds as Parquet; put in order and freed of duplicates by DuckDB, which goes to disk where memory does not do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmlib.feeds.columns import roles
from mmlib.feeds.decode import arrow_schema
from mmlib.feeds.schema import Kind

KEYS: dict[Kind, tuple[str, ...]] = {
    "ticks": ("symbol", "arm", "ts"),
    "fills": ("symbol", "arm", "side", "order_id", "fill_id"),
}
"""Fills of the same key are the same fill: a trade with oneself has one trade id on both of its legs.

Ticks of the same key are duplicates only when they agree in everything.
"""
RARE: tuple[str, ...] = ("symbol", "arm", "fill_id")
"""Fills that agree in these are looked at with all of the key; few do."""
DUPLICATE: dict[Kind, str] = {
    "ticks": "duplicate: an earlier line is the same",
    "fills": "duplicate: an earlier line has this side, order_id and fill_id",
}
CONFLICT = "duplicate with another price or quantity: an earlier line has this side, order_id and fill_id"
"""Why a fill is left out that cannot be the same as the one whose key it has."""
ROW_GROUP = 1 << 16
FEW = 1 << 18
"""Rows that are put in order in memory."""
_MEMORY = "384MB"
DECISIVE: dict[Kind, tuple[str, ...]] = {"ticks": (), "fills": ("price", "qty")}
"""Fields in which fills of one key must agree, or one of them is wrong."""
_FIRST = ("ts", "symbol", "arm")  # then all the rest, so that the order of the lines decides nothing


def reasons(kind: Kind, differs: Iterable[bool]) -> list[str]:
    """Why each of the lines that have the key of an earlier one is left out.

    Args:
        differs: whether its price or quantity is another one.
    """
    return [CONFLICT if one else DUPLICATE[kind] for one in differs]


def open_writer(path: Path, kind: Kind) -> pq.ParquetWriter:
    """A Parquet file to write rows of ``decode.arrow_schema`` into."""
    schema = arrow_schema(kind)
    texts = [one.name for one in schema if pa.types.is_dictionary(one.type)]
    times = [one.name for one in schema if pa.types.is_timestamp(one.type)]
    numbers = [one.name for one in schema if pa.types.is_float64(one.type)]
    return pq.ParquetWriter(
        path,
        schema,
        compression="lz4",  # a fiftieth larger than fast zstd, a sixth less time to write, and a fifth less to read
        use_dictionary=texts,
        column_encoding=dict.fromkeys([*times, "line", *numbers], "BYTE_STREAM_SPLIT"),
        write_statistics=["ts", *texts],
        write_page_checksum=True,
        write_batch_size=ROW_GROUP,  # a fifth less time than by a thousand values, and nothing else depends on it
    )


class Ordering:
    """Rows of one feed from Parquet files.

    Args:
        files: as ``convert`` writes them, the earlier ones first. kind: ticks or fills. scratch: a directory to use.

    Attributes:
        repeated: ``int64[k, 2]``, the number of the file and the line of each duplicate; the first one of a key is none.
        reasons: why each of them is left out.
    """

    def __init__(self, files: Sequence[Path], kind: Kind, scratch: Path) -> None:
        self.kind = kind
        settings = {
            "memory_limit": _MEMORY,
            "temp_directory": str(scratch),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "preserve_insertion_order": "false",
        }
        self._connection = duckdb.connect(config=settings)
        parts = [
            f"SELECT *, {number} AS file_no FROM read_parquet({_quoted(file)})"  # noqa: S608
            for number, file in enumerate(files)
        ]
        self._connection.execute(f"CREATE VIEW rows AS {' UNION ALL '.join(parts)}")
        self.repeated, self.reasons = self._find()

    def _find(self) -> tuple[np.ndarray, list[str]]:
        keys = ", ".join(KEYS[self.kind])
        same = keys if self.kind == "fills" else ", ".join(roles(self.kind))
        matching = " AND ".join(f"rows.{key} IS NOT DISTINCT FROM often.{key}" for key in KEYS[self.kind])
        differs = (
            " OR ".join(f"first_value({name}) OVER same <> {name}" for name in DECISIVE[self.kind]) or "false"
        )
        query = (
            f"WITH often AS (SELECT {keys} FROM rows GROUP BY ALL HAVING count(*) > 1), "  # noqa: S608
            f"numbered AS (SELECT file_no, line, row_number() OVER same AS k, {differs} AS differs "
            f"FROM rows SEMI JOIN often ON {matching} WINDOW same AS (PARTITION BY {same} ORDER BY file_no, line)) "
            "SELECT file_no, line, differs FROM numbered WHERE k > 1 ORDER BY ALL"
        )
        found = self._connection.execute(query).fetchnumpy()
        repeated = np.stack([np.asarray(found[name], np.int64) for name in ("file_no", "line")], axis=1)
        return repeated, reasons(self.kind, found["differs"])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows that stay, by ts, symbol, arm, in batches of ``arrow_schema``."""
        gone = pa.table({"file_no": self.repeated[:, 0], "line": self.repeated[:, 1]})
        self._connection.register("gone", gone)
        schema = arrow_schema(self.kind)
        rest = [name for name in roles(self.kind) if name not in _FIRST]
        query = (
            f"SELECT {', '.join(schema.names)} FROM rows ANTI JOIN gone USING (file_no, line) "  # noqa: S608
            f"ORDER BY {', '.join([*_FIRST, *rest])}, file_no, line"
        )
        for batch in self._connection.sql(query).to_arrow_reader(ROW_GROUP):
            yield _typed(batch, schema)

    def close(self) -> None:
        """Let go of the files."""
        self._connection.close()


class FewRows:
    """As ``Ordering``, of one file with few rows of which none is a duplicate: to ask a database takes longer."""

    def __init__(self, file: Path, kind: Kind) -> None:
        self.kind = kind
        self.repeated = np.empty((0, 2), np.int64)
        self.reasons: list[str] = []
        self._file = file

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, by ts, symbol, arm, in batches of ``arrow_schema``."""
        schema = arrow_schema(self.kind)
        table = pq.read_table(self._file, use_threads=False)
        for number, one in enumerate(schema):
            if pa.types.is_dictionary(one.type):
                table = table.set_column(number, one.name, table.column(number).cast(pa.string()))
        rest = [name for name in roles(self.kind) if name not in _FIRST]
        keys = [(name, "ascending") for name in (*_FIRST, *rest, "line")]
        ordered = table.take(pc.sort_indices(table, sort_keys=keys)).combine_chunks()
        for batch in ordered.to_batches(ROW_GROUP):
            yield _typed(batch, schema)

    def close(self) -> None:
        """Nothing."""


def write_ordered(ordering: Ordering, path: Path, says: Mapping[str, str]) -> None:
    """Write the rows that stay to a Parquet file, and to its footer what ``says`` says."""
    with open_writer(path, ordering.kind) as writer:
        writer.add_key_value_metadata(dict(says))
        for batch in ordering.batches():
            writer.write_batch(batch, row_group_size=ROW_GROUP)


def _typed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    arrays = []
    for wanted in schema:
        array = batch.column(wanted.name)
        if pa.types.is_dictionary(wanted.type):
            array = array.cast(pa.string()).dictionary_encode()
        arrays.append(array.cast(wanted.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
