"""Queue position of a resting order, estimated from aggregated depth.

State of an order: ``front`` (quantity ahead of it, base units) and ``cum`` (traded at its price since the last depth row).
Source: hftbacktest 2.4 ``RiskAdverseQueueModel`` and ``ProbQueueModel``; Rigtorp, "Estimating order queue position" (2013).
Oracle: ``tests/naive_exchange.py``.
"""

from __future__ import annotations

import math

import numpy as np

from mmlib.core._jit import JIT_DISABLED
from mmlib.core._jit import jit_borrowing as jit

RISK, LOG, LOG2, POWER, POWER2, POWER3 = 0, 1, 2, 3, 4, 5
QUEUE_MODELS = {"risk": RISK, "log": LOG, "log2": LOG2, "power": POWER, "power2": POWER2, "power3": POWER3}

_log = (
    np.log if JIT_DISABLED else math.log
)  # without compilation, NumPy's gives NaN and infinity where Python raises


@jit
def _prob_cancel_behind(model, exponent, front, back):
    """Probability that a cancellation happened behind our order; ``inf`` counts as one, 0/0 stays NaN."""
    if model == LOG:
        prob = _log(1.0 + back) / (_log(1.0 + back) + _log(1.0 + front))
    elif model == LOG2:
        prob = _log(1.0 + back) / _log(1.0 + back + front)
    elif model == POWER:
        prob = back**exponent / (back**exponent + front**exponent)
    elif model == POWER2:
        prob = back**exponent / (back + front) ** exponent
    else:
        prob = 1.0 - (front / (front + back)) ** exponent
    return 1.0 if np.isinf(prob) else prob


if JIT_DISABLED:
    _prob_cancel_behind = np.errstate(all="ignore")(_prob_cancel_behind)


@jit
def _min_ignoring_nan(a, b):
    if np.isnan(a):
        return b
    if np.isnan(b):
        return a
    return min(a, b)


@jit
def on_trade(model, order, qty):
    """A trade of ``qty`` at our price."""
    order["front"] -= qty
    if model != RISK:
        order["cum"] += qty


@jit
def on_depth(model, exponent, order, before, now):
    """The level at our price went from ``before`` to ``now``."""
    if model == RISK:
        order["front"] = min(order["front"], now)
        return
    change = before - now - order["cum"]
    order["cum"] = 0.0
    front = order["front"]
    if change < 0.0:
        order["front"] = min(front, now)
        return
    back = before - front
    prob = _prob_cancel_behind(model, exponent, front, back)
    ahead = front - (1.0 - prob) * change + min(back - prob * change, 0.0)
    order["front"] = _min_ignoring_nan(ahead, now)


@jit
def is_filled(order, lot_size):
    """Whether the queue ahead is used up; half a lot past it is enough. Resets ``front`` when it is."""
    lots_past = -order["front"] / lot_size
    if lots_past >= 0.5:
        order["front"] = 0.0
        return True
    return False
