"""What the ticks of a session cost the process, by phase: measured, mergeable, and stated with the session."""

from __future__ import annotations

import math

import numpy as np

from mmlib.core.histogram import Histogram

PHASES = {
    "rows": "handing over what has arrived since the tick before",
    "begin": "books brought up to the present, and whether the cache serves (core.live.begin)",
    "end": "the pipeline of every arm (core.live.end)",
    "note": "the time that really passed, and the note in the recording",
    "count": "ledger, and the rows kept for the feeds",
    "observe": "telemetry, stop criteria, status, and whatever else watches",
}
"""Phases of a tick, in order. The wait for a book that was asked for is none of them."""
COMPUTE = "compute"
"""All phases of one tick together: for so long it keeps the session from doing anything else."""
_KEPT = 64


class PhaseTimes:
    """Durations of the phases of every tick, as histograms [ms]."""

    def __init__(self) -> None:
        self._histograms = {name: Histogram() for name in (*PHASES, COMPUTE)}
        self._pending: list[tuple[int, ...]] = []

    def tick(self, stamps_ns: tuple[int, ...], waited_ns: int) -> None:
        """Take a tick.

        Args:
            stamps_ns: of a steady clock, when the tick began and when each of PHASES was over.
            waited_ns: of the phase ``end``, what was a wait for the book.
        """
        self._pending.append((*stamps_ns, waited_ns))
        if len(self._pending) >= _KEPT:
            self._count()

    def summary(self) -> dict[str, dict[str, float | None]]:
        """Phase to n, p50_ms, p99_ms and max_ms (None without ticks); COMPUTE is all of a tick."""
        self._count()
        return {
            name: {"n": histogram.n}
            | {
                f"{text}_ms": _rounded(histogram.quantile(q))
                for text, q in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
            }
            for name, histogram in self._histograms.items()
        }

    def _count(self) -> None:
        if not self._pending:
            return
        taken = np.array(self._pending, np.int64)
        self._pending.clear()
        phases = np.diff(taken[:, :-1], axis=1)
        phases[:, list(PHASES).index("end")] -= taken[:, -1]
        for name, column in zip(PHASES, phases.T, strict=True):
            self._histograms[name].add(column * 1e-6)
        self._histograms[COMPUTE].add(phases.sum(axis=1) * 1e-6)


def _rounded(value_ms: float) -> float | None:
    return None if math.isnan(value_ms) else round(value_ms, 4)
