"""Own orders resting at the exchange: chains by price, innermost prices kept, and the reports about them."""

from __future__ import annotations

from mmlib.core._jit import jit_borrowing as jit
from mmlib.core.book import NO_ASK, NO_BID
from mmlib.exchange.latency import response_latency_ns
from mmlib.exchange.venue import (
    FILLED,
    N_ASKS,
    N_BIDS,
    OWN_ASK,
    OWN_ASK_HIGH,
    OWN_BID,
    OWN_BID_LOW,
)


@jit
def report(venue, slot, ts_ns, what, price_ticks, qty, liquidity):
    """Send word about an order; it reaches us after the response latency, behind all words sent before."""
    control = venue.control[0]
    place = venue.own[slot]["account"]
    account = venue.accounts[place]
    at_ns = max(ts_ns + response_latency_ns(account, venue.tables, ts_ns), account["last_report_ns"])
    account["last_report_ns"] = at_ns
    control["last_report_ns"] = max(control["last_report_ns"], at_ns)
    row = venue.reports[control["n_reports"]]
    row["at_ns"] = at_ns
    row["exch_ns"] = ts_ns
    row["sent_ns"] = venue.own[slot]["sent_ns"]
    row["qty"] = qty
    row["slot"] = slot
    row["account"] = place
    row["price_ticks"] = price_ticks
    row["what"] = what
    row["liquidity"] = liquidity
    control["n_reports"] += 1


@jit
def execute(venue, slot, ts_ns, price_ticks, qty, liquidity):
    """Execute ``qty`` of an order."""
    venue.own[slot]["leaves"] -= qty
    report(venue, slot, ts_ns, FILLED, price_ticks, qty, liquidity)


@jit
def _append(head, own, slot):
    """Put an order last among those at its price."""
    tick = own[slot]["price_ticks"]
    own[slot]["next"] = 0
    first = head[tick]
    if first == 0:
        head[tick] = slot + 1
        own[slot]["prev"] = slot + 1
        return
    last = own[first - 1]["prev"]
    own[last - 1]["next"] = slot + 1
    own[slot]["prev"] = last
    own[first - 1]["prev"] = slot + 1


@jit
def _unchain(head, own, slot):
    tick = own[slot]["price_ticks"]
    after = own[slot]["next"]
    before = own[slot]["prev"]
    first = head[tick]
    if first == slot + 1:
        head[tick] = after
        if after != 0:
            own[after - 1]["prev"] = before
        return
    own[before - 1]["next"] = after
    own[after - 1 if after != 0 else first - 1]["prev"] = before


@jit
def insert(venue, slot):
    """An order comes to rest."""
    order = venue.own[slot]
    edge = venue.edge
    tick = order["price_ticks"]
    order["resting"] = 1
    if order["side"] > 0:
        _append(venue.bid_head, venue.own, slot)
        edge[N_BIDS] += 1
        edge[OWN_BID] = max(edge[OWN_BID], tick)
        edge[OWN_BID_LOW] = min(edge[OWN_BID_LOW], tick)
    else:
        _append(venue.ask_head, venue.own, slot)
        edge[N_ASKS] += 1
        edge[OWN_ASK] = min(edge[OWN_ASK], tick)
        edge[OWN_ASK_HIGH] = max(edge[OWN_ASK_HIGH], tick)


@jit
def remove(venue, slot):
    """An order leaves the book; the innermost own price moves on when it was the last there."""
    order = venue.own[slot]
    edge = venue.edge
    tick = order["price_ticks"]
    order["resting"] = 0
    if order["side"] > 0:
        _unchain(venue.bid_head, venue.own, slot)
        edge[N_BIDS] -= 1
        if edge[N_BIDS] == 0:
            edge[OWN_BID] = NO_BID
            edge[OWN_BID_LOW] = NO_ASK
        elif tick == edge[OWN_BID]:
            while venue.bid_head[tick] == 0:
                tick -= 1
            edge[OWN_BID] = tick
    else:
        _unchain(venue.ask_head, venue.own, slot)
        edge[N_ASKS] -= 1
        if edge[N_ASKS] == 0:
            edge[OWN_ASK] = NO_ASK
            edge[OWN_ASK_HIGH] = NO_BID
        elif tick == edge[OWN_ASK]:
            while venue.ask_head[tick] == 0:
                tick += 1
            edge[OWN_ASK] = tick
