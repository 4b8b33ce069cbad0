"""From a stranger's orders to evidence: its fills, its reactions, and its requests as a file that can be replayed.

What cannot be measured from outside is not made up: the sidecar names it, and its gates find no data.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from mmlib.dtypes import ARMS, FILL, STAGES, TICK, Action, Liquidity
from mmlib.feeds.orders import ORDER_COLUMNS
from mmlib.feeds.writer import FeedWriter
from mmlib.paper.orders import Order, Trade
from mmlib.paper.party import Party
from mmlib.paper.tape import Tape

UNMEASURED = ("cache_hit", "used_stale", "guard_level", "breaker_open", "fetch_md_ms")
"""Fields of the ticks feed that only the bot itself could know."""
_FLUSH_S = 1.0
_SIDES = {1: "buy", -1: "sell"}


class Watcher(Protocol):
    """Who watches an arm while it trades."""

    def tick(self, symbol: str, row: np.ndarray) -> None:
        """``TICK[1]``."""
        ...

    def fill(self, symbol: str, row: np.ndarray) -> None:
        """``FILL[1]``."""
        ...


class Evidence:
    """Writes the feeds of a session: fills, ticks, and each account's orders.

    A tick of a bot that is not ours is what it did upon a market message: it ends with the first request about its orders that
    arrives after the message, and is as long as that took.

    Attributes:
        of_symbol: ticks and fills written, by symbol.
        watchers: by arm, who sees every tick and fill.
        memory_mb: by account, resident memory of its bot where the exchange's host started it.

    Args:
        directory: where the feeds go.
        source: grade of the market, which every line states.
        deadline_ms: a reaction that took longer missed its deadline.
    """

    def __init__(
        self, directory: Path, symbols: tuple[str, ...], *, deadline_ms: float, source: str = ""
    ) -> None:
        self._directory = directory
        self._symbols = symbols
        self._writer = FeedWriter(directory, symbols, source=source)
        self._deadline_ms = deadline_ms
        self._fills: list[tuple[int, np.ndarray]] = []
        self._ticks: list[tuple[int, np.ndarray]] = []
        self._frames: dict[tuple[str, str], int] = {}
        self._rejects: dict[str, int] = {}
        self._orders: dict[tuple[str, str], IO[str]] = {}
        self._flushed_s = time.monotonic()
        self.of_symbol = {symbol: dict.fromkeys(("ticks", "fills"), 0) for symbol in symbols}
        self.watchers: dict[str, Watcher] = {}
        self.memory_mb: dict[str, Callable[[], float]] = {}

    def fill(self, party: Party, order: Order, trade: Trade, exch_ns: int, mid: float) -> None:
        """See `exchange.Witness.fill`."""
        rules = party.ledger.rules[order.symbol]
        row = np.zeros(1, FILL)
        price = float(rules.price.value(trade.ticks))
        quoted = float(rules.price.value(order.ticks)) if order.ticks else price
        # a fee in the asset that was bought is stated in what it is worth
        fee = float(trade.fee) * (price if trade.fee_asset == rules.base else 1.0)
        for name, value in {
            "ts_ns": exch_ns,
            "order_id": order.order_id,
            "fill_id": trade.trade_id,
            "price": price,
            "qty": float(rules.qty.value(trade.lots)),
            "fee": fee,
            "quote_price": quoted,
            "mid_at_quote": order.mid_at_quote,
            "mid_at_fill": mid,
            "queue_ahead_qty": order.queue_ahead if trade.maker else 0.0,
            "latency_ms": (order.arrived_ns - order.sent_ns) / 1e6,
            "arm": ARMS.index(party.account.arm),
            "side": order.side,
            "liquidity": Liquidity.MAKER if trade.maker else Liquidity.TAKER,
        }.items():
            row[name] = value
        self._fills.append((self._symbols.index(order.symbol), row))
        if party.account.arm in self.watchers:
            self.watchers[party.account.arm].fill(order.symbol, row)
        self.of_symbol[order.symbol]["fills"] += 1

    def acted(self, party: Party, tape: Tape, received_ns: int, frame_ns: int, reaction_ns: int) -> None:
        """See `exchange.Witness.acted`."""
        symbol = tape.rules.symbol
        if self._frames.get((party.name, symbol)) == frame_ns:
            return  # another request upon the same message
        self._frames[party.name, symbol] = frame_ns
        rejects, before = party.counts.rejects, self._rejects.get(party.name, 0)
        self._rejects[party.name] = rejects
        row = np.zeros(1, TICK)
        for name in (*(f"{stage}_ms" for stage in STAGES), "cache_age_ms", "modelled_ms"):
            row[name] = np.nan
        row["ts_ns"], row["scheduled_ns"] = received_ns, received_ns - reaction_ns
        row["tick_total_ms"] = reaction_ns / 1e6
        row["deadline_miss"] = reaction_ns / 1e6 > self._deadline_ms
        row["mid"], row["inventory"] = tape.mid, _inventory(party, symbol)
        if tape.best_bid is not None and tape.best_ask is not None:
            row["spread_bps"] = 2e4 * (tape.best_ask - tape.best_bid) / (tape.best_ask + tape.best_bid)
        else:
            row["spread_bps"] = np.nan
        row["rss_mb"] = self.memory_mb.get(party.name, lambda: float("nan"))()
        row["errors"] = rejects - before
        row["arm"] = ARMS.index(party.account.arm)
        self._ticks.append((self._symbols.index(symbol), row))
        if party.account.arm in self.watchers:
            self.watchers[party.account.arm].tick(symbol, row)
        self.of_symbol[symbol]["ticks"] += 1
        if time.monotonic() - self._flushed_s > _FLUSH_S:
            self.flush()

    def request(self, party: Party, order: Order, action: Action, at_ns: int) -> None:
        """See `exchange.Witness.request`: a line of the account's orders, with the time at which it was sent."""
        rules = party.ledger.rules[order.symbol]
        name = f"{order.order_id}.{order.moves}" if order.moves else str(order.order_id)
        sent_ns = at_ns - party.model.entry_ns
        cells = [str(sent_ns), "new" if action == Action.NEW else "cancel", name, "", "", "", ""]
        if action == Action.NEW:
            price = rules.price.text(order.ticks) if order.ticks else ""
            cells[3:] = [_SIDES[order.side], price, rules.qty.text(order.left_lots), order.tif]
        self._file(party.name, order.symbol).write(",".join(cells) + "\n")

    def flush(self) -> None:
        """Hand what was gathered to the files."""
        self._flushed_s = time.monotonic()
        for kind, held in (("fills", self._fills), ("ticks", self._ticks)):
            if held:
                records = np.concatenate([row for _, row in held])
                which = np.array([symbol for symbol, _ in held])
                self._writer.write("fills" if kind == "fills" else "ticks", records, which)
                held.clear()
        for handle in self._orders.values():
            handle.flush()

    def close(self) -> None:
        """Everything to disk."""
        self.flush()
        self._writer.close()
        for handle in self._orders.values():
            handle.close()
        self._orders.clear()

    def _file(self, account: str, symbol: str) -> IO[str]:
        handle = self._orders.get((account, symbol))
        if handle is None:
            path = self._directory / f"orders_{account}_{symbol}.csv"
            fresh = not path.exists() or path.stat().st_size == 0
            handle = self._orders[account, symbol] = path.open("a", encoding="utf-8")
            if fresh:
                handle.write(",".join(ORDER_COLUMNS) + "\n")
        return handle


def _inventory(party: Party, symbol: str) -> float:
    """Position, or on a spot account what it has of the base asset [base units]."""
    rules, ledger = party.ledger.rules[symbol], party.ledger
    if hasattr(ledger, "position"):
        return float(rules.qty.value(ledger.position(symbol).lots))
    return float(ledger.free.get(rules.base, 0) + ledger.locked.get(rules.base, 0))
