"""Parameters and state of the simulated market, and its clock: time, volatility, efficient price, feed latency."""

from __future__ import annotations

import math

import numpy as np

from mmlib.core._jit import jit_within as jit
from mmlib.core.draws import exponential, fast_exp, normal, of_quantiles, uniform

LATENCY_HOLD_NS = 50_000_000  # time for which one latency holds

FLOW_PARAMS = np.dtype(
    [
        ("rate_per_s", "f8"),  # mean messages a second
        ("vol_per_sqrt_s", "f8"),  # root mean square volatility of the efficient price, relative
        ("ref_vol_per_sqrt_s", "f8"),  # volatility at which zone and moves have the sizes given
        ("slow_sd", "f8"),  # standard deviation of the slow factor of log volatility
        ("slow_tau_s", "f8"),  # its relaxation time
        ("fast_sd", "f8"),
        ("fast_tau_s", "f8"),
        ("season_amp", "f8"),  # log amplitude of activity over the day
        ("season_peak_h", "f8"),  # hour (UTC) of its peak
        ("season_norm", "f8"),  # I0(season_amp), the mean of exp(amp cos)
        ("burst_branching", "f8"),  # market orders that one market order brings about, below 1
        ("burst_tau_s", "f8"),
        ("zone_bps", "f8"),  # how far the efficient price gets before the quotes follow
        ("informed_share", "f8"),  # quotes run over are traded against with this probability, else withdrawn
        (
            "sign_persistence",
            "f8",
        ),  # probability that a market order repeats the side of the one before, whatever z
        ("sweep_share", "f8"),  # share of market orders that take more than the touch if need be
        ("refill_share", "f8"),  # orders that close an open spread, a second, over rate_per_s
        ("wide_bps", "f8"),  # mean half spread in excess of half a tick
        ("deep_share", "f8"),  # new orders behind the touch, a second, over rate_per_s
        ("deep_levels", "f8"),  # mean number of levels behind the touch, a side
        ("deep_bps", "f8"),  # their mean distance from it
        ("lot_size", "f8"),
        ("min_ticks", "f8"),  # the efficient price stays inside these
        ("max_ticks", "f8"),
    ]
)
"""What distinguishes one simulated market from another, beside the tables."""

FLOW_STATE = np.dtype(
    [
        ("exch_ns", "i8"),  # time of the current message
        ("local_ns", "i8"),
        ("vol_ns", "i8"),  # next time at which the volatility factors move (once a second)
        ("latency_ns", "i8"),  # next time at which the latency is drawn anew
        ("delay_ns", "i8"),  # latency now
        ("efficient_ticks", "f8"),
        ("reference_ticks", "f8"),
        ("half_ticks", "f8"),  # half spread that makers keep now
        ("slow", "f8"),
        ("fast", "f8"),
        ("sigma", "f8"),  # current volatility, relative, per square root of a second
        ("scale", "f8"),  # of zone and moves
        ("pace", "f8"),  # messages a second from season and volatility, before self-excitation
        ("excitation", "f8"),
        ("alarm", "i8"),  # 1 while a touch about to be run over is being withdrawn
        ("side", "i8"),  # that the last market order hit
        ("zone_ticks", "f8"),  # how far the efficient price gets now before the quotes follow
        ("per_zone", "f8"),  # 1 over it
    ]
)


@jit
def _each_second(p, s, rng):
    """One second of the two mean-reverting factors of log volatility; sets volatility, scale, zone and pace."""
    keep = math.exp(-1.0 / p["slow_tau_s"])
    s["slow"] = s["slow"] * keep + p["slow_sd"] * math.sqrt(1.0 - keep * keep) * normal(rng)
    keep = math.exp(-1.0 / p["fast_tau_s"])
    s["fast"] = s["fast"] * keep + p["fast_sd"] * math.sqrt(1.0 - keep * keep) * normal(rng)
    y = s["slow"] + s["fast"]
    variance = p["slow_sd"] * p["slow_sd"] + p["fast_sd"] * p["fast_sd"]
    hour = (s["vol_ns"] % 86_400_000_000_000) / 3.6e12
    season = (
        math.exp(p["season_amp"] * math.cos((hour - p["season_peak_h"]) * math.pi / 12.0)) / p["season_norm"]
    )
    # E[exp(2y)] = exp(2 variance): with this offset the mean square volatility is the one asked for.
    s["sigma"] = p["vol_per_sqrt_s"] * math.sqrt(season) * math.exp(y - variance)
    s["scale"] = math.sqrt(s["sigma"] / p["ref_vol_per_sqrt_s"])
    lively = min(4.0, max(0.5, math.exp(0.5 * y - 0.125 * variance)))
    s["pace"] = p["rate_per_s"] * season * lively * (1.0 - p["burst_branching"])
    s["efficient_ticks"] = min(p["max_ticks"], max(p["min_ticks"], s["efficient_ticks"]))
    s["zone_ticks"] = max(1.0, p["zone_bps"] * 1e-4 * s["efficient_ticks"] * s["scale"])
    s["per_zone"] = 1.0 / s["zone_ticks"]
    s["vol_ns"] += 1_000_000_000


@jit
def advance(p, s, rng, total, latency_ms):
    """Move to the next message: time by thinning, efficient price, arrival."""
    gone, per_tau = 0.0, 1.0 / p["burst_tau_s"]
    while True:
        before = 1.0 + s["excitation"]
        dt = exponential(rng) / (total * s["pace"] * before)
        gone += dt
        s["exch_ns"] += int(dt * 1e9) + 1
        while s["exch_ns"] >= s["vol_ns"]:
            _each_second(p, s, rng)
        s["excitation"] *= fast_exp(-dt * per_tau)
        if uniform(rng) * before < 1.0 + s["excitation"]:
            break
    s["efficient_ticks"] *= 1.0 + (s["sigma"] * normal(rng)) * math.sqrt(gone)
    if s["exch_ns"] >= s["latency_ns"]:
        s["latency_ns"] = s["exch_ns"] + LATENCY_HOLD_NS
        s["delay_ns"] = int(of_quantiles(latency_ms, 0, rng) * 1e6)
    s["local_ns"] = max(s["local_ns"], s["exch_ns"] + s["delay_ns"])
