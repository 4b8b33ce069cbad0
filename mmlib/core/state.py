"""Structured state of an engine session: orders, buses, arms, market statistics, parameters.

Everything is a plain NumPy array, so that a session can be copied, checkpointed and compared byte by byte.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mmlib.core.book import Book, empty_book, grow_book
from mmlib.core.incidents import no_incidents

SLOTS = 16  # own orders an arm can have at once, in-flight ones included
BUS = 64  # messages a bus can hold
BINS = 60  # parts of the taker cap's trailing window

# order status, local view
FREE, PENDING_NEW, LIVE, PENDING_CANCEL = 0, 1, 2, 3
# actions on the request bus
NEW, CANCEL = 0, 1
# answers on the response bus
ACCEPTED, EXPIRED, CANCELED, REJECTED, FILLED = 0, 1, 2, 3, 4
# time in force
GTX, IOC = 0, 1

ORDER = np.dtype(
    [
        ("order_id", "i8"),
        ("decided_ns", "i8"),
        ("arrived_ns", "i8"),
        ("price_ticks", "i8"),
        ("qty", "f8"),  # base units
        ("front", "f8"),  # base units ahead
        ("cum", "f8"),  # base units traded at our price since the last depth row
        ("front_at_entry", "f8"),
        ("mid_at_quote", "f8"),  # quote currency
        ("side", "i8"),  # +1 buy, -1 sell
        ("tif", "i8"),
        ("local", "i8"),  # FREE .. PENDING_CANCEL
        ("resting", "i8"),  # 1 while in the exchange's book
    ]
)

MESSAGE = np.dtype(
    [
        ("at_ns", "i8"),
        ("order_id", "i8"),
        ("slot", "i8"),
        ("what", "i8"),
        ("price", "f8"),
        ("qty", "f8"),
        ("fee", "f8"),
    ]
)

ARM = np.dtype(
    [
        ("next_order_id", "i8"),
        ("next_fill_id", "i8"),
        ("req_head", "i8"),
        ("req_count", "i8"),
        ("resp_head", "i8"),
        ("resp_count", "i8"),
        ("n_resting", "i8"),
        ("error_run", "i8"),  # consecutive ticks with an error
        ("breaker_until_ns", "i8"),
        ("last_nudge_ns", "i8", (2,)),  # bid, ask: when the nudge was decided last
        ("nudge_ticks", "i8", (2,)),  # and how far; holds until the next decision
        ("traded_bin", "i8"),  # number of the newest bin below, counted from 1970
        ("position", "f8"),  # base units, local view
        ("cash", "f8"),  # quote currency, fees paid
        ("taker_notional", "f8", (BINS,)),  # taken in the trailing window, by bin, quote currency
        ("total_notional", "f8", (BINS,)),  # traded in the trailing window, by bin
        ("equity_peak", "f8"),
        ("dropped_orders", "i8"),  # wanted but no slot was free
    ]
)

STATS = np.dtype(
    [
        ("last_depth_ns", "i8"),  # local time of the last depth row
        ("last_refresh_ns", "i8"),
        ("invalid", "i8"),  # 1 after a break and resynchronisation of the stream, until the next refresh
        ("first_tick_ns", "i8"),
        ("last_tick_ns", "i8"),
        ("feed_latency_ms", "f8"),  # of the last row
        ("buy_qty", "f8"),  # traded by buy aggressors since the last tick, base units
        ("sell_qty", "f8"),
        ("mid", "f8"),  # at the last tick, quote currency
        ("var_fast", "f8"),  # EWMA of squared return per second
        ("var_slow", "f8"),
        ("depth_fast", "f8"),  # EWMA of touch depth, base units
        ("depth_slow", "f8"),
        ("latency_fast", "f8"),
        ("latency_slow", "f8"),
        ("buy_rate", "f8"),  # EWMA, base units per second
        ("sell_rate", "f8"),
    ]
)

CONTROL = np.dtype(
    [
        ("exch_cursor", "i8"),
        ("local_cursor", "i8"),
        ("phase", "i8"),
        ("tick_index", "i8"),  # of the next tick
        ("t0_ns", "i8"),  # scheduled time of tick 0
        ("end_ns", "i8"),
        ("start_ns", "i8"),  # when the current tick began
        ("decide_ns", "i8"),  # when its book is there
        ("busy_until_ns", "i8"),
        ("started", "i8"),
        ("n_ticks", "i8"),  # rows in the output buffers
        ("n_fills", "i8"),
        ("cache_hit", "i8"),
        ("used_stale", "i8"),
        ("errors", "i8"),
        ("refresh_ns", "i8"),
        ("refresh_failed", "i8"),  # 1 when a real request brought no book; a modelled refresh always does
        ("fetch_measured_ns", "i8"),
        ("cache_age_ns", "i8"),
        ("last_event_ns", "i8"),
        ("out_of_range", "i8"),  # events beyond the book's capacity, ignored
        ("seed", "u8"),
    ]
)

PARAMS = np.dtype(
    [
        ("tick_size", "f8"),
        ("lot_size", "f8"),
        ("queue_model", "i8"),
        ("queue_exponent", "f8"),
        ("entry_ns", "i8"),
        ("response_ns", "i8"),
        ("maker_bps", "f8"),
        ("taker_bps", "f8"),
        ("pipeline_enabled", "i8"),
        ("tick_interval_ns", "i8"),
        ("deadline_ms", "f8"),
        ("cache_enabled", "i8"),
        ("ttl_ns", "i8"),
        ("fresh_ns", "i8"),
        ("stale_ok", "i8"),
        ("gap_ns", "i8"),
        ("trace_share", "f8"),  # share of ticks whose inner stages are timed
        ("base_spread_bps", "f8"),
        ("order_notional", "f8"),
        ("max_inventory_notional", "f8"),
        ("requote_ticks", "i8"),
        ("adaptive_enabled", "i8"),
        ("min_spread_bps", "f8"),
        ("max_spread_bps", "f8"),
        ("vol_weight", "f8"),
        ("liquidity_weight", "f8"),
        ("latency_weight", "f8"),
        ("pnl_weight", "f8"),
        ("fast_halflife_s", "f8"),
        ("slow_halflife_s", "f8"),
        ("queue_aware_enabled", "i8"),
        ("max_reprice_bps", "f8"),
        ("headroom_ns", "i8"),
        ("eta_target_s", "f8"),
        ("skew_enabled", "i8"),
        ("skew_bps", "f8"),
        ("skew_clamp_bps", "f8"),
        ("guards_enabled", "i8"),
        ("soft_vol_bps", "f8"),
        ("hard_vol_bps", "f8"),
        ("soft_scale", "f8"),
        ("soft_widen", "f8"),
        ("max_age_ns", "i8"),
        ("breaker_enabled", "i8"),
        ("errors_to_open", "i8"),
        ("cool_off_ns", "i8"),
        ("taker_cap_enabled", "i8"),
        ("taker_cap_share", "f8"),  # 0..1
        ("taker_window_s", "f8"),
    ]
)

QUOTE = np.dtype(
    [
        ("mid", "f8"),  # quote currency
        ("half_bps", "f8"),
        ("fair", "f8"),  # reservation price, quote currency
        ("scale", "f8"),  # size factor of the guards
        ("guard_level", "i8"),
        ("bid_ticks", "i8"),
        ("ask_ticks", "i8"),
        ("bid_qty", "f8"),
        ("ask_qty", "f8"),
        ("taker_qty", "f8"),  # signed, base units; 0 for none
    ]
)


class Market(NamedTuple):
    """What both arms share.

    Attributes:
        exchange: the exchange's book.
        local: the book as the feed has brought it to us.
        stats: STATS[1].
        control: CONTROL[1].
        refresh_ms: float64[m], quantile table of a synchronous refresh.
        timespec: int64[2], scratch of the clock.
        incidents: incidents.INCIDENT[i], what was scripted.
    """

    exchange: Book
    local: Book
    stats: Any
    control: Any
    refresh_ms: Any
    timespec: Any
    incidents: Any


class Arms(NamedTuple):
    """What each arm owns; the first axis is the arm.

    Attributes:
        state: ARM[a].
        orders: ORDER[a, SLOTS].
        resting: int64[a, SLOTS], slots of the orders in the book, the first ``n_resting`` are valid.
        requests: MESSAGE[a, BUS], ring towards the exchange.
        responses: MESSAGE[a, BUS], ring back.
        params: PARAMS[a].
        quote: QUOTE[a], the working quote.
    """

    state: Any
    orders: Any
    resting: Any
    requests: Any
    responses: Any
    params: Any
    quote: Any


def new_market(
    capacity_ticks: int, refresh_ms: np.ndarray, seed: int, incidents: np.ndarray | None = None
) -> Market:
    """Fresh shared state for a book of ``capacity_ticks`` ticks; ``incidents`` is ``INCIDENT[i]``, None for none."""
    stats = np.zeros(1, STATS)
    stats["mid"] = np.nan
    control = np.zeros(1, CONTROL)
    control["seed"] = seed & (2**64 - 1)
    return Market(
        empty_book(capacity_ticks),
        empty_book(capacity_ticks),
        stats,
        control,
        np.ascontiguousarray(refresh_ms, dtype=np.float64),
        np.zeros(2, np.int64),
        no_incidents() if incidents is None else np.ascontiguousarray(incidents),
    )


def grow_market(market: Market, capacity_ticks: int) -> Market:
    """The same market with room for more price ticks."""
    return market._replace(
        exchange=grow_book(market.exchange, capacity_ticks), local=grow_book(market.local, capacity_ticks)
    )


def new_arms(params: np.ndarray) -> Arms:
    """Fresh state for ``len(params)`` arms."""
    n = len(params)
    state = np.zeros(n, ARM)
    state["next_order_id"] = 1
    state["next_fill_id"] = 1
    return Arms(
        state,
        np.zeros((n, SLOTS), ORDER),
        np.zeros((n, SLOTS), np.int64),
        np.zeros((n, BUS), MESSAGE),
        np.zeros((n, BUS), MESSAGE),
        np.ascontiguousarray(params),
        np.zeros(n, QUOTE),
    )
