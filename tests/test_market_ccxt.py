"""ccxt as a coarser source, against the loopback exchange: no path differs from live but the address."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import ccxt.pro
import pytest
from ccxt.base import errors

from mmlib._io import UserError
from mmlib.dtypes import Grade
from mmlib.engine.measure import measure
from mmlib.engine.realtime.options import LiveUri
from mmlib.engine.realtime.symbol import SymbolBot
from mmlib.engine.realtime.watching import with_values
from mmlib.engine.session import SessionSpec, run_session
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.sidecar import read_sidecar
from mmlib.market.live import codes, recorder
from mmlib.market.live.ccxt_client import CcxtClient
from mmlib.market.live.ccxt_exchanges import ccxt_venue, streamed
from mmlib.market.live.clients import client_of, feed_of
from mmlib.market.live.connection import Patience, Wiring
from mmlib.market.live.lookup import venue_of
from mmlib.market.live.rest import Refused, instrument_of, read_rules
from mmlib.market.live.router import Clock
from mmlib.market.live.venues import raw_venue_of
from mmlib.market.loopback.flows import SimulatedFlow
from mmlib.market.loopback.server import LoopbackExchange
from mmlib.market.opening import open_source
from tests.live_fixtures import CONFIG, SYMBOLS, loopback

pytestmark = pytest.mark.usefixtures("live_kernels")

QUICK = Patience(first_retry_s=0.05, longest_retry_s=0.2, silence_s=1.0)
EXPECTED = {
    "drop": {codes.DISCONNECT},
    "gap": {codes.GAP},
    "reorder": {codes.GAP},
    "mute": {codes.GAP},
    "garbage": {codes.BAD_FRAME},
    "silence": {codes.DISCONNECT},
    "duplicate": set(),
    "429": {codes.RATE_LIMIT},
    "5xx": {codes.SERVER},
}
AMOUNTS = {"silence": 1.5, "mute": 0.2, "429": 1, "5xx": 1}


def fills_of(feeds: Path) -> list[tuple[str, ...]]:
    rows = read_feeds(feeds, "fills").frame.itertuples(index=False, name=None)
    return sorted(tuple(map(repr, row)) for row in rows)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Feeds and recording of a session on an exchange that only ccxt reads; its stream breaks once."""
    home = tmp_path_factory.mktemp("ccxt")
    with loopback("binance", rate_per_s=150.0) as host:
        uri = LiveUri("binanceus", host.url, home / "raw.gz").text()
        spec = SessionSpec(uri, SYMBOLS, ("A", "B"), 3.0, seed=3)
        run_session(spec, CONFIG, home / "feeds")
    return home / "feeds", home / "raw.gz"


def test_a_session_says_in_its_evidence_that_its_books_were_coalesced(session) -> None:
    feeds, _ = session
    stated = read_sidecar(feeds)
    assert stated is not None
    assert (stated["grade"], stated["complete"]) == ("simulated", True)
    assert stated["caveats"] == [
        "order books coalesced by ccxt: queue positions and fills are coarser than from raw streams"
    ]
    assert "ccxt 4." in stated["runs"][0]["description"] and "books from" in stated["runs"][0]["description"]
    assert stated["instruments"]["BTCUSDT"] == {"tick_size": 0.1, "lot_size": 0.001}
    quality = stated["quality"]["BTCUSDT"]
    assert quality["ticks"] == 30 and quality["stream_books"] > 20 and quality["stream_trades"] > 5
    assert "coalesced by ccxt" in measure(feeds, planned_s=3.0).evidence
    assert len(fills_of(feeds)) > 3


def test_its_recording_replays_to_its_fills_and_stays_coarse(session, tmp_path: Path) -> None:
    feeds, raw = session
    again = run_session(
        SessionSpec(f"recording:{raw}", SYMBOLS, ("A", "B"), 3.0, seed=3), CONFIG, tmp_path / "again"
    )
    assert fills_of(again.feeds) == fills_of(feeds)
    stated = read_sidecar(again.feeds)
    assert stated is not None and "coalesced by ccxt" in stated["caveats"][0]
    assert again.grade is Grade.SIMULATED
    source = open_source(f"recording:{raw}", "BTCUSDT")
    assert source.caveat and source.quality["bad_lines"] == 0 and source.quality["sequence_gaps"] == 0


@pytest.mark.parametrize(("served_as", "name"), [("binance", "binanceus"), ("binanceusdm", "binanceusdm")])
def test_orders_that_the_exchange_would_not_take_are_refused_before_the_session(
    served_as: str, name: str, tmp_path: Path
) -> None:
    """Through ccxt and through our own client alike."""
    small = with_values(CONFIG, {"quoting.order_notional": 4.0})
    with loopback(served_as) as host:
        spec = SessionSpec(LiveUri(name, host.url).text(), ("BTCUSDT",), ("A",), 1.0)
        with pytest.raises(
            UserError, match=r"order_notional: 4; expected at least 5, .* BTCUSDT at http://127"
        ):
            run_session(spec, small, tmp_path / "feeds")


class Rig:
    """A ccxt client and its feed connected to a loopback exchange, all in this loop."""

    def __init__(self, served_as: str, name: str) -> None:
        self.served_as, self.name, self.errors = served_as, name, Counter()

    async def __aenter__(self) -> Rig:
        flows = {symbol: SimulatedFlow(symbol, seed=2, rate_per_s=150.0) for symbol in SYMBOLS}
        self.exchange = await LoopbackExchange(raw_venue_of(self.served_as), flows).__aenter__()
        self.client = await CcxtClient(ccxt_venue(self.name, self.exchange.url), self._error).__aenter__()
        self.client.exchange.enableRateLimit = False  # the tests' patience, not the exchange's
        rules = await read_rules(self.client)
        instruments = {symbol: instrument_of(rules, symbol, "there") for symbol in SYMBOLS}
        self.clock = Clock()
        wiring = Wiring(instruments, self.clock, 10**7, self._error, patience=QUICK)
        self.feed = feed_of(self.client, wiring)
        self.bots = {
            symbol: SymbolBot(CONFIG, instruments[symbol], ("A",), seed=1, on_fills=lambda _: None)
            for symbol in SYMBOLS
        }
        self._task = asyncio.create_task(self.feed.run())
        assert await self.feed.rows_ready(100)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.client.__aexit__()
        await self.exchange.__aexit__()

    def _error(self, symbol: str, code: str, detail: str) -> None:
        self.errors[code] += 1

    async def met(self, wanted: set[str]) -> None:
        for _ in range(800 if wanted else 10):
            await asyncio.sleep(0.05)
            if wanted and wanted <= set(self.errors):
                return

    async def recovered(self) -> None:
        """Wait until the streams are up, then hold the market and compare the books."""
        for _ in range(1000):
            if self.feed.connected.is_set() and await self.feed.rows_ready(0.01):
                break
            await asyncio.sleep(0.05)
        before = {symbol: stream.counts["books"] for symbol, stream in self.feed.streams.items()}
        for _ in range(100):  # each book came again, so that its snapshot is joined
            if all(stream.counts["books"] > before[symbol] for symbol, stream in self.feed.streams.items()):
                break
            await asyncio.sleep(0.05)
        self.exchange.armed.silent_until = time.monotonic() + 60.0
        await asyncio.sleep(0.2)
        for symbol, bot in self.bots.items():
            bot.feed(self.feed.streams[symbol].take_rows())
            bot.schedule(bot.t0_ns or self.clock())
            bot.begin(self.clock())
            served = self.exchange.served[symbol]
            assert bot.book == {
                side: {ticks: float(f"{qty:.3f}") for ticks, qty in getattr(served, side).items()}
                for side in ("bids", "asks")
            }
        self.exchange.armed.silent_until = 0.0


@pytest.mark.parametrize(
    ("served_as", "name", "faults"),
    [("binance", "binanceus", list(EXPECTED)), ("binanceusdm", "binanceusdm", ["drop", "gap"])],
)
def test_a_fault_is_counted_under_its_code_and_the_book_is_the_servers_again(
    served_as: str, name: str, faults: list[str]
) -> None:
    async def main() -> dict[str, set[str]]:
        met: dict[str, set[str]] = {}
        async with Rig(served_as, name) as rig:
            await rig.recovered()  # kernels are compiled by now
            await rig.recovered()
            for fault in faults:
                rig.errors.clear()
                rig.exchange.hurt(fault, AMOUNTS.get(fault, 2))
                if fault in ("429", "5xx"):
                    assert not await rig.feed.fetch("BTCUSDT")
                await rig.met(EXPECTED[fault])
                await rig.recovered()
                met[fault] = set(rig.errors)
                if fault == "429":  # until the second that it asked for is over
                    with pytest.raises(Refused, match="withheld"):
                        await rig.client.book("BTCUSDT")
                    await asyncio.sleep(rig.client.closed_for_s)
        return met

    assert asyncio.run(main()) == {fault: EXPECTED[fault] for fault in faults}


def test_a_stale_book_is_fetched_and_an_exchange_that_is_gone_says_so() -> None:
    async def main() -> None:
        async with Rig("binance", "binanceus") as rig:
            rig.exchange.armed.silent_until = time.monotonic() + 60.0
            asked = rig.exchange.requests
            assert await rig.feed.fetch("ETHUSDT")
            assert rig.exchange.requests == asked + 1
            assert abs(await rig.client.server_time_ms() - time.time() * 1000) < 5000

    asyncio.run(main())

    async def nobody() -> None:
        async with client_of(ccxt_venue("binanceus", "http://127.0.0.1:9"), lambda *_: None) as client:
            with pytest.raises(UserError, match=r"127\.0\.0\.1:9: ERR_TIMEOUT"):
                await read_rules(client, tries=1)

    asyncio.run(nobody())


def test_recording_without_a_bot_goes_through_ccxt_as_well(tmp_path: Path) -> None:
    with loopback("binance", rate_per_s=150.0) as host:
        venue = venue_of("binanceus", host.url)
        done = asyncio.run(
            recorder.record(venue, ["BTCUSDT"], tmp_path / "raw.gz", seconds=1.5, stop=asyncio.Event())
        )
    assert done.lines > 20 and not done.errors
    source = open_source(f"recording:{tmp_path / 'raw.gz'}", "BTCUSDT")
    assert source.grade is Grade.SIMULATED and "coalesced" in source.caveat


# --- rules, names, errors ---


def market(symbol: str, **more: Any) -> dict[str, Any]:
    base, _, rest = symbol.partition("/")
    quote, _, settle = rest.partition(":")
    kind = {"spot": not settle, "swap": bool(settle), "linear": settle == quote, "option": False}
    return {
        "symbol": symbol, "id": f"{base}{quote}", "base": base, "quote": quote, "contractSize": None,
        "precision": {"price": 0.01, "amount": 0.001}, **kind, **more,
    }  # fmt: skip


def rules_of(
    markets: list[dict[str, Any]], mode: int = ccxt.pro.binanceus.precisionMode
) -> dict[str, tuple[float, float]]:
    async def main() -> dict[str, tuple[float, float]]:
        async with CcxtClient(ccxt_venue("binanceus"), lambda *_: None) as client:
            client.exchange.precisionMode = mode

            async def load_markets(reload: bool) -> None:
                client.exchange.markets = {one["symbol"]: one for one in markets}

            client.exchange.load_markets = load_markets
            rules = await client.rules()
            return {name: (one.tick_size, one.lot_size) for name, one in rules.instruments.items()}

    return asyncio.run(main())


def test_tick_and_lot_follow_the_precision_mode_and_the_contract_size() -> None:
    steps = rules_of([market("BTC/USDT"), market("SOL/USDT:USDT", contractSize=0.1)], mode=4)
    assert steps["BTCUSDT"] == (0.01, 0.001)
    assert steps["SOLUSDT"] == (0.01, pytest.approx(0.0001))
    digits = rules_of([market("BTC/USDT", precision={"price": 2, "amount": 3})], mode=2)
    assert digits["BTCUSDT"] == (pytest.approx(0.01), pytest.approx(0.001))
    assert rules_of([market("BTC/USDT", precision={"price": None, "amount": 0.1})], mode=4) == {}


def test_a_name_of_two_markets_is_nobodys_and_an_inverse_contract_is_left_out() -> None:
    found = rules_of([market("BTC/USDT"), market("BTC/USDT:USDT"), market("BTC/USD:BTC")], mode=4)
    assert set(found) == {"BTC-USDT", "BTC-USDT-USDT"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("krakn", "unknown exchange; .* did you mean kraken"),
        ("bitbank", "streams no order books and trades"),
        ("bitfinex", "ticks that depend on the price"),
    ],
)
def test_an_exchange_that_cannot_be_had_is_refused_with_those_that_can(name: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as raised:
        LiveUri.parse(f"live:{name}")
    assert "binanceus" in str(raised.value)
    assert name not in streamed()


def test_another_address_replaces_every_address_and_no_key_is_known() -> None:
    venue = venue_of("okx", "https://proxy.example/x,wss://stream.example")

    async def main() -> None:
        async with CcxtClient(venue, lambda *_: None) as client:
            urls = client.exchange.urls["api"]
            assert (urls["rest"], urls["ws"]) == ("https://proxy.example/x", "wss://stream.example/ws/v5")
            assert not client.exchange.check_required_credentials(False)

    asyncio.run(main())
    with pytest.raises(UserError, match="carries a name, a key or a query"):
        venue_of("okx", "https://me:secret@proxy.example")


@pytest.mark.parametrize(
    ("error", "streaming", "code"),
    [
        (errors.RateLimitExceeded, False, codes.RATE_LIMIT),
        (errors.DDoSProtection, True, codes.RATE_LIMIT),
        (errors.RequestTimeout, False, codes.TIMEOUT),
        (errors.ExchangeNotAvailable, False, codes.SERVER),
        (errors.OnMaintenance, True, codes.SERVER),
        (errors.NetworkError, True, codes.DISCONNECT),
        (errors.NetworkError, False, codes.TIMEOUT),
        (errors.ChecksumError, True, codes.GAP),
        (errors.NullResponse, False, codes.BAD_FRAME),
        (errors.BadSymbol, True, codes.REJECTED),
    ],
)
def test_errors_of_ccxt_have_our_codes(error: type[Exception], streaming: bool, code: str) -> None:
    async def main() -> str:
        async with CcxtClient(ccxt_venue("binanceus"), lambda *_: None) as client:
            found = client.understood(error("x"), streaming=streaming)[0]
            assert (client.closed_for_s > 0.0) == (code == codes.RATE_LIMIT)
            return found

    assert asyncio.run(main()) == code


@pytest.mark.parametrize("error", [errors.AuthenticationError, errors.NotSupported])
def test_what_no_waiting_mends_ends_the_session(error: type[Exception]) -> None:
    async def main() -> None:
        async with CcxtClient(ccxt_venue("binanceus"), lambda *_: None) as client:
            client.understood(error("x"), streaming=True)

    with pytest.raises(UserError, match="live:binanceus"):
        asyncio.run(main())
