"""The ledger of a symbol and arm: marks, position and money of every event, numpy only.

Definitions, with s = +1 for our buys, p the fill price, q the quantity, m the mid at the fill, m_q the mid at the quote:

- trade result   s q (m - p)            = gross - quote travel; the effective half spread
- gross          s q (m_q - p)
- quote travel   s q (m_q - m)          how far behind the touch the quote lay: a diagnostic, no gate reads it
- inventory      sum of position x change of the mark, over all events
- result         ΔEquity = trade result + inventory - fees = gross - quote travel - fees + inventory, exactly
- slippage       s q (p - m_1s)         what the fill cost against the mid one second later, makers and takers alike: a cost
                                        when positive, minus the markout; never added to the result, since inventory contains it

Marks are the mids of the ticks and the mids at the fills, in time order; both carry the position, so the sum telescopes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from mmlib.metrics.grid import SECOND_NS, groups, ns

SLIPPAGE_S = 1.0
"""Horizon of the slippage [s]."""
_OPENING_TICKS = 61  # ticks whose median decides the opening position


class Marks(NamedTuple):
    """Ticks of one symbol and arm in time order: ``int64[n]``, ns, and ``float64[n]``, NaN where unknown."""

    ts_ns: np.ndarray
    mid: np.ndarray
    inventory: np.ndarray

    @classmethod
    def of(cls, ticks: pd.DataFrame) -> Marks:
        """The rows of a feed frame."""
        return cls(ns(ticks["ts"]), *(ticks[name].to_numpy(np.float64) for name in ("mid", "inventory")))


class Deals(NamedTuple):
    """Fills in time order: ``int64[f]``, ns, ``bool[f]`` and ``float64[f]``, a mid NaN where unknown."""

    ts_ns: np.ndarray
    buy: np.ndarray
    taker: np.ndarray
    price: np.ndarray
    qty: np.ndarray
    fee: np.ndarray
    mid_at_quote: np.ndarray
    mid_at_fill: np.ndarray

    @classmethod
    def of(cls, fills: pd.DataFrame) -> Deals:
        """The rows of a feed frame."""
        return cls(
            ns(fills["ts"]),
            (fills["side"] == "buy").to_numpy(np.bool_),
            (fills["liquidity"] == "taker").to_numpy(np.bool_),
            *(fills[name].to_numpy(np.float64) for name in cls._fields[3:]),
        )

    def take(self, rows: np.ndarray) -> Deals:
        """Those of ``int64[k]`` rows."""
        return Deals(*(column[rows] for column in self))


@dataclass(frozen=True)
class Ledger:
    """Events (fills and ticks that carry a mid) and fills of one symbol and arm, in time order.

    Attributes:
        ts_ns: ``int64[k]``, time of the event; a fill stands before a tick of the same time.
        mark: ``float64[k]``, mid at the event; NaN only when no mid is known at all.
        position: ``float64[k]``, base units after the event.
        inventory: ``float64[k]``, result of the position carried into the event, quote currency.
        opening: position before the first event.
        fill_event: ``int64[f]``, which events are the fills.
        fill_ts_ns, notional, fee, trade, gross, travel, slippage: ``[f]``, quote currency; slippage is NaN where no mid came
            within a second after the fill.
        taker: ``bool[f]``.
        priced: ``bool[f]``, both mids were known; otherwise the mark stands for the missing one.
    """

    symbol: str
    arm: str
    ts_ns: np.ndarray
    mark: np.ndarray
    position: np.ndarray
    inventory: np.ndarray
    opening: float
    fill_event: np.ndarray
    fill_ts_ns: np.ndarray
    notional: np.ndarray
    fee: np.ndarray
    trade: np.ndarray
    gross: np.ndarray
    travel: np.ndarray
    slippage: np.ndarray
    taker: np.ndarray
    priced: np.ndarray

    def equity(self) -> np.ndarray:
        """Result since the first event after each event, ``float64[k]``, quote currency."""
        steps = self.inventory.copy()
        steps[self.fill_event] += self.trade - self.fee
        return np.cumsum(steps)


def ledgers(ticks: pd.DataFrame, fills: pd.DataFrame) -> list[Ledger]:
    """A ledger for every symbol and arm of the two feed frames."""
    marks = ticks[
        ["symbol", "arm", "ts", "mid", "inventory"]
    ]  # all that is needed of what may be millions of rows
    return [ledger_of(symbol, arm, Marks.of(t), Deals.of(f)) for symbol, arm, (t, f) in groups(marks, fills)]


def ledger_of(symbol: str, arm: str, ticks: Marks, fills: Deals, *, slippage_s: float = SLIPPAGE_S) -> Ledger:
    """The ledger of one symbol and arm; ``slippage_s`` is the horizon of the slippage [s]."""
    sign, price, qty = np.where(fills.buy, 1.0, -1.0), fills.price, fills.qty
    opening = _opening_position(ticks.ts_ns, ticks.inventory, fills.ts_ns, sign * qty)

    marked = np.isfinite(ticks.mid)
    ts = np.concatenate([fills.ts_ns, ticks.ts_ns[marked]])
    order = np.argsort(ts, kind="stable")  # fills come first in ts, so they stay first on equal times
    event_of = np.empty(len(order), dtype=np.int64)
    event_of[order] = np.arange(len(order))
    fill_event = event_of[: len(price)]
    mark = _filled(np.concatenate([fills.mid_at_fill, ticks.mid[marked]])[order])
    signed = np.zeros(len(order))
    signed[fill_event] = sign * qty
    position = opening + np.cumsum(signed)
    inventory = np.zeros(len(order))
    inventory[1:] = position[:-1] * np.diff(mark)

    at_fill = mark[fill_event]
    priced = np.isfinite(fills.mid_at_quote) & np.isfinite(fills.mid_at_fill)
    at_quote = np.where(priced, fills.mid_at_quote, at_fill)
    return Ledger(
        symbol=symbol,
        arm=arm,
        ts_ns=ts[order],
        mark=mark,
        position=position,
        inventory=inventory,
        opening=opening,
        fill_event=fill_event,
        fill_ts_ns=fills.ts_ns,
        notional=price * qty,
        fee=fills.fee,
        trade=sign * qty * (at_fill - price),
        gross=sign * qty * (at_quote - price),
        travel=sign * qty * (at_quote - at_fill),
        slippage=sign
        * qty
        * (price - mid_after(ticks.ts_ns[marked], ticks.mid[marked], fills.ts_ns, slippage_s)),
        taker=fills.taker,
        priced=priced,
    )


def mid_after(
    tick_ts_ns: np.ndarray, mid: np.ndarray, fill_ts_ns: np.ndarray, horizon_s: float
) -> np.ndarray:
    """Last mid known ``horizon_s`` after each fill, ``float64[f]``.

    NaN when no tick with a mid came between the fill and the horizon, or the ticks end before it.

    Args:
        tick_ts_ns: ``int64[n]`` rising. mid: ``float64[n]``, known ones.
        fill_ts_ns: ``int64[f]``.
    """
    at = fill_ts_ns + round(horizon_s * SECOND_NS)
    found = np.searchsorted(tick_ts_ns, at, side="right") - 1
    kept = (found >= 0) & (at <= (tick_ts_ns[-1] if len(tick_ts_ns) else -1))
    kept[kept] = tick_ts_ns[found[kept]] >= fill_ts_ns[kept]
    values = np.full(len(at), np.nan)
    values[kept] = mid[found[kept]]
    return values


def _opening_position(
    tick_ts: np.ndarray, inventory: np.ndarray, fill_ts: np.ndarray, signed_qty: np.ndarray
) -> float:
    """Position before the first event: the ticks' inventory less the fills so far.

    A tick may know of a fill a little late, therefore the median over the first ticks; 0 when no tick knows.
    """
    known = np.flatnonzero(np.isfinite(inventory))[:_OPENING_TICKS]
    if len(known) == 0:
        return 0.0
    cumulative = np.concatenate([[0.0], np.cumsum(signed_qty)])
    so_far = cumulative[np.searchsorted(fill_ts, tick_ts[known], side="right")]
    value = float(np.median(inventory[known] - so_far))
    scale = float(np.max(np.abs(inventory[known]), initial=0.0) + np.max(np.abs(so_far), initial=0.0))
    return 0.0 if abs(value) <= 1e-12 * scale else value


def _filled(values: np.ndarray) -> np.ndarray:
    """NaN replaced by the value before, at the beginning by the first one there is."""
    known = np.isfinite(values)
    if not known.any():
        return np.full(len(values), np.nan)
    before = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    return np.asarray(values[np.where(before < 0, int(np.argmax(known)), before)])
