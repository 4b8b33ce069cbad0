"""``finishline replay``: a user's own orders against recordings, and the comparison with their actual fills."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmlib._io import UserError, sha256_file, write_atomic
from mmlib.core.queue import QUEUE_MODELS
from mmlib.dtypes import FLAG_EXCH, Action, Grade, OrderKind, TimeInForce
from mmlib.engine.orders import OrderCounts, replay_orders
from mmlib.feeds.orderlatency import read_order_latency
from mmlib.feeds.orders import fills_frame, read_actual, read_orders, write_fills
from mmlib.market.opening import open_source
from mmlib.market.quality import Quality, quality_of
from mmlib.market.source import Source
from mmlib.workflow.warming import ensure, of_market

if TYPE_CHECKING:
    from mmlib.metrics.agreement import Agreement

_MS = 1_000_000


@dataclass(frozen=True)
class ReplayOptions:
    """What to replay, and the model it is replayed with; see ``finishline replay --help``."""

    recordings: tuple[Path, ...]
    symbol: str
    orders: Path
    output: Path
    command: str
    tick_size: float | None = None
    lot_size: float | None = None
    queue_model: str = "log"
    queue_exponent: float | None = None
    entry_latency_ms: float = 10.0
    response_latency_ms: float = 10.0
    order_latency: Path | None = None
    maker_fee_bps: float = 0.0
    taker_fee_bps: float = 0.0
    contract_size: float | None = None  # of an inverse contract, quote currency
    partial_fills: bool = False
    actual: Path | None = None
    tolerance_ms: float = 100.0
    orders_clock: str = "corrected"  # or raw: times in the orders file are the recording's own
    accept_void: bool = False  # go on where the recording makes fills meaningless


@dataclass(frozen=True)
class Replayed:
    """What came of it."""

    fills: Path
    counts: dict[str, int]
    quality: Quality
    report: Path | None
    figure: Path | None
    agreement: Agreement | None

    def text(self) -> str:
        """For the terminal."""
        shown = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in self.counts.items() if value)
        lines = [f"fills: {self.fills}", f"  {shown}", *self.quality.lines()]
        if self.agreement is not None:
            parts = ", ".join(f"{orders} {outcome}" for outcome, orders in self._outcomes().items())
            lines += [f"agreement: {parts}", f"report: {self.report}", f"figure: {self.figure}"]
        return "\n".join(lines)

    def _outcomes(self) -> dict[str, int]:
        assert self.agreement is not None
        table = self.agreement.outcomes
        return dict(zip(table["outcome"].tolist(), table["orders"].tolist(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """For a machine."""
        out: dict[str, Any] = {"fills": str(self.fills), "counts": self.counts}
        out["quality"] = self.quality.to_dict()
        if self.agreement is not None:
            out["agreement"] = {
                "outcomes": self._outcomes(),
                "recall": _finite(self.agreement.recall),
                "precision": _finite(self.agreement.precision),
                "unknown": self.agreement.unknown,
                "outside": self.agreement.outside,
            }
            out |= {"report": str(self.report), "figure": str(self.figure)}
        return out


def replay(options: ReplayOptions) -> Replayed:
    """Replay the orders, write the fills, and compare them with the actual ones where those are given.

    Raises:
        UserError: an input that cannot be used, with the file, the place in it and what was expected.
    """
    exponent = _exponent(options)
    if all(path.exists() for path in (*options.recordings, options.orders)):
        ensure(of_market("recording:", "orders"))
    sources = _open(options)
    instrument = sources[0].instrument
    orders = read_orders(options.orders, instrument.tick_size, instrument.lot_size)
    _refuse_void(options, sources, orders.rows)
    clock = _Clock(sources, options.orders_clock)
    clock.correct(orders.rows)
    actual = read_actual(options.actual) if options.actual else None
    table = None if options.order_latency is None else read_order_latency(options.order_latency)
    span = _Span()
    fills, counts = replay_orders(
        span.watch(_chain(sources)),
        orders.rows,
        tick_size=instrument.tick_size,
        lot_size=instrument.lot_size,
        queue_model=options.queue_model,
        queue_exponent=exponent,
        entry_ns=round(options.entry_latency_ms * _MS),
        response_ns=round(options.response_latency_ms * _MS),
        order_latency=table,
        maker_bps=options.maker_fee_bps,
        taker_bps=options.taker_fee_bps,
        partial_fills=options.partial_fills,
    )
    if options.contract_size is not None:  # contracts of a fixed value, settled in the base currency
        fills["fee"] *= options.contract_size / fills["price"] ** 2
    quality = quality_of(_counts(sources), instrument.tick_size, fills["exch_ts_ns"].tolist())
    clock.restore(fills)
    frame = fills_frame(fills, orders.names)
    write_fills(options.output, frame)
    if actual is None:
        return Replayed(options.output, asdict(counts), quality, None, None, None)
    return _compare(options, sources, frame, actual, orders.names, span.ns, counts, quality)


def _refuse_void(options: ReplayOptions, sources: Sequence[Source], orders: np.ndarray) -> None:
    """Refuse recordings on which fills mean nothing; orders that never rest need no trades.

    Raises:
        UserError: what is wrong with it, and how to go on all the same.
    """
    rests = (orders["kind"] == OrderKind.LIMIT) & np.isin(orders["tif"], (TimeInForce.GTC, TimeInForce.GTX))
    rests &= orders["action"] == Action.NEW
    for path, source in zip(options.recordings, sources, strict=True):
        for finding in quality_of(source.quality, source.instrument.tick_size).grave:
            if finding.level != "void" or options.accept_void:
                continue
            if finding.counter == "trades" and not rests.any():
                continue
            raise UserError(
                f"{path}: {finding.text}: {finding.meaning} (--accept-void replays it all the same)"
            )


def _counts(sources: Sequence[Source]) -> dict[str, int]:
    """What the readers of all recordings counted; clock corrections do not add up, the largest stands."""
    total: Counter[str] = Counter()
    for source in sources:
        total.update({name: n for name, n in source.quality.items() if not name.endswith("_ns")})
        for name in ("first_gap_ns", "clock_shift_ns"):
            value = source.quality.get(name, 0)
            if value and (name not in total or (name == "clock_shift_ns" and value > total[name])):
                total[name] = value
    return dict(total)


class _Clock:
    """Times of a bot on the recordings' raw local clocks, to the corrected one and back.

    Args:
        which: ``raw``, or ``corrected`` for times that need nothing.
    """

    def __init__(self, sources: Sequence[Source], which: str) -> None:
        moved = [source.quality.get("clock_shift_ns", 0) if which == "raw" else 0 for source in sources]
        self._shift_ns = np.array(moved, np.int64)
        self._begin_ns = np.array([source.start_ns for source in sources], np.int64)

    def correct(self, orders: np.ndarray) -> None:
        """Move ORDER_ROW times from the raw clock, in place."""
        orders["ts_ns"] += self._of(orders["ts_ns"], self._begin_ns - self._shift_ns)

    def restore(self, fills: np.ndarray) -> None:
        """Move local times of ORDER_FILL rows back to it, in place."""
        fills["local_ts_ns"] -= self._of(fills["local_ts_ns"], self._begin_ns)

    def _of(self, times_ns: np.ndarray, begin_ns: np.ndarray) -> np.ndarray:
        """The shift of the recording that each time lies in; the first one's before it begins."""
        place = np.searchsorted(begin_ns, times_ns, side="right") - 1
        return np.asarray(self._shift_ns[np.maximum(place, 0)])


def _compare(
    options: ReplayOptions,
    sources: Sequence[Source],
    simulated: pd.DataFrame,
    actual: pd.DataFrame,
    sent: Sequence[str],
    span_ns: tuple[int, int],
    counts: OrderCounts,
    quality: Quality,
) -> Replayed:
    from mmlib.figures.agreement import agreement as draw
    from mmlib.metrics.agreement import compare_fills
    from mmlib.reports.agreement import agreement_report

    found = compare_fills(simulated, actual, sent, tolerance_ms=options.tolerance_ms, span_ns=span_ns)
    base = options.output.with_suffix("")
    report, figure = (base.with_name(f"{base.name}.agreement.{kind}") for kind in ("md", "html"))
    write_atomic(report, agreement_report(found, _provenance(options, sources), asdict(counts), quality))
    write_atomic(base.with_name(f"{base.name}.agreement.csv"), found.orders.to_csv(index=False))
    drawn = draw(found.orders, options.tolerance_ms)
    label = str(drawn.layout.meta["alt"])
    write_atomic(figure, _page(drawn.to_html(full_html=False, include_plotlyjs=True), label))
    return Replayed(options.output, asdict(counts), quality, report, figure, found)


def _provenance(options: ReplayOptions, sources: Sequence[Source]) -> Any:
    from mmlib.reports.render import Provenance

    latency = f"{options.entry_latency_ms:g} ms to the exchange, {options.response_latency_ms:g} ms back"
    if options.order_latency is not None:
        latency = f"the table {options.order_latency.name}"
    return Provenance(
        options.command,
        Grade.weakest([source.grade for source in sources]),
        "; ".join(f"{source.description} (SHA-256 {source.sha256[:16]})" for source in sources),
        measured=(
            f"Actual fills: {options.actual and options.actual.name}, SHA-256 "
            f"{sha256_file(options.actual)[:16] if options.actual else ''}.",
            f"Orders: {options.orders.name}, SHA-256 {sha256_file(options.orders)[:16]}.",
        ),
        modelled=(
            f"Simulated fills: the exchange model with queue positions, queue model {options.queue_model}"
            f"{', partial fills' if options.partial_fills else ''}.",
            f"Order latency: {latency}.",
        ),
    )


def _page(figure: str, label: str) -> str:
    from html import escape

    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Fill agreement</title></head>\n'
        f'<body>\n<figure role="img" aria-label="{escape(label)}">\n{figure}\n'
        f"<figcaption>{escape(label)}</figcaption>\n</figure>\n</body>\n</html>\n"
    )


class _Span:
    """First and last exchange time of what passed by."""

    def __init__(self) -> None:
        self.ns = (2**63 - 1, -(2**63))

    def watch(self, chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """The same chunks."""
        for chunk in chunks:
            times = chunk["exch_ts_ns"][chunk["flags"] & FLAG_EXCH != 0]
            if len(times):
                self.ns = min(self.ns[0], int(times[0])), max(self.ns[1], int(times[-1]))
            yield chunk


def _open(options: ReplayOptions) -> list[Source]:
    """The recordings in the order given, all of them with the instrument of the first."""
    if (options.tick_size is None) != (options.lot_size is None):
        raise UserError("--tick-size and --lot-size: one of them is missing; expected both, or neither")
    declared = None
    if options.tick_size is not None and options.lot_size is not None:
        declared = {options.symbol: (options.tick_size, options.lot_size)}
    sources: list[Source] = []
    for path in options.recordings:
        source = open_source(f"recording:{path}", options.symbol, instruments=declared)
        declared = {options.symbol: (source.instrument.tick_size, source.instrument.lot_size)}
        if sources and sources[-1].end_ns is not None and source.start_ns < sources[-1].end_ns:
            raise UserError(f"{path}: begins before {options.recordings[len(sources) - 1]} ends; "
                            "expected recordings in order of time")  # fmt: skip
        sources.append(source)
    return sources


def _chain(sources: Sequence[Source]) -> Iterator[np.ndarray]:
    """The rows of all sources, none of them before what an earlier source reached on the same clock."""
    for source in sources:
        yield from source.chunks()


def _exponent(options: ReplayOptions) -> float:
    """The exponent of a power model, 1 for the others.

    Raises:
        UserError: an unknown model, or an exponent for a model without one.
    """
    if options.queue_model not in QUEUE_MODELS:
        raise UserError(
            f"--queue-model {options.queue_model}: unknown; expected one of {', '.join(QUEUE_MODELS)}"
        )
    power = options.queue_model.startswith("power")
    if power and options.queue_exponent is None:
        raise UserError(f"--queue-model {options.queue_model}: expected --queue-exponent as well, such as 3")
    if not power and options.queue_exponent is not None:
        raise UserError(f"--queue-exponent: {options.queue_model} has none; expected a power model")
    return 1.0 if options.queue_exponent is None else options.queue_exponent


def _finite(value: float) -> float | None:
    return value if value == value else None
