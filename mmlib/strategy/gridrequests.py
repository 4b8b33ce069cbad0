"""Requests of the grids on their way to the exchange: what an account sends at one step travels as one batch.

Batches wait in a heap by time of arrival, since accounts have latencies of their own; those of one account keep their order.
"""

from __future__ import annotations

from mmlib.core._jit import jit_borrowing as jit
from mmlib.exchange.latency import entry_latency_ns
from mmlib.exchange.marketpass import exchange_until
from mmlib.exchange.matching import on_cancel, on_new
from mmlib.exchange.venue import N_ASKS, N_BIDS, NEED_ROWS, REACHED, REJECTED, REPORTS_FULL
from mmlib.strategy.gridstate import ASKED_NEW


@jit
def _before(queue, a, b):
    """Whether batch ``a`` reaches the exchange before batch ``b``."""
    if queue[a]["arrives_ns"] != queue[b]["arrives_ns"]:
        return queue[a]["arrives_ns"] < queue[b]["arrives_ns"]
    return queue[a]["number"] < queue[b]["number"]


@jit
def _push(desk):
    """Sift the last batch of the heap up to its place."""
    queue, heap = desk.queue, desk.heap
    k = desk.run[0]["n_waiting"] - 1
    while k > 0 and _before(queue, heap[k], heap[(k - 1) // 2]):
        heap[k], heap[(k - 1) // 2] = heap[(k - 1) // 2], heap[k]
        k = (k - 1) // 2


@jit
def _pop(desk):
    """Take the earliest batch off the heap; its place in ``queue`` is free again."""
    queue, heap = desk.queue, desk.heap
    run = desk.run[0]
    run["n_waiting"] -= 1
    n = run["n_waiting"]
    heap[0], heap[n] = heap[n], heap[0]
    k = 0
    while 2 * k + 1 < n:
        child = 2 * k + 1
        if child + 1 < n and _before(queue, heap[child + 1], heap[child]):
            child += 1
        if not _before(queue, heap[child], heap[k]):
            return
        heap[k], heap[child] = heap[child], heap[k]
        k = child


@jit
def _serve_batch(desk, batch):
    """What one account sent at one step reaches the exchange."""
    venue, orders = desk.venue, desk.orders
    at = batch["first"]
    desk.grids[batch["account"]]["n_waiting"] -= 1
    while at != 0:
        slot = at - 1
        at = orders[slot]["next"]
        venue.own[slot]["sent_ns"] = batch["sent_ns"]
        place = orders[slot]["place"]
        if place >= 0 and desk.states[batch["account"], place] == ASKED_NEW:
            on_new(venue, slot, batch["arrives_ns"])
        else:
            on_cancel(venue, slot, batch["arrives_ns"])


@jit
def serve_until(desk, rows, start, final, now_ns):
    """Bring the exchange up to ``now_ns``: rows, and requests as they arrive."""
    run, venue = desk.run[0], desk.venue
    i = start
    while True:
        limit_ns = now_ns
        if run["n_waiting"] > 0:
            limit_ns = min(now_ns, desk.queue[desk.heap[0]]["arrives_ns"])
        i, why = exchange_until(venue, rows, i, limit_ns)
        if why != REACHED and (why != NEED_ROWS or not final):
            return i, why
        while run["n_waiting"] > 0 and desk.queue[desk.heap[0]]["arrives_ns"] <= limit_ns:
            batch = desk.queue[desk.heap[0]]
            resting = venue.edge[N_BIDS] + venue.edge[N_ASKS]
            if venue.control[0]["n_reports"] + batch["count"] + resting > len(venue.reports):
                return i, REPORTS_FULL
            _serve_batch(desk, batch)
            _pop(desk)
        if run["n_waiting"] == 0 or desk.queue[desk.heap[0]]["arrives_ns"] > now_ns:
            if limit_ns == now_ns:
                return i, REACHED


@jit
def send(desk, a, slot, now_ns):
    """Put a request at the end of what the account sends at this step."""
    grid = desk.grids[a]
    order = desk.orders[slot]
    order["sent_ns"] = now_ns
    order["next"] = 0
    if grid["batch_first"] == 0:
        grid["batch_first"] = slot + 1
    else:
        desk.orders[grid["batch_last"] - 1]["next"] = slot + 1
    grid["batch_last"] = slot + 1
    grid["batch_count"] += 1
    grid["n_requests"] += 1


@jit
def _refuse(desk, a, after_ns, now_ns):
    """The account's latency refuses what it sends at this step: it learns so after a while."""
    venue, grid = desk.venue, desk.grids[a]
    account, control = venue.accounts[a], venue.control[0]
    account["last_report_ns"] = max(now_ns + after_ns, account["last_report_ns"])
    control["last_report_ns"] = max(control["last_report_ns"], account["last_report_ns"])
    at = grid["batch_first"]
    while at != 0:
        row = venue.reports[control["n_reports"]]
        row["at_ns"] = account["last_report_ns"]
        row["exch_ns"] = now_ns
        row["sent_ns"] = now_ns
        row["slot"] = at - 1
        row["account"] = a
        row["what"] = REJECTED
        control["n_reports"] += 1
        at = desk.orders[at - 1]["next"]


@jit
def dispatch(desk, a, now_ns):
    """What the account sends at this step goes on its way, as one batch."""
    grid, run, account = desk.grids[a], desk.run[0], desk.venue.accounts[a]
    entry_ns = entry_latency_ns(account, desk.venue.tables, now_ns)
    if entry_ns < 0:
        _refuse(desk, a, -entry_ns, now_ns)
    else:
        account["last_arrival_ns"] = max(now_ns + entry_ns, account["last_arrival_ns"])
        batch = desk.queue[desk.heap[run["n_waiting"]]]
        batch["arrives_ns"] = account["last_arrival_ns"]
        batch["sent_ns"] = now_ns
        batch["number"] = run["n_batches"]
        batch["account"] = a
        batch["first"] = grid["batch_first"]
        batch["count"] = grid["batch_count"]
        run["n_batches"] += 1
        run["n_waiting"] += 1
        grid["n_waiting"] += 1
        _push(desk)
    grid["batch_first"] = 0
    grid["batch_count"] = 0
