"""What past measurements say together: the trend of each stage, and where its level changed. It informs and fails nothing."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmlib._io import sha256_json, write_atomic
from mmlib.baseline.validate import Comparison

MEASUREMENTS = Path("artifacts") / "baseline" / "history" / "measurements.jsonl"
MIN_POINTS = 6
_MIN_SEGMENT = 3
_PENALTY = 3.0
_LEAST_STEP = 0.005  # half a percent: below it the clock, not the code, decides


def remember(workspace: Path, comparison: Comparison, *, at: str) -> Path | None:
    """Add a comparison's measured rounds to the history; None when it has none.

    Raises:
        UserError: the workspace cannot be written.
    """
    if comparison.sides is None:
        return None
    base, cand = comparison.sides
    record = {
        "at": at,
        "lock_sha256": comparison.lock.sha256,
        "build_sha256": cand.build_sha256,
        "unchanged": base.build_sha256 == cand.build_sha256,
        "host": host_of(comparison.candidate.fingerprint),
        "p95_ms": {name: _median(values) for name, values in cand.runs.items()},
        "baseline_p95_ms": {name: _median(values) for name, values in base.runs.items()},
        "status": {result.id: str(result.status) for result in comparison.results},
    }
    path = workspace / MEASUREMENTS
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    return write_atomic(path, before + json.dumps(record, sort_keys=True) + "\n")


def host_of(fingerprint: Mapping[str, str]) -> str:
    """Short name of a fingerprint; measurements of another one are no part of the same trend."""
    return sha256_json(dict(fingerprint))[:12]


def trend(workspace: Path, fingerprint: Mapping[str, str]) -> pd.DataFrame:
    """Every measurement on this host and source, with the level that its stage then had.

    Returns:
        at (UTC), build, stage, p95_ms, level_ms (median of the segment), segment (0, 1, ...), change_pct (from the segment
        before, NaN in the first). A stage with fewer than ``MIN_POINTS`` points is one segment.
    """
    rows = []
    for record in _records(workspace / MEASUREMENTS):
        if record["host"] == host_of(fingerprint):
            rows += [
                (record["at"], record["build_sha256"][:8], stage, value)
                for stage, value in record["p95_ms"].items()
                if value is not None and value > 0.0
            ]
    frame = pd.DataFrame(rows, columns=["at", "build", "stage", "p95_ms"])
    frame["at"] = pd.to_datetime(frame["at"], utc=True)
    parts = [_levels(part.sort_values("at", kind="stable")) for _, part in frame.groupby("stage", sort=False)]
    columns = ["at", "build", "stage", "p95_ms", "level_ms", "segment", "change_pct"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def change_points(values: np.ndarray) -> list[int]:
    """Where the level of a series changes, as the first index of each new segment.

    PELT on squared error (Killick, Fearnhead, Eckley, JASA 107, 2012), by ``ruptures``; the penalty is 3 log(n) times the
    variance of neighbours' differences, which a change of level hardly touches.
    """
    n = len(values)
    if n < MIN_POINTS:
        return []
    import ruptures

    spread = float(np.median(np.abs(np.diff(values)))) / (0.6745 * math.sqrt(2.0))
    penalty = _PENALTY * math.log(n) * max(spread, _LEAST_STEP) ** 2
    found = ruptures.Pelt(model="l2", min_size=_MIN_SEGMENT, jump=1).fit(values).predict(pen=penalty)
    return [int(index) for index in found if index < n]


def _levels(part: pd.DataFrame) -> pd.DataFrame:
    values = part["p95_ms"].to_numpy(dtype=np.float64)
    starts = [0, *change_points(np.log(values)), len(values)]
    part = part.copy()
    before = math.nan
    for number, (first, last) in enumerate(itertools.pairwise(starts)):
        here = part.index[first:last]
        level = float(np.median(values[first:last]))
        part.loc[here, "segment"] = number
        part.loc[here, "level_ms"] = level
        part.loc[here, "change_pct"] = (level / before - 1.0) * 100.0
        before = level
    return part.astype({"segment": "int64"})


def _records(path: Path) -> list[dict[str, Any]]:
    """Lines of the history; one that cannot be read is left out, since nothing is decided here."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
            if {"at", "build_sha256", "host", "p95_ms"} <= set(record):
                found.append(record)
        except (ValueError, TypeError):
            continue
    return found


def _median(values: tuple[float, ...]) -> float | None:
    middle = float(np.median(values)) if values else math.nan
    return middle if math.isfinite(middle) else None
