"""A simulated market as a source: seeded, endless, the same however it is cut."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from mmlib._io import UserError
from mmlib.core import flow, flowclock
from mmlib.core.flowladder import DEPTH
from mmlib.dtypes import EVENT, Grade
from mmlib.market.events import book_before, snapshot_rows
from mmlib.market.flowmodel import (
    BUILT_IN,
    FlowModel,
    KernelArrays,
    even_quantiles,
    kernel_arrays,
    load_preset,
)
from mmlib.market.latency import heavy_tailed_ms, refresh_model
from mmlib.market.source import CHUNK_ROWS, QUANTILES, FeedLatency, Instrument

DEFAULT_START_NS = 1_736_899_200_000_000_000  # 2025-01-15T00:00:00Z
_MAX_RATE_PER_S = 100_000.0
NEVER_NS = np.iinfo(np.int64).max
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9._-]{0,31}")

_KNOWN = {"BTCUSDT": (60_000.0, 0.1, 0.001), "ETHUSDT": (2_500.0, 0.01, 0.001)}
"""Symbol to starting price, tick size, lot size."""

REGIMES: dict[str, dict[str, float]] = {
    "calm": {"vol": 0.5, "cluster": 0.6, "informed": 0.75, "burst": 0.75, "size": 1.25},
    "normal": {"vol": 1.0, "cluster": 1.0, "informed": 1.0, "burst": 1.0, "size": 1.0},
    "stressed": {"vol": 2.5, "cluster": 1.4, "informed": 1.35, "burst": 1.5, "size": 0.6},
}
"""What a regime multiplies: volatility, how it clusters, share of informed moves, self-excitation, size of quotes."""


@dataclass
class SimulatedStream:
    """A simulated market under way: all that its next message depends on.

    ``params`` (``FLOW_PARAMS[1]``) and ``latency_ms`` (``float64[1001]``) are read anew at each `fill`: a
    scripted incident changes them in place between two calls, and cuts the calls where it begins and ends.
    """

    params: np.ndarray
    latency_ms: np.ndarray
    flow_state: np.ndarray
    rng: np.ndarray
    keys: np.ndarray
    lots: np.ndarray
    counts: np.ndarray
    rates: np.ndarray
    edges: np.ndarray
    leans: np.ndarray
    marks: np.ndarray

    @property
    def exch_ns(self) -> int:
        """Exchange time of the last message; where the stream begins before the first."""
        return int(self.flow_state["exch_ns"][0])

    @property
    def local_ns(self) -> int:
        """Arrival of the last message."""
        return int(self.flow_state["local_ns"][0])

    def fill(self, out: np.ndarray, until_ns: int = NEVER_NS) -> int:
        """Continue the stream into ``EVENT[k]``, k >= ``flow.ROWS_PER_MESSAGE``; rows written.

        Stops before a message that might not fit, or after the first one at or after exchange time
        ``until_ns``. The stream is the same however it is cut.
        """
        return int(
            flow.simulate(
                self.params,
                self.flow_state,
                self.rng,
                self.keys,
                self.lots,
                self.counts,
                self.rates,
                self.edges,
                self.leans,
                self.marks,
                self.latency_ms[None, :],
                until_ns,
                np.zeros(12),
                out,
            )
        )

    def state(self) -> dict[str, np.ndarray]:
        """Everything, copied, under the names of the fields: plain arrays that ``np.savez`` takes."""
        return {field.name: getattr(self, field.name).copy() for field in fields(self)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from a `state`, bit for bit as the stream that gave it.

        Raises:
            UserError: an array is absent, or of another dtype or shape: the state of another version.
        """
        for field in fields(self):
            held, given = getattr(self, field.name), state.get(field.name)
            if given is None or given.dtype != held.dtype or given.shape != held.shape:
                found = "nothing" if given is None else f"{given.dtype}{list(given.shape)}"
                expected = f"{held.dtype}{list(held.shape)}"
                raise UserError(f"state of the simulated market: {field.name}: {found}; expected {expected}")
        for field in fields(self):
            getattr(self, field.name)[...] = state[field.name]

    def book_rows(self, lot_size: float, exch_ns: int, local_ns: int) -> np.ndarray:
        """The book as a clear and snapshot levels at the given times."""
        sides = [
            (sign * self.keys[d, : self.counts[d]], self.lots[d, : self.counts[d]] * lot_size)
            for d, sign in ((0, -1), (1, 1))
        ]
        return snapshot_rows(*sides[0], *sides[1], exch_ns, local_ns)


class SimulatedSource:
    """One symbol of a simulated market; the same for the same seed, symbol, start, instrument and market."""

    grade = Grade.SIMULATED
    uri = "simulated"
    end_ns: int | None = None

    def __init__(
        self,
        symbol: str,
        *,
        seed: int,
        start_ns: int | None,
        instrument: Instrument | None,
        latency: FeedLatency,
        market: Mapping[str, Any],
    ) -> None:
        if not _SYMBOL.fullmatch(symbol):
            raise UserError(f"symbol {symbol!r}: expected up to 32 letters, digits, dots or dashes")
        self.symbol = symbol
        self._seed = seed
        self.start_ns = DEFAULT_START_NS if start_ns is None else start_ns
        _check_keys(market)
        preset = str(market.get("preset") or "")
        self.model = load_preset(preset) if preset else BUILT_IN
        self._price, self.instrument = _listing(symbol, instrument, self.model if preset else None)
        regime = str(market.get("regime", "normal"))
        rate = market.get("rate_per_s")
        self.rate_per_s = self.model.rate_per_s if rate is None else float(rate)
        self._arrays = _arrays(self.model, regime, self.rate_per_s, self._price, self.instrument)
        if self.model.latency_ms:
            self._latency_ms = np.array(self.model.latency_ms)
            self.refresh_ms = 2.0 * even_quantiles(self.model.latency_ms, QUANTILES)
            self.refresh_label = f"model: twice the feed latency of the preset {Path(preset).stem}"
        else:
            self._latency_ms = heavy_tailed_ms(latency.median_ms, latency.sigma)
            self.refresh_ms, self.refresh_label = refresh_model(latency, "the market is simulated")
        self.sha256 = self.model.sha256 if preset else ""
        self.quality: dict[str, int] = {"rows": 0}
        self.caveat = ""
        self.description = (
            f"simulated order flow, {f'preset {Path(preset).stem}, ' if preset else ''}{regime} regime, "
            f"seed {seed}, about {self.rate_per_s:g} messages a second"
        )

    def chunks(self, start_ns: int | None = None, end_ns: int | None = None) -> Iterator[np.ndarray]:
        """See `Source.chunks`; rows of one message never straddle two chunks."""
        start = self.start_ns if start_ns is None else max(start_ns, self.start_ns)
        if end_ns is not None and end_ns <= start:
            return
        self.quality["rows"] = 0
        current = self.stream()
        head = current.book_rows(self.instrument.lot_size, self.start_ns, self.start_ns)
        begun = start == self.start_ns
        while True:
            out = np.zeros(self._rows_until(end_ns, current.local_ns), EVENT)
            out[: len(head)] = head
            n = len(head) + current.fill(out[len(head) :])
            local_ns = out["local_ts_ns"][:n]
            cut = 0 if begun else int(np.searchsorted(local_ns, start))
            last = n if end_ns is None else int(np.searchsorted(local_ns, end_ns))
            if not begun and cut < n:
                opening = book_before(out[:n], start)
                opening["exch_ts_ns"] = min(start, int(out["exch_ts_ns"][cut]))
                yield opening
                begun = True
            if last > cut:
                self.quality["rows"] += last - cut
                yield out[cut:last]
            if last < n:
                return
            head = (
                head[:0]
                if begun
                else current.book_rows(self.instrument.lot_size, current.exch_ns, current.local_ns)
            )

    def _rows_until(self, end_ns: int | None, now_ns: int) -> int:
        """Rows to ask for at once: a whole chunk, or a rough upper estimate where the window is shorter."""
        if end_ns is None:
            return CHUNK_ROWS
        expected = 4.0 * self.rate_per_s * (end_ns - now_ns) / 1e9
        return int(min(CHUNK_ROWS, 1024 + expected))

    def stream(self) -> SimulatedStream:
        """The stream before its first message: an even ladder around the starting price.

        What `chunks` hands out from the start is its ``book_rows`` at ``start_ns`` and then what it fills.
        """
        rng = seeded(self._seed, self.symbol, self.start_ns)
        ticks = self._price / self.instrument.tick_size
        return new_stream(self._arrays, ticks, self.start_ns, rng, self._latency_ms)


def new_stream(
    arrays: KernelArrays, price_ticks: float, start_ns: int, rng: np.ndarray, latency_ms: np.ndarray
) -> SimulatedStream:
    """A stream before its first message; all arrays are copied."""
    params, rates, edges, leans, marks = (array.copy() for array in arrays)
    ticks = math.floor(price_ticks) + 0.5
    state = np.zeros(1, flowclock.FLOW_STATE)
    for name in ("exch_ns", "local_ns", "vol_ns", "latency_ns"):
        state[name] = start_ns
    state["efficient_ticks"] = state["reference_ticks"] = ticks
    state["zone_ticks"] = np.maximum(1.0, params["zone_bps"] * 1e-4 * ticks)
    state["per_zone"] = 1.0 / state["zone_ticks"]
    state["half_ticks"] = 0.5 + params["wide_bps"] * 1e-4 * ticks
    # The first message comes after the volatility has moved once; until then these hold.
    state["sigma"], state["scale"], state["pace"] = params["vol_per_sqrt_s"], 1.0, params["rate_per_s"]
    levels = np.arange(DEPTH // 2)
    gap = max(1, int(ticks * params["deep_bps"][0] * 1e-4 / len(levels)))
    keys = np.zeros((2, DEPTH), np.int64)
    lots = np.zeros((2, DEPTH))
    lots[:, : len(levels)] = max(1.0, float(np.rint(np.median(marks[flow.DEEP]))))
    for d, centre in ((0, -ticks), (1, ticks)):
        keys[d, : len(levels)] = math.ceil(centre + float(state["half_ticks"][0]) - 1e-9) + gap * levels
        lots[d, 0] = max(1.0, float(np.rint(np.median(edges)))) if len(edges) else lots[d, 1]
    counts = np.full(2, len(levels), np.int64)
    return SimulatedStream(
        params, latency_ms.copy(), state, rng.copy(), keys, lots, counts, rates, edges, leans, marks
    )


def seeded(seed: int, symbol: str, start_ns: int) -> np.ndarray:
    """Generator state from what identifies the stream: a counter and its odd step, both of 64 bits."""
    digest = hashlib.sha256(f"{seed}|{symbol}|{start_ns}".encode()).digest()
    return np.frombuffer(digest[:16], "<u8").astype(np.uint64) | np.array([0, 1], np.uint64)


def _listing(symbol: str, declared: Instrument | None, preset: FlowModel | None) -> tuple[float, Instrument]:
    """Starting price and instrument: of the preset, of a known symbol, or derived from the symbol's name."""
    if preset is not None:
        price, tick_size, lot_size = preset.price, preset.tick_size, preset.lot_size
    elif symbol in _KNOWN:
        price, tick_size, lot_size = _KNOWN[symbol]
    else:
        share = int.from_bytes(hashlib.sha256(symbol.encode()).digest()[:4], "big") / 2**32
        magnitude = 10.0 ** math.floor(4.0 * share)
        price = magnitude * (1.0 + 9.0 * (4.0 * share % 1.0))
        tick_size, lot_size = magnitude * 1e-4, 1.0 / magnitude
    instrument = declared or Instrument(symbol, tick_size, lot_size)
    # A tick too coarse for the price leaves no room for a book, one too fine overflows int32 ticks.
    price = min(max(price, 2_000 * instrument.tick_size), 1e8 * instrument.tick_size)
    return price, instrument


def _check_keys(market: Mapping[str, Any]) -> None:
    """Refuse what no market has.

    Raises:
        UserError: unknown key or regime, rate out of range.
    """
    for key in market:
        if key not in ("rate_per_s", "regime", "preset"):
            raise UserError(f"market.{key}: unknown key; expected preset, rate_per_s, regime")
    regime = market.get("regime", "normal")
    if regime not in REGIMES:
        raise UserError(f"market.regime: {regime!r}; expected one of {', '.join(REGIMES)}")
    rate = market.get("rate_per_s")
    if rate is not None and not 0.0 < float(rate) <= _MAX_RATE_PER_S:
        raise UserError(f"market.rate_per_s: {rate}; expected above 0 and up to {_MAX_RATE_PER_S:g}")


def _arrays(
    model: FlowModel, regime: str, rate_per_s: float, price: float, instrument: Instrument
) -> KernelArrays:
    """Kernel arrays of a market in a regime."""
    params, rates, edges, leans, marks = kernel_arrays(
        model,
        price=price,
        tick_size=instrument.tick_size,
        lot_size=instrument.lot_size,
        rate_per_s=rate_per_s,
    )
    times = REGIMES[regime]
    params["vol_per_sqrt_s"] *= times["vol"]
    for name in ("slow_sd", "fast_sd"):
        params[name] *= times["cluster"]
    params["informed_share"] = np.minimum(1.0, params["informed_share"] * times["informed"])
    params["burst_branching"] = np.minimum(0.9, params["burst_branching"] * times["burst"])
    for row in (flow.LIMIT, flow.DEEP):
        marks[row] *= times["size"]
    return params, rates, edges, leans, marks
