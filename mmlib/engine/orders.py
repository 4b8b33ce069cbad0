"""Replays own orders against a recording, chunk by chunk, in bounded memory: one account, or many in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mmlib._io import UserError
from mmlib.core.queue import QUEUE_MODELS
from mmlib.dtypes import EVENT, FLAG_LOCAL, ORDER_FILL, Action, Liquidity, OrderKind, TimeInForce
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
    grow_reports,
    grow_venue,
    new_accounts,
    new_venue,
)

_ROOM = 2  # the book reaches at least this multiple of the largest price first seen


@dataclass(frozen=True)
class OrderCounts:
    """What became of the requests."""

    rows: int  # market rows processed
    new: int  # requests in the file
    cancels: int
    replaces: int
    accepted: int  # orders that came to rest, again after a replacement
    expired: int  # not filled whole on arrival and not allowed to rest
    canceled: int
    late_cancels: int  # or replacements: the order was filled, expired or cancelled already
    refused: int  # requests that the latency table refuses
    after_end: int  # sent after the recording's last row
    resting: int  # orders still open at the end
    fills: int
    out_of_range: int  # rows whose price is beyond the book


@dataclass(frozen=True)
class AccountOrders:
    """Requests of one account, and how the exchange treats it.

    Attributes:
        orders: ORDER_ROW[n]; rows with equal ``ts_ns`` keep their order.
        queue_model: a name of ``QUEUE_MODELS``; queue_exponent: of the power models.
        entry_ns: from us to the exchange; response_ns: back.
        order_latency: int64[m, 3], local time of a request, its time at the exchange (0: refused), local time of the answer;
            replaces the two constants.
        maker_bps: fee, negative for a rebate; taker_bps: likewise.
        partial_fills: share out trades and take level by level, instead of filling whole.
    """

    orders: np.ndarray
    queue_model: str
    queue_exponent: float
    entry_ns: int
    response_ns: int
    maker_bps: float
    taker_bps: float
    order_latency: np.ndarray | None = None
    partial_fills: bool = False


class OrdersReplay:
    """K accounts on one book. Between two chunks it can be pickled, and goes on from there."""

    def __init__(self, accounts: Sequence[AccountOrders], *, tick_size: float, lot_size: float) -> None:
        self._settings = [(one.maker_bps, one.taker_bps) for one in accounts]
        self._tick_size, self._rows, self._served = tick_size, 0, 0
        for one in accounts:
            if one.queue_model not in QUEUE_MODELS:
                raise UserError(
                    f"queue model {one.queue_model}: unknown; expected one of {', '.join(QUEUE_MODELS)}"
                )
        self._sent = [_checked(one.orders, lot_size) for one in accounts]
        self._new = [sent[sent["action"] == Action.NEW] for sent in self._sent]
        self._first = np.cumsum([0, *map(len, self._new)])
        rows, tables = new_accounts(
            len(accounts),
            queue_model=[QUEUE_MODELS[one.queue_model] for one in accounts],
            queue_exponent=[one.queue_exponent for one in accounts],
            entry_ns=[one.entry_ns for one in accounts],
            response_ns=[one.response_ns for one in accounts],
            order_latency=[_checked_table(one) for one in accounts],
            partial_fills=[one.partial_fills for one in accounts],
        )
        asked = [_requests(sent, new) for sent, new in zip(self._sent, self._new, strict=True)]
        for k, part in enumerate(asked):
            part["account"], part["slot"] = k, part["slot"] + self._first[k]
        requests = np.concatenate(asked)
        arrivals(rows, tables, requests)
        self._refused = requests[requests["arrives_ns"] < 0]
        arriving = requests[requests["arrives_ns"] >= 0]
        self._requests = arriving[np.argsort(arriving["arrives_ns"], kind="stable")]
        self._venue = new_venue(1024, int(self._first[-1]), rows, tables, lot_size=lot_size)
        for k, new in enumerate(self._new):
            _fill_slots(self._venue.own[self._first[k] : self._first[k + 1]], new, k)
        self._top = int(max((part["price_ticks"].max(initial=0) for part in asked), default=0))
        self._venue = grow_venue(self._venue, max(1024, min(self._top + 1, MAX_TICKS)))
        self._reports: list[np.ndarray] = []
        self._end_ns = 0

    def feed(self, chunk: np.ndarray, final: bool, end_ns: int) -> None:
        """Process EVENT rows; ``final``: none follow, and ``end_ns`` is the local time of the last."""
        rows = _read_only(chunk)
        self._rows += len(rows)
        self._end_ns = end_ns
        if _largest(rows) >= len(self._venue.bid_head):
            self._venue = grow_venue(self._venue, _capacity(rows))
        at, why = 0, NEED_TICKS
        while why not in (NEED_ROWS, DONE):
            at, self._served, why = serve_requests(
                self._venue, rows, at, final, self._requests, self._served, end_ns
            )
            self._make_room(rows, why)

    def _make_room(self, rows: np.ndarray, why: int) -> None:
        """Take the reports out; widen what was too small."""
        control = self._venue.control[0]
        if why == NEED_TICKS:
            self._venue = grow_venue(self._venue, _capacity(rows))
        elif control["n_reports"]:
            self._reports.append(self._venue.reports[: control["n_reports"]].copy())
            control["n_reports"] = 0
        elif why not in (NEED_ROWS, DONE):
            self._venue = grow_reports(self._venue, 2 * len(self._venue.reports))

    def results(self) -> list[tuple[np.ndarray, OrderCounts]]:
        """ORDER_FILL[k] in order of arrival, and what became of the requests, for each account."""
        reports = np.concatenate([self._venue.reports[:0], *self._reports])
        by_account = np.argsort(reports["account"], kind="stable")
        ends = np.searchsorted(reports["account"][by_account], np.arange(len(self._new) + 1))
        return [self._result(k, reports[by_account[ends[k] : ends[k + 1]]]) for k in range(len(self._new))]

    def _result(self, k: int, reports: np.ndarray) -> tuple[np.ndarray, OrderCounts]:
        reports["slot"] -= self._first[k]
        return _fills(reports, self._new[k], self._tick_size, *self._settings[k]), self._counts(k, reports)

    def _counts(self, k: int, reports: np.ndarray) -> OrderCounts:
        what = np.bincount(reports["what"], minlength=FILLED + 1)
        action = np.bincount(self._sent[k]["action"], minlength=len(Action))
        refused, waiting = self._refused, self._requests[self._served :]
        refused, waiting = (part[part["account"] == k] for part in (refused, waiting))
        resting = self._venue.own["resting"][self._first[k] : self._first[k + 1]]
        return OrderCounts(
            rows=self._rows,
            new=int(action[Action.NEW]),
            cancels=int(action[Action.CANCEL]),
            replaces=int(action[Action.REPLACE]),
            accepted=int(what[ACCEPTED]),
            expired=int(what[EXPIRED]),
            canceled=int(what[CANCELED]),
            late_cancels=int(what[REJECTED]),
            refused=int((refused["sent_ns"] <= self._end_ns).sum()),
            after_end=len(waiting) + int((refused["sent_ns"] > self._end_ns).sum()),
            resting=int(resting.sum()),
            fills=int(what[FILLED]),
            out_of_range=int(self._venue.control[0]["out_of_range"]),
        )


def replay_accounts(
    chunks: Iterable[np.ndarray], accounts: Sequence[AccountOrders], *, tick_size: float, lot_size: float
) -> list[tuple[np.ndarray, OrderCounts]]:
    """Replay the requests of many accounts against market rows, in one pass; each fares as if it were alone.

    Args:
        chunks: EVENT arrays in processing order.
        tick_size: quote currency. lot_size: base units.

    Returns:
        For each account ORDER_FILL[k] in order of arrival, and what became of the requests.

    Raises:
        UserError: a request that cannot be sent (see the message), a table out of order, an unknown queue model.

    Oracle: tests/naive_venue.py, account by account.
    """
    replay = OrdersReplay(accounts, tick_size=tick_size, lot_size=lot_size)
    for chunk, final, end_ns in _with_final(chunks):
        replay.feed(chunk, final, end_ns)
    return replay.results()


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
    """Replay the requests of one account; see ``AccountOrders`` and ``replay_accounts``."""
    account = AccountOrders(
        orders,
        queue_model,
        queue_exponent,
        entry_ns,
        response_ns,
        maker_bps,
        taker_bps,
        order_latency,
        partial_fills,
    )
    return replay_accounts(chunks, [account], tick_size=tick_size, lot_size=lot_size)[0]


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


def _largest(rows: np.ndarray) -> int:
    """The largest price [ticks] that a book can hold."""
    ticks = rows["price_ticks"]
    return int(ticks[ticks < MAX_TICKS].max(initial=0))


def _capacity(rows: np.ndarray) -> int:
    return min(max(_ROOM * (_largest(rows) + 1), 1024), MAX_TICKS)


def _checked(orders: np.ndarray, lot_size: float) -> np.ndarray:
    """The requests in order of time, each of them one that can be sent."""
    sent = orders[np.argsort(orders["ts_ns"], kind="stable")]
    new = sent[sent["action"] == Action.NEW]
    asks = sent[sent["action"] != Action.CANCEL]
    fresh = asks["action"] == Action.NEW
    priced = ~fresh | (asks["kind"] == OrderKind.LIMIT)
    for bad, why in (
        (fresh & ~np.isin(asks["side"], (1, -1)), "its side is neither 1 (buy) nor -1 (sell)"),
        (~(asks["qty"] >= 0.5 * lot_size), f"its quantity is below the lot size {lot_size:g}"),
        (
            priced & ((asks["price_ticks"] <= 0) | (asks["price_ticks"] >= MAX_TICKS)),
            "its price is out of range",
        ),
        (fresh & (asks["tif"] > max(TimeInForce)), "its time in force is unknown"),
    ):
        if bad.any():
            raise UserError(f"order {asks['order_id'][bad][0]}: {why}")
    ids, counts = np.unique(new["order_id"], return_counts=True)
    if (counts > 1).any():
        raise UserError(f"order {ids[counts > 1][0]}: sent as new twice; expected each order_id once")
    return sent


def _checked_table(account: AccountOrders) -> np.ndarray | None:
    table = account.order_latency
    if table is None:
        if account.entry_ns < 0 or account.response_ns < 0:
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
            raise UserError(
                f"order {sent['order_id'][unknown][0]}: cancelled or replaced, but never sent as new"
            )
    requests = np.zeros(len(sent), REQUEST)
    requests["sent_ns"], requests["action"] = sent["ts_ns"], sent["action"]
    requests["price_ticks"], requests["qty"] = sent["price_ticks"], sent["qty"]
    requests["slot"] = order[place] if len(ids) else 0
    return requests


def _fill_slots(own: np.ndarray, new: np.ndarray, account: int) -> None:
    for name in ("qty", "price_ticks", "side", "tif", "kind"):
        own[name] = new[name]
    own["leaves"], own["account"] = new["qty"], account


def _fills(
    reports: np.ndarray, new: np.ndarray, tick_size: float, maker_bps: float, taker_bps: float
) -> np.ndarray:
    """ORDER_FILL rows of the reports that are fills."""
    hit = reports["what"] == FILLED
    ahead = _ahead_at_entry(reports)[hit]
    hits = reports[hit]
    slot = hits["slot"]
    maker = hits["liquidity"] == Liquidity.MAKER
    fills = np.zeros(len(hits), ORDER_FILL)
    fills["exch_ts_ns"], fills["local_ts_ns"] = hits["exch_ns"], hits["at_ns"]
    fills["order_id"], fills["side"] = new["order_id"][slot], new["side"][slot]
    fills["price"], fills["qty"] = hits["price_ticks"] * tick_size, hits["qty"]
    fills["liquidity"] = hits["liquidity"]
    fills["fee"] = np.where(maker, maker_bps, taker_bps) * 1e-4 * fills["price"] * fills["qty"]
    fills["queue_ahead_at_entry"] = np.where(maker, ahead, 0.0)
    return fills


def _ahead_at_entry(reports: np.ndarray) -> np.ndarray:
    """float64[n]: what was ahead of each report's order when it last came to rest; 0 where it never did."""
    order = np.argsort(reports["slot"], kind="stable")
    slot = reports["slot"][order]
    rested = reports["what"][order] == ACCEPTED
    latest = np.maximum.accumulate(np.where(rested, np.arange(len(order)), -1))
    own = (latest >= 0) & (slot[latest] == slot) if len(order) else rested
    out = np.zeros(len(order))
    out[order] = np.where(own, reports["qty"][order][latest], 0.0) if len(order) else 0.0
    return out
