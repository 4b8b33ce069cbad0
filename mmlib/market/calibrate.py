"""Fit the parameters of the simulated market to a recording.

What can be counted is counted: intensities by queue size are the estimates of Huang, Lehalle and Rosenbaum (2015), what
happened over the time spent at the size (orders for market orders, volume in mean sizes for the others); sizes, moves and
latencies are empirical quantiles; the zone follows from the exit time of a Brownian motion from an interval. The rest is set
by simulated moments (McFadden 1989; Duffie and Singleton 1993): pilots are run, and each parameter is moved until the one
moment that it governs is met.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmlib._io import UserError
from mmlib.market import moments, pilot
from mmlib.market.flowmodel import FlowModel, checked
from mmlib.market.observe import Observed, before
from mmlib.market.seasons import slow_parts

MINIMA = {"changes of the touch": 3000, "market orders": 300, "moves of the price": 100}
"""How much a recording must hold."""
MIN_SPAN_S = 120.0

_BINS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
_QUANTILES = 65
_PILOT_S = 900.0
_ROUNDS = 14
_MAX_BRANCHING = 0.8  # closer to 1, hours of simulation do not tell the mean
_NEVER_SEEN = {
    "fast_sd": 0.35,
    "fast_tau_s": 60.0,
    "informed_share": 0.5,
}  # whatever the length of the recording
_ASSUMED = {"slow_sd": 0.5, "slow_tau_s": 1800.0, "season_amp": 0.35, "season_peak_h": 15.0}


@dataclass(frozen=True)
class Calibration:
    """A fitted market.

    Attributes:
        model: the parameters.
        assumed: names of parameters that the recording cannot tell, with their values.
        matched: by moment: recorded value, simulated value after the last round.
    """

    model: FlowModel
    assumed: dict[str, float]
    matched: dict[str, tuple[float, float]]


def check_enough(seen: Observed, place: str) -> None:
    """Refuse a recording that is too short, and say how much is needed.

    Raises:
        UserError: as said.
    """
    span = seen.span_s
    have = {"changes of the touch": len(seen.touch), "market orders": len(seen.orders)}
    have["moves of the price"] = len(moments.moves(seen).bps) if len(seen.touch) > 2 else 0
    for what, least in MINIMA.items():
        if have[what] < least:
            longer = (
                f", about {span * least / have[what] / 60.0:.1f} minutes at its pace" if have[what] else ""
            )
            raise UserError(
                f"{place}: {have[what]} {what} in {span / 60.0:.1f} minutes; at least {least} are needed{longer}"
            )
    if span < MIN_SPAN_S:
        raise UserError(f"{place}: spans {span:.0f} s; at least {MIN_SPAN_S:.0f} s are needed")


def fit(
    seen: Observed,
    place: str,
    *,
    rounds: int = _ROUNDS,
    seed: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Fit a market to what was seen.

    Args:
        seen: the recording, see `observe.observe_recording`.
        place: its name, for messages.
        rounds: pilots to run.
        seed: of the pilots.
        progress: told rounds done and rounds in all.

    Raises:
        UserError: too little data; parameters that no market has.
    """
    check_enough(seen, place)
    model, assumed = _counted(seen, place)
    recorded = _targets(seen)
    simulated: dict[str, float] = {}
    tried: list[FlowModel] = []
    for k in range(rounds):
        settling = k >= rounds - 2  # all parameters stand; what is left is the pace, over a longer run
        if k == rounds - 2 and tried:
            model = _average(tried[len(tried) // 2 :])
        level = pilot.at_its_level(model, seen.span_s)
        rows = pilot.run(level, _PILOT_S * (2.0 if settling else 1.0), seed + (k if settling else 0))
        simulated = _targets(pilot.observed(model, rows, seen))
        if k == rounds - 2:
            model = _paced(model, recorded, simulated)
        elif k < rounds - 2:
            model = _moved(model, recorded, simulated, 0.7 if k < rounds // 2 else 0.35)
            tried.append(model)
        if progress is not None:
            progress(k + 1, rounds)
    return Calibration(model, assumed, {name: (recorded[name], simulated[name]) for name in recorded})


def _counted(seen: Observed, place: str) -> tuple[FlowModel, dict[str, float]]:
    """What the recording says without a pilot, and what had to be assumed."""
    moves = moments.moves(seen)
    size = np.abs(moves.bps)
    vol = moments.vol_bps(seen, 10.0)
    zone = _zone_bps(vol, moves.per_s, size)
    usual = moments.usual_spread(seen)
    spread = np.average(moments.spread_ticks(seen)[:-1], weights=moments.dwell_s(seen))
    edges, tables, sizes = _queue_tables(seen)
    slow = slow_parts(seen) if seen.span_s >= pilot.LONG_S else _ASSUMED
    assumed = dict({} if seen.span_s >= pilot.LONG_S else _ASSUMED) | _NEVER_SEEN
    deep, unknown = _deep(seen, spread)
    values: dict[str, Any] = {
        "price": seen.price,
        "tick_size": seen.instrument.tick_size,
        "lot_size": seen.instrument.lot_size,
        "rate_per_s": moments.touches_per_s(seen) + seen.deep_per_s,
        "vol_bps": vol,
        **slow,
        **_NEVER_SEEN,
        "burst_branching": min(
            _MAX_BRANCHING, max(0.0, 1.0 - 1.0 / math.sqrt(max(1.0, moments.order_fano(seen))))
        ),
        "burst_tau_s": 1.0,
        "zone_bps": zone,
        "move_bps": _sample(size),
        "sweep_share": 0.5,
        "lean_market": 1.0,
        "lean_limit": 0.5,
        "sign_persistence": 0.1,
        "wide_bps": max(0.0, 0.5 * (spread - 1.0)) / seen.ticks_per_bps if usual > 1.0 else 0.0,
        "refill_per_s": max(1.0, moves.per_s / max(moments.open_share(seen), 1e-4)),
        "queue_notional": tuple(edges),
        "limit_per_s": tuple(tables[0]),
        "cancel_per_s": tuple(tables[1]),
        "market_per_s": tuple(tables[2]),
        **sizes,
        **deep,
        "latency_ms": tuple(float(v) for v in seen.latency_ms),
    }
    return checked(_plain(values), place), assumed | unknown


def _zone_bps(vol_bps: float, moves_per_s: float, size_bps: np.ndarray) -> float:
    """Zone from the mean time between moves.

    After a move of s the efficient price is ``zone - s`` from the reference, and leaves ``(-zone, zone)`` after
    ``(zone² - (zone - s)²) / vol²`` on average; so ``vol² / moves_per_s = 2 zone E[s] - E[s²]``.
    """
    zone = float(size_bps.mean())
    for _ in range(8):
        s = np.minimum(size_bps, 2.0 * zone)
        zone = float((vol_bps**2 / moves_per_s + np.mean(s**2)) / (2.0 * s.mean()))
    return zone


def _queue_tables(seen: Observed) -> tuple[np.ndarray, np.ndarray, dict[str, tuple[float, ...]]]:
    """Edges [quote currency], intensities of limit, cancel and market orders by queue size, and their sizes.

    Sizes are drawn whatever the queue, so limit and cancel intensities are such that the volume added and withdrawn a
    second at each queue size is the recorded one; counts would let long queues, where larger orders leave, grow.
    """
    price, lot = seen.price, seen.instrument.lot_size
    edges = np.unique(moments.queue_notional(seen, np.array(_BINS)))
    shape = len(edges) + 1
    time_s, added, gone, hits, middle = (np.zeros(shape) for _ in range(5))
    up_sizes, down_sizes = [], []
    dwell = moments.dwell_s(seen)
    first = before(seen.touch, seen.orders["exch_ns"])
    notional = seen.orders["qty"] * price
    for side, best, sign in (("bid_qty", "bid_ticks", -1), ("ask_qty", "ask_ticks", 1)):
        queue = seen.touch[side] * price
        bins = np.searchsorted(edges, queue, side="right")
        step = np.diff(queue)
        up, down = ((np.diff(seen.touch[best]) == 0) & (towards * step > 0) for towards in (1, -1))
        time_s += np.bincount(bins[:-1], dwell, shape)
        middle += np.bincount(bins[:-1], dwell * queue[:-1], shape)
        added += np.bincount(bins[:-1][up], step[up], shape)
        gone += np.bincount(bins[:-1][down], -step[down], shape)
        up_sizes.append(step[up])
        down_sizes.append(-step[down])
        mine = (seen.orders["sign"] == sign) & (first >= 0) & (seen.orders["levels"] == 1)
        where, size = bins[first[mine]], notional[mine]
        hits += np.bincount(where, minlength=shape)
        within = size < queue[first[mine]]
        gone -= np.bincount(where[within], size[within], shape)
    time_s = np.maximum(time_s, 1e-3)
    limit, cancel = np.concatenate(up_sizes), np.concatenate(down_sizes)
    drawn = np.array([np.minimum(cancel, most).mean() for most in np.maximum(middle / time_s, price * lot)])
    tables = np.stack([added / limit.mean(), np.maximum(gone, 0.0) / drawn, hits]) / time_s
    single = seen.orders["qty"][seen.orders["levels"] == 1] * price
    sizes = {
        "limit_notional": _sample(limit),
        "cancel_notional": _sample(cancel),
        "market_notional": _sample(single),
    }
    return edges, tables, sizes


def _deep(seen: Observed, spread: float) -> tuple[dict[str, Any], dict[str, float]]:
    """Levels behind the touch; where the recording shows none, sizes of the touch at a spread's distance."""
    distance, qty = seen.behind[..., 0], seen.behind[..., 1]
    known = np.isfinite(distance).sum(axis=2)
    if not len(distance) or np.median(known) < 4:
        touch = np.concatenate([seen.touch["bid_qty"], seen.touch["ask_qty"]]) * seen.price
        gap = max(1.0, 2.0 * spread) / seen.ticks_per_bps
        guess = {"deep_per_s": 0.5 * moments.touches_per_s(seen), "deep_levels": 16.0, "deep_bps": 16.0 * gap}
        return {**guess, "deep_notional": _sample(touch)}, guess
    usable = distance[known >= 4]
    levels = np.minimum(np.isfinite(usable).sum(axis=1), 8)
    gap = float(np.mean(usable[np.arange(len(usable)), levels - 1] / levels)) / seen.ticks_per_bps
    lots = qty[..., :8]
    return {
        "deep_per_s": 0.5 * seen.deep_per_s,
        "deep_levels": 18.0,
        "deep_bps": 18.0 * gap,
        "deep_notional": _sample(lots[np.isfinite(lots)] * seen.price),
    }, {"deep_levels": 18.0}


def _sample(values: np.ndarray) -> tuple[float, ...]:
    """Quantiles at even probabilities; the last is where it must be for the mean beyond the last but one."""
    values = values[values > 0.0]
    found = np.quantile(values, np.linspace(0.0, 1.0, _QUANTILES))
    found[-1] = max(found[-2], 2.0 * float(values[values >= found[-2]].mean()) - found[-2])
    return tuple(float(v) for v in np.maximum.accumulate(found))


def _targets(seen: Observed) -> dict[str, float]:
    """The moments that pilots are held against, each governed by one parameter."""
    found = moments.moves(seen)
    short, long = moments.queue_notional(seen, np.array([0.25, 0.75]))
    return {
        "moves_per_s": found.per_s,
        "move_size_bps": float(np.mean(np.abs(found.bps))) if len(found.bps) else math.nan,
        "vol_10s_bps": moments.vol_bps(seen, 10.0),
        "imbalance_before_move": found.imbalance,
        "sign_correlation_1": moments.sign_correlation(seen, 1),
        "sign_correlation_5": moments.sign_correlation(seen, 5),
        "order_fano_1s": moments.order_fano(seen),
        "order_gap_median_ms": moments.order_gap_median_ms(seen),
        "orders_per_s": moments.orders_per_s(seen),
        "multi_level_orders_per_s": float((seen.orders["levels"] > 1).sum()) / max(seen.span_s, 1e-9),
        "touches_per_s": moments.touches_per_s(seen),
        "queue_p25_notional": float(short),
        "queue_p75_notional": float(long),
        "open_share": moments.open_share(seen),
    }


def _moved(
    model: FlowModel, recorded: dict[str, float], simulated: dict[str, float], damping: float
) -> FlowModel:
    """One step of each parameter towards its moment."""

    def factor(name: str) -> float:
        """Recorded over simulated, damped and at most twofold; 1 where it cannot be told."""
        r, s = recorded[name], simulated[name]
        return float(np.clip((r / s) ** damping, 0.5, 2.0)) if r > 0.0 and s > 0.0 else 1.0

    def gap(name: str) -> float:
        difference = recorded[name] - simulated[name]
        return damping * difference if math.isfinite(difference) else 0.0

    def within(value: float, low: float, high: float) -> float:
        return float(min(high, max(low, value)))

    excess = (1.0 - model.burst_branching) * factor("order_fano_1s") ** -0.25
    flow = factor("touches_per_s")
    short, long = factor("queue_p25_notional"), factor("queue_p75_notional")
    usual = len(model.queue_notional) // 2
    changed = {
        "zone_bps": within(model.zone_bps * factor("moves_per_s") ** -1.0, 1e-3, 1e3),
        "move_bps": tuple(v * factor("move_size_bps") for v in model.move_bps),
        "vol_bps": model.vol_bps * factor("vol_10s_bps") ** 0.5,
        "lean_limit": within(model.lean_limit + gap("imbalance_before_move"), 0.0, 3.0),
        "lean_market": within(model.lean_market + 3.0 * gap("sign_correlation_5"), 0.0, 3.0),
        "sign_persistence": within(
            model.sign_persistence + gap("sign_correlation_1") - gap("sign_correlation_5"), 0.0, 0.95
        ),
        "burst_branching": within(1.0 - excess, 0.0, _MAX_BRANCHING),
        "burst_tau_s": within(model.burst_tau_s * factor("order_gap_median_ms"), 0.02, 10.0),
        "sweep_share": within(model.sweep_share * factor("multi_level_orders_per_s"), 0.01, 1.0),
        "market_per_s": tuple(v * factor("orders_per_s") for v in model.market_per_s),
        "limit_per_s": tuple(
            v * flow * (short if k < usual else 1.0) for k, v in enumerate(model.limit_per_s)
        ),
        "cancel_per_s": tuple(
            v * flow / (long if k >= usual else 1.0) for k, v in enumerate(model.cancel_per_s)
        ),
        "refill_per_s": within(model.refill_per_s / factor("open_share"), 0.01, 1e4),
    }
    return model.model_copy(update=changed)


def _paced(model: FlowModel, recorded: dict[str, float], simulated: dict[str, float]) -> FlowModel:
    """Market orders, and limit orders with cancellations, at the pace of the recording."""
    market = recorded["orders_per_s"] / max(simulated["orders_per_s"], 1e-9)
    flow = recorded["touches_per_s"] / max(simulated["touches_per_s"], 1e-9)
    return model.model_copy(
        update={
            "market_per_s": tuple(v * market for v in model.market_per_s),
            "limit_per_s": tuple(v * flow for v in model.limit_per_s),
            "cancel_per_s": tuple(v * flow for v in model.cancel_per_s),
        }
    )


def _average(models: list[FlowModel]) -> FlowModel:
    """Mean of the parameters of several rounds (Polyak and Ruppert), which the noise of one pilot does not move."""
    names = [
        name for name in type(models[0]).model_fields if getattr(models[0], name) != getattr(models[-1], name)
    ]
    mean = {name: np.mean([getattr(model, name) for model in models], axis=0) for name in names}
    return models[-1].model_copy(
        update={
            name: tuple(float(v) for v in value) if value.ndim else float(value)
            for name, value in mean.items()
        }
    )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """The same in Python's own numbers."""
    return {
        name: tuple(float(v) for v in value) if isinstance(value, tuple) else float(value)
        for name, value in values.items()
    }
