"""What the order-flow kernel must agree with, from first principles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def birth_death(births: Sequence[float], deaths: Sequence[float], most: int) -> np.ndarray:
    """Stationary law over 1 .. most of a queue that grows by one with ``births[q - 1]`` and shrinks with ``deaths[q - 1]``.

    The last entry of each holds beyond; the last lot never leaves.
    """
    weight = [1.0]
    for q in range(1, most):
        up = births[min(q, len(births)) - 1]
        down = deaths[min(q + 1, len(deaths)) - 1]
        weight.append(weight[-1] * up / down)
    return np.array(weight) / sum(weight)
