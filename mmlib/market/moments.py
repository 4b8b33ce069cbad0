"""Moments of an observed market that a simulation is fitted to and judged by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmlib.market.observe import Observed, at, before

SECOND_NS = 1_000_000_000


def dwell_s(seen: Observed) -> np.ndarray:
    """How long each touch but the last stood [s], ``float64[n - 1]``."""
    return np.diff(seen.touch["exch_ns"]) / 1e9


def weighted_quantiles(values: np.ndarray, weights: np.ndarray, at_shares: np.ndarray) -> np.ndarray:
    """Quantiles of values that count with weights; NaN for none."""
    if not len(values) or weights.sum() <= 0.0:
        return np.full(len(at_shares), np.nan)
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    place = np.searchsorted(total, np.asarray(at_shares) * total[-1])
    return np.asarray(values[order][np.minimum(place, len(values) - 1)])


def spread_ticks(seen: Observed) -> np.ndarray:
    """Spread of each touch [ticks]."""
    return np.asarray(seen.touch["ask_ticks"] - seen.touch["bid_ticks"])


def usual_spread(seen: Observed) -> float:
    """Median spread over time [ticks]."""
    return float(weighted_quantiles(spread_ticks(seen)[:-1], dwell_s(seen), np.array([0.5]))[0])


@dataclass(frozen=True)
class Moves:
    """Moves of the mid price between touches of at most the usual spread.

    Attributes:
        bps: float64[k], signed; before: int64[k], the settled touch that a move leaves.
        per_s: moves a second; continuation: share that goes the way of the one before.
        imbalance: mean of (size on the side the move goes away from − the other) / sum before it.
    """

    bps: np.ndarray
    before: np.ndarray
    per_s: float
    continuation: float
    imbalance: float


def moves(seen: Observed) -> Moves:
    """Find the moves; see `Moves`."""
    settled = np.flatnonzero(spread_ticks(seen) <= max(1.0, usual_spread(seen)))
    step = np.diff(seen.mid_ticks[settled])
    there = np.flatnonzero(step != 0.0)
    bps = step[there] / seen.ticks_per_bps
    left = settled[there]
    touch = seen.touch[left]
    lean = (touch["bid_qty"] - touch["ask_qty"]) / np.maximum(touch["bid_qty"] + touch["ask_qty"], 1e-300)
    return Moves(
        bps,
        left,
        len(bps) / max(seen.span_s, 1e-9),
        float(np.mean(bps[1:] * bps[:-1] > 0.0)) if len(bps) > 1 else np.nan,
        float(np.mean(np.sign(bps) * lean)) if len(bps) else np.nan,
    )


def returns_bps(seen: Observed, horizon_s: float, offsets: int = 4) -> np.ndarray:
    """Returns of the mid price over a horizon, ``float64[k, offsets]`` flattened; grids shifted against each other."""
    start, stop = int(seen.touch["exch_ns"][0]), int(seen.touch["exch_ns"][-1])
    step = int(horizon_s * SECOND_NS)
    mid = seen.mid_ticks
    parts = []
    for k in range(offsets):
        grid = np.arange(start + k * step // offsets, stop, step)
        price = mid[np.maximum(at(seen.touch, grid), 0)]
        parts.append(np.diff(price) / price[:-1] * 1e4 if len(price) > 1 else np.zeros(0))
    return np.concatenate(parts)


def vol_bps(seen: Observed, horizon_s: float) -> float:
    """Root mean square return over a horizon, per square root of a second [bps]."""
    r = returns_bps(seen, horizon_s)
    return float(np.sqrt(np.mean(r**2) / horizon_s)) if len(r) else np.nan


def kurtosis(values: np.ndarray) -> float:
    """Fourth over squared second central moment; NaN without variance."""
    if len(values) < 4:
        return np.nan
    centred = values - values.mean()
    variance = np.mean(centred**2)
    return float(np.mean(centred**4) / variance**2) if variance > 0.0 else np.nan


def sign_correlation(seen: Observed, lag: int) -> float:
    """Autocorrelation of the signs of market orders."""
    sign = seen.orders["sign"].astype(np.float64)
    if len(sign) <= lag + 2 or sign.std() == 0.0:
        return np.nan
    return float(np.corrcoef(sign[lag:], sign[:-lag])[0, 1])


def order_fano(seen: Observed, window_s: float = 1.0) -> float:
    """Variance over mean of the number of market orders in a window."""
    if not len(seen.orders):
        return np.nan
    slot = (seen.orders["exch_ns"] - seen.orders["exch_ns"][0]) // int(window_s * SECOND_NS)
    counts = np.bincount(slot)[:-1]
    return float(counts.var() / counts.mean()) if len(counts) > 1 and counts.mean() > 0.0 else np.nan


def order_gap_median_ms(seen: Observed) -> float:
    """Median time between market orders [ms]."""
    return float(np.median(np.diff(seen.orders["exch_ns"]))) / 1e6 if len(seen.orders) > 1 else np.nan


def orders_per_s(seen: Observed) -> float:
    """Market orders a second."""
    return len(seen.orders) / max(seen.span_s, 1e-9)


def touches_per_s(seen: Observed) -> float:
    """Changes of the touch a second."""
    return len(seen.touch) / max(seen.span_s, 1e-9)


def open_share(seen: Observed) -> float:
    """Share of the time at more than the usual spread."""
    wide = spread_ticks(seen)[:-1] > max(1.0, usual_spread(seen))
    weights = dwell_s(seen)
    return float(np.average(wide, weights=weights)) if weights.sum() > 0.0 else np.nan


def queue_notional(seen: Observed, shares: np.ndarray) -> np.ndarray:
    """Quantiles over time of the notional at one touch [quote currency]."""
    weights = np.tile(dwell_s(seen), 2)
    queues = np.concatenate([seen.touch["bid_qty"][:-1], seen.touch["ask_qty"][:-1]])
    return weighted_quantiles(queues, weights, shares) * seen.price


def order_impact_bps(seen: Observed, horizon_s: float) -> float:
    """Mean move of the mid in the direction of a market order, from just before it."""
    orders = seen.orders
    first = before(seen.touch, orders["exch_ns"])
    later_ns = orders["exch_ns"] + int(horizon_s * SECOND_NS)
    known = (first >= 0) & (later_ns < seen.touch["exch_ns"][-1])
    mid = seen.mid_ticks
    start, end = mid[first[known]], mid[at(seen.touch, later_ns[known])]
    moved = orders["sign"][known] * (end - start) / start * 1e4
    return float(moved.mean()) if known.any() else np.nan


def queue_lifetime_s(seen: Observed) -> float:
    """How long the queue lives whose price is the best of its side at a random moment, median [s].

    Counted over time, not over queues: most queues flicker for milliseconds while the price moves.
    """
    spans = []
    for side in ("bid_ticks", "ask_ticks"):
        changed = np.flatnonzero(np.diff(seen.touch[side]) != 0) + 1
        spans.append(np.diff(seen.touch["exch_ns"][changed]) / 1e9)
    values = np.concatenate(spans)
    return float(weighted_quantiles(values, values, np.array([0.5]))[0])
