"""A loopback exchange in a thread of its own, and a session against it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mmlib.config.models import Config
from mmlib.market.live.lookup import venue_of
from mmlib.market.loopback.flows import SimulatedFlow
from mmlib.market.loopback.server import LoopbackExchange

CONFIG = Config.model_validate(
    {
        "pipeline": {"tick_interval_ms": 100},
        "quoting": {"base_spread_bps": 0.5, "max_inventory_notional": 3000.0},
        "risk_guards": {"enabled": False},
        "trace": {"sample_rate": 1.0},
    }
)
SYMBOLS = ("BTCUSDT", "ETHUSDT")


class Hosted:
    """The exchange as another thread sees it: every call runs in its loop."""

    def __init__(self, exchange: LoopbackExchange, loop: asyncio.AbstractEventLoop) -> None:
        self.exchange, self._loop = exchange, loop
        self.url = exchange.url

    def hurt(self, name: str, amount: float = 1.0) -> None:
        self._loop.call_soon_threadsafe(self.exchange.hurt, name, amount)


@contextmanager
def loopback(name: str = "binanceusdm", *, rate_per_s: float = 100.0, seed: int = 1) -> Iterator[Hosted]:
    ready: list[Hosted] = []
    begun, over = threading.Event(), threading.Event()

    async def main() -> None:
        flows = {symbol: SimulatedFlow(symbol, seed=seed, rate_per_s=rate_per_s) for symbol in SYMBOLS}
        async with LoopbackExchange(venue_of(name), flows) as exchange:
            ready.append(Hosted(exchange, asyncio.get_running_loop()))
            begun.set()
            await asyncio.to_thread(over.wait, 300)

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert begun.wait(1200)  # the simulator may have to be compiled first
    try:
        yield ready[0]
    finally:
        over.set()
        thread.join(100)
