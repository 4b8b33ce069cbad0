"""What the loopback exchange plays: steps of one symbol's market, from the simulator or from a raw recording."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson

from mmlib._io import UserError
from mmlib.dtypes import (
    EVENT_KIND_MASK,
    FLAG_BUY,
    FLAG_EXCH,
    KIND_CLEAR,
    KIND_TRADE,
    Grade,
)
from mmlib.market.lines import Lines
from mmlib.market.opening import open_source
from mmlib.market.source import Instrument

Levels = list[tuple[int, float]]


@dataclass
class Step:
    """What happens at one moment.

    Attributes:
        at_s: since the flow began [s].
        clear: whether the book is emptied first.
        bids, asks: levels set, price [ticks] and quantity [base units]; 0 deletes.
        trades: price [ticks], quantity, whether the aggressor sold.
    """

    at_s: float
    clear: bool = False
    bids: Levels = field(default_factory=list)
    asks: Levels = field(default_factory=list)
    trades: list[tuple[int, float, bool]] = field(default_factory=list)


class Flow(Protocol):
    """A market of one symbol that can be played once."""

    instrument: Instrument
    grade: Grade

    def steps(self) -> Iterator[Step]:
        """Steps in the order of time."""
        ...


class SimulatedFlow:
    """The order-flow simulator, endless."""

    grade = Grade.SIMULATED

    def __init__(
        self, symbol: str, *, seed: int, rate_per_s: float, instrument: Instrument | None = None
    ) -> None:
        sizes = {symbol: (instrument.tick_size, instrument.lot_size)} if instrument else None
        self._source = open_source(
            "simulated", symbol, seed=seed, instruments=sizes, market={"rate_per_s": rate_per_s}
        )
        self.instrument = self._source.instrument

    def steps(self) -> Iterator[Step]:
        """See `Flow.steps`."""
        first_ns: int | None = None
        for rows in self._source.chunks(self._source.start_ns, None):
            mine = rows[rows["flags"] & FLAG_EXCH != 0]
            if not len(mine):
                continue
            if first_ns is None:
                first_ns = int(mine["exch_ts_ns"][0])
            edges = [0, *(np.flatnonzero(np.diff(mine["exch_ts_ns"])) + 1).tolist(), len(mine)]
            for first, last in pairwise(edges):
                part = mine[first:last]
                yield _step_of_rows(part, (int(part["exch_ts_ns"][0]) - first_ns) / 1e9)


def _step_of_rows(rows: np.ndarray, at_s: float) -> Step:
    step = Step(at_s)
    for flags, ticks, qty in zip(
        rows["flags"].tolist(), rows["price_ticks"].tolist(), rows["qty"].tolist(), strict=True
    ):
        kind = flags & EVENT_KIND_MASK
        if kind == KIND_CLEAR:
            step.clear = True
        elif kind == KIND_TRADE:
            step.trades.append((ticks, qty, not flags & FLAG_BUY))
        else:
            (step.bids if flags & FLAG_BUY else step.asks).append((ticks, qty))
    return step


class RecordedFlow:
    """The depth updates and trades of one symbol in a raw recording; it ends with it.

    Raises:
        UserError: the recording cannot be read, or holds nothing of the symbol.
    """

    grade = Grade.RECORDING_TILED  # it is the recording's market, but not its clock

    def __init__(self, path: Path, symbol: str, instrument: Instrument | None = None) -> None:
        self._path, self._symbol = path, symbol
        source = open_source(
            f"recording:{path}",
            symbol,
            instruments={symbol: (instrument.tick_size, instrument.lot_size)} if instrument else None,
        )
        self.instrument = source.instrument

    def steps(self) -> Iterator[Step]:
        """See `Flow.steps`."""
        first_ns = 0
        for line in Lines(self._path):
            data = _frame(line)
            if data is None or data.get("s", self._symbol) != self._symbol:
                continue
            ns = int(line[:19])
            first_ns = first_ns or ns
            step = self._step(data, (ns - first_ns) / 1e9)
            if step is not None:
                yield step

    def _step(self, data: dict[str, Any], at_s: float) -> Step | None:
        if data.get("e") == "depthUpdate":
            return Step(at_s, bids=self._levels(data["b"]), asks=self._levels(data["a"]))
        if data.get("e") == "trade" and data.get("X", "MARKET") == "MARKET":
            (level,) = self._levels([(data["p"], data["q"])])
            return Step(at_s, trades=[(*level, data["m"] is True)])
        if "lastUpdateId" in data:
            return Step(at_s, clear=True, bids=self._levels(data["bids"]), asks=self._levels(data["asks"]))
        return None

    def _levels(self, pairs: Any) -> Levels:
        tick = self.instrument.tick_size
        return [(int(float(price) / tick + 0.5), float(qty)) for price, qty in pairs]


def _frame(line: bytes) -> dict[str, Any] | None:
    try:
        message = orjson.loads(line[20:])
    except orjson.JSONDecodeError:
        return None
    data = message.get("data", message) if isinstance(message, dict) else None
    return data if isinstance(data, dict) and line[:19].isdigit() else None


def flow_of(source: str, symbol: str, *, seed: int, rate_per_s: float) -> Flow:
    """A flow for one symbol of ``simulated`` or ``recording:PATH``.

    Raises:
        UserError: another source, or a recording that cannot be played.
    """
    if source == "simulated":
        return SimulatedFlow(symbol, seed=seed, rate_per_s=rate_per_s)
    kind, _, rest = source.partition(":")
    if kind == "recording" and rest:
        return RecordedFlow(Path(rest).expanduser(), symbol)
    raise UserError(f"source {source!r}: cannot be played; expected simulated or recording:PATH")
