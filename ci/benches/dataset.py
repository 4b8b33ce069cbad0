"""Dataset: from feeds of the contract's full layout, beside what DuckDB and polars take for the tick's percentiles alone."""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import feed_files
import numpy as np
import pandas as pd
from dataset_once import THREADS
from report import at_most, bar, finish, machine, seconds

from mmlib.core.histogram import RELATIVE_ERROR
from mmlib.metrics.dataset import Dataset, build_dataset
from mmlib.metrics.farm import open_farm

_ONCE = Path(__file__).with_name("dataset_once.py")
_MAIN = 5  # million ticks, of the bars
_COLD, _WARM, _MEMORY_MB = 1.5, 5.0, 1024.0
_GROWTH = 1.25  # of time a tick and of peak memory from 5 to 25 million ticks
_DAMAGED_TICKS = 240_000
_BARE = ("duckdb", "polars")


def once(what: str, feeds: Path, cache: Path) -> dict[str, Any]:
    """One measurement in a process of its own."""
    command = [sys.executable, str(_ONCE), what, str(feeds), str(cache)]
    environment = os.environ | {"POLARS_MAX_THREADS": str(THREADS)}
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return dict(json.loads(out.splitlines()[-1]))


def read_through(files: Sequence[Path]) -> float:
    """Seconds of a bare read of all files, which are in the page cache then as far as it holds them.

    A system may take pages back from the cache, so that a large feed, the only one that is read once, waited for the disk.
    """
    buffer = bytearray(1 << 22)
    start = time.perf_counter()
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.perf_counter() - start


def size(millions: float, scratch: Path, repeats: int) -> dict[str, Any]:
    """Time and peak memory at one size, the ways in turns; the feeds go afterwards, the cache stays for the first size."""
    feeds, cache = scratch / "feeds", scratch / "cache"
    shutil.rmtree(feeds, ignore_errors=True)
    files = feed_files.write_feeds(feeds, round(millions * 1e6))
    os.sync()  # a system that still writes gigabytes to disk holds back whoever writes as well, and here only one does
    ways = (*_BARE, "cold", "scan", "warm") if millions == _MAIN else ("cold", "scan", "warm")
    took: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    bare_reads = []
    for _ in range(repeats if millions == _MAIN else 1):
        for name in ways:
            if name in (*_BARE, "cold"):
                bare_reads.append(read_through(files))
            took[name].append(once(name, feeds, cache))
    ticks = sum(1 for file in files for _ in file.open("rb")) if millions < 2 else None
    return {
        "ticks": ticks or 2 * len(feed_files.SYMBOLS) * 86_400 * len(files),
        "feeds_mb": round(sum(file.stat().st_size for file in files) / 1e6),
        "bare_read_seconds": seconds(bare_reads),
        "seconds": {name: seconds([one["seconds"] for one in runs]) for name, runs in took.items()},
        "cpu_seconds": {name: seconds([one["cpu_seconds"] for one in runs]) for name, runs in took.items()},
        "slices_from": {name: runs[-1]["found"] for name, runs in took.items() if name not in _BARE},
        "peak_mb": {name: round(max(one["peak_mb"] for one in runs)) for name, runs in took.items()},
    }


def worst_error(feeds: Path, cache: Path) -> float:
    """Largest relative difference of all percentiles of the dataset to exact ones of the same feeds."""
    frame = build_dataset(feeds, cache_dir=cache).intervals
    stages = [name.removesuffix("_p50_ms") for name in frame.columns if name.endswith("_p50_ms")]
    exact = ", ".join(f"quantile_disc({stage}_ms, [0.5, 0.95, 0.99]) AS {stage}" for stage in stages)
    query = (
        f"SELECT epoch_ns(ts) // 300000000000 * 300000000000 AS start, symbol, arm, {exact} "
        "FROM read_parquet($files) GROUP BY ALL ORDER BY ALL"
    )
    with duckdb.connect(config={"threads": THREADS}) as connection:
        expected = connection.execute(query, {"files": str(cache / "pipeline_ticks_*.parquet")}).df()
    frame = frame[frame["n_ticks"] > 0].sort_values(["ts", "symbol", "arm"])
    assert len(frame) == len(expected)
    worst = 0.0
    for stage in stages:
        values = np.stack(expected[stage].to_list())
        for column, q in enumerate((50, 95, 99)):
            got = frame[f"{stage}_p{q}_ms"].to_numpy()
            worst = max(worst, float(np.max(np.abs(got - values[:, column]) / values[:, column])))
    return worst


def damaged(source: Path, target: Path) -> dict[str, int]:
    """A copy whose lines are shuffled, some twice, some torn, and gzipped; how many of each."""
    rng = random.Random(5)
    target.mkdir()
    counts = {"doubled": 0, "torn": 0}
    for path in sorted(source.glob("*.jsonl")):
        lines = path.read_bytes().splitlines(keepends=True)
        twice, torn = (rng.sample(lines, len(lines) // part) for part in (100, 1000))
        counts["doubled"] += len(twice)
        counts["torn"] += len(torn)
        lines += twice + [line[: len(line) // 2] + b"\n" for line in torn]
        rng.shuffle(lines)
        (target / f"{path.name}.gz").write_bytes(gzip.compress(b"".join(lines), 1))
    return counts


def same(one: Dataset, other: Dataset) -> bool:
    """Whether all intervals agree to the last bit."""
    try:
        pd.testing.assert_frame_equal(one.intervals, other.intervals, check_exact=True)
    except AssertionError as exc:
        print(exc, file=sys.stderr)
        return False
    return True


def equalities(scratch: Path, workers: int) -> dict[str, Any]:
    """Whether damage and processes change the dataset."""
    feeds = scratch / "few"
    feed_files.write_feeds(feeds, _DAMAGED_TICKS)
    clean = build_dataset(feeds)
    counts = damaged(feeds, scratch / "damaged")
    copy = build_dataset(scratch / "damaged")
    with open_farm(workers=workers) as farm:
        spread = build_dataset(feeds, cache_dir=scratch / "few_cache", farm=farm)
    warm = build_dataset(feeds, cache_dir=scratch / "few_cache")
    for kept in (scratch / "few_cache").glob("*.npz"):
        kept.unlink()
    scan = build_dataset(feeds, cache_dir=scratch / "few_cache")
    told = (
        copy.summary["duplicate_lines"],
        copy.summary["quarantined_lines"] - copy.summary["duplicate_lines"],
    )
    return {
        "ticks": clean.summary["ticks"],
        "damage": counts,
        "duplicates_told": told[0],
        "torn_told": told[1],
        "out_of_order_told": copy.summary["ticks_out_of_order"],
        "damaged_copy_equal": same(clean, copy),
        "damage_told": told == (counts["doubled"], counts["torn"]),
        "dask_equal": same(clean, spread),
        "warm_equal": same(clean, warm) and set(warm.sources) == {"kept"},
        "scan_equal": same(clean, scan) and set(scan.sources) == {"ticks"},
    }


def bars(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What has to hold."""
    sizes, equal = result["sizes"], result["equal"]
    found = [
        at_most("largest relative error of a percentile", round(result["worst_error"], 6), RELATIVE_ERROR),
        bar("shuffled, doubled, torn and gzipped copy: the same dataset", equal["damaged_copy_equal"], True),
        bar("and what was wrong is counted", equal["damage_told"], True),
        bar("dask: the same dataset", equal["dask_equal"], True),
        bar("warm, from kept slices: the same dataset", equal["warm_equal"], True),
        bar("and from the ticks in Parquet", equal["scan_equal"], True),
    ]
    if str(_MAIN) in sizes:
        at = {name: took["min"] for name, took in sizes[str(_MAIN)]["seconds"].items()}
        peak = max(sizes[str(_MAIN)]["peak_mb"][name] for name in ("cold", "scan", "warm"))
        found += [
            at_most("5 M ticks, cold: times a bare DuckDB query", round(at["cold"] / at["duckdb"], 2), _COLD),
            bar(
                "5 M ticks, cold: times as fast as polars at the bare job",
                round(at["polars"] / at["cold"], 2),
                1.0,
            ),
            bar("5 M ticks, warm: times as fast as cold", round(at["cold"] / at["warm"], 2), _WARM),
            at_most("5 M ticks: peak memory [MB]", peak, _MEMORY_MB),
        ]
    if {str(_MAIN), "25"} <= set(sizes):
        few, many = sizes[str(_MAIN)], sizes["25"]
        each = [one["seconds"]["cold"]["min"] / one["ticks"] for one in (few, many)]
        grown = many["peak_mb"]["cold"] / few["peak_mb"]["cold"]
        found += [
            at_most("25 M ticks: cold time a tick, times that of 5 M", round(each[1] / each[0], 2), _GROWTH),
            at_most("25 M ticks: peak memory, times that of 5 M", round(grown, 2), _GROWTH),
        ]
    return found


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="ci/bench dataset", description=__doc__)
    parser.add_argument("--millions", type=int, nargs="+", default=[1, 5, 25], help="sizes [million ticks]")
    parser.add_argument("--repeats", type=int, default=3, help="of the size that the bars are about")
    parser.add_argument("--workers", type=int, default=2, help="processes of the dask run")
    parser.add_argument(
        "--scratch", default=None, help="directory for the feeds; 25 million ticks take 17 GB"
    )
    return parser.parse_args()


def main() -> int:
    """Measure, print, judge."""
    options = arguments()
    result: dict[str, Any] = {"bench": "dataset"}
    result["machine"] = machine("duckdb", "polars", "pyarrow", "numba", "distributed")
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        scratch = Path(name)
        feed_files.write_feeds(scratch / "small", 20_000)
        build_dataset(scratch / "small")  # compiles
        result["sizes"] = {}
        for millions in sorted(options.millions):
            result["sizes"][str(millions)] = size(millions, scratch, options.repeats)
            if millions == min(options.millions):
                result["worst_error"] = worst_error(scratch / "feeds", scratch / "cache")
        result["equal"] = equalities(scratch, options.workers)
    result["bars"] = bars(result)
    return finish(result)


if __name__ == "__main__":
    sys.exit(main())
