"""One way to make five-minute percentiles of a directory of feeds, in a process of its own; prints seconds and peak memory.

Arguments: what (duckdb, polars, cold, warm, scan), the feeds, the cache. ``duckdb`` and ``polars`` compute the tick's p50, p95
and p99 and nothing else; the others are the whole dataset: ``cold`` from the feeds, ``warm`` from the slices that cold kept,
``scan`` from the Parquet files alone, as for intervals that nobody asked for before. It is said whence the slices came, and
how many CPU seconds all threads took.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

THREADS = 2


def bare_duckdb(feeds: Path) -> int:
    """Rows of the bare job by DuckDB, which is told the two columns that it needs and their types."""
    import duckdb

    with duckdb.connect(config={"threads": THREADS}) as connection:
        query = (
            "SELECT time_bucket(INTERVAL 5 MINUTE, ts) AS start, quantile_cont(tick_total_ms, [0.5, 0.95, 0.99]) "
            "FROM read_json($files, format='newline_delimited', columns={ts: 'TIMESTAMP', tick_total_ms: 'DOUBLE'}) "
            "GROUP BY 1 ORDER BY 1"
        )
        return len(connection.execute(query, {"files": str(feeds / "pipeline_ticks_*.jsonl")}).fetchall())


def bare_polars(feeds: Path) -> int:
    """The same by polars."""
    import polars as pl

    schema = {"ts": pl.String, "tick_total_ms": pl.Float64}
    ts = pl.col("ts").str.to_datetime(format="%Y-%m-%dT%H:%M:%S%.fZ", time_unit="ns")
    quantiles = [pl.col("tick_total_ms").quantile(q).alias(str(q)) for q in (0.5, 0.95, 0.99)]
    lines = pl.scan_ndjson(str(feeds / "pipeline_ticks_*.jsonl"), schema=schema)
    grouped = lines.with_columns(start=ts.dt.truncate("5m")).group_by("start").agg(*quantiles)
    return grouped.collect(engine="streaming").height


def whole(feeds: Path, cache: Path) -> dict[str, int]:
    """The dataset, and whence its slices came."""
    from mmlib.metrics.dataset import build_dataset

    return dict(build_dataset(feeds, cache_dir=cache).sources)


def main() -> None:
    """Measure and print."""
    what, feeds, cache = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    ways: dict[str, Callable[[], int | dict[str, int]]] = {
        "duckdb": lambda: bare_duckdb(feeds),
        "polars": lambda: bare_polars(feeds),
        "cold": lambda: whole(feeds, cache),
        "warm": lambda: whole(feeds, cache),
        "scan": lambda: whole(feeds, cache),
    }
    if what in ("cold", "warm", "scan"):
        whole(feeds.parent / "small", cache.parent / "small_cache")  # loads the compiled code
        shutil.rmtree(cache.parent / "small_cache")
    if what == "cold":
        shutil.rmtree(cache, ignore_errors=True)
    if what == "scan":
        for kept in cache.glob("*.npz"):
            kept.unlink()
    start, cpu = time.perf_counter(), time.process_time()
    found = ways[what]()
    took = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(json.dumps(took | {"peak_mb": int(status["VmHWM"].split()[0]) / 1e3, "found": found}))


if __name__ == "__main__":
    main()
