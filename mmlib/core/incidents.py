"""Scripted incidents as the pipeline meets them: stalls, refused requests, memory that grows; all modelled, none measured.

What the market does in an incident is in ``market.playback``.
"""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import jit_borrowing as jit

FEED_GAP, LATENCY_SPIKE, RATE_LIMIT_STORM, MEMORY_LEAK, VOLATILITY_SPIKE, ONE_SIDED_BOOK = range(6)
KINDS = ("feed_gap", "latency_spike", "rate_limit_storm", "memory_leak", "volatility_spike", "one_sided_book")
"""Names of the kinds, by value."""

INCIDENT = np.dtype(
    [
        ("kind", "i8"),  # index into KINDS
        ("start_ns", "i8"),
        ("end_ns", "i8"),  # exclusive
        ("strength", "f8"),  # what it means depends on the kind, see config.incidents
    ]
)
_HOUR_NS = 3.6e12


def no_incidents() -> np.ndarray:
    """``INCIDENT[0]``."""
    return np.zeros(0, INCIDENT)


@jit
def stall_ns(incidents, now_ns, unit):
    """How long a tick stalls before it decides: half to one and a half times the strength [ms], by ``unit`` in [0, 1)."""
    total = 0
    for i in range(len(incidents)):
        one = incidents[i]
        if one["kind"] == LATENCY_SPIKE and one["start_ns"] <= now_ns < one["end_ns"]:
            total += int(one["strength"] * (0.5 + unit) * 1e6)
    return total


@jit
def refusals(incidents, now_ns, unit):
    """Requests of a tick that are refused: one for each storm, in a share of ticks that is its strength."""
    count = 0
    for i in range(len(incidents)):
        one = incidents[i]
        if one["kind"] == RATE_LIMIT_STORM and one["start_ns"] <= now_ns < one["end_ns"]:
            if unit < one["strength"]:
                count += 1
    return count


@jit
def leaked_mb(incidents, now_ns):
    """Memory leaked so far [MB]: the strength [MB/h] times the hours under way; it stays when the leak ends."""
    total = 0.0
    for i in range(len(incidents)):
        one = incidents[i]
        if one["kind"] == MEMORY_LEAK and now_ns > one["start_ns"]:
            total += one["strength"] * (min(now_ns, one["end_ns"]) - one["start_ns"]) / _HOUR_NS
    return total
