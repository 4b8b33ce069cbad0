"""Daily: one day's report as the scheduler runs it, beside one plain DuckDB scan of the same day's ticks.

The day is what the dataset bench makes: by default two symbols as shipped, both arms, a tick a second. It is run as every
morning: the day before was reported already, so its feeds are kept as Parquet, and the day's own are not. Seconds are those of
the whole command, kernel, notebook and pages included; CPU seconds are of all its processes, the peak is of the largest. A
large desk's day, ten symbols, is reported as well, without a bar.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import feed_files
import nbformat
from report import at_most, bar, finish, machine

MOST_S = 10.0
MANY = 10
DAY = feed_files.FIRST_DAY.date() + timedelta(days=1)
TICKS_A_SYMBOL = 2 * 86_400
_PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Make two days of feeds, report both, scan the second with DuckDB, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--symbols", type=int, default=2, metavar="N", help="1 to 10 (default: 2)")
    wanted = parser.parse_args().symbols
    symbols = feed_files.SYMBOLS[:wanted]
    adopt()
    with tempfile.TemporaryDirectory(prefix="finishline-") as place:
        feeds, ws = Path(place) / "feeds", Path(place) / "ws"
        files = feed_files.write_feeds(feeds, 2 * wanted * TICKS_A_SYMBOL, symbols=symbols)
        report(ws, feeds, str(feed_files.FIRST_DAY.date()))
        measured = report(ws, feeds, str(DAY))
        warm = report(ws, feeds, str(DAY))
        peer = scan(files[1])
        text = (ws / "artifacts" / "reports" / "daily" / f"{DAY}.md").read_text()
    many = large_desk() if wanted < MANY else None
    figures: dict[str, Any] = {
        "ticks": wanted * TICKS_A_SYMBOL,
        "daily": measured,
        "daily_again": warm,
        "duckdb_scan": peer,
        "daily_over_scan": round(measured["seconds"] / peer["seconds"], 1),
        "large_desk": many,
    }
    said = f"{wanted * TICKS_A_SYMBOL:,} ticks"
    bars = [
        at_most("seconds of a day's report", measured["seconds"], MOST_S),
        bar("the report tells every tick of the day", said in text, True),
    ]
    packages = ("duckdb", "pandas", "papermill", "numba")
    return finish({"bench": "daily", "machine": machine(*packages), **figures, "bars": bars})


def large_desk() -> dict[str, Any]:
    """The same of ten symbols; the feeds of the day before are put into the cache without a report."""
    with tempfile.TemporaryDirectory(prefix="finishline-") as place:
        feeds, ws = Path(place) / "feeds", Path(place) / "ws"
        feed_files.write_feeds(feeds, 2 * MANY * TICKS_A_SYMBOL)
        before = (
            "import sys\nfrom pathlib import Path\nfrom mmlib.ops.day import load_day\n"
            "load_day(Path(sys.argv[1]), sys.argv[2], cache_dir=Path(sys.argv[3]))\n"
        )
        day_before, cache = str(feed_files.FIRST_DAY.date()), ws / "artifacts" / "cache" / "feeds"
        subprocess.run([sys.executable, "-c", before, str(feeds), day_before, str(cache)], check=True)
        for kept in cache.glob(f"*_{DAY:%Y%m%d}.*"):  # of that day, which may hold ticks of the one before
            kept.unlink()
        return {"ticks": MANY * TICKS_A_SYMBOL, **report(ws, feeds, str(DAY))}


def adopt() -> None:
    """Become the parent of what a command leaves behind, such as the process from which kernels are forked (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def wait_for_all() -> None:
    """Wait for everything that a command left behind, so that its CPU seconds are counted."""
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


def report(ws: Path, feeds: Path, day: str) -> dict[str, Any]:
    """Run ``finishline daily``: seconds, CPU seconds, the peak of any process so far, and cells that take a tenth of one."""
    command = [sys.executable, "-m", "mmlib", "daily", "--json", "--date", day]
    command += ["--feeds", str(feeds), "--workspace", str(ws)]
    ws.mkdir(parents=True, exist_ok=True)
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    took = time.perf_counter() - start
    wait_for_all()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode > 1:
        raise SystemExit(f"{day}: the report was not written, exit code {done.returncode}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    (step,) = json.loads(done.stdout)["steps"]
    notebook = nbformat.read(step["notebook"], as_version=4)
    return {
        "seconds": round(took, 2),
        "cpu_seconds": round(cpu, 2),
        "peak_mb": round(after.ru_maxrss / 1024),
        "notebook_seconds": round(float(notebook.metadata.papermill.duration), 2),
        "cells": [
            [cell.source.strip().splitlines()[0][:60], round(seconds, 2)]
            for cell in notebook.cells
            if (seconds := float(cell.metadata.get("papermill", {}).get("duration") or 0.0)) >= 0.1
        ],
    }


def scan(file: Path) -> dict[str, Any]:
    """Seconds in which DuckDB reads every field of the day's ticks once and takes a percentile of one of them."""
    code = (
        "import duckdb, sys, time\n"
        "start, cpu = time.perf_counter(), time.process_time()\n"
        "connection = duckdb.connect(config={'threads': 2})\n"
        'query = "SELECT symbol, arm, count(*), quantile_cont(tick_total_ms, 0.95) "\n'
        "query += \"FROM (SELECT *, COLUMNS(*)::VARCHAR AS 'text_\\\\0' FROM read_json($file, format='newline_delimited')) \"\n"
        "query += 'GROUP BY 1, 2'\n"
        "rows = connection.execute(query, {'file': sys.argv[1]}).fetchall()\n"
        "print(time.perf_counter() - start, time.process_time() - cpu, sum(row[2] for row in rows))\n"
    )
    words = subprocess.run(
        [sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, text=True, check=True
    )
    seconds, cpu, ticks = map(float, words.stdout.split())
    return {"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "ticks": int(ticks)}


if __name__ == "__main__":
    sys.exit(main())
