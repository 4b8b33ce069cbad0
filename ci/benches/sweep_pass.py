"""Prints seconds, peak memory [MB] and fills of a sweep: settings of a file over rows of a file, on every core.

Arguments: rows, settings, settings a pass, tick size, lot size. Compiled code is loaded by a short sweep first; imports
nothing that a sweep does not.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from mmlib.engine.sweep import Market, open_rows, run_block, write_rows
from mmlib.metrics.farm import open_farm

rows, settings_file, per_pass, tick_size, lot_size = sys.argv[1:]
settings = np.load(settings_file)
short = Path(rows).with_name("short.npy")
write_rows([open_rows(rows)[:100_000]], short)


def run(file: str, chosen: np.ndarray) -> int:
    """Fills of all settings."""
    market = Market(file, float(tick_size), float(lot_size), 3_600_000_000_000)
    size = min(int(per_pass), -(-len(chosen) // 2))
    with open_farm() as farm:
        tasks = [(market, chosen[k : k + size]) for k in range(0, len(chosen), size)]
        return sum(int(result["fills"].sum()) for _, result in farm.each(run_block, tasks))


run(str(short), settings[:1])
start = time.perf_counter()
fills = run(rows, settings)
took = time.perf_counter() - start
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
peak, mapped = (int(status[name].split()[0]) / 1e3 for name in ("VmHWM", "RssFile"))
print(json.dumps({"seconds": took, "peak_mb": peak, "of_it_mapped_files_mb": mapped, "fills": fills}))
