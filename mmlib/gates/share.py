"""Shares against a limit (cache hits, deadline misses), with an interval: a share just over the line may be chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmlib.dtypes import Status
from mmlib.gates.result import GateResult, make
from mmlib.gates.rules import lacking, satisfied
from mmlib.gates.spec import Gate

ALPHA = 0.01


@dataclass(frozen=True)
class Share:
    """``k`` of ``n`` ticks with Wilson's interval, which counts ticks that come in bursts for fewer (``n_effective``)."""

    k: int
    n: int
    lower: float
    upper: float
    n_effective: float

    @property
    def value(self) -> float:
        """The bare share; NaN without ticks."""
        return self.k / self.n if self.n else float("nan")


def share(k: int, n: int, blocks: Sequence[tuple[int, int]] = (), *, alpha: float = ALPHA) -> Share:
    """A share with its two-sided interval at error ``alpha``.

    Args:
        blocks: (k, n) of stretches of the same run; how much they differ beyond chance is the design effect.

    Source: Wilson, JASA 22 (1927); design effect: Kish, Survey Sampling (1965). Oracle: statsmodels.
    """
    if n <= 0:
        return Share(k, n, float("nan"), float("nan"), 0.0)
    from scipy.special import ndtri

    effective, found = n / _design_effect(blocks), k / n
    z2 = float(ndtri(1.0 - alpha / 2.0)) ** 2
    middle = (found + z2 / (2.0 * effective)) / (1.0 + z2 / effective)
    half = math.sqrt(z2 * (found * (1.0 - found) / effective + z2 / (4.0 * effective**2))) / (
        1.0 + z2 / effective
    )
    return Share(k, n, max(middle - half, 0.0), min(middle + half, 1.0), effective)


def evaluate_share(gate: Gate, found: Share, *, scale: float = 1.0, evidence: str = "") -> GateResult:
    """FAIL when the whole interval violates the gate, PASS when all of it keeps to it, otherwise INCONCLUSIVE.

    Args:
        scale: 100 where the gate's limit is in percent.
    """
    if not found.n:
        return make(gate, Status.NO_DATA, reason="no ticks", evidence=evidence)
    value = found.value * scale
    kept = [satisfied(gate, end * scale) for end in (found.lower, found.upper)]
    status = Status.PASS if all(kept) else Status.INCONCLUSIVE if any(kept) else Status.FAIL
    point = Status.PASS if satisfied(gate, value) else Status.FAIL
    reason = (
        f"interval {found.lower * scale:.4g} to {found.upper * scale:.4g} "
        f"({found.n} ticks that count for {found.n_effective:.0f}); point rule: {point}"
    )
    if lack := lacking(gate, found.n, 0.0):
        status, reason = gate.short_status, f"{lack}; {reason}"
    return make(gate, status, value=value, n=found.n, reason=reason, evidence=evidence)


def _design_effect(blocks: Sequence[tuple[int, int]]) -> float:
    """How much more the blocks' shares vary than independent ticks would; at least 1."""
    counts = np.array([pair for pair in blocks if pair[1] > 0], dtype=np.float64).reshape(-1, 2)
    if len(counts) < 5:
        return 1.0
    pooled = counts[:, 0].sum() / counts[:, 1].sum()
    chance = pooled * (1.0 - pooled) * counts[:, 1]
    if not chance.sum() > 0.0:
        return 1.0
    excess = ((counts[:, 0] - pooled * counts[:, 1]) ** 2).sum() / chance.sum()
    return max(float(excess) * len(counts) / (len(counts) - 1), 1.0)
