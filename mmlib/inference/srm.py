"""Sample-ratio mismatch: did the arms get the share of samples that was planned?"""

from __future__ import annotations

import math
from collections.abc import Mapping

from scipy.special import chdtrc


def srm_p_value(counts: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """Chi-square p-value of the arms' sample counts against the planned shares; NaN when there is no sample.

    Args:
        counts: samples (buckets, not fills) of each arm.
        shares: planned share of each arm, summing to 1; an arm planned at 0 must be empty.

    Raises:
        ValueError: other arms in one than in the other, negative counts, shares that do not add up to 1.

    Oracle: ``scipy.stats.chisquare``.
    """
    if set(counts) != set(shares) or not counts:
        raise ValueError(f"arms differ: counted {sorted(counts)}, planned {sorted(shares)}")
    if any(c < 0 for c in counts.values()):
        raise ValueError("expected counts of at least 0")
    if any(not s >= 0 for s in shares.values()) or not math.isclose(sum(shares.values()), 1.0, abs_tol=1e-9):
        raise ValueError(f"shares {dict(shares)}: expected shares of at least 0 that add up to 1")
    total = sum(counts.values())
    if total == 0:
        return math.nan
    if any(counts[arm] > 0 for arm, share in shares.items() if share == 0):
        return 0.0
    planned = {arm: share * total for arm, share in shares.items() if share > 0}
    if len(planned) == 1:
        return 1.0
    statistic = sum((counts[arm] - want) ** 2 / want for arm, want in planned.items())
    return float(chdtrc(len(planned) - 1, statistic))
