"""What only a recording of hours shows: slow volatility and the rhythm of the day."""

from __future__ import annotations

import math

import numpy as np

from mmlib.market import moments
from mmlib.market.observe import Observed

_STEP_S = 300.0


def slow_parts(seen: Observed) -> dict[str, float]:
    """Slow volatility from the autocovariance of log realised variance, the rhythm by least squares on log activity.

    Half the log of the realised variance of five minutes has autocovariance ``slow_sd² exp(-lag / slow_tau_s)`` at
    lags beyond the fast factor; measurement noise has none. Activity is ``exp(amp cos(2π (hour - peak) / 24))``.
    """
    start = int(seen.touch["exch_ns"][0])
    slot = (seen.touch["exch_ns"][1:] - start) // int(_STEP_S * moments.SECOND_NS)
    step = np.diff(np.log(seen.mid_ticks))
    variance = np.bincount(slot, step**2)
    y = 0.5 * np.log(variance[variance > 0.0])
    y -= y.mean()
    near, far = (float(np.mean(y[lag:] * y[:-lag])) for lag in (6, 18))
    tau = 12.0 * _STEP_S / math.log(near / far) if near > far > 0.0 else 1800.0
    tau = min(6.0 * 3600.0, max(600.0, tau))
    sd = math.sqrt(max(near, 0.0) * math.exp(6.0 * _STEP_S / tau))
    hours = np.bincount((seen.orders["exch_ns"] - start) // 3_600_000_000_000) + 0.5
    hour = (start % 86_400_000_000_000) / 3.6e12 + 0.5 + np.arange(len(hours))
    angle = hour * math.pi / 12.0
    design = np.stack([np.ones(len(hours)), np.cos(angle), np.sin(angle)], axis=1)
    _, a, b = np.linalg.lstsq(design, np.log(hours), rcond=None)[0]
    peak = math.atan2(b, a) * 12.0 / math.pi % 24.0
    return {
        "slow_sd": min(sd, 1.5),
        "slow_tau_s": tau,
        "season_amp": min(float(math.hypot(a, b)), 1.5),
        "season_peak_h": peak,
    }
