"""Brute-force references for histograms, sustained windows and confidence sequences."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np


def quantile_of_sorted(values: np.ndarray, q: float) -> float:
    """Smallest value whose share of values at or below is at least ``q``, in exact arithmetic."""
    rank = max(math.ceil(Fraction(q).limit_denominator(10**6) * len(values)), 1)
    return float(values[rank - 1])
