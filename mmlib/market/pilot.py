"""Runs of a market model for calibration and comparison: observed as its recording was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mmlib.dtypes import EVENT
from mmlib.market.flowmodel import FlowModel, kernel_arrays
from mmlib.market.observe import Observed, conflate, observe
from mmlib.market.simulated import DEFAULT_START_NS, new_stream, seeded
from mmlib.market.source import Instrument

_ROWS = 1 << 16
LONG_S = 6 * 3600.0
"""Recordings shorter than this say nothing of slow volatility or of the hour of the day."""


def at_its_level(model: FlowModel, span_s: float) -> FlowModel:
    """The model as its recording saw it: what a short one cannot show is held at its mean."""
    return model if span_s >= LONG_S else model.model_copy(update={"slow_sd": 0.0, "season_amp": 0.0})


def run(model: FlowModel, seconds: float, seed: int) -> np.ndarray:
    """EVENT rows of a model over a time, after a minute of warming up; opened by the book."""
    price, tick_size, lot_size = model.price, model.tick_size, model.lot_size
    arrays = kernel_arrays(
        model, price=price, tick_size=tick_size, lot_size=lot_size, rate_per_s=model.rate_per_s
    )
    latency_ms = np.array(model.latency_ms or (1.0, 1.0))
    start = DEFAULT_START_NS
    stream = new_stream(arrays, price / tick_size, start, seeded(seed, "pilot", start), latency_ms)
    scratch = np.zeros(_ROWS, EVENT)
    while stream.exch_ns < start + 60_000_000_000:
        stream.fill(scratch, start + 60_000_000_000)
    until = stream.exch_ns + int(seconds * 1e9)
    parts = [stream.book_rows(lot_size, stream.exch_ns, stream.local_ns)]
    while stream.exch_ns < until:
        parts.append(scratch[: stream.fill(scratch, until)].copy())
    return np.concatenate(parts)


def observed(model: FlowModel, rows: np.ndarray, like: Observed) -> Observed:
    """A run of `run` as the publisher of ``like`` would show it."""
    seen = observe(rows, Instrument("", model.tick_size, model.lot_size))
    touch = conflate(seen.touch, like.conflated_ms)
    return replace(
        seen,
        touch=touch,
        conflated_ms=like.conflated_ms,
        touch_from=like.touch_from,
        depth_every_ms=like.depth_every_ms,
    )
