"""Replays a user's own orders against a recording, chunk by chunk, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from mmlib._io import UserError
from mmlib.core.queue import QUEUE_MODELS
from mmlib.dtypes import EVENT, FLAG_LOCAL, ORDER_FILL, Action, Liquidity, OrderKind, TimeInForce
from mmlib.exchange.latency import order_latency as latency_model
from mmlib.exchange.requests import DONE, REQUEST, arrivals, serve_requests
from mmlib.exchange.venue import (
    ACCEPTED,
    CANCELED,
    EXPIRED,
    FILLED,
    MAX_TICKS,
    NEED_ROWS,
    NEED_TICKS,
    REJECTED,
    Venue,
    grow_venue,
    new_venue,
)

_ROOM = 2  # the book reaches at least this multiple of the largest price first seen


@dataclass(frozen=True)
class OrderCounts:
    """What became of the requests."""

    rows: int  # market rows processed
    new: int  # requests in the file
    cancels: int
    accepted: int  # orders that came to rest
    expired: int  # not filled whole on arrival and not allowed to rest
    canceled: int
    late_cancels: int  # the order was filled, expired or cancelled already
    refused: int  # requests that the latency table refuses
    after_end: int  # sent after the recording's last row
    resting: int  # orders still open at the end
    fills: int
    out_of_range: int  # rows whose price is beyond the book


def replay_orders(
    chunks: Iterable[np.ndarray],
    orders: np.ndarray,
    *,
    tick_size: float,
    lot_size: float,
    queue_model: str,
    queue_exponent: float,
    entry_ns: int,
    response_ns: int,
    order_latency: np.ndarray | None = None,
    maker_bps: float,
    taker_bps: float,
    partial_fills: bool = False,
) -> tuple[np.ndarray, OrderCounts]:
    """Replay requests against market rows.

    Args:
        chunks: EVENT arrays in processing order.
        orders: ORDER_ROW[n]; rows with equal ``ts_ns`` keep their order.
        tick_size: quote currency. lot_size: base units.
        queue_model: a name of ``QUEUE_MODELS``; queue_exponent: of the power models.
        entry_ns: from us to the exchange; response_ns: back.
        order_latency: int64[m, 3], local time of a request, its time at the exchange (0: refused), local time of the answer;
            replaces the two constants.
        maker_bps: fee, negative for a rebate; taker_bps: likewise.
        partial_fills: share out trades and take level by level, instead of filling whole.

    Returns:
        ORDER_FILL[k] in order of arrival, and what became of the requests.

    Raises:
        UserError: a request that cannot be sent (see the message), a table out of order, an unknown queue model.
    """
    sent = _checked(orders, lot_size)
    if queue_model not in QUEUE_MODELS:
        raise UserError(f"queue model {queue_model}: unknown; expected one of {', '.join(QUEUE_MODELS)}")
    latency = latency_model(entry_ns, response_ns, _checked_table(order_latency, entry_ns, response_ns))
    new = sent[sent["action"] == Action.NEW]
    requests = _requests(sent, new)
    arrivals(latency, requests)
    top_tick = int(new["price_ticks"].max(initial=0))
    venue: Venue | None = None
    reports: list[np.ndarray] = []
    row_count, served = 0, 0
    for chunk, final, end_ns in _with_final(chunks):
        rows = _read_only(chunk)
        row_count += len(rows)
        if venue is None:
            venue = new_venue(
                _capacity(rows, top_tick),
                len(new),
                latency,
                lot_size=lot_size,
                queue_model=QUEUE_MODELS[queue_model],
                queue_exponent=queue_exponent,
                partial_fills=partial_fills,
            )
            _fill_slots(venue, new)
        at, why = 0, NEED_TICKS
        while why not in (NEED_ROWS, DONE):
            at, served, why = serve_requests(venue, rows, at, final, requests, served, end_ns)
            venue = _make_room(venue, rows, why, reports)
    assert venue is not None
    told = np.concatenate(reports) if reports else venue.reports[:0]
    return _fills(told, new, tick_size, maker_bps, taker_bps, venue), _counts(
        told, sent, requests, served, venue, row_count
    )


def _make_room(venue: Venue, rows: np.ndarray, why: int, reports: list[np.ndarray]) -> Venue:
    """Take the reports out; widen what was too small."""
    control = venue.control[0]
    if why == NEED_TICKS:
        return grow_venue(venue, _capacity(rows, len(venue.bid_head)))
    if control["n_reports"]:
        reports.append(venue.reports[: control["n_reports"]].copy())
        control["n_reports"] = 0
    elif why not in (NEED_ROWS, DONE):
        return venue._replace(reports=np.zeros(2 * len(venue.reports), venue.reports.dtype))
    return venue


def _with_final(chunks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, bool, int]]:
    """Each chunk, whether it is the last, and the last local time so far; an empty stream is one empty last chunk."""
    held = np.empty(0, EVENT)
    end_ns = 0
    for chunk in chunks:
        if len(held):
            yield held, False, end_ns
        held = chunk
        local = chunk["local_ts_ns"][chunk["flags"] & FLAG_LOCAL != 0][-1:]
        end_ns = max(end_ns, int(local.max(initial=0)))
    yield held, True, end_ns


def _read_only(rows: np.ndarray) -> np.ndarray:
    """A view that numba types alike, whether the rows are mapped or not."""
    view = rows.view()
    view.flags.writeable = False
    return view


def _capacity(rows: np.ndarray, at_least: int) -> int:
    ticks = rows["price_ticks"]
    largest = int(ticks[ticks < MAX_TICKS].max(initial=0))
    return min(max(_ROOM * (largest + 1), at_least + 1, 1024), MAX_TICKS)


def _checked(orders: np.ndarray, lot_size: float) -> np.ndarray:
    """The requests in order of time, each of them one that can be sent."""
    sent = orders[np.argsort(orders["ts_ns"], kind="stable")]
    new = sent[sent["action"] == Action.NEW]
    limit = new["kind"] == OrderKind.LIMIT
    for bad, why in (
        (~np.isin(new["side"], (1, -1)), "its side is neither 1 (buy) nor -1 (sell)"),
        (~(new["qty"] >= 0.5 * lot_size), f"its quantity is below the lot size {lot_size:g}"),
        (
            limit & ((new["price_ticks"] <= 0) | (new["price_ticks"] >= MAX_TICKS)),
            "its price is out of range",
        ),
        (new["tif"] > max(TimeInForce), "its time in force is unknown"),
    ):
        if bad.any():
            raise UserError(f"order {new['order_id'][bad][0]}: {why}")
    ids, counts = np.unique(new["order_id"], return_counts=True)
    if (counts > 1).any():
        raise UserError(f"order {ids[counts > 1][0]}: sent as new twice; expected each order_id once")
    return sent


def _checked_table(table: np.ndarray | None, entry_ns: int, response_ns: int) -> np.ndarray | None:
    if table is None:
        if entry_ns < 0 or response_ns < 0:
            raise UserError("order latency: expected 0 or more")
        return None
    if table.ndim != 2 or table.shape[1] != 3 or not len(table):
        raise UserError(f"order latency: expected rows of three times, found shape {table.shape}")
    done = table[table[:, 1] > 0]
    if (np.diff(table[:, 0]) < 0).any():
        raise UserError("order latency: expected rows in order of the request time")
    if (done[:, 1] < done[:, 0]).any() or (done[:, 2] < done[:, 1]).any():
        raise UserError("order latency: expected request <= exchange <= response in every row")
    return table


def _requests(sent: np.ndarray, new: np.ndarray) -> np.ndarray:
    """REQUEST rows; a cancel is given the slot of the order it names."""
    order = np.argsort(new["order_id"])
    ids = new["order_id"][order]
    place = np.minimum(np.searchsorted(ids, sent["order_id"]), max(len(ids) - 1, 0))
    if len(sent):
        unknown = sent["order_id"] != ids[place] if len(ids) else np.ones(len(sent), bool)
        if unknown.any():
            raise UserError(f"order {sent['order_id'][unknown][0]}: cancelled, but never sent as new")
    requests = np.zeros(len(sent), REQUEST)
    requests["sent_ns"], requests["action"] = sent["ts_ns"], sent["action"]
    requests["slot"] = order[place] if len(ids) else 0
    return requests


def _fill_slots(venue: Venue, new: np.ndarray) -> None:
    for name in ("order_id", "qty", "price_ticks", "side", "tif", "kind"):
        venue.own[name] = new[name]
    venue.own["leaves"] = new["qty"]


def _fills(
    told: np.ndarray, new: np.ndarray, tick_size: float, maker_bps: float, taker_bps: float, venue: Venue
) -> np.ndarray:
    """ORDER_FILL rows of the reports that are fills."""
    hits = told[told["what"] == FILLED]
    slot = hits["slot"]
    maker = hits["liquidity"] == Liquidity.MAKER
    fills = np.zeros(len(hits), ORDER_FILL)
    fills["exch_ts_ns"], fills["local_ts_ns"] = hits["exch_ns"], hits["at_ns"]
    fills["order_id"], fills["side"] = new["order_id"][slot], new["side"][slot]
    fills["price"], fills["qty"] = hits["price_ticks"] * tick_size, hits["qty"]
    fills["liquidity"] = hits["liquidity"]
    fills["fee"] = np.where(maker, maker_bps, taker_bps) * 1e-4 * fills["price"] * fills["qty"]
    fills["queue_ahead_at_entry"] = np.where(maker, venue.own["front_at_entry"][slot], 0.0)
    return fills


def _counts(
    told: np.ndarray, sent: np.ndarray, requests: np.ndarray, served: int, venue: Venue, rows: int
) -> OrderCounts:
    what = np.bincount(told["what"], minlength=FILLED + 1)
    refused = requests["arrives_ns"] < 0
    return OrderCounts(
        rows=rows,
        new=int((sent["action"] == Action.NEW).sum()),
        cancels=int((sent["action"] == Action.CANCEL).sum()),
        accepted=int(what[ACCEPTED]),
        expired=int(what[EXPIRED]),
        canceled=int(what[CANCELED]),
        late_cancels=int(what[REJECTED]),
        refused=int(refused[:served].sum()),
        after_end=int((~refused[served:]).sum()),
        resting=int(venue.own["resting"].sum()),
        fills=int(what[FILLED]),
        out_of_range=int(venue.control[0]["out_of_range"]),
    )
