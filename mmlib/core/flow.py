"""Order-flow simulator: a seeded stream of depth and trade events around an efficient price, constant memory.

One *message* is one moment of the exchange: the efficient price moves, quotes it has run over are traded
against or withdrawn, then a noise trade, a cancellation or a new limit order follows. All rows of a message
share its two times.

Both sides of the book are kept best first under a *key* that ascends away from the touch: the price in
ticks for asks, its negative for bids. A book is never crossed while ``keys[0, 0] + keys[1, 0] > 0``. Side
index 0 is bid, 1 is ask.

Source: limit, cancel and market orders by level after Cont, Stoikov and Talreja (2010), "A stochastic model
for order book dynamics"; informed takers and withdrawing makers after Glosten and Milgrom (1985); transient
impact after Bouchaud et al. (2004). The generator is Marsaglia's KISS (1999), kept in int64 so that compiled
and interpreted runs agree bit for bit.
"""

from __future__ import annotations

import math

import numpy as np

from mmlib.core._jit import jit
from mmlib.dtypes import FLAG_BUY, FLAG_EXCH, FLAG_LOCAL, FLAG_SELL, KIND_DEPTH, KIND_TRADE

DEPTH = 24  # levels kept a side; the farthest is withdrawn when another comes
MIN_LEVELS = 4  # a side is refilled below this, so it is never empty
MAX_SWEEP = 6  # levels one order may take
ROWS_PER_MESSAGE = 64  # upper bound of the rows of one message

FLOW_PARAMS = np.dtype(
    [
        ("rate_per_s", "f8"),  # mean messages a second at median volatility
        ("vol_per_sqrt_s", "f8"),  # root mean square volatility of the efficient price, relative
        ("slow_sd", "f8"),  # standard deviation of the slow factor of log volatility
        ("slow_tau_s", "f8"),  # its relaxation time
        ("fast_sd", "f8"),
        ("fast_tau_s", "f8"),
        ("market_share", "f8"),  # share of messages that carry a noise trade
        ("cancel_share", "f8"),  # share that carries a cancellation; the rest are limit orders
        ("informed_share", "f8"),  # overrun quotes are traded against with this probability, else withdrawn
        ("take_bps", "f8"),  # how far the price runs over a quote before anybody trades on it
        ("impact_bps", "f8"),  # transient impact of a median noise trade
        ("impact_tau_s", "f8"),
        ("sign_persistence", "f8"),  # probability that a noise trade repeats the side of the one before
        ("near_share", "f8"),  # share of limit orders placed at the touch
        ("depth_bps", "f8"),  # mean distance of the others
        ("widen", "f8"),  # half spread in standard deviations of the move between two messages
        ("level_lots", "f8"),  # median size of a limit order
        ("level_sigma", "f8"),  # standard deviation of its logarithm
        ("trade_lots", "f8"),
        ("trade_sigma", "f8"),
        ("lot_size", "f8"),
        ("min_ticks", "f8"),  # the efficient price stays inside these
        ("max_ticks", "f8"),
    ]
)
"""What distinguishes one simulated market from another."""

FLOW_STATE = np.dtype(
    [
        ("exch_ns", "i8"),  # time of the current message
        ("local_ns", "i8"),
        ("vol_ns", "i8"),  # next time at which the volatility factors move (once a second)
        ("efficient_ticks", "f8"),
        ("centre_ticks", "f8"),  # efficient price plus transient impact: what quotes gather around
        ("impact_bps", "f8"),
        ("slow", "f8"),
        ("fast", "f8"),
        ("sigma", "f8"),  # current volatility, relative, per square root of a second
        ("rate", "f8"),  # current messages a second
        ("noise_sign", "f8"),
        ("normal", "f8"),  # the second half of a Box-Muller pair, used for sizes
    ]
)

_MASK = 0xFFFFFFFF
_BOTH = FLAG_EXCH | FLAG_LOCAL


@jit
def _uniform(rng):
    """Next uniform in (0, 1) from congruential, xorshift and multiply-with-carry words and its carry."""
    x = (69069 * rng[0] + 12345) & _MASK
    y = rng[1]
    y ^= (y << 13) & _MASK
    y ^= y >> 17
    y ^= (y << 5) & _MASK
    t = 698769069 * rng[2] + rng[3]
    rng[0] = x
    rng[1] = y
    rng[2] = t & _MASK
    rng[3] = t >> 32
    return (((x + y + rng[2]) & _MASK) + 0.5) / 4294967296.0


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
def _depth(p, s, d, key, level_lots, n, out):
    """Write the new quantity of one level."""
    flags = KIND_DEPTH | (FLAG_BUY if d == 0 else FLAG_SELL)
    return _row(s, flags, -key if d == 0 else key, level_lots * p["lot_size"], n, out)


@jit
def _trade(p, s, d, key, traded_lots, n, out):
    """Write a trade against side ``d``: the aggressor is the other side."""
    flags = KIND_TRADE | (FLAG_SELL if d == 0 else FLAG_BUY)
    return _row(s, flags, -key if d == 0 else key, traded_lots * p["lot_size"], n, out)


@jit
def _remove(d, i, keys, lots, counts):
    """Take level ``i`` of side ``d`` out of the ladder."""
    for k in range(i, counts[d] - 1):
        keys[d, k] = keys[d, k + 1]
        lots[d, k] = lots[d, k + 1]
    counts[d] -= 1


@jit
def _add(p, s, d, key, more_lots, keys, lots, counts, n, out):
    """Add lots at ``key`` of side ``d``, withdrawing the farthest level when the ladder is full."""
    i = 0
    while i < counts[d] and keys[d, i] < key:
        i += 1
    if i < counts[d] and keys[d, i] == key:
        lots[d, i] += more_lots
        return _depth(p, s, d, key, lots[d, i], n, out)
    if i == DEPTH:
        return n
    if counts[d] == DEPTH:
        counts[d] -= 1
        n = _depth(p, s, d, keys[d, DEPTH - 1], 0.0, n, out)
    for k in range(counts[d], i, -1):
        keys[d, k] = keys[d, k - 1]
        lots[d, k] = lots[d, k - 1]
    keys[d, i] = key
    lots[d, i] = more_lots
    counts[d] += 1
    return _depth(p, s, d, key, more_lots, n, out)


@jit
def _move_volatility(p, s, rng):
    """One second of the two mean-reverting factors of log volatility; sets volatility and message rate."""
    radius = math.sqrt(-2.0 * math.log(_uniform(rng)))
    angle = 2.0 * math.pi * _uniform(rng)
    keep = math.exp(-1.0 / p["slow_tau_s"])
    s["slow"] = s["slow"] * keep + p["slow_sd"] * math.sqrt(1.0 - keep * keep) * radius * math.cos(angle)
    keep = math.exp(-1.0 / p["fast_tau_s"])
    s["fast"] = s["fast"] * keep + p["fast_sd"] * math.sqrt(1.0 - keep * keep) * radius * math.sin(angle)
    y = s["slow"] + s["fast"]
    # E[exp(2y)] = exp(2 var): with this offset the mean square volatility is the one asked for.
    variance = p["slow_sd"] * p["slow_sd"] + p["fast_sd"] * p["fast_sd"]
    s["sigma"] = p["vol_per_sqrt_s"] * math.exp(y - variance)
    s["rate"] = p["rate_per_s"] * min(4.0, max(0.75, math.exp(0.5 * y)))
    s["vol_ns"] += 1_000_000_000


@jit
def _advance(p, s, rng, latency_ms):
    """Move to the time of the next message: price, impact, and when it will arrive."""
    dt = -math.log(_uniform(rng)) / s["rate"]
    s["exch_ns"] += int(dt * 1e9) + 1
    while s["exch_ns"] >= s["vol_ns"]:
        _move_volatility(p, s, rng)
    radius = math.sqrt(-2.0 * math.log(_uniform(rng)))
    angle = 2.0 * math.pi * _uniform(rng)
    s["normal"] = radius * math.sin(angle)
    price = s["efficient_ticks"] * (1.0 + s["sigma"] * math.sqrt(dt) * radius * math.cos(angle))
    s["efficient_ticks"] = min(p["max_ticks"], max(p["min_ticks"], price))
    s["impact_bps"] *= math.exp(-dt / p["impact_tau_s"])
    s["centre_ticks"] = s["efficient_ticks"] * (1.0 + s["impact_bps"] * 1e-4)
    position = _uniform(rng) * (len(latency_ms) - 1)
    i = int(position)
    delay = latency_ms[i] + (position - i) * (latency_ms[i + 1] - latency_ms[i])
    s["local_ns"] = max(s["local_ns"], s["exch_ns"] + int(delay * 1e6))


@jit
def _centre_key(s, d):
    """The centre as a key of side ``d``."""
    return -s["centre_ticks"] if d == 0 else s["centre_ticks"]


@jit
def _pick_off(p, s, rng, d, keys, lots, counts, n, out):
    """Trade against, or withdraw, the quotes of side ``d`` that the centre has run over; one level stays."""
    line = _centre_key(s, d) - max(0.5, p["take_bps"] * 1e-4 * s["centre_ticks"])
    if keys[d, 0] >= line:
        return n
    informed = _uniform(rng) < p["informed_share"]
    taken = 0
    while taken < MAX_SWEEP and counts[d] > 1 and keys[d, 0] < line:
        key = keys[d, 0]
        if informed:
            n = _trade(p, s, d, key, lots[d, 0], n, out)
        _remove(d, 0, keys, lots, counts)
        n = _depth(p, s, d, key, 0.0, n, out)
        taken += 1
    return n


@jit
def _noise_trade(p, s, rng, keys, lots, counts, n, out):
    """A trade that knows nothing: lognormal size, persistent sign, transient impact; one level stays."""
    if _uniform(rng) > p["sign_persistence"]:
        s["noise_sign"] = -s["noise_sign"]
    d = 1 if s["noise_sign"] > 0.0 else 0
    scale = math.exp(p["trade_sigma"] * s["normal"])
    left = max(1.0, math.floor(p["trade_lots"] * scale))
    s["impact_bps"] += s["noise_sign"] * p["impact_bps"] * min(4.0, math.sqrt(math.sqrt(scale)))
    taken = 0
    while left > 0.0 and taken < MAX_SWEEP:
        key = keys[d, 0]
        if left < lots[d, 0]:
            n = _trade(p, s, d, key, left, n, out)
            lots[d, 0] -= left
            return _depth(p, s, d, key, lots[d, 0], n, out)
        if counts[d] == 1:
            return n
        left -= lots[d, 0]
        n = _trade(p, s, d, key, lots[d, 0], n, out)
        _remove(d, 0, keys, lots, counts)
        n = _depth(p, s, d, key, 0.0, n, out)
        taken += 1
    return n


@jit
def _cancel(p, s, rng, keys, lots, counts, n, out):
    """A cancellation, likelier near the touch: half of them take the whole level, the rest a part."""
    d = 0 if _uniform(rng) < 0.5 else 1
    u = _uniform(rng)
    i = int(u * u * counts[d])
    part = _uniform(rng)
    if part < 0.5 and counts[d] > MIN_LEVELS:
        key = keys[d, i]
        _remove(d, i, keys, lots, counts)
        return _depth(p, s, d, key, 0.0, n, out)
    lots[d, i] = max(1.0, math.floor(lots[d, i] * part))
    return _depth(p, s, d, keys[d, i], lots[d, i], n, out)


@jit
def _limit_key(p, s, rng, d, keys):
    """Where a new limit order of side ``d`` goes: around the centre or deeper, never crossing."""
    half = 0.5 + p["widen"] * s["sigma"] * s["centre_ticks"] / math.sqrt(s["rate"])
    key = math.ceil(_centre_key(s, d) + half)
    if _uniform(rng) > p["near_share"]:
        key += math.floor(-math.log(_uniform(rng)) * p["depth_bps"] * 1e-4 * s["centre_ticks"])
    return max(int(key), 1 - keys[1 - d, 0])


@jit
def _limit(p, s, rng, keys, lots, counts, n, out):
    """A new limit order, mostly on the side whose best price lags the centre."""
    bid_lag = keys[0, 0] + s["centre_ticks"]
    ask_lag = keys[1, 0] - s["centre_ticks"]
    d = 0 if bid_lag > ask_lag else 1
    if _uniform(rng) < 0.15:
        d = 1 - d
    key = _limit_key(p, s, rng, d, keys)
    size = max(1.0, math.floor(p["level_lots"] * math.exp(p["level_sigma"] * s["normal"])))
    return _add(p, s, d, key, size, keys, lots, counts, n, out)


@jit
def _refill(p, s, rng, d, keys, lots, counts, n, out):
    """Add levels behind the last one until the side has its minimum."""
    while counts[d] < MIN_LEVELS:
        step = 1 + int(-math.log(_uniform(rng)) * 0.2 * p["depth_bps"] * 1e-4 * s["centre_ticks"])
        key = max(keys[d, counts[d] - 1] + step, _limit_key(p, s, rng, d, keys))
        n = _add(p, s, d, key, max(1.0, math.floor(p["level_lots"])), keys, lots, counts, n, out)
    return n


@jit
def simulate(params, state, rng, keys, lots, counts, latency_ms, until_ns, out):
    """Continue the stream: fill ``out`` with whole messages and return the number of rows written.

    The stream does not depend on how it is cut: messages never straddle two calls, and everything that the
    next one needs is in the arguments. Exchange and local times never go back.

    Args:
        params: ``FLOW_PARAMS[1]``, read anew at each call: what changes there between two calls holds from
            the next message on.
        state: ``FLOW_STATE[1]``, changed in place, as are the next four.
        rng: ``int64[4]``, generator state.
        keys: ``int64[2, DEPTH]``, ticks signed so that they ascend away from the touch.
        lots: ``float64[2, DEPTH]``, whole lots.
        counts: ``int64[2]``, levels in use, at least one a side.
        latency_ms: ``float64[m]``, m >= 2, quantiles of the feed latency at even probabilities from 0 to 1.
        until_ns: exchange time; the first message at or after it is the last one of this call, and no
            message comes of a call that begins there.
        out: ``EVENT[k]``, k >= ROWS_PER_MESSAGE.
    """
    p = params[0]
    s = state[0]
    n = 0
    while n + ROWS_PER_MESSAGE <= len(out) and s["exch_ns"] < until_ns:
        _advance(p, s, rng, latency_ms)
        n = _pick_off(p, s, rng, 0, keys, lots, counts, n, out)
        n = _pick_off(p, s, rng, 1, keys, lots, counts, n, out)
        kind = _uniform(rng)
        if kind < p["market_share"]:
            n = _noise_trade(p, s, rng, keys, lots, counts, n, out)
        elif kind < p["market_share"] + p["cancel_share"]:
            n = _cancel(p, s, rng, keys, lots, counts, n, out)
        else:
            n = _limit(p, s, rng, keys, lots, counts, n, out)
        n = _refill(p, s, rng, 0, keys, lots, counts, n, out)
        n = _refill(p, s, rng, 1, keys, lots, counts, n, out)
    return n
