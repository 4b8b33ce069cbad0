"""A simulated market as a source: seeded, endless, the same however it is cut."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from mmlib._io import UserError
from mmlib.core import flow
from mmlib.dtypes import EVENT, Grade
from mmlib.market.events import book_before, snapshot_rows
from mmlib.market.latency import lognormal_ms, refresh_model
from mmlib.market.source import CHUNK_ROWS, FeedLatency, Instrument

DEFAULT_START_NS = 1_736_899_200_000_000_000  # 2025-01-15T00:00:00Z
DEFAULT_RATE_PER_S = 20.0
_MAX_RATE_PER_S = 100_000.0
NEVER_NS = np.iinfo(np.int64).max
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9._-]{0,31}")

_KNOWN = {"BTCUSDT": (60_000.0, 0.1, 0.001), "ETHUSDT": (2_500.0, 0.01, 0.001)}
"""Symbol to starting price, tick size, lot size."""

REGIMES: dict[str, dict[str, float]] = {
    "calm": {"daily_vol": 0.015, "slow_sd": 0.3, "fast_sd": 0.2, "informed_share": 0.4},
    "normal": {"daily_vol": 0.03, "slow_sd": 0.5, "fast_sd": 0.35, "informed_share": 0.55},
    "stressed": {"daily_vol": 0.08, "slow_sd": 0.7, "fast_sd": 0.5, "informed_share": 0.75},
}
"""What a regime sets: volatility a day, how it clusters, how much of the flow knows the price."""

_COMMON = {
    "slow_tau_s": 1800.0,
    "fast_tau_s": 60.0,
    "market_share": 0.15,
    "cancel_share": 0.2,
    "take_bps": 0.05,
    "impact_bps": 0.15,
    "impact_tau_s": 8.0,
    "sign_persistence": 0.75,
    "near_share": 0.8,
    "depth_bps": 1.5,
    "widen": 0.2,
    "level_sigma": 1.0,
    "trade_sigma": 1.6,
}
_LEVEL_NOTIONAL = 15_000.0  # median limit order, quote currency
_TRADE_NOTIONAL = 1_500.0  # median noise trade


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
                self.latency_ms,
                until_ns,
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
    sha256 = ""
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
        self._price, self.instrument = _listing(symbol, instrument)
        self._params = _params(market, self._price, self.instrument)
        self._latency_ms = lognormal_ms(latency.median_ms, latency.sigma)
        self.refresh_ms, self.refresh_label = refresh_model(latency, "the market is simulated")
        self.quality: dict[str, int] = {"rows": 0}
        regime = str(market.get("regime", "normal"))
        self.description = (
            f"simulated order flow, {regime} regime, seed {seed}, "
            f"about {self._params['rate_per_s'][0]:g} messages a second"
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
        expected = 4.0 * float(self._params["rate_per_s"][0]) * (end_ns - now_ns) / 1e9
        return int(min(CHUNK_ROWS, 1024 + expected))

    def stream(self) -> SimulatedStream:
        """The stream before its first message: an even ladder around the starting price.

        What `chunks` hands out from the start is its ``book_rows`` at ``start_ns`` and then what it fills.
        """
        ticks = self._price / self.instrument.tick_size
        state = np.zeros(1, flow.FLOW_STATE)
        for name in ("exch_ns", "local_ns", "vol_ns"):
            state[name] = self.start_ns
        state["efficient_ticks"] = state["centre_ticks"] = ticks
        state["noise_sign"] = 1.0
        # The first message comes after the volatility has moved once; until then these hold.
        state["sigma"] = self._params["vol_per_sqrt_s"]
        state["rate"] = self._params["rate_per_s"]
        gap = max(1, int(ticks * 0.2e-4))
        levels = np.arange(flow.DEPTH // 2)
        keys = np.zeros((2, flow.DEPTH), np.int64)
        for d, centre in ((0, -ticks), (1, ticks)):
            keys[d, : len(levels)] = math.ceil(centre + 0.5) + gap * levels
        lots = np.zeros((2, flow.DEPTH))
        lots[:, : len(levels)] = max(1.0, math.floor(self._params["level_lots"][0]))
        counts = np.full(2, len(levels), np.int64)
        rng = _rng(self._seed, self.symbol, self.start_ns)
        return SimulatedStream(self._params.copy(), self._latency_ms.copy(), state, rng, keys, lots, counts)


def _rng(seed: int, symbol: str, start_ns: int) -> np.ndarray:
    """Generator state from what identifies the stream; inside the ranges that KISS asks for."""
    digest = hashlib.sha256(f"{seed}|{symbol}|{start_ns}".encode()).digest()
    words = np.frombuffer(digest[:16], "<u4").astype(np.int64)
    words[1] = max(1, words[1])
    words[3] = 1 + words[3] % 698_769_067
    return words


def _listing(symbol: str, declared: Instrument | None) -> tuple[float, Instrument]:
    """Starting price and instrument; of an unknown symbol, derived from its name."""
    if symbol in _KNOWN:
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


def _params(market: Mapping[str, Any], price: float, instrument: Instrument) -> np.ndarray:
    """Kernel parameters of a regime.

    Raises:
        UserError: unknown key or regime, rate out of range.
    """
    for key in market:
        if key not in ("rate_per_s", "regime"):
            raise UserError(f"market.{key}: unknown key; expected rate_per_s, regime")
    regime = market.get("regime", "normal")
    if regime not in REGIMES:
        raise UserError(f"market.regime: {regime!r}; expected one of {', '.join(REGIMES)}")
    rate = float(market.get("rate_per_s", DEFAULT_RATE_PER_S))
    if not 0.0 < rate <= _MAX_RATE_PER_S:
        raise UserError(f"market.rate_per_s: {rate}; expected above 0 and up to {_MAX_RATE_PER_S:g}")
    chosen = REGIMES[regime]
    params = np.zeros(1, flow.FLOW_PARAMS)
    for name, value in (_COMMON | {k: v for k, v in chosen.items() if k != "daily_vol"}).items():
        params[name] = value
    params["rate_per_s"] = rate
    params["vol_per_sqrt_s"] = chosen["daily_vol"] / math.sqrt(86_400.0)
    lot_value = price * instrument.lot_size
    params["level_lots"] = max(1.0, _LEVEL_NOTIONAL / lot_value)
    params["trade_lots"] = max(1.0, _TRADE_NOTIONAL / lot_value)
    params["lot_size"] = instrument.lot_size
    ticks = price / instrument.tick_size
    params["min_ticks"], params["max_ticks"] = ticks / 5.0, min(5.0 * ticks, 1e9)
    return params
