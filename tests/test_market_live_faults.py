"""Each fault of the loopback exchange alone, over real sockets: the feed recovers, counts it, and its book is the server's."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import httpx
import pytest

from mmlib._io import UserError
from mmlib.engine.realtime.symbol import SymbolBot
from mmlib.market.live import codes
from mmlib.market.live.connection import Patience, Wiring
from mmlib.market.live.feed import LiveFeed
from mmlib.market.live.lookup import venue_of
from mmlib.market.live.rest import Refused, RestClient, instrument_of
from mmlib.market.live.router import Clock
from mmlib.market.loopback.faults import NAMES, parse_faults
from mmlib.market.loopback.flows import RecordedFlow, SimulatedFlow, flow_of
from mmlib.market.loopback.server import LoopbackExchange
from tests.live_fixtures import CONFIG, SYMBOLS

QUICK = Patience(first_retry_s=0.05, longest_retry_s=0.2, silence_s=2.0, snapshot_retry_s=0.05, open_s=2.0)
EXPECTED = {
    "drop": {codes.DISCONNECT},
    "gap": {codes.GAP},
    "duplicate": set(),
    "reorder": {codes.GAP},
    "429": {codes.RATE_LIMIT, codes.GAP},
    "5xx": {codes.SERVER, codes.GAP},
    "slow": {codes.TIMEOUT, codes.GAP},
    "silence": {codes.DISCONNECT},
    "mute": {codes.GAP},
    "garbage": {codes.BAD_FRAME},
    "skew": set(),
    "refuse": {codes.DISCONNECT},
}


class Rig:
    """A feed connected to a loopback exchange, both in this loop."""

    def __init__(self, name: str, *, rest_timeout_s: float = 0.4) -> None:
        self.name, self.errors, self._timeout_s = name, Counter(), rest_timeout_s

    async def __aenter__(self) -> Rig:
        flows = {symbol: SimulatedFlow(symbol, seed=2, rate_per_s=150.0) for symbol in SYMBOLS}
        self.exchange = await LoopbackExchange(venue_of(self.name), flows).__aenter__()
        venue = venue_of(self.name, self.exchange.url)
        self.rest = RestClient(venue, self._error, timeout_s=self._timeout_s)
        rules = await self.rest.rules()
        self.clock = Clock()
        wiring = Wiring(rules.instruments, self.clock, 10**7, self._error, patience=QUICK)
        self.feed = LiveFeed(self.rest, wiring)
        self.bots = {
            symbol: SymbolBot(CONFIG, rules.instruments[symbol], ("A",), seed=1, on_fills=lambda _: None)
            for symbol in SYMBOLS
        }
        self._task = asyncio.create_task(self.feed.run())
        assert await self.feed.rows_ready(100)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.rest.__aexit__()
        await self.exchange.__aexit__()

    def _error(self, symbol: str, code: str, detail: str) -> None:
        self.errors[code] += 1

    async def recovered(self) -> None:
        """Wait for every book, then hold the market and compare."""
        for _ in range(1000):
            if self.feed.connected.is_set() and await self.feed.rows_ready(0.01):
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)  # a gap shows with the message behind it
        assert await self.feed.rows_ready(100)
        self.exchange.armed.silent_until = time.monotonic() + 60.0
        await asyncio.sleep(0.1)
        for symbol, bot in self.bots.items():
            bot.feed(self.feed.streams[symbol].take_rows())
            bot.schedule(bot.t0_ns or self.clock())
            bot.begin(self.clock())
            served = self.exchange.served[symbol]
            wanted = {
                side: {ticks: float(f"{qty:.3f}") for ticks, qty in getattr(served, side).items()}
                for side in ("bids", "asks")
            }
            assert bot.book == wanted
        self.exchange.armed.silent_until = 0.0


def hurt(exchange: LoopbackExchange, fault: str) -> None:
    match fault:
        case "429" | "5xx":
            exchange.hurt(fault, 1)
            exchange.hurt("gap", 1)  # a reason to ask
        case "slow":
            exchange.hurt(fault, 0.3)
            exchange.hurt("gap", 1)
        case "silence":
            exchange.hurt(fault, 2.5)
        case "mute":
            exchange.hurt(fault, 0.1)
        case "refuse":
            exchange.hurt(fault, 0.2)
            exchange.hurt("drop")
        case "skew":
            exchange.hurt(fault, 5.0)
        case _:
            exchange.hurt(fault, 3)


@pytest.mark.parametrize(
    ("name", "faults"), [("binanceusdm", sorted(NAMES)), ("binance", ["drop", "gap", "reorder"])]
)
def test_a_fault_alone_is_counted_and_the_book_is_the_servers_again(name: str, faults: list[str]) -> None:
    async def main() -> dict[str, set[str]]:
        met: dict[str, set[str]] = {}
        async with Rig(name) as rig:
            for _ in range(
                2
            ):  # kernels that compile hold up the loop, which looks like silence: all of it before the first fault
                await rig.recovered()
            for fault in faults:
                rig.errors.clear()
                hurt(rig.exchange, fault)
                for _ in range(1000 if EXPECTED[fault] else 10):
                    await asyncio.sleep(0.05)
                    if EXPECTED[fault] and EXPECTED[fault] <= set(rig.errors):
                        break
                await rig.recovered()
                met[fault] = set(rig.errors)
        return met

    assert asyncio.run(main()) == {fault: EXPECTED[fault] for fault in faults}


def test_all_faults_together_and_the_book_is_the_servers_again() -> None:
    async def main() -> Counter[str]:
        async with Rig("binanceusdm") as rig:
            for fault in NAMES:
                rig.exchange.hurt(fault, 0.3 if fault in ("slow", "silence", "mute", "refuse") else 2)
            await asyncio.sleep(1.0)
            await rig.recovered()
            return rig.errors

    errors = asyncio.run(main())
    assert {codes.DISCONNECT, codes.RATE_LIMIT} <= set(errors)


def test_after_a_429_nothing_is_asked_until_the_exchange_says_so() -> None:
    async def main() -> None:
        async with Rig("binanceusdm") as rig:
            rig.exchange.hurt("429")
            with pytest.raises(Refused, match="429, closed for 1 s"):
                await rig.rest.depth("BTCUSDT")
            asked = rig.exchange.requests
            with pytest.raises(Refused, match="withheld"):
                await rig.rest.depth("BTCUSDT")
            assert rig.exchange.requests == asked
            await asyncio.sleep(1.05)
            assert b"lastUpdateId" in await rig.rest.depth("BTCUSDT")

    asyncio.run(main())


def test_the_weight_of_a_minute_is_not_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def main() -> None:
        async with Rig("binanceusdm") as rig:
            rig.rest._used_weight = 2400
            real = asyncio.sleep

            async def sleep(seconds: float) -> None:
                slept.append(seconds)
                await real(0 if seconds > 0.3 else seconds)

            monkeypatch.setattr(asyncio, "sleep", sleep)
            await rig.rest.depth("BTCUSDT")

    asyncio.run(main())
    assert any(0.3 < seconds <= 60.0 for seconds in slept)


def test_a_symbol_that_is_not_listed_is_named_and_a_request_for_it_is_an_error() -> None:
    async def main() -> None:
        async with Rig("binance") as rig:
            rules = await rig.rest.rules()
            assert rules.grade == "simulated"
            with pytest.raises(UserError, match="did you mean BTCUSDT"):
                instrument_of(rules, "BTCUSD", "there")
            with pytest.raises(Refused, match=codes.REJECTED):
                await rig.rest.depth("XYZ")

    asyncio.run(main())


def test_it_listens_on_loopback_only_and_tells_what_it_sent() -> None:
    async def main() -> None:
        async with Rig("binanceusdm") as rig:
            assert {sock.getsockname()[0] for sock in rig.exchange._server.sockets} == {"127.0.0.1"}
            async with httpx.AsyncClient() as client:
                state = (await client.get(rig.exchange.url + "/loopback")).json()
            assert set(state["sent"]) == set(SYMBOLS) and state["frames_sent"] > 0

    asyncio.run(main())


def test_faults_are_read_from_text() -> None:
    assert [(f.name, f.at_s, f.amount) for f in parse_faults("gap@45:3, drop@30")] == [
        ("drop", 30.0, 1.0),
        ("gap", 45.0, 3.0),
    ]
    for text in ("drop", "flood@3", "drop@1.2.3", "gap@x"):
        with pytest.raises(UserError, match="--faults"):
            parse_faults(text)


def test_a_recording_is_played_with_its_own_times(tmp_path) -> None:
    path = tmp_path / "raw.txt"
    head = '{"stream":"x","data":{"s":"BTCUSDT","E":1736899200000,"T":1736899200000,'
    rows = [
        (0, head + '"e":"depthUpdate","U":1,"u":2,"pu":0,"b":[["60000.0","1.0"]],"a":[["60000.1","2.0"]]}}'),
        (1, head + '"e":"trade","p":"60000.1","q":"0.5","X":"MARKET","m":false}}'),
        (2, '{"data":{"e":"trade","s":"ETHUSDT"}}'),
        (3, "junk"),
    ]
    path.write_text("".join(f"{1_736_899_200_000_000_000 + 10**9 * at} {text}\n" for at, text in rows))
    flow = flow_of(f"recording:{path}", "BTCUSDT", seed=0, rate_per_s=1.0)
    assert isinstance(flow, RecordedFlow)
    steps = list(flow.steps())
    assert [(s.at_s, len(s.bids), s.trades) for s in steps] == [
        (0.0, 1, []),
        (1.0, 0, [(600_001, 0.5, False)]),
    ]
    with pytest.raises(UserError, match="cannot be played"):
        flow_of("live:binance", "BTCUSDT", seed=0, rate_per_s=1.0)
