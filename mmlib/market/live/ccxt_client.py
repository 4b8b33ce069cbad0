"""Another exchange through ccxt: its rules, snapshots of its books, and ccxt's errors under our codes. Never a key."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from ccxt.base.decimal_to_precision import DECIMAL_PLACES
from ccxt.base.errors import (
    AuthenticationError,
    BadResponse,
    BaseError,
    DDoSProtection,
    ExchangeNotAvailable,
    InvalidNonce,
    NetworkError,
    NotSupported,
    RateLimitExceeded,
    RequestTimeout,
)

from mmlib._io import UserError
from mmlib.market.live import codes
from mmlib.market.live.ccxt_exchanges import new_exchange, own_addresses, readdressed
from mmlib.market.live.rest import GRADE_HEADER, OnError, Refused, Rules, retry_s
from mmlib.market.live.venues import Venue
from mmlib.market.source import Instrument

_CLOSE_S = 1.0
_CODES: tuple[tuple[type[BaseError], str], ...] = (
    (RateLimitExceeded, codes.RATE_LIMIT),
    (DDoSProtection, codes.RATE_LIMIT),
    (RequestTimeout, codes.TIMEOUT),
    (ExchangeNotAvailable, codes.SERVER),
    (InvalidNonce, codes.GAP),  # ChecksumError too: updates of a book do not follow each other
    (NetworkError, codes.DISCONNECT),
    (BadResponse, codes.BAD_FRAME),
)
"""The first class that fits; what is none of them was refused."""


class CcxtClient:
    """One exchange through ccxt; use as an asynchronous context manager. What `RestClient` is for a raw exchange.

    Attributes:
        exchange: of ccxt.
        messages: that it was sent on its streams, subscriptions and pings included.
        lost: how often one of its streams broke.

    Args:
        on_error: is told of every failed request and of every message that is none; symbol, code and detail.
    """

    def __init__(self, venue: Venue, on_error: OnError) -> None:
        self.venue = venue
        self.exchange = new_exchange(venue.name)
        self.messages = 0
        self.lost = 0
        self._on_error = on_error
        self._markets: dict[str, dict[str, Any]] = {}
        self._closed_until = 0.0  # loop time
        if (venue.rest, venue.ws) != own_addresses(self.exchange):
            self.exchange.urls["api"] = readdressed(self.exchange.urls["api"], venue.rest, venue.ws)
        own = self.exchange.options.get("watchOrderBook") or {}
        self.exchange.options["watchOrderBook"] = {
            **own,
            "maxRetries": 1,
        }  # a failure is told, not repeated at once
        self._listen()

    async def __aenter__(self) -> CcxtClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drop_streams()
        await self.exchange.close()

    @property
    def closed_for_s(self) -> float:
        """How long nothing may be asked [s]; 0 when it may."""
        return max(self._closed_until - asyncio.get_running_loop().time(), 0.0)

    def _listen(self) -> None:
        """Count what comes on the streams, keep ccxt's reader alive on messages that are none, notice a stream that breaks."""
        opened, failed, closed = self.exchange.on_connected, self.exchange.on_error, self.exchange.on_close

        def on_connected(stream: Any, message: Any = None) -> None:
            opened(stream, message)
            stream.handle_text_or_binary_message = partial(self._take, stream.handle_text_or_binary_message)

        def on_error(stream: Any, error: Any) -> None:
            self.lost += 1
            failed(stream, error)

        def on_close(stream: Any, code: Any) -> None:
            self.lost += 1
            closed(stream, code)

        self.exchange.on_connected, self.exchange.on_error, self.exchange.on_close = (
            on_connected,
            on_error,
            on_close,
        )

    def _take(self, handle: Callable[[Any], None], data: str | bytes) -> None:
        self.messages += 1
        try:
            handle(data)
        except Exception as exc:  # any: what is raised here would end the reader without a word
            self._on_error("", codes.BAD_FRAME, f"{type(exc).__name__} {exc}"[:200])

    async def drop_streams(self) -> None:
        """Close every stream and forget the books that it built."""
        with contextlib.suppress(Exception):  # whatever state the connection is in
            async with asyncio.timeout(_CLOSE_S):
                await self.exchange.close_ws_clients()
        self.exchange.clients = {}
        self.exchange.clean_ws_data()

    # --- requests ---

    async def rules(self) -> Rules:
        """Tick and lot sizes of every spot and linear market, under each of its names that is no other's.

        Raises:
            Refused: see the code.
            UserError: the exchange wants a key for it.
        """
        await self._asked("", self.exchange.load_markets(reload=True))
        self._markets = _by_name(self.exchange.markets.values())
        sizes = {name: _sizes(market, self.exchange.precisionMode) for name, market in self._markets.items()}
        instruments = {name: Instrument(name, *size) for name, size in sizes.items() if size is not None}
        headers = self.exchange.last_response_headers or {}
        return Rules(instruments, str(headers.get(GRADE_HEADER, "")), _min_notional(self._markets))

    async def server_time_ms(self) -> int:
        """The exchange's clock.

        Raises:
            Refused: see the code; it tells no time.
        """
        if not self.exchange.has.get("fetchTime"):
            raise Refused(codes.REJECTED, f"{self.venue.name}: tells no time")
        return int(await self._asked("", self.exchange.fetch_time()))

    async def book(self, symbol: str) -> Mapping[str, Any]:
        """A snapshot of the book, as ccxt has it.

        Raises:
            Refused: see the code.
        """
        book: Mapping[str, Any] = await self._asked(
            symbol, self.exchange.fetch_order_book(self.unified(symbol))
        )
        return book

    def unified(self, symbol: str) -> str:
        """ccxt's name of a symbol that `rules` listed."""
        return str(self._markets[symbol]["symbol"])

    def contract_size(self, symbol: str) -> float:
        """Base units of one unit of quantity: 1 on spot markets."""
        return float(self._markets[symbol].get("contractSize") or 1.0)

    async def _asked(self, symbol: str, request: Any) -> Any:
        if self.closed_for_s > 0.0:
            request.close()
            detail = f"withheld, closed for {self.closed_for_s:.1f} s more"
            self._on_error(symbol, codes.RATE_LIMIT, detail)
            raise Refused(codes.RATE_LIMIT, detail)
        try:
            return await request
        except BaseError as exc:
            code, detail = self.understood(exc, streaming=False)
            self._on_error(symbol, code, detail)
            raise Refused(code, detail) from exc

    def understood(self, exc: BaseError, *, streaming: bool) -> tuple[str, str]:
        """The code of an error of ccxt and what it says; after a refusal for the rate nothing is asked for a while.

        Raises:
            UserError: no waiting mends it: a key is wanted, or there is no such stream.
        """
        detail = f"{type(exc).__name__} {exc}"[:200]
        if isinstance(exc, AuthenticationError):
            raise UserError(
                f"live:{self.venue.name}: wants a key ({detail}); expected public data, for no key is ever sent"
            ) from exc
        if isinstance(exc, NotSupported):
            raise UserError(
                f"live:{self.venue.name}: {detail}; expected an exchange with such a stream"
            ) from exc
        code = next((code for kind, code in _CODES if isinstance(exc, kind)), codes.REJECTED)
        if code == codes.RATE_LIMIT:
            headers = self.exchange.last_response_headers or {}
            self._closed_until = asyncio.get_running_loop().time() + retry_s(
                str(headers.get("Retry-After", ""))
            )
        if not streaming and (code == codes.DISCONNECT or isinstance(exc.__cause__, OSError)):
            code = codes.TIMEOUT  # no connection for a request
        return code, detail


def _by_name(markets: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Markets by every name that means just one of them: BTC-USDT, BTCUSDT, the exchange's own, upper case."""
    named: dict[str, list[dict[str, Any]]] = {}
    for market in markets:
        if market.get("option") or not (market.get("spot") or market.get("linear")):
            continue  # an inverse contract's quantity is quote currency
        dashed = market["symbol"].replace("/", "-").replace(":", "-").upper()
        plain = f"{market['base']}{market['quote']}".upper()
        for name in {dashed, plain, str(market["id"]).upper()}:
            named.setdefault(name, []).append(market)
    return {name: found[0] for name, found in named.items() if len(found) == 1}


def _min_notional(markets: Mapping[str, dict[str, Any]]) -> dict[str, float]:
    """ccxt's smallest cost of an order, of the markets that state one."""
    least = {
        name: ((market.get("limits") or {}).get("cost") or {}).get("min") for name, market in markets.items()
    }
    return {name: float(cost) for name, cost in least.items() if cost is not None}


def _sizes(market: dict[str, Any], mode: int) -> tuple[float, float] | None:
    """Tick size in quote currency and lot size in base units; None when the exchange does not say."""
    precision = market.get("precision") or {}
    price, amount = precision.get("price"), precision.get("amount")
    if price is None or amount is None:
        return None
    tick, lot = (10.0 ** -int(step) if mode == DECIMAL_PLACES else float(step) for step in (price, amount))
    lot *= float(market.get("contractSize") or 1.0)
    return (tick, lot) if tick > 0.0 and lot > 0.0 else None
