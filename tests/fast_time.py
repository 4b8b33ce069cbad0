"""A session and its loopback exchange on a clock that runs faster, so that ten minutes of a gate pass in seconds.

Only the clocks are other ones: every sleep, time-out and stamp of both sides is taken from them.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mmlib.engine.realtime import run
from mmlib.market.live import router
from mmlib.market.loopback import server


class FastClock:
    """What of the module ``time`` both sides use."""

    def __init__(self, speed: float, start_ns: int) -> None:
        self.speed = speed
        self._start_ns = start_ns
        self._began = time.monotonic_ns()

    def time_ns(self) -> int:
        return self._start_ns + int((time.monotonic_ns() - self._began) * self.speed)

    def time(self) -> float:
        return self.time_ns() / 1e9

    def monotonic_ns(self) -> int:
        return self.time_ns()

    def monotonic(self) -> float:
        return self.time_ns() / 1e9


@contextmanager
def fast_time(monkeypatch: pytest.MonkeyPatch, speed: float, start_ns: int) -> Iterator[FastClock]:
    """Within, sessions and loopback exchanges that are begun live ``speed`` times as fast, from ``start_ns`` on."""
    clock = FastClock(speed, start_ns)

    class Selector(selectors.DefaultSelector):
        def select(self, timeout=None):
            return super().select(timeout / speed if timeout else timeout)

    class Loop(asyncio.SelectorEventLoop):
        def time(self):
            return super().time() * speed

    class Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self):
            return Loop(Selector())

    with monkeypatch.context() as patch:
        for module in (run, router, server):
            patch.setattr(module, "time", clock)
        asyncio.set_event_loop_policy(Policy())
        try:
            yield clock
        finally:
            asyncio.set_event_loop_policy(None)
