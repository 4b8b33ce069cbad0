"""The stop criteria on a bot that is not ours: the first that fires cancels its orders, ends it, and ends the session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmlib.engine.measure import UNMEASURED as METRICS_OF
from mmlib.engine.realtime.stops import StopCriteria
from mmlib.gates.spec import Gate
from mmlib.paper.evidence import UNMEASURED

_BLIND = frozenset(name for field in UNMEASURED for name in METRICS_OF.get(field, ()))


class Halting:
    """Watches one arm.

    Attributes:
        reason: why it is to be halted; empty while it is not.

    Args:
        gates: those on metrics that cannot be measured from outside are left out: they stay without data.
    """

    def __init__(self, gates: Sequence[Gate], arm: str) -> None:
        self.arm = arm
        self.reason = ""
        self._criteria = StopCriteria([gate for gate in gates if gate.metric not in _BLIND], (arm,))

    def tick(self, symbol: str, row: np.ndarray) -> None:
        """A tick of the arm, ``TICK[1]``."""
        self._criteria.on_tick(symbol, row, {})

    def fill(self, symbol: str, row: np.ndarray) -> None:
        """A fill of the arm, ``FILL[1]``."""
        own = row.copy()
        own["arm"] = 0  # the only one that is watched here
        self._criteria.on_fill(symbol, own)

    def look(self, now_ns: int) -> str:
        """Close the minutes that are over at a market time; the reason for a halt, empty for none."""
        self._criteria.on_second(self, now_ns)  # type: ignore[arg-type]  # it only asks us to stop
        return self.reason

    def stop(self, reason: str) -> None:
        """What the criteria ask of a session."""
        self.reason = self.reason or reason

    def rows(self) -> list[dict[str, Any]]:
        """The worst series of each gate, for who watches."""
        return self._criteria.rows()
