"""A market as an observer sees it, recorded or simulated: the touch, market orders, levels behind, latencies.

The touch of a Binance recording comes from its ``bookTicker`` stream where there is one, since depth updates are
published every 50 to 100 ms only; elsewhere it is that of the book that the depth rows build. What a publisher
conflates is conflated in the simulation too before the two are compared (`conflate`).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from mmlib.core.book import empty_book
from mmlib.core.touch import TOUCH, touch_path
from mmlib.dtypes import EVENT, EVENT_KIND_MASK, FLAG_BUY, FLAG_EXCH, FLAG_LOCAL, KIND_DEPTH, KIND_TRADE
from mmlib.market.source import Instrument, Source

ORDER = np.dtype(
    [
        ("exch_ns", "i8"),
        ("sign", "i1"),  # +1 bought
        ("levels", "i4"),  # prices it took
        ("price_ticks", "i8"),  # of its first trade
        ("qty", "f8"),
    ]
)
"""One market order: trades of one moment and one aggressor."""

_LEVELS = 16
_PICTURE_NS = 1_000_000_000
_MAX_TICKS = 1 << 28


@dataclass(frozen=True)
class Observed:
    """What was seen of one symbol.

    Attributes:
        touch: TOUCH[n], by time.
        orders: ORDER[m], by time.
        behind: float64[k, 2, levels, 2], pictures of the levels behind the touch: distance [ticks], quantity.
        deep_per_s: changes of levels behind the touch a second, as published.
        latency_ms: float64[129], quantiles of the feed latency.
        instrument: what is traded.
        touch_from: bookTicker or depth.
        conflated_ms: time between two published touches where the publisher conflates, else 0.
        depth_every_ms: likewise for depth updates.
    """

    touch: np.ndarray
    orders: np.ndarray
    behind: np.ndarray
    deep_per_s: float
    latency_ms: np.ndarray
    instrument: Instrument
    touch_from: str
    conflated_ms: float
    depth_every_ms: float

    @property
    def span_s(self) -> float:
        """Time from the first to the last touch [s]."""
        return float(self.touch["exch_ns"][-1] - self.touch["exch_ns"][0]) / 1e9 if len(self.touch) else 0.0

    @property
    def mid_ticks(self) -> np.ndarray:
        """Mid price of each touch [ticks]."""
        return 0.5 * (self.touch["bid_ticks"] + self.touch["ask_ticks"])

    @property
    def price(self) -> float:
        """Median mid price [quote currency]."""
        return float(np.median(self.mid_ticks)) * self.instrument.tick_size

    @property
    def ticks_per_bps(self) -> float:
        """Ticks that a basis point has at the median price."""
        return self.price / self.instrument.tick_size * 1e-4


def observe(events: np.ndarray, instrument: Instrument) -> Observed:
    """Look at EVENT rows of a recording or a simulation."""
    seen = events[events["flags"] & FLAG_EXCH != 0]
    kind = seen["flags"] & EVENT_KIND_MASK
    ticks = seen["price_ticks"]
    top = int(ticks[(ticks > 0) & (ticks < _MAX_TICKS)].max(initial=1))
    out = np.zeros(len(seen), TOUCH)
    span_ns = int(seen["exch_ts_ns"].max() - seen["exch_ts_ns"].min()) if len(seen) else 0
    pictures = np.full((min(span_ns // _PICTURE_NS + 2, 20_000), 2, _LEVELS, 2), np.nan)
    n, k = touch_path(seen, empty_book(top + 2), _PICTURE_NS, out, pictures)
    touch = out[:n].copy()
    depth_ns = np.unique(seen["exch_ts_ns"][kind == KIND_DEPTH])
    arrived = events[events["flags"] & FLAG_LOCAL != 0]
    first = np.flatnonzero(np.diff(arrived["exch_ts_ns"], prepend=-1))
    late_ms = (arrived["local_ts_ns"] - arrived["exch_ts_ns"])[first] / 1e6
    quantiles = np.quantile(late_ms, np.linspace(0, 1, 129)) if len(late_ms) else np.zeros(129)
    return Observed(
        touch,
        market_orders(seen[kind == KIND_TRADE]),
        pictures[:k],
        _deep_per_s(seen[kind == KIND_DEPTH], touch),
        np.maximum(quantiles, 0.0),
        instrument,
        "depth",
        _conflated_ms(depth_ns),
        _conflated_ms(depth_ns),
    )


def observe_recording(source: Source, path: Path | None = None) -> Observed:
    """Look at a recorded source; ``path`` is its file, in which a ``bookTicker`` stream is looked for."""
    chunks = list(source.chunks())
    seen = (
        observe(np.concatenate(chunks), source.instrument)
        if chunks
        else observe(np.zeros(0, EVENT), source.instrument)
    )
    touch = _book_ticker(path, source, seen) if path is not None and path.is_file() else None
    if touch is None or len(touch) < 2:
        return seen
    return replace(seen, touch=touch, touch_from="bookTicker", conflated_ms=0.0)


def market_orders(trades: np.ndarray) -> np.ndarray:
    """Trades of one moment and one aggressor as one order: ``EVENT[n]`` to ``ORDER[m]``."""
    if not len(trades):
        return np.zeros(0, ORDER)
    bought = trades["flags"] & FLAG_BUY != 0
    new = np.diff(trades["exch_ts_ns"], prepend=-1) != 0
    new[1:] |= bought[1:] != bought[:-1]
    first = np.flatnonzero(new)
    out = np.zeros(len(first), ORDER)
    out["exch_ns"], out["price_ticks"] = trades["exch_ts_ns"][first], trades["price_ticks"][first]
    out["sign"] = np.where(bought[first], 1, -1)
    out["qty"] = np.add.reduceat(trades["qty"], first)
    steps = np.diff(trades["price_ticks"], prepend=trades["price_ticks"][:1]) != 0
    steps[first] = True
    out["levels"] = np.add.reduceat(steps.astype(np.int32), first)
    return out


def conflate(touch: np.ndarray, every_ms: float) -> np.ndarray:
    """The touch as a publisher shows it that sends its state every so often: the last of each interval."""
    if every_ms <= 0.0 or not len(touch):
        return touch
    slot = (touch["exch_ns"] - touch["exch_ns"][0]) // int(every_ms * 1e6)
    return touch[np.append(np.diff(slot) != 0, True)]


def conflate_rows(rows: np.ndarray, every_ms: float) -> np.ndarray:
    """EVENT rows as a publisher sends them whose depth updates come by the clock and whose trades come at once.

    Of the depth rows of one interval and price the last is sent, at the interval's end, as late as it was.
    """
    if every_ms <= 0.0 or not len(rows):
        return rows
    step = int(every_ms * 1e6)
    kind = rows["flags"] & EVENT_KIND_MASK
    depth = rows[kind == KIND_DEPTH]
    slot = depth["exch_ts_ns"] // step
    order = np.lexsort((np.arange(len(depth)), depth["price_ticks"], depth["flags"], slot))
    keys = np.stack(
        [slot[order], depth["flags"][order].astype(np.int64), depth["price_ticks"][order].astype(np.int64)]
    )
    sent = depth[np.sort(order[np.append((np.diff(keys) != 0).any(axis=0), True)])]
    late_ns = sent["local_ts_ns"] - sent["exch_ts_ns"]
    sent["exch_ts_ns"] = (sent["exch_ts_ns"] // step + 1) * step
    sent["local_ts_ns"] = sent["exch_ts_ns"] + late_ns
    out = np.concatenate([rows[kind != KIND_DEPTH], sent])
    out = out[np.argsort(out["exch_ts_ns"], kind="stable")]
    out["local_ts_ns"] = np.maximum.accumulate(out["local_ts_ns"])
    return out


def before(touch: np.ndarray, times_ns: np.ndarray) -> np.ndarray:
    """Index of the last touch strictly before each time, -1 for none."""
    return np.searchsorted(touch["exch_ns"], times_ns, side="left") - 1


def at(touch: np.ndarray, times_ns: np.ndarray) -> np.ndarray:
    """Index of the last touch at or before each time, -1 for none."""
    return np.searchsorted(touch["exch_ns"], times_ns, side="right") - 1


def _conflated_ms(depth_ns: np.ndarray) -> float:
    """Interval of a publisher whose depth updates come by the clock, 0 where they come as they happen."""
    if len(depth_ns) < 100:
        return 0.0
    low, middle, high = np.quantile(np.diff(depth_ns) / 1e6, (0.25, 0.5, 0.75))
    return float(round(middle)) if middle >= 10.0 and high - low <= 0.2 * middle else 0.0


def _deep_per_s(depth: np.ndarray, touch: np.ndarray) -> float:
    """Changes a second of levels behind the touch, at most 5 bps from it."""
    if len(touch) < 2:
        return 0.0
    i = np.maximum(at(touch, depth["exch_ts_ns"]), 0)
    bid = depth["flags"] & FLAG_BUY != 0
    away = np.where(
        bid, touch["bid_ticks"][i] - depth["price_ticks"], depth["price_ticks"] - touch["ask_ticks"][i]
    )
    reach = 5e-4 * float(np.median(touch["bid_ticks"]))
    span_s = float(touch["exch_ns"][-1] - touch["exch_ns"][0]) / 1e9
    return float(((away > 0) & (away <= reach)).sum() / span_s)


def _book_ticker(path: Path, source: Source, seen: Observed) -> np.ndarray | None:
    """TOUCH rows of the ``bookTicker`` messages of a Binance raw recording, None when it has none.

    USD-M messages carry the exchange's time; spot ones do not and are put at their arrival less the median latency.
    """
    tick, symbol = source.instrument.tick_size, source.symbol
    rows: list[tuple[int, int, int, float, float]] = []
    shift_ns: int | None = None
    late_ns = int(seen.latency_ms[len(seen.latency_ms) // 2] * 1e6)
    for local_ns, data in _messages(path):
        kind = data.get("e")
        if kind in ("depthUpdate", "trade"):
            shift_ns = source.start_ns - local_ns if shift_ns is None else shift_ns
            continue
        if data.get("s") != symbol or not {"b", "B", "a", "A"} <= data.keys():
            continue
        when = int(data["T"]) * 1_000_000 if "T" in data else local_ns + (shift_ns or 0) - late_ns
        prices = round(float(data["b"]) / tick), round(float(data["a"]) / tick)
        rows.append((when, *prices, float(data["B"]), float(data["A"])))
    if not rows:
        return None
    touch = np.array(rows, TOUCH)
    touch["exch_ns"] = np.maximum.accumulate(touch["exch_ns"])
    return touch[touch["bid_ticks"] < touch["ask_ticks"]]


def _messages(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Time of arrival and content of the messages that can be read; depth updates only until the first."""
    first = True
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for line in file:
                ticker = b"bookTicker" in line[:80] or b'"e"' not in line[:120]
                if not ticker and not first:
                    continue
                stamp, _, text = line.partition(b" ")
                try:
                    message, local_ns = orjson.loads(text), int(stamp)
                except ValueError:
                    continue
                data = message.get("data", message) if isinstance(message, dict) else None
                if isinstance(data, dict):
                    first = first and data.get("e") not in ("depthUpdate", "trade")
                    yield local_ns, data
    except (OSError, EOFError):
        return
