"""The market's clock beside the server's: one runs at a chosen speed of the other, and can be stopped."""

from __future__ import annotations

import time


class MarketClock:
    """Market time, which recordings and the simulator have, as a function of the server's own.

    Args:
        origin_ns: market time when the clock is started.
        speed: market seconds in a second.
    """

    def __init__(self, origin_ns: int, speed: float = 1.0) -> None:
        self.speed = speed
        self.skew_s = 0.0
        self._origin_ns = origin_ns
        self.start()

    def start(self) -> None:
        """Let market time begin now."""
        self._began_ns = self._started_ns = time.monotonic_ns()
        self._wall_ns = time.time_ns()

    def now_ns(self) -> int:
        """Market time."""
        return self._origin_ns + int((time.monotonic_ns() - self._began_ns) * self.speed)

    def pause(self, ns: int) -> None:
        """Take back so much of the server's time: the market stood still meanwhile."""
        self._began_ns += ns

    def wall_ms(self, market_ns: int) -> int:
        """What the server's clock shows at a market time, as clients are told it [ms since 1970]."""
        passed = (market_ns - self._origin_ns) / self.speed
        return (
            self._wall_ns + (self._began_ns - self._started_ns) + int(passed)
        ) // 1_000_000 + self._skew_ms

    def wait_s(self, market_ns: int) -> float:
        """How long until a market time [s]."""
        return (market_ns - self.now_ns()) / self.speed / 1e9

    def server_ms(self) -> int:
        """The time that the exchange states."""
        return time.time_ns() // 1_000_000 + self._skew_ms

    @property
    def _skew_ms(self) -> int:
        return int(self.skew_s * 1000)
