"""What every bench prints: the machine, versions, figures and bars, as one JSON object; and the exit code."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil


def machine(*packages: str) -> dict[str, Any]:
    """What the figures were taken on."""
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "load_before": round(os.getloadavg()[0], 2),
    }


def seconds(values: Sequence[float]) -> dict[str, float]:
    """Minimum and median of repeats."""
    return {"min": round(min(values), 4), "median": round(statistics.median(values), 4)}


def bar(name: str, value: float | bool, limit: float | bool) -> dict[str, Any]:
    """Something that has to be at least ``limit``."""
    return {"name": name, "value": value, "op": ">=", "limit": limit, "holds": bool(value >= limit)}


def at_most(name: str, value: float, limit: float) -> dict[str, Any]:
    """Something that has to be ``limit`` at most."""
    return {"name": name, "value": value, "op": "<=", "limit": limit, "holds": bool(value <= limit)}


def finish(result: dict[str, Any]) -> int:
    """Print the object; 1 where a bar does not hold."""
    print(json.dumps(result, indent=2))
    return 0 if all(one["holds"] for one in result["bars"]) else 1
