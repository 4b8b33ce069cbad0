"""The ladder of the simulated market and the rows it writes.

Both sides are kept best first under a *key* that ascends away from the touch: the price in ticks for asks, its
negative for bids. A book is never crossed while ``keys[0, 0] + keys[1, 0] > 0``. Side index 0 is bid, 1 is ask.
"""

from __future__ import annotations

from mmlib.core._jit import jit_within as jit
from mmlib.core.draws import of_quantiles
from mmlib.dtypes import FLAG_BUY, FLAG_EXCH, FLAG_LOCAL, FLAG_SELL, KIND_DEPTH, KIND_TRADE

DEPTH = 24  # levels kept a side; the farthest is withdrawn when another comes
MIN_LEVELS = 4  # a side is refilled below this, so it is never empty

_BOTH = FLAG_EXCH | FLAG_LOCAL


@jit
def lots_of(quantiles, row, rng):
    """One size, whole lots, at least one."""
    return max(1.0, float(int(of_quantiles(quantiles, row, rng) + 0.5)))


@jit
def _row(s, flags, ticks, qty, n, out):
    """Write row ``n`` at the times of the current message; returns the next free row."""
    out[n]["exch_ts_ns"] = s["exch_ns"]
    out[n]["local_ts_ns"] = s["local_ns"]
    out[n]["qty"] = qty
    out[n]["price_ticks"] = ticks
    out[n]["flags"] = flags | _BOTH
    return n + 1


@jit
def write_depth(p, s, d, key, level_lots, n, out):
    """Write the new quantity of one level."""
    flags = KIND_DEPTH | (FLAG_BUY if d == 0 else FLAG_SELL)
    return _row(s, flags, -key if d == 0 else key, level_lots * p["lot_size"], n, out)


@jit
def write_trade(p, s, d, key, traded_lots, n, out):
    """Write a trade against side ``d``: the aggressor is the other side."""
    flags = KIND_TRADE | (FLAG_SELL if d == 0 else FLAG_BUY)
    return _row(s, flags, -key if d == 0 else key, traded_lots * p["lot_size"], n, out)


@jit
def remove(d, i, keys, lots, counts):
    """Take level ``i`` of side ``d`` out of the ladder."""
    for k in range(i, counts[d] - 1):
        keys[d, k] = keys[d, k + 1]
        lots[d, k] = lots[d, k + 1]
    counts[d] -= 1


@jit
def add(p, s, d, key, more_lots, keys, lots, counts, n, out):
    """Add lots at ``key`` of side ``d``, withdrawing the farthest level when the ladder is full."""
    i = 0
    while i < counts[d] and keys[d, i] < key:
        i += 1
    if i < counts[d] and keys[d, i] == key:
        lots[d, i] += more_lots
        return write_depth(p, s, d, key, lots[d, i], n, out)
    if i == DEPTH:
        return n
    if counts[d] == DEPTH:
        counts[d] -= 1
        n = write_depth(p, s, d, keys[d, DEPTH - 1], 0.0, n, out)
    for k in range(counts[d], i, -1):
        keys[d, k] = keys[d, k - 1]
        lots[d, k] = lots[d, k - 1]
    keys[d, i] = key
    lots[d, i] = more_lots
    counts[d] += 1
    return write_depth(p, s, d, key, more_lots, n, out)
