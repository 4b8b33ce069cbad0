"""Structured dtypes and enumerations that every floor shares; units stand behind each field.

All times are nanoseconds since 1970-01-01 UTC. Prices inside the core are whole ticks (``price / tick_size``),
quantities are in base units (not lots).
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

import numpy as np

# --- market events -----------------------------------------------------------------------------------------------

EVENT_KIND_MASK = 0x0F
KIND_DEPTH = 1  # level := qty (qty 0 deletes it)
KIND_TRADE = 2  # the side flag is the aggressor's
KIND_CLEAR = 3  # BUY/SELL: that side up to price_ticks; neither: both sides
KIND_SNAPSHOT = 4  # one level of a snapshot; the book treats it as depth
FLAG_SELL = 0x10
FLAG_BUY = 0x20
FLAG_LOCAL = 0x40  # walked by the local processor at local_ts_ns
FLAG_EXCH = 0x80  # walked by the exchange processor at exch_ts_ns

EVENT = np.dtype(
    [
        ("exch_ts_ns", "i8"),  # exchange clock
        ("local_ts_ns", "i8"),  # arrival, local clock after correction
        ("qty", "f8"),  # base units
        ("price_ticks", "i4"),  # price / tick_size, rounded half away from zero
        ("flags", "u1"),  # kind | FLAG_*
        ("_pad", "u1", (3,)),
    ]
)
"""One market event, 32 bytes. File order is processing order for both processors (see market.events)."""

# --- what the engine writes --------------------------------------------------------------------------------------

STAGES = ("fetch_md", "spread", "guards", "inventory", "queue_aware", "emit")
"""The six stages of the quoting pipeline, in order."""

TICK = np.dtype(
    [
        ("ts_ns", "i8"),  # when the tick began
        ("scheduled_ns", "i8"),  # when it should have begun; latency counts from here
        ("fetch_md_ms", "f8"),
        ("spread_ms", "f8"),
        ("guards_ms", "f8"),
        ("inventory_ms", "f8"),
        ("queue_aware_ms", "f8"),
        ("emit_ms", "f8"),
        ("tick_total_ms", "f8"),  # end - scheduled
        ("modelled_ms", "f8"),  # share of tick_total_ms that comes from a latency model, not from a clock
        ("cache_age_ms", "f8"),
        ("mid", "f8"),  # quote currency; NaN when a side is empty
        ("spread_bps", "f8"),  # quoted market spread
        ("inventory", "f8"),  # base units, signed
        ("rss_mb", "f8"),
        ("errors", "u4"),  # errors met since the tick before
        ("arm", "u1"),  # index into ARMS
        ("cache_hit", "u1"),
        ("used_stale", "u1"),
        ("deadline_miss", "u1"),
        ("guard_level", "u1"),  # GuardLevel
        ("breaker_open", "u1"),
        ("_pad", "u1", (6,)),
    ]
)

FILL = np.dtype(
    [
        ("ts_ns", "i8"),  # exchange time of the fill
        ("order_id", "i8"),
        ("fill_id", "i8"),
        ("price", "f8"),
        ("qty", "f8"),
        ("fee", "f8"),  # quote currency; negative is a rebate
        ("quote_price", "f8"),  # the price decided (equals price for maker fills)
        ("mid_at_quote", "f8"),
        ("mid_at_fill", "f8"),  # exchange mid just before the event that filled
        ("queue_ahead_qty", "f8"),  # base units ahead when the order reached the book; 0 for taker
        ("latency_ms", "f8"),  # from decision to arrival at the exchange
        ("arm", "u1"),
        ("side", "i1"),  # +1 our buy, -1 our sell
        ("liquidity", "u1"),  # Liquidity
        ("_pad", "u1", (5,)),
    ]
)

# --- a user's own orders ------------------------------------------------------------------------------------------

ORDER_ROW = np.dtype(
    [
        ("ts_ns", "i8"),  # when the request left, local clock after correction
        ("order_id", "i8"),
        ("qty", "f8"),  # base units; not read for a cancel
        ("price_ticks", "i4"),  # not read for a cancel or a market order
        ("action", "u1"),  # Action
        ("side", "i1"),  # +1 buy, -1 sell
        ("tif", "u1"),  # TimeInForce
        ("kind", "u1"),  # OrderKind
    ]
)
"""One request of a user's own bot, 32 bytes."""

ORDER_FILL = np.dtype(
    [
        ("exch_ts_ns", "i8"),  # when it was executed, exchange clock
        ("local_ts_ns", "i8"),  # when we learnt of it, local clock
        ("order_id", "i8"),
        ("price", "f8"),  # quote currency
        ("qty", "f8"),  # base units
        ("fee", "f8"),  # quote currency; negative is a rebate
        ("queue_ahead_at_entry", "f8"),  # base units ahead when the order came to rest; 0 for a taker
        ("side", "i1"),  # +1 our buy, -1 our sell
        ("liquidity", "u1"),  # Liquidity
        ("_pad", "u1", (6,)),
    ]
)


class Action(IntEnum):
    """What a request asks for."""

    NEW = 0
    CANCEL = 1
    REPLACE = (
        2  # price and quantity; the place in the queue stays at the same price and for no more than before
    )


class TimeInForce(IntEnum):
    """How long an order lives; the order of a user's CSV values."""

    GTC = 0  # until cancelled
    GTX = 1  # post only
    IOC = 2  # immediate or cancel
    FOK = 3  # fill or kill


class OrderKind(IntEnum):
    """Whether an order names a price."""

    LIMIT = 0
    MARKET = 1


# --- names --------------------------------------------------------------------------------------------------------

ARMS = ("A", "B")
"""A is the control, B the treatment; the index is what TICK and FILL hold."""


class Liquidity(IntEnum):
    """Which side of the trade our order was."""

    MAKER = 0
    TAKER = 1


class GuardLevel(IntEnum):
    """What the guards stage decided."""

    NONE = 0
    SOFT = 1  # widen and scale down
    HARD = 2  # no quotes


class Status(StrEnum):
    """Result of a gate or a step; only PASS promotes."""

    PASS = "PASS"  # noqa: S105
    INCONCLUSIVE = "INCONCLUSIVE"
    NO_DATA = "NO_DATA"
    FAIL = "FAIL"
    ERROR = "ERROR"

    @property
    def rank(self) -> int:
        """Position from best (0) to worst."""
        return list(Status).index(self)

    @classmethod
    def worst(cls, statuses: list[Status]) -> Status:
        """The worst of several; an empty list is NO_DATA, never PASS."""
        return max(statuses, key=lambda s: s.rank) if statuses else cls.NO_DATA


class Grade(StrEnum):
    """Where the data came from, weakest first."""

    SIMULATED = "simulated"
    STATED = "stated by the desk"
    RECORDING_TILED = "recording (tiled)"
    RECORDING = "recording"
    LIVE = "live"

    @property
    def rank(self) -> int:
        """Position from weakest (0) to strongest."""
        return list(Grade).index(self)

    @classmethod
    def weakest(cls, grades: list[Grade]) -> Grade | None:
        """The weakest of several, None for none."""
        return min(grades, key=lambda g: g.rank) if grades else None
