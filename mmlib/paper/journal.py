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

from mmlib._io import UserError, read_json, write_atomic, write_json
from mmlib.paper.accounts import Account, Credentials
from mmlib.paper.orders import Order, Trade
from mmlib.paper.party import Party

NAME = "journal.jsonl"
KEYS = "accounts.json"
_TAIL = 64
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
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
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
        self._market_ns: int | None = None

    def note(self, party: Party, order: Order, trade: Trade | None, market_ns: int) -> None:
        """Write a change down, with the market time at which it was made."""
        if self._fd < 0:
            return
        self._market_ns = market_ns
        entry: dict[str, Any] = {"account": party.name, "order": order.to_dict(), "market_ns": market_ns}
        if trade is not None:
            entry["trade"] = trade.to_dict()
        entry["ledger"] = party.ledger.to_dict()
        line = orjson.dumps(entry) + b"\n"
        os.write(self._fd, line)
        self._written += len(line)
        if self._written > _LARGEST:
            self._compact()

    def market_ns(self) -> int | None:
        """Market time of the last change: where the market goes on; None for a state without any.

        Raises:
            UserError: a line is none of ours.
        """
        known = [one["market_ns"] for one in self._entries()[-_TAIL:] if "market_ns" in one]
        return int(known[-1]) if known else None

    def restore(self, parties: Iterable[Party]) -> Last:
        """Bring the accounts to where they were; accounts that are not named any more are left out.

        Raises:
            UserError: a line within the file is none of ours.
        """
        self._parties = tuple(parties)
        by_name = {party.name: party for party in self._parties}
        last = Last()
        self._market_ns = self.market_ns()
        for number, entry in enumerate(self._entries(), 1):
            try:
                self._apply(by_name, entry, last)
            except (KeyError, TypeError, ValueError, ArithmeticError) as exc:
                raise UserError(f"{self._path}:{number}: no line of this exchange ({exc!r})") from exc
        self._compact()
        return last

    def credentials(self, account: Account) -> Credentials:
        """Key and secret of an account; those that were generated are the same as before.

        Raises:
            UserError: the file that keeps them cannot be read or written.
        """
        path = self._path.with_name(KEYS)
        known: dict[str, Any] = read_json(path) if path.exists() else {}
        credentials = Credentials(account)
        if credentials.generated:
            held = known.get(account.name)
            if held:
                credentials.key, credentials.secret = account.key or held["key"], held["secret"]
            else:
                known[account.name] = {"key": credentials.key, "secret": credentials.secret}
                write_json(path, known)
                path.chmod(0o600)
        return credentials

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
        lines = self._path.read_bytes().split(b"\n")[:-1]  # what follows the last line's end was cut off
        entries = []
        for number, line in enumerate(lines, 1):
            try:
                entries.append(orjson.loads(line))
            except orjson.JSONDecodeError as exc:
                raise UserError(
                    f"{self._path}:{number}: not JSON ({exc.msg}); expected a line of this exchange"
                ) from exc
        return entries

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
            whole: dict[str, Any] = {"account": party.name, "ledger": party.ledger.to_dict()}
            if self._market_ns is not None:
                whole["market_ns"] = self._market_ns
            parts.append(orjson.dumps(whole) + b"\n")
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
