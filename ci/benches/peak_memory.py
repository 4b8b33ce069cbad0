"""Prints the peak memory [MB] of a replay of the first rows of a decoded file, and how much of it is mapped files.

Arguments: file, rows, tick size, lot size, order quantity, largest position. Imports nothing that the replay does not.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from mmlib.engine.bench import run_grid

file, rows, tick_size, lot_size, order_qty, max_position = sys.argv[1:]
mapped = np.load(file, mmap_mode="r")[: int(rows)]
run_grid(
    mapped,
    "grid",
    tick_size=float(tick_size),
    lot_size=float(lot_size),
    order_qty=float(order_qty),
    max_position=float(max_position),
    queue_model="log",
    queue_exponent=0.0,
)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(*(int(status[name].split()[0]) / 1e3 for name in ("VmHWM", "RssFile")))
