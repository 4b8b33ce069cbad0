"""The public REST interface: snapshots, instrument rules, server time; rate limits kept, every failure under its code."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx
import orjson

from mmlib._io import UserError
from mmlib.market.live import codes
from mmlib.market.live.venues import RawVenue, Venue, did_you_mean
from mmlib.market.source import Instrument

_TIMEOUT_S = 5.0
_DEFAULT_RETRY_S = 5.0
_LONGEST_RETRY_S = 600.0
_LARGEST = 1 << 26  # bytes of an answer; exchangeInfo has five to ten million
_OF_THE_WIRE = frozenset({"content-encoding", "content-length", "transfer-encoding"})
_SAFE_SHARE = 0.9  # of the weight a minute; the rest is for others behind the same address
_WEIGHT_HEADER = "x-mbx-used-weight-1m"
GRADE_HEADER = "x-finishline-grade"
"""Set by the loopback exchange only: what it plays is worth no more than this grade."""

OnError = Callable[[str, str, str], None]
"""Takes symbol (empty: of no symbol), code and detail."""


class Refused(Exception):
    """A request that brought nothing; the code says why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Rules:
    """What an exchange says of itself.

    Attributes:
        instruments: by symbol.
        grade: whose grade its data are of; empty for a real exchange.
        min_notional: by symbol, the smallest order that it takes [quote currency], where it states one.
    """

    instruments: dict[str, Instrument]
    grade: str
    min_notional: Mapping[str, float] = field(default_factory=dict)


class Client(Protocol):
    """What a session asks of an exchange beside its streams: `RestClient`, or ccxt's (`ccxt_client.CcxtClient`)."""

    @property
    def venue(self) -> Venue:
        """Whom it asks."""
        ...

    @property
    def closed_for_s(self) -> float:
        """How long nothing may be asked [s]; 0 when it may."""
        ...

    async def server_time_ms(self) -> int:
        """The exchange's clock."""
        ...

    async def rules(self) -> Rules:
        """Tick and lot sizes."""
        ...


class RestClient:
    """Asynchronous client of one exchange.

    After a 429 or 418 nothing is sent until ``Retry-After`` has passed; near the weight limit of the minute it waits for
    the next one. Use as an asynchronous context manager.

    Args:
        on_error: is told of every failure.
        timeout_s: for a whole answer.
    """

    def __init__(self, venue: RawVenue, on_error: OnError, *, timeout_s: float = _TIMEOUT_S) -> None:
        self.venue = venue
        self._on_error = on_error
        self._timeout_s = timeout_s
        self._client = httpx.AsyncClient(base_url=venue.rest, timeout=timeout_s, trust_env=True)
        self._closed_until = 0.0  # loop time
        self._used_weight = 0
        self._weight_minute = -1
        self.requests = 0

    async def __aenter__(self) -> RestClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    @property
    def closed_for_s(self) -> float:
        """How long nothing may be asked [s]; 0 when it may."""
        return max(self._closed_until - asyncio.get_running_loop().time(), 0.0)

    async def depth(self, symbol: str) -> bytes:
        """A snapshot of the book, as it came.

        Raises:
            Refused: see the code.
        """
        params = {"symbol": symbol.upper(), "limit": str(self.venue.depth_limit)}
        return (await self._get(self.venue.depth_path, params, self.venue.depth_weight, symbol)).content

    async def server_time_ms(self) -> int:
        """The exchange's clock.

        Raises:
            Refused: see the code.
        """
        answer = _json(await self._get(self.venue.time_path, {}, 1))
        try:
            return int(answer["serverTime"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise Refused(
                codes.BAD_FRAME, f"{self.venue.time_path}: no serverTime; expected milliseconds"
            ) from None

    async def rules(self) -> Rules:
        """Tick and lot sizes of every symbol.

        Raises:
            Refused: see the code.
        """
        response = await self._get(self.venue.info_path, {}, 20)
        grade = response.headers.get(GRADE_HEADER, "")
        info = _json(response)
        try:
            return Rules(_instruments(info), grade, _min_notional(info))
        except (AttributeError, TypeError, KeyError) as exc:
            raise Refused(
                codes.BAD_FRAME, f"{self.venue.info_path}: {exc}; expected a list of symbols with filters"
            ) from None

    async def _get(self, path: str, params: dict[str, str], weight: int, symbol: str = "") -> httpx.Response:
        def refused(code: str, detail: str) -> Refused:
            self._on_error(symbol, code, detail)
            return Refused(code, detail)

        loop = asyncio.get_running_loop()
        if self.closed_for_s > 0.0:
            raise refused(codes.RATE_LIMIT, f"{path}: withheld, closed for {self.closed_for_s:.1f} s more")
        await self._room(weight)
        self.requests += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._answer(path, params)
        except (TimeoutError, httpx.TimeoutException):
            raise refused(codes.TIMEOUT, f"{path}: no answer in {self._timeout_s:g} s") from None
        except httpx.HTTPError as exc:
            raise refused(codes.TIMEOUT, f"{path}: {type(exc).__name__} {exc}".strip()) from None
        used = response.headers.get(_WEIGHT_HEADER, "")
        if used.isdigit():
            self._used_weight = int(used)
        status = response.status_code
        if status in (418, 429):
            wait_s = retry_s(response.headers.get("retry-after", ""))
            self._closed_until = loop.time() + wait_s
            raise refused(codes.RATE_LIMIT, f"{path}: {status}, closed for {wait_s:g} s")
        if status >= 500:
            raise refused(codes.SERVER, f"{path}: {status}")
        if status != 200:
            raise refused(codes.REJECTED, f"{path}: {status} {response.text[:120]}")
        return response

    async def _answer(self, path: str, params: dict[str, str]) -> httpx.Response:
        """The whole answer, unpacked; one that grows beyond ``_LARGEST`` is left where it is.

        Raises:
            httpx.DecodingError: it is larger.
        """
        async with self._client.stream("GET", path, params=params) as response:
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > _LARGEST:
                    raise httpx.DecodingError(f"more than {_LARGEST:,} bytes, unpacked; expected fewer")
        headers = [(k, v) for k, v in response.headers.multi_items() if k.lower() not in _OF_THE_WIRE]
        return httpx.Response(
            response.status_code, headers=headers, content=bytes(body), request=response.request
        )

    async def _room(self, weight: int) -> None:
        """Wait for the next minute when this one's weight is used up."""
        loop = asyncio.get_running_loop()
        minute = int(loop.time() // 60)
        if minute != self._weight_minute:
            self._weight_minute, self._used_weight = minute, 0
        if self._used_weight + weight > _SAFE_SHARE * self.venue.weight_per_min:
            await asyncio.sleep((minute + 1) * 60 - loop.time())
            self._weight_minute, self._used_weight = minute + 1, 0
        self._used_weight += weight


def retry_s(text: str) -> float:
    """What a ``Retry-After`` in seconds asks for [s], within reason; a usual wait when there is none."""
    try:
        wait_s = float(text)
    except ValueError:
        return _DEFAULT_RETRY_S
    return min(max(wait_s, 0.0), _LONGEST_RETRY_S)


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        answer = orjson.loads(response.content)
    except orjson.JSONDecodeError as exc:
        raise Refused(codes.BAD_FRAME, f"{response.url.path}: not JSON ({exc.msg})") from None
    if not isinstance(answer, dict):
        raise Refused(codes.BAD_FRAME, f"{response.url.path}: no JSON object")
    return answer


def _instruments(info: dict[str, Any]) -> dict[str, Instrument]:
    """Symbols whose price and lot filters are there."""
    found = {}
    for entry in info.get("symbols", ()):
        filters = {rule.get("filterType"): rule for rule in entry.get("filters", ())}
        try:
            tick = float(filters["PRICE_FILTER"]["tickSize"])
            lot = float(filters["LOT_SIZE"]["stepSize"])
        except (KeyError, TypeError, ValueError):
            continue
        if tick > 0.0 and lot > 0.0:
            found[str(entry["symbol"])] = Instrument(str(entry["symbol"]), tick, lot)
    return found


def _min_notional(info: dict[str, Any]) -> dict[str, float]:
    """What spot calls ``minNotional`` and futures ``notional``."""
    found = {}
    for entry in info.get("symbols", ()):
        for rule in entry.get("filters", ()):
            if rule.get("filterType") in ("NOTIONAL", "MIN_NOTIONAL"):
                with contextlib.suppress(TypeError, ValueError):
                    found[str(entry["symbol"])] = float(rule.get("minNotional", rule.get("notional")))
    return found


def check_order_size(rules: Rules, symbol: str, notional: float, place: str) -> None:
    """Refuse to rehearse with orders that the exchange would not take.

    Args:
        notional: of one quote [quote currency].

    Raises:
        UserError: it is below the exchange's smallest order.
    """
    least = rules.min_notional.get(symbol.upper(), 0.0)
    if notional < least:
        raise UserError(
            f"quoting.order_notional: {notional:g}; expected at least {least:g}, the smallest order of {symbol} at {place}"
        )


def instrument_of(rules: Rules, symbol: str, place: str) -> Instrument:
    """The rules of one symbol.

    Raises:
        UserError: the exchange does not list it.
    """
    found = rules.instruments.get(symbol.upper())
    if found is None:
        hint = did_you_mean(symbol.upper(), rules.instruments, n=3)
        raise UserError(f"{place}: symbol {symbol} is not listed there; expected one of its symbols{hint}")
    return found


async def read_rules(rest: Client, tries: int = 4) -> Rules:
    """Instrument rules, asked for again after a failure that may pass.

    Raises:
        UserError: the exchange does not answer.
    """
    for left in range(tries - 1, -1, -1):
        try:
            return await rest.rules()
        except Refused as exc:
            if not left or exc.code == codes.REJECTED:
                raise UserError(
                    f"{rest.venue.rest}: {exc}; expected the exchange's public interface (--live-url?)"
                ) from exc
            await asyncio.sleep(max(rest.closed_for_s, 0.5))
    raise AssertionError("unreachable")
