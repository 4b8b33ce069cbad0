"""Regression gates: percentile ratios of one or more stages against a gate, the worst of them first."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mmlib.dtypes import Status
from mmlib.gates.result import GateResult, make
from mmlib.gates.spec import Gate
from mmlib.inference.ratio import RatioResult


def ratio_limit(gate: Gate) -> float:
    """The gate's limit in percent as a ratio: 3 % is 1.03."""
    return 1.0 + gate.limit / 100.0


def evaluate_regression(gate: Gate, ratios: Mapping[str, RatioResult], *, evidence: str = "") -> GateResult:
    """The worst status of the named ratios; the value is the worst one's growth in percent.

    The reason names it and prints the literal point rule beside the statistical verdict. No ratios is NO_DATA.
    """
    if not ratios:
        return make(gate, Status.NO_DATA, reason="nothing was compared", evidence=evidence)
    name, worst = max(ratios.items(), key=lambda item: _badness(item[1]))
    others = [n for n, r in ratios.items() if r.status is not Status.PASS and n != name]
    reason = f"{name}: {worst.reason}; point rule: {_point(ratios)}"
    if others:
        reason += f"; also not passed: {', '.join(others)}"
    value = None if math.isnan(worst.ratio) else (worst.ratio - 1.0) * 100.0
    n = min(r.n_candidate for r in ratios.values())
    return make(gate, worst.status, value=value, n=n, reason=reason, evidence=evidence)


def _badness(result: RatioResult) -> tuple[int, float]:
    return result.status.rank, -math.inf if math.isnan(result.ratio) else result.ratio


def _point(ratios: Mapping[str, RatioResult]) -> str:
    """The literal rule on the bare ratios."""
    status = Status.worst([r.point_status for r in ratios.values()])
    broken = [n for n, r in ratios.items() if r.point_status is Status.FAIL]
    return f"{status}{' (' + ', '.join(broken) + ')' if broken else ''}"
