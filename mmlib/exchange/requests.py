"""Replays requests that are known beforehand: own orders of one account or many against a recording.

Nothing that happens changes what such users send, so no local view is needed: the exchange meets market rows and requests in
the order of its own clock, rows first at equal times.
"""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import jit_borrowing as jit
from mmlib.dtypes import Action
from mmlib.exchange.latency import entry_latency_ns
from mmlib.exchange.marketpass import exchange_until
from mmlib.exchange.matching import on_cancel, on_new, on_replace, room_for_new
from mmlib.exchange.venue import N_ASKS, N_BIDS, NEED_ROWS, REACHED, REPORTS_FULL

DONE = 4
"""Every row and every request is processed (the other reasons to come back are those of ``venue``)."""

REQUEST = np.dtype(
    [
        ("sent_ns", "i8"),  # local clock
        ("arrives_ns", "i8"),  # exchange clock; -1 when it is refused on the way
        ("qty", "f8"),  # base units, of a NEW or REPLACE
        ("slot", "i4"),
        ("account", "i4"),
        ("price_ticks", "i4"),  # likewise
        ("action", "u1"),
        ("_pad", "u1", (3,)),
    ]
)

_NEVER = np.int64(2**62)


@jit
def arrivals(accounts, tables, requests):
    """Fill in when each request reaches the exchange: none overtakes another of its account.

    Args:
        accounts: venue.ACCOUNT[K], with the arrival of their latest requests. tables: see latency.entry_latency_ns.
        requests: REQUEST[n], those of an account in order of ``sent_ns``.
    """
    for i in range(len(requests)):
        request = requests[i]
        account = accounts[request["account"]]
        entry_ns = entry_latency_ns(account, tables, request["sent_ns"])
        if entry_ns < 0:
            request["arrives_ns"] = -1
            continue
        account["last_arrival_ns"] = max(request["sent_ns"] + entry_ns, account["last_arrival_ns"])
        request["arrives_ns"] = account["last_arrival_ns"]


@jit
def _serve(venue, request):
    """One request at its time of arrival; returns False when the reports have no room for it."""
    slot = request["slot"]
    order = venue.own[slot]
    resting = venue.edge[N_BIDS] + venue.edge[N_ASKS]
    room = len(venue.reports) - venue.control[0]["n_reports"] - resting
    if request["action"] == Action.CANCEL:
        if room < 1:
            return False
        order["sent_ns"] = request["sent_ns"]
        on_cancel(venue, slot, request["arrives_ns"])
        return True
    if room < room_for_new(venue, slot, request["price_ticks"], request["qty"]):
        return False
    order["sent_ns"] = request["sent_ns"]
    if request["action"] == Action.NEW:
        on_new(venue, slot, request["arrives_ns"])
    else:
        on_replace(venue, slot, request["price_ticks"], request["qty"], request["arrives_ns"])
    return True


@jit
def serve_requests(venue, rows, start, final, requests, first, end_ns):
    """Replay market rows and requests until something more is needed.

    Args:
        venue: venue.Venue. rows: EVENT[n]; start: first row not yet processed.
        final: whether no rows follow.
        requests: REQUEST[m] in order of ``arrives_ns``, none refused; first: the first not yet served.
        end_ns: local time of the last row, once ``final``; requests sent later are not served.

    Returns:
        ``(row, request, why)``: where to go on, and NEED_ROWS, REPORTS_FULL, NEED_TICKS or DONE.
    """
    i, k = start, first
    while True:
        limit_ns = _NEVER
        if k < len(requests):
            limit_ns = requests[k]["arrives_ns"]
        i, why = exchange_until(venue, rows, i, limit_ns)
        if why == NEED_ROWS:
            if not final:
                return i, k, NEED_ROWS
            while k < len(requests) and requests[k]["sent_ns"] > end_ns:
                k += 1
            if k >= len(requests):
                return i, k, DONE
        elif why != REACHED:
            return i, k, why
        if not _serve(venue, requests[k]):
            return i, k, REPORTS_FULL
        k += 1
