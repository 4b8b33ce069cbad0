"""What each gradual rollback relieves, and which limit it loosens: relief is offered for nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Relief:
    """One way of relief.

    Attributes:
        metrics: of the criteria that it relieves; empty where it relieves none.
        loosens: metric whose limit it loosens, "" where it loosens none. required: what Prep demands of its flag.
        text: what it is for, in a few words.
    """

    metrics: tuple[str, ...]
    text: str
    loosens: str = ""
    required: str = ""


_MONEY = (
    *("slippage_bps", "net_bps", "delta_slippage_bps", "delta_net_bps", "taker_share_pct"),
    *("pnl", "delta_pnl"),
)
_TIME = ("tick_total_p95_ms", "deadline_miss_pct", "tick_p95_regression_pct", "stage_p95_regression_pct")
RELIEF: dict[str, Relief] = {
    "taker-cap": Relief(
        (),
        "LOOSENS A LIMIT: only where the cap keeps inventory from being reduced, never for a taker share",
        "taker_share_pct",
        "taker_cap.max_taker_share_pct <= 9.0",
    ),
    "adaptive": Relief(_MONEY, "adaptive features only"),
    "sampling": Relief(_TIME, "less tracing overhead"),
}
"""By the name of the gradual rollback."""


def ways_for(metric: str) -> list[str]:
    """The gradual rollbacks that relieve a criterion of this metric."""
    return [way for way, relief in RELIEF.items() if metric in relief.metrics]
