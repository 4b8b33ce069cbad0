"""What survives the exchange's own death: every change of an order, execution and balance, written before it is told.

Each change is one line, handed to the system at once, so that ``kill -9`` loses nothing; a torn last line is cut off. The file
is rewritten when it is opened, so that it holds what is needed and no history beyond that.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from mmlib._io import UserError, write_atomic
from mmlib.paper.orders import Order, Trade
from mmlib.paper.party import Party

NAME = "journal.jsonl"
_LARGEST = 64 << 20


@dataclass
class Last:
    """The highest numbers that were given."""

    order_id: int = 0
    trade_id: int = 0


class Journal:
    """The state of the accounts on disk.

    Args:
        directory: is made where it is missing; one exchange at a time.

    Raises:
        UserError: it cannot be written, or another exchange works on it.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
            import fcntl

            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise UserError(
                f"{directory}: another exchange works on it; expected a state of its own"
            ) from exc
        except OSError as exc:
            raise UserError(f"{directory}: cannot be written ({exc.strerror})") from exc
        self._fd = -1
        self._parties: tuple[Party, ...] = ()
        self._written = 0

    def note(self, party: Party, order: Order, trade: Trade | None) -> None:
        """Write a change down."""
        if self._fd < 0:
            return
        entry: dict[str, Any] = {"account": party.name, "order": order.to_dict()}
        if trade is not None:
            entry["trade"] = trade.to_dict()
        entry["ledger"] = party.ledger.to_dict()
        line = orjson.dumps(entry) + b"\n"
        os.write(self._fd, line)
        self._written += len(line)
        if self._written > _LARGEST:
            self._compact()

    def restore(self, parties: Iterable[Party]) -> Last:
        """Bring the accounts to where they were; accounts that are not named any more are left out.

        Raises:
            UserError: a line within the file is none of ours.
        """
        self._parties = tuple(parties)
        by_name = {party.name: party for party in self._parties}
        last = Last()
        for number, entry in enumerate(self._entries(), 1):
            try:
                self._apply(by_name, entry, last)
            except (KeyError, TypeError, ValueError, ArithmeticError) as exc:
                raise UserError(f"{self._path}:{number}: no line of this exchange ({exc!r})") from exc
        self._compact()
        return last

    def close(self) -> None:
        """Release the file."""
        for fd in (self._fd, self._lock):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock = -1

    def _apply(self, by_name: dict[str, Party], entry: dict[str, Any], last: Last) -> None:
        party = by_name.get(entry["account"])
        if "order" in entry:
            order = Order.from_dict(entry["order"])
            last.order_id = max(last.order_id, order.order_id)
            if party is not None:
                _put(party, order)
        if "trade" in entry:
            trade = Trade.from_dict(entry["trade"])
            last.trade_id = max(last.trade_id, trade.trade_id)
            if party is not None:
                party.store.add_trade(trade)
        if party is not None and "ledger" in entry:
            party.ledger.restore(entry["ledger"])

    def _entries(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        lines = self._path.read_bytes().split(b"\n")
        return [orjson.loads(line) for line in lines[:-1]]  # what follows the last line's end was cut off

    def _compact(self) -> None:
        parts = []
        for party in self._parties:
            for symbol in party.matchings:
                parts += [
                    orjson.dumps({"account": party.name, "order": order.to_dict()}) + b"\n"
                    for order in party.store.every(symbol)
                ]
            parts += [
                orjson.dumps({"account": party.name, "trade": trade.to_dict()}) + b"\n"
                for trade in party.store.trades.values()
            ]
            parts.append(orjson.dumps({"account": party.name, "ledger": party.ledger.to_dict()}) + b"\n")
        write_atomic(self._path, parts)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        self._written = 0


def _put(party: Party, order: Order) -> None:
    """An order as the journal last saw it takes the place of what was known of it."""
    held = party.store.find(order.symbol, order.order_id, None)
    if held is None:
        order.slot = -1
        party.store.put(order)
        return
    held.__dict__.update(order.__dict__ | {"slot": -1})
    party.store.put(held)
