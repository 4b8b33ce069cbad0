"""What a latency depends on besides the code: processor, versions, clock and data source."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

KEYS = ("cpu", "cores", "machine", "system", "python", "numba", "numpy", "clock", "source")


def fingerprint(source: str) -> dict[str, str]:
    """The fingerprint of this host, interpreter and data source, all text; see KEYS."""
    clock = time.get_clock_info("monotonic")
    return {
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count() or 0),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "numba": _version("numba"),
        "numpy": _version("numpy"),
        "clock": f"{clock.implementation}, resolution {clock.resolution:g} s",
        "source": source,
    }


def differences(baseline: Mapping[str, str], candidate: Mapping[str, str]) -> list[str]:
    """What differs, as ``key: baseline -> candidate``; empty when like is compared with like."""
    keys = [*KEYS, *sorted((set(baseline) | set(candidate)) - set(KEYS))]
    return [
        f"{key}: {baseline.get(key, 'unknown')} -> {candidate.get(key, 'unknown')}"
        for key in keys
        if baseline.get(key) != candidate.get(key)
    ]


def _cpu_model() -> str:
    """Name of the processor, or what the platform knows of it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model", "Hardware") and value.strip():
                return " ".join(value.split())
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
