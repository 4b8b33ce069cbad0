"""What a comparison of a percentile, candidate over baseline, comes to."""

from __future__ import annotations

from dataclasses import dataclass

from mmlib.dtypes import Status


@dataclass(frozen=True)
class RatioResult:
    """Candidate over baseline. ``status`` judges the interval, ``point_status`` the bare ratio (the literal rule).

    ``needed_n`` is how many candidate values would decide if the ratio stayed; None when it is decided, or when no
    number would (the reason says which). Ratios are NaN when a side has no values. ``runs`` and ``needed_runs`` say the same in
    runs, where runs were compared (``rounds``).
    """

    ratio: float
    lower: float
    upper: float
    limit: float
    status: Status
    point_status: Status
    n_baseline: int
    n_candidate: int
    needed_n: int | None
    reason: str
    runs: int = 0
    needed_runs: int | None = None
