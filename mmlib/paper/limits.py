"""Rate limits: weight a minute by address, orders by account, and the ban of those who go on regardless."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from mmlib.paper.errors import ApiError

_STRIKES = 10  # refusals in a minute before a ban
_BAN_S = 120


@dataclass(frozen=True)
class OrderLimit:
    """How many orders an account may place in an interval.

    Attributes:
        interval, count: as exchangeInfo names them, such as 10 SECOND. header: the unit in the header's name, such as 10S.
        phrase: as the refusal names it.
    """

    interval: str
    count: int
    seconds: int
    limit: int
    header: str
    phrase: str

    def rule(self) -> dict[str, str | int]:
        """The entry of exchangeInfo."""
        return {
            "rateLimitType": "ORDERS",
            "interval": self.interval,
            "intervalNum": self.count,
            "limit": self.limit,
        }


@dataclass
class _Window:
    number: int = -1
    used: int = 0


@dataclass
class Limits:
    """The counters of one venue.

    Args:
        weight_per_min: by address. orders: by account.
    """

    weight_per_min: int
    orders: Sequence[OrderLimit]
    _weight: dict[str, _Window] = field(default_factory=lambda: defaultdict(_Window))
    _placed: dict[tuple[str, str], _Window] = field(default_factory=lambda: defaultdict(_Window))
    _strikes: dict[str, _Window] = field(default_factory=lambda: defaultdict(_Window))
    _banned: dict[str, float] = field(default_factory=dict)

    def weigh(self, address: str, weight: int, now_s: float | None = None) -> None:
        """Count a request.

        Raises:
            ApiError: 429 beyond the limit, 418 for an address that went on after that.
        """
        now = time.time() if now_s is None else now_s
        until = self._banned.get(address, 0.0)
        if now < until:
            raise ApiError(
                -1003,
                f"Way too much request weight used; IP banned until {int(until * 1000)}. "
                "Please use WebSocket Streams for live updates to avoid bans.",
                418,
                int(until - now) + 1,
            )
        window = _current(self._weight[address], int(now // 60))
        window.used += weight
        if window.used > self.weight_per_min:
            self._strike(address, now)
            raise ApiError(
                -1003,
                f"Too much request weight used; current limit is {self.weight_per_min} request weight per 1 MINUTE. "
                "Please use WebSocket Streams for live updates to avoid polling the API.",
                429,
                60 - int(now % 60),
            )

    def order(self, account: str, n: int, now_s: float | None = None) -> None:
        """Count orders.

        Raises:
            ApiError: 429 beyond a limit.
        """
        now = time.time() if now_s is None else now_s
        for limit in self.orders:
            window = _current(self._placed[account, limit.header], int(now // limit.seconds))
            if window.used + n > limit.limit:
                raise ApiError(
                    -1015,
                    f"Too many new orders; current limit is {limit.limit} orders per {limit.phrase}.",
                    429,
                    limit.seconds - int(now % limit.seconds),
                )
            window.used += n

    def used_weight(self, address: str) -> int:
        """Weight of this minute."""
        return _current(self._weight[address], int(time.time() // 60)).used

    def used_orders(self, account: str) -> dict[str, int]:
        """Orders of each interval, by the unit of its header."""
        now = time.time()
        return {
            limit.header: _current(self._placed[account, limit.header], int(now // limit.seconds)).used
            for limit in self.orders
        }

    def _strike(self, address: str, now: float) -> None:
        window = _current(self._strikes[address], int(now // 60))
        window.used += 1
        if window.used >= _STRIKES:
            self._banned[address] = now + _BAN_S


def _current(window: _Window, number: int) -> _Window:
    if window.number != number:
        window.number, window.used = number, 0
    return window
