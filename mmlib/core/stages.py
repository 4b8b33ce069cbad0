"""The stages of the quoting pipeline that decide, one kernel each: FetchMD, Spread, Guards, Inventory, QueueAware.

Emit, which brings the orders to what they decided, is in ``emit``.

Prices inside a stage are in quote currency unless a name says ``ticks``; ``bps`` are relative to the mid.
"""

from __future__ import annotations

import math

import numpy as np

from mmlib.core._jit import jit_borrowing as jit
from mmlib.core.book import BEST_ASK, BEST_BID, has_both_sides
from mmlib.core.state import BINS
from mmlib.dtypes import GuardLevel

_NONE = int(GuardLevel.NONE)
_SOFT = int(GuardLevel.SOFT)
_HARD = int(GuardLevel.HARD)
_BPS = 1e-4
_MAX_ETA_LEVELS = 1024
NO_QUOTE = -1


@jit
def hash_unit(seed, index):
    """Uniform number in [0, 1) for (seed, index). Source: Steele, Lea, Flood, SplitMix64 (2014)."""
    z = np.uint64(seed) + np.uint64(index + 1) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


# --- FetchMD -----------------------------------------------------------------------------------------------------


@jit
def fetch_md(market, params):
    """Decide whether the tick is served from the local book or needs a refresh; sets the tick's cache fields in CONTROL.

    A hit is a book at most ``ttl`` old and, unless stale pricing is allowed, at most ``fresh`` old. A stream that was
    resynchronised after a break longer than ``gap`` invalidates the cache until a refresh. A miss costs a refresh drawn
    from ``market.refresh_ms`` by (seed, tick).
    """
    control = market.control[0]
    stats = market.stats[0]
    age = control["start_ns"] - max(stats["last_depth_ns"], stats["last_refresh_ns"])
    control["cache_age_ns"] = age
    usable = params["cache_enabled"] == 1 and age <= params["ttl_ns"] and stats["invalid"] == 0
    stale = age > params["fresh_ns"]
    hit = usable and (not stale or params["stale_ok"] == 1)
    control["cache_hit"] = 1 if hit else 0
    control["used_stale"] = 1 if hit and stale else 0
    control["refresh_ns"] = 0
    if not hit:
        unit = hash_unit(control["seed"], control["tick_index"])
        cell = min(int(unit * len(market.refresh_ms)), len(market.refresh_ms) - 1)
        control["refresh_ns"] = int(market.refresh_ms[cell] * 1e6)


@jit
def observe(market, params):
    """Update the market statistics that the pipeline prices with; called once a tick, when the book is there.

    Variance per second and touch depth are EWMAs with a fast and a slow half-life; until a half-life has passed they are plain
    means, so that the slow one does not start from nothing. Returns whether the book is whole.
    """
    control = market.control[0]
    stats = market.stats[0]
    book = market.local
    now = control["decide_ns"]
    dt_s = max((now - stats["last_tick_ns"]) * 1e-9, 1e-9)
    first = stats["last_tick_ns"] == 0
    if first:
        stats["first_tick_ns"] = now
    stats["last_tick_ns"] = now
    since_start = 1.0 if first else dt_s / ((now - stats["first_tick_ns"]) * 1e-9)
    fast = max(1.0 - 0.5 ** (dt_s / params["fast_halflife_s"]), since_start)
    slow = max(1.0 - 0.5 ** (dt_s / params["slow_halflife_s"]), since_start)
    if not first:
        stats["buy_rate"] += fast * (stats["buy_qty"] / dt_s - stats["buy_rate"])
        stats["sell_rate"] += fast * (stats["sell_qty"] / dt_s - stats["sell_rate"])
    stats["buy_qty"] = 0.0
    stats["sell_qty"] = 0.0
    if not has_both_sides(book):
        return False
    bid, ask = book.top[BEST_BID], book.top[BEST_ASK]
    mid = 0.5 * (bid + ask) * params["tick_size"]
    depth = 0.5 * (book.bid_qty[bid] + book.ask_qty[ask])
    latency = stats["feed_latency_ms"]
    if np.isnan(stats["mid"]):
        stats["depth_fast"] = stats["depth_slow"] = depth
        stats["latency_fast"] = stats["latency_slow"] = latency
    else:
        ret = math.log(mid / stats["mid"])
        rate = ret * ret / dt_s
        stats["var_fast"] += fast * (rate - stats["var_fast"])
        stats["var_slow"] += slow * (rate - stats["var_slow"])
        stats["depth_fast"] += fast * (depth - stats["depth_fast"])
        stats["depth_slow"] += slow * (depth - stats["depth_slow"])
        stats["latency_fast"] += fast * (latency - stats["latency_fast"])
        stats["latency_slow"] += slow * (latency - stats["latency_slow"])
    stats["mid"] = mid
    return True


# --- Spread ------------------------------------------------------------------------------------------------------


@jit
def _excess(fast, slow):
    """How far a fast average stands above its slow one, relative; 0 where nothing is known."""
    return fast / slow - 1.0 if slow > 0.0 else 0.0


@jit
def spread(stats, state, params, quote):
    """Half spread [bps]: fixed, or adapted to volatility, liquidity, latency and drawdown (each relative to its slow mean)."""
    quote["mid"] = stats["mid"]
    full = params["base_spread_bps"]
    if params["adaptive_enabled"] == 1:
        volatility = _excess(math.sqrt(stats["var_fast"]), math.sqrt(stats["var_slow"]))
        thinness = _excess(stats["depth_slow"], stats["depth_fast"])
        lateness = max(_excess(stats["latency_fast"], stats["latency_slow"]), 0.0)
        equity = state["cash"] + state["position"] * stats["mid"]
        state["equity_peak"] = max(state["equity_peak"], equity)
        drawdown = (state["equity_peak"] - equity) / params["max_inventory_notional"]
        factor = (
            1.0
            + params["vol_weight"] * volatility
            + params["liquidity_weight"] * min(thinness, 1.0)
            + params["latency_weight"] * min(lateness, 1.0)
            + params["pnl_weight"] * min(drawdown * 1e2, 1.0)  # 1 % of the inventory limit lost counts fully
        )
        full = min(max(full * factor, params["min_spread_bps"]), params["max_spread_bps"])
    quote["half_bps"] = 0.5 * full


# --- Guards ------------------------------------------------------------------------------------------------------


@jit
def guards(control, stats, state, params, whole, quote):
    """Guard level and size factor; counts errors and opens the circuit breaker. Returns whether the breaker is open."""
    now = control["decide_ns"]
    silent = control["cache_age_ns"] > params["max_age_ns"]
    if control["errors"] > 0:
        state["error_run"] += 1
    else:
        state["error_run"] = 0
    if params["breaker_enabled"] == 1 and state["error_run"] >= params["errors_to_open"]:
        state["breaker_until_ns"] = now + params["cool_off_ns"]
    breaker_open = now < state["breaker_until_ns"]
    level = _NONE
    quote["scale"] = 1.0
    if params["guards_enabled"] == 1:
        vol_bps = math.sqrt(stats["var_fast"]) / _BPS
        if vol_bps > params["hard_vol_bps"] or silent:
            level = _HARD
        elif vol_bps > params["soft_vol_bps"]:
            level = _SOFT
            quote["scale"] = params["soft_scale"]
            quote["half_bps"] *= params["soft_widen"]
    if not whole or breaker_open or params["pipeline_enabled"] == 0:
        level = _HARD
    quote["guard_level"] = level
    return breaker_open


# --- Inventory ---------------------------------------------------------------------------------------------------


@jit
def roll_traded(state, now_ns, window_s):
    """Empty the bins of the taker cap's trailing window that ``now_ns`` has moved past; returns the current bin."""
    newest = int(now_ns * 1e-9 * BINS / window_s)
    stale = min(max(newest - state["traded_bin"], 0), BINS)
    for back in range(stale):
        state["taker_notional"][(newest - back) % BINS] = 0.0
        state["total_notional"][(newest - back) % BINS] = 0.0
    state["traded_bin"] = max(newest, state["traded_bin"])
    return state["traded_bin"] % BINS


@jit
def _taker_allowed(state, params, now_ns, notional):
    """Whether the taker share of the trailing window stays within the cap after one more taker trade."""
    if params["taker_cap_enabled"] == 0:
        return True
    roll_traded(state, now_ns, params["taker_window_s"])
    taker = state["taker_notional"].sum() + notional
    return taker <= params["taker_cap_share"] * (state["total_notional"].sum() + notional)


@jit
def inventory(control, state, params, quote):
    """Skewed fair price, sizes, and the taker order that brings inventory back inside its hard limit (within the cap)."""
    mid = quote["mid"]
    lot = params["lot_size"]
    limit = params["max_inventory_notional"]
    exposure = state["position"] * mid
    share = min(max(exposure / limit, -1.0), 1.0)
    shift_bps = 0.0
    if params["skew_enabled"] == 1:
        shift_bps = min(max(params["skew_bps"] * share, -params["skew_clamp_bps"]), params["skew_clamp_bps"])
    quote["fair"] = mid * (1.0 - shift_bps * _BPS)
    qty = max(math.floor(params["order_notional"] * quote["scale"] / mid / lot + 1e-9), 1.0) * lot
    quote["bid_qty"] = qty if exposure < limit else 0.0
    quote["ask_qty"] = qty if exposure > -limit else 0.0
    quote["taker_qty"] = 0.0
    excess = abs(exposure) - limit
    if excess > 0.0:
        reduce = math.ceil(excess / mid / lot - 1e-9) * lot
        if reduce > 0.0 and _taker_allowed(state, params, control["decide_ns"], reduce * mid):
            quote["taker_qty"] = -reduce if exposure > 0.0 else reduce


# --- QueueAware --------------------------------------------------------------------------------------------------


@jit
def _ahead_qty(book_qty, best, tick, step):
    """Quantity from the best price to ``tick`` inclusive [base units]; infinite beyond the levels looked at."""
    total = 0.0
    level = best
    for _ in range(_MAX_ETA_LEVELS):
        if step * (tick - level) < 0:
            return total
        total += book_qty[level]
        level += step
    return np.inf


@jit
def _wanted_ticks(quote, params, book):
    """Bid and ask [ticks], rounded outwards, never through the other side of the market."""
    half = quote["half_bps"] * _BPS * quote["mid"]
    bid = math.floor((quote["fair"] - half) / params["tick_size"] + 1e-9)
    ask = math.ceil((quote["fair"] + half) / params["tick_size"] - 1e-9)
    quote["bid_ticks"] = max(min(bid, book.top[BEST_ASK] - 1), 1)
    quote["ask_ticks"] = min(max(ask, book.top[BEST_BID] + 1), len(book.bid_qty) - 1)


@jit
def _steps_ahead(book_qty, best, tick, step, target_qty, most):
    """How many ticks towards the market bring the quantity ahead down to ``target_qty``; ``most`` where nothing does."""
    ahead = _ahead_qty(book_qty, best, tick, step)
    taken = 0
    while ahead > target_qty and taken < most:
        ahead -= book_qty[tick - step * taken]
        taken += 1
        if step * (tick - step * taken - best) < 0:
            return taken  # better than the best price: nothing is ahead
    return taken


@jit
def _nudge(state, side, params, now_ns, book_qty, best, tick, step, rate, most):
    """Ticks by which a side steps ahead now: decided at most once per ``headroom_ns``, held in between, never over ``most``."""
    if now_ns - state["last_nudge_ns"][side] >= params["headroom_ns"]:
        wanted = _steps_ahead(book_qty, best, tick, step, params["eta_target_s"] * rate, most)
        if wanted != state["nudge_ticks"][side]:
            state["nudge_ticks"][side] = wanted
            state["last_nudge_ns"][side] = now_ns
    return min(state["nudge_ticks"][side], most)


@jit
def queue_aware(market, state, params, quote):
    """Final prices; where the expected time to fill is over its target, step ahead as far as needed, no further.

    Expected time to fill = quantity ahead / rate of trades against that side. At most ``max_reprice_bps``, never through fair
    value. A side changes its nudge at most once per ``headroom_ns`` and keeps it in between, so that no quote loses its place
    to second thoughts.
    """
    book = market.local
    if not has_both_sides(book) or quote["guard_level"] == _HARD:
        quote["bid_ticks"] = quote["ask_ticks"] = NO_QUOTE
        return
    _wanted_ticks(quote, params, book)
    if params["queue_aware_enabled"] == 0:
        return
    stats = market.stats[0]
    now = market.control[0]["decide_ns"]
    tick_size = params["tick_size"]
    reach = int(params["max_reprice_bps"] * _BPS * quote["mid"] / tick_size)
    best_bid, best_ask = book.top[BEST_BID], book.top[BEST_ASK]
    bid, ask = quote["bid_ticks"], quote["ask_ticks"]
    most = max(min(reach, min(best_ask - 1, math.floor(quote["fair"] / tick_size)) - bid), 0)
    quote["bid_ticks"] = bid + _nudge(
        state, 0, params, now, book.bid_qty, best_bid, bid, -1, stats["sell_rate"], most
    )
    most = max(min(reach, ask - max(best_bid + 1, math.ceil(quote["fair"] / tick_size))), 0)
    quote["ask_ticks"] = ask - _nudge(
        state, 1, params, now, book.ask_qty, best_ask, ask, 1, stats["buy_rate"], most
    )
