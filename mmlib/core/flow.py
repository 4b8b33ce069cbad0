"""Order-flow simulator: a queue-reactive book around an efficient price; seeded, streaming, constant memory.

Between moves of the reference price each touch is a queue whose limit, cancel and market orders arrive with
intensities that depend on its size (Huang, Lehalle and Rosenbaum 2015, "Simulating and analyzing order book data:
the queue-reactive model"), with sizes drawn from their own distributions (Bodor and Carlier 2024, "A novel approach
to queue-reactive models: the importance of order sizes"). What moves it:

- An efficient price with two-factor stochastic volatility. The quotes stay while it is within a *zone* of the
  reference price; when it leaves the zone, the reference price follows by one drawn move, which is less than the way
  to the efficient price, so that moves come in runs (Robert and Rosenbaum 2011, "A new approach for the dynamics of
  ultra-high-frequency data: the model with uncertainty zones"). The quotes run over are traded against by somebody
  who knows, or withdrawn in time (Glosten and Milgrom 1985).
- With ``z = (efficient - reference) / zone`` (to the nearest 256th), flow leans towards the coming move: buying grows
  as ``exp(lean z)``, the bid gains and the ask loses orders likewise. So trades have signs that persist, and
  imbalance foretells.
- A touch emptied by ordinary orders takes the reference price along with probability ``(1 + z) / 2`` (z towards the
  emptied side); otherwise it is filled again.
- Activity is self-exciting: all intensities share a factor that each market order raises and that decays
  exponentially (Hawkes 1971; times a state-dependent intensity as in Morariu-Patrichi and Pakkanen 2022,
  "State-dependent Hawkes processes and their application to limit order book modelling"). It follows the hour of
  the day and volatility too.
- Feed latency is drawn anew every 50 ms from a table of quantiles; a late message holds back those behind it.

One *message* is one moment of the exchange; all its rows share its two times. Intensities are taken at the state
after the message before; the self-excitation, which decays in between, is thinned exactly (Ogata 1981).
"""

from __future__ import annotations

import math

from mmlib.core._jit import jit_borrowing
from mmlib.core._jit import jit_within as jit
from mmlib.core.draws import exponential, of_quantiles, uniform
from mmlib.core.flowclock import advance
from mmlib.core.flowladder import MIN_LEVELS, add, lots_of, remove, write_depth, write_trade

MAX_SWEEP = 12  # levels one ordinary market order may take
ROWS_PER_MESSAGE = 64  # upper bound of the rows of one message
MAX_EXCITATION = 1000.0  # a bound for what no calibrated market reaches: below it, branching holds exactly
LEAN_STEPS = 256  # of z from 0 to 1 in the table of leans


LIMIT, CANCEL, MARKET, DEEP, MOVE = 0, 1, 2, 3, 4
"""Rows of ``marks`` (sizes in lots; MOVE in bps); the first three are also the rows of ``rates``."""


@jit
def _target_key(s, d):
    """Where makers of side ``d`` want the touch, as a key."""
    centre = s["reference_ticks"] if d == 1 else -s["reference_ticks"]
    return math.ceil(centre + s["half_ticks"] - 1e-9)


@jit
def _bin(edges, k, queue_lots):
    """Which column of ``rates`` holds for a queue: the number of edges at or below its size; ``k`` is where it was."""
    while k < len(edges) and edges[k] <= queue_lots:
        k += 1
    while k > 0 and edges[k - 1] > queue_lots:
        k -= 1
    return k


@jit
def _intensities(p, s, keys, counts, rates, leans, bid_bin, ask_bin, weights):
    """Fill ``weights`` (float64[12], messages a second over the pace): by side, limit, cancel, market and refill,
    then new and cancelled orders behind the touch. Returns their sum."""
    z = (s["efficient_ticks"] - s["reference_ticks"]) * s["per_zone"]
    at = int((min(1.0, max(-1.0, z)) + 1.0) * LEAN_STEPS + 0.5)
    deep = 0.5 * p["deep_share"]
    thin = deep / p["deep_levels"]
    total = 0.0
    for d in range(2):
        k = ask_bin if d == 1 else bid_bin
        weights[6 * d] = rates[LIMIT, k] * leans[at, 2 + d]
        weights[6 * d + 1] = rates[CANCEL, k] * leans[at, 3 - d]
        weights[6 * d + 2] = rates[MARKET, k] * leans[at, 1 - d]
        weights[6 * d + 3] = p["refill_share"] if keys[d, 0] > _target_key(s, d) else 0.0
        weights[6 * d + 4] = deep
        weights[6 * d + 5] = thin * (counts[d] - 1)
        behind = (weights[6 * d + 3] + weights[6 * d + 4]) + weights[6 * d + 5]
        total += (weights[6 * d] + weights[6 * d + 1]) + (weights[6 * d + 2] + behind)
    return total


@jit
def _pick(weights, total, rng):
    """Index drawn with the given weights."""
    left = uniform(rng) * total
    for i in range(11):
        left -= weights[i]
        if left < 0.0:
            return i
    return 11


@jit
def _set_half_spread(p, s, rng):
    """Draw the half spread that makers keep until the next move."""
    s["half_ticks"] = 0.5
    if p["wide_bps"] > 0.0:
        s["half_ticks"] += exponential(rng) * p["wide_bps"] * 1e-4 * s["efficient_ticks"]


@jit
def _move(p, s, rng, d, keys, lots, counts, marks, n, out):
    """The reference price follows: quotes of side ``d`` that it runs over are traded against at once, or withdrawn.

    A touch is withdrawn in two messages: first most of it, which shows, then the rest as the price moves on.
    """
    informed = s["alarm"] == 0 and uniform(rng) < p["informed_share"]
    if not informed and s["alarm"] == 0:
        s["alarm"] = 1
        left = lots_of(marks, DEEP, rng)
        if left < lots[d, 0]:
            lots[d, 0] = left
            return write_depth(p, s, d, keys[d, 0], left, n, out)
    s["alarm"] = 0
    most = 2.0 * s["zone_ticks"]
    size = of_quantiles(marks, MOVE, rng) * 1e-4 * s["efficient_ticks"] * s["scale"]
    size = max(1.0, math.floor(min(size, most) + 0.5))
    s["reference_ticks"] += size if d == 1 else -size
    _set_half_spread(p, s, rng)
    target = _target_key(s, d)
    if keys[d, 0] < target and informed:
        s["side"] = d
    while keys[d, 0] < target:
        key = keys[d, 0]
        if informed:
            n = write_trade(p, s, d, key, lots[d, 0], n, out)
        if counts[d] == 1:
            n = add(p, s, d, target, lots_of(marks, LIMIT, rng), keys, lots, counts, n, out)
        remove(d, 0, keys, lots, counts)
        n = write_depth(p, s, d, key, 0.0, n, out)
    return n


@jit
def _market_order(p, s, rng, d, keys, lots, counts, marks, n, out):
    """An order against the touch of side ``d``, or through it; when it empties it, the reference price may go along."""
    if uniform(rng) < p["sign_persistence"]:
        d = s["side"]
    s["side"] = d
    left = lots_of(marks, MARKET, rng)
    most = MAX_SWEEP if uniform(rng) < p["sweep_share"] else 1
    taken = 0
    while left > 0.0 and taken < most:
        key = keys[d, 0]
        if left < lots[d, 0]:
            n = write_trade(p, s, d, key, left, n, out)
            lots[d, 0] -= left
            n = write_depth(p, s, d, key, lots[d, 0], n, out)
            break
        if counts[d] == 1:
            break
        left -= lots[d, 0]
        n = write_trade(p, s, d, key, lots[d, 0], n, out)
        remove(d, 0, keys, lots, counts)
        n = write_depth(p, s, d, key, 0.0, n, out)
        taken += 1
    if taken == 0:
        return n
    z = (s["efficient_ticks"] - s["reference_ticks"]) / s["zone_ticks"]
    gap = keys[d, 0] - _target_key(s, d)
    if gap > 0 and uniform(rng) < 0.5 * (1.0 + (z if d == 1 else -z)):
        s["reference_ticks"] += gap if d == 1 else -gap
    return n


@jit
def _cancel(p, s, rng, d, keys, lots, counts, marks, n, out):
    """A cancellation at the touch; it leaves a lot, since the last one goes by trade or with the price."""
    size = min(lots_of(marks, CANCEL, rng), lots[d, 0] - 1.0)
    if size < 1.0:
        return n
    lots[d, 0] -= size
    return write_depth(p, s, d, keys[d, 0], lots[d, 0], n, out)


@jit
def _refill(p, s, rng, d, keys, lots, counts, marks, n, out):
    """Makers quote at their target, never crossing; what was the touch thins out to what lies behind one."""
    key = max(_target_key(s, d), 1 - keys[1 - d, 0])
    if key >= keys[d, 0]:
        return n
    n = add(p, s, d, key, lots_of(marks, LIMIT, rng), keys, lots, counts, n, out)
    behind = lots_of(marks, DEEP, rng)
    if counts[d] > 1 and behind < lots[d, 1]:
        lots[d, 1] = behind
        n = write_depth(p, s, d, keys[d, 1], behind, n, out)
    return n


@jit
def _deep(p, s, rng, d, keys, lots, counts, marks, n, out):
    """A new order behind the touch, at an exponential distance."""
    key = keys[d, 0] + 1 + int(exponential(rng) * p["deep_bps"] * 1e-4 * s["efficient_ticks"])
    return add(p, s, d, key, lots_of(marks, DEEP, rng), keys, lots, counts, n, out)


@jit
def _thin(p, s, rng, d, keys, lots, counts, n, out):
    """A level behind the touch is withdrawn."""
    if counts[d] <= MIN_LEVELS:
        return n
    i = 1 + int(uniform(rng) * (counts[d] - 1))
    key = keys[d, i]
    remove(d, i, keys, lots, counts)
    return write_depth(p, s, d, key, 0.0, n, out)


@jit
def _event(p, s, rng, which, keys, lots, counts, marks, n, out):
    """One message of the kind and side drawn."""
    d, kind = which // 6, which % 6
    if kind == LIMIT:
        return add(p, s, d, keys[d, 0], lots_of(marks, LIMIT, rng), keys, lots, counts, n, out)
    if kind == CANCEL:
        return _cancel(p, s, rng, d, keys, lots, counts, marks, n, out)
    if kind == MARKET:
        return _market_order(p, s, rng, d, keys, lots, counts, marks, n, out)
    if kind == 3:
        return _refill(p, s, rng, d, keys, lots, counts, marks, n, out)
    if kind == 4:
        return _deep(p, s, rng, d, keys, lots, counts, marks, n, out)
    return _thin(p, s, rng, d, keys, lots, counts, n, out)


@jit
def _top_up(p, s, rng, d, keys, lots, counts, marks, n, out):
    """Add levels behind the last one until the side has its minimum."""
    while counts[d] < MIN_LEVELS:
        step = 1 + int(exponential(rng) * 0.2 * p["deep_bps"] * 1e-4 * s["efficient_ticks"])
        key = keys[d, counts[d] - 1] + step
        n = add(p, s, d, key, lots_of(marks, DEEP, rng), keys, lots, counts, n, out)
    return n


@jit_borrowing
def simulate(
    params, state, rng, keys, lots, counts, rates, edges, leans, marks, latency_ms, until_ns, weights, out
):
    """Continue the stream: fill ``out`` with whole messages and return the number of rows written.

    The stream does not depend on how it is cut: messages never straddle two calls, and everything that the
    next one needs is in the arguments. Exchange and local times never go back.

    Args:
        params: ``FLOW_PARAMS[1]``, read anew at each call: what changes there between two calls holds from
            the next message on (volatility and pace from the next second).
        state: ``FLOW_STATE[1]``, changed in place, as are the next four.
        rng: ``uint64[2]``, generator state.
        keys: ``int64[2, DEPTH]``, ticks signed so that they ascend away from the touch.
        lots: ``float64[2, DEPTH]``, whole lots.
        counts: ``int64[2]``, levels in use, at least one a side.
        rates: ``float64[3, k + 1]``, intensity of limit, cancel and market orders at one touch by queue size,
            over the mean rate of all messages.
        edges: ``float64[k]``, ascending queue sizes [lots] between the columns of ``rates``.
        leans: ``float64[2 LEAN_STEPS + 1, 4]``, by z from -1 to 1: what multiplies market orders that buy and that
            sell, then orders that join the bid (or leave the ask) and those that join the ask (or leave the bid).
        marks: ``float64[5, m]``, quantiles at even probabilities from 0 to 1: sizes of limit, cancel, market and
            deep orders [lots] and of moves of the reference price [bps].
        latency_ms: ``float64[1, q]``, q >= 2, quantiles of the feed latency.
        until_ns: exchange time; the first message at or after it is the last one of this call, and no
            message comes of a call that begins there.
        weights: ``float64[12]``, scratch.
        out: ``EVENT[k]``, k >= ROWS_PER_MESSAGE.
    """
    p = params[0]
    s = state[0]
    bid_bin = ask_bin = 0
    n = 0
    while n + ROWS_PER_MESSAGE <= len(out) and s["exch_ns"] < until_ns:
        bid_bin, ask_bin = _bin(edges, bid_bin, lots[0, 0]), _bin(edges, ask_bin, lots[1, 0])
        total = _intensities(p, s, keys, counts, rates, leans, bid_bin, ask_bin, weights)
        advance(p, s, rng, total, latency_ms)
        away = s["efficient_ticks"] - s["reference_ticks"]
        if abs(away) >= s["zone_ticks"]:
            n = _move(p, s, rng, 1 if away > 0.0 else 0, keys, lots, counts, marks, n, out)
        else:
            s["alarm"] = 0
            which = _pick(weights, total, rng)
            n = _event(p, s, rng, which, keys, lots, counts, marks, n, out)
            if which % 6 == MARKET:
                # Over their intensity in this state, so that one brings about as many in any state and at any pace.
                per_s = s["pace"] * (weights[MARKET] + weights[6 + MARKET])
                more = p["burst_branching"] / (p["burst_tau_s"] * per_s)
                s["excitation"] = min(MAX_EXCITATION, s["excitation"] + more)
        n = _top_up(p, s, rng, 0, keys, lots, counts, marks, n, out)
        n = _top_up(p, s, rng, 1, keys, lots, counts, marks, n, out)
    return n
