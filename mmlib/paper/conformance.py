"""Does an endpoint speak the contract that bots rely on? Requests, answers, order and numbers of its streams, error codes.

The rules are the public documentation's; where they need an account, key and secret come from the environment, and an order is
placed far from the touch and cancelled.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from mmlib._io import UserError
from mmlib.market.live.venues import addresses

_PATHS = {
    "binanceusdm": {"base": "/fapi/v1", "account": "/fapi/v2/account", "listen": "/fapi/v1/listenKey"},
    "binance": {"base": "/api/v3", "account": "/api/v3/account", "listen": "/api/v3/userDataStream"},
}
_MESSAGES = 20
_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Checked:
    """One rule: whether it holds (None: it could not be looked at), and what was found."""

    rule: str
    holds: bool | None
    found: str

    def to_dict(self) -> dict[str, Any]:
        """Builtin types."""
        return asdict(self)


class Contract:
    """The rules, held against one endpoint.

    Args:
        url: of REST; ``REST,WS`` where streams are elsewhere.
        key, secret: of an account; empty to leave out what needs one.
    """

    def __init__(self, url: str, venue: str, symbol: str, key: str = "", secret: str = "") -> None:
        if venue not in _PATHS:
            raise UserError(f"--venue {venue!r}: unknown; expected one of {', '.join(_PATHS)}")
        self._rest, self._ws = addresses(url)
        self._paths, self._symbol = _PATHS[venue], symbol
        self._futures = venue == "binanceusdm"
        self._key, self._secret = key, secret

    async def check(self) -> list[Checked]:
        """Every rule in turn; one that cannot be looked at for want of an account says so."""
        done = []
        async with httpx.AsyncClient(base_url=self._rest, timeout=_PATIENCE_S) as http:
            for rule, look, private in self._rules():
                if private and not self._key:
                    done.append(Checked(rule, None, "needs an account: FINISHLINE_KEY and FINISHLINE_SECRET"))
                    continue
                try:
                    async with asyncio.timeout(_PATIENCE_S):
                        found = await look(http)
                    done.append(Checked(rule, not found, found or "as documented"))
                except (httpx.HTTPError, OSError, TimeoutError, WebSocketException) as exc:
                    done.append(Checked(rule, False, f"{type(exc).__name__}: {exc}"[:200]))
                except (KeyError, IndexError, TypeError, ValueError) as exc:
                    done.append(Checked(rule, False, f"an answer of another shape ({exc!r})"[:200]))
        return done

    def _rules(self) -> list[tuple[str, Callable[[httpx.AsyncClient], Awaitable[str]], bool]]:
        base, account = self._paths["base"], self._paths["account"]
        symbol, no_symbol = {"symbol": self._symbol}, {"symbol": "NOSUCHSYMBOL"}
        order = f"{base}/order"
        base_klines, seven = f"{base}/klines", symbol | {"interval": "7s"}
        unknown, gone = symbol | {"orderId": 1}, "DELETE"
        far = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", **no_symbol}
        return [
            ("ping answers an empty object", lambda http: self._is(http, f"{base}/ping", {}), False),
            ("the clock is within a second of ours", self._clock, False),
            ("exchangeInfo has the filters that orders are held against", self._filters, False),
            ("a depth snapshot is sorted, best first, and not crossed", self._depth, False),
            ("an unknown symbol is -1121", lambda http: self._code(http, f"{base}/depth", no_symbol, -1121), False),
            ("a missing parameter is -1102", lambda http: self._code(http, f"{base}/depth", {}, -1102), False),
            ("an unknown interval is -1120", lambda http: self._code(http, base_klines, seven, -1120), False),
            ("a signed request without a key is -2014", lambda http: self._code(http, account, {"timestamp": 1}, -2014), False),
            ("weight used is in the headers", self._weight, False),
            ("book updates chain without a gap", self._chain, False),
            ("trades are numbered one by one", self._trades, False),
            ("a wrong signature is -1022", lambda http: self._private(http, account, -1022, wrong=True), True),
            ("a request of the past is -1021", lambda http: self._private(http, account, -1021, late_ms=120_000), True),
            ("an order on an unknown symbol is -1121", lambda http: self._private(http, order, -1121, "POST", given=far), True),
            ("cancel of an unknown order is -2011", lambda http: self._private(http, order, -2011, gone, given=unknown), True),
            ("an order lives, and the user stream says so in order", self._life, True),
        ]  # fmt: skip

    # --- public ---

    async def _is(self, http: httpx.AsyncClient, path: str, wanted: Any) -> str:
        answer = await http.get(path)
        return "" if (answer.status_code, answer.json()) == (200, wanted) else answer.text[:200]

    async def _code(self, http: httpx.AsyncClient, path: str, params: dict[str, Any], code: int) -> str:
        return _refused(await http.get(path, params=params), code)

    async def _clock(self, http: httpx.AsyncClient) -> str:
        began = time.time()
        theirs = (await http.get(f"{self._paths['base']}/time")).json()["serverTime"] / 1000
        off = max(began - theirs, theirs - time.time(), 0.0)
        return "" if off < 1.0 else f"{off:.1f} s apart"

    async def _filters(self, http: httpx.AsyncClient) -> str:
        info = (await http.get(f"{self._paths['base']}/exchangeInfo")).json()
        (rules,) = [one for one in info["symbols"] if one["symbol"] == self._symbol]
        known = {one["filterType"] for one in rules["filters"]}
        wanted = {"PRICE_FILTER", "LOT_SIZE", "MIN_NOTIONAL" if self._futures else "NOTIONAL"}
        missing = wanted - known
        return f"without {', '.join(sorted(missing))}" if missing else ""

    async def _depth(self, http: httpx.AsyncClient) -> str:
        params: dict[str, str | int] = {"symbol": self._symbol, "limit": 20}
        book = (await http.get(f"{self._paths['base']}/depth", params=params)).json()
        bids, asks = ([float(price) for price, _ in book[side]] for side in ("bids", "asks"))
        if bids != sorted(bids, reverse=True) or asks != sorted(asks):
            return "levels are out of order"
        return "crossed" if bids and asks and bids[0] >= asks[0] else ""

    async def _weight(self, http: httpx.AsyncClient) -> str:
        answer = await http.get(f"{self._paths['base']}/time")
        return "" if answer.headers.get("x-mbx-used-weight-1m", "").isdigit() else "no X-MBX-USED-WEIGHT-1M"

    async def _stream(self, name: str) -> list[dict[str, Any]]:
        got: list[dict[str, Any]] = []
        async with connect(f"{self._ws}/ws/{self._symbol.lower()}@{name}", proxy=None) as socket:
            while len(got) < _MESSAGES:
                got.append(json.loads(await socket.recv()))
        return got

    async def _chain(self, http: httpx.AsyncClient) -> str:
        got = await self._stream("depth@100ms")
        for before, one in pairwise(got):
            follows = one["pu"] == before["u"] if self._futures else one["U"] == before["u"] + 1
            if not follows:
                return f"after update {before['u']} came {one['U']} to {one['u']}"
        return ""

    async def _trades(self, http: httpx.AsyncClient) -> str:
        numbers = [one["t"] for one in await self._stream("trade")]
        whole = list(range(numbers[0], numbers[0] + len(numbers)))
        return "" if numbers == whole else f"numbers {numbers[:5]}..."

    # --- with an account ---

    async def _ask(
        self,
        http: httpx.AsyncClient,
        verb: str,
        path: str,
        given: dict[str, Any],
        *,
        late_ms: int = 0,
        wrong: bool = False,
    ) -> httpx.Response:
        query = urlencode(given | {"timestamp": int(time.time() * 1000) - late_ms, "recvWindow": 5000})
        signature = hmac.new(self._secret.encode(), query.encode(), hashlib.sha256).hexdigest()
        query += "&signature=" + ("0" * 64 if wrong else signature)
        return await http.request(verb, f"{path}?{query}", headers={"X-MBX-APIKEY": self._key})

    async def _private(
        self,
        http: httpx.AsyncClient,
        path: str,
        code: int,
        verb: str = "GET",
        *,
        given: dict[str, Any] | None = None,
        late_ms: int = 0,
        wrong: bool = False,
    ) -> str:
        return _refused(await self._ask(http, verb, path, given or {}, late_ms=late_ms, wrong=wrong), code)

    async def _life(self, http: httpx.AsyncClient) -> str:
        base = self._paths["base"]
        answer = await http.post(self._paths["listen"], headers={"X-MBX-APIKEY": self._key})
        states: list[str] = []
        async with connect(f"{self._ws}/ws/{answer.json()['listenKey']}", proxy=None) as socket:
            new = {
                "symbol": self._symbol,
                "side": "BUY",
                "type": "LIMIT",
                "timeInForce": "GTC",
            } | await self._far(http)
            placed = await self._ask(http, "POST", f"{base}/order", new)
            if placed.status_code != 200:
                return placed.text[:200]
            number = placed.json()["orderId"]
            gone = await self._ask(
                http, "DELETE", f"{base}/order", {"symbol": self._symbol, "orderId": number}
            )
            if gone.json().get("status") != "CANCELED":
                return gone.text[:200]
            while "CANCELED" not in states:
                event = json.loads(await socket.recv())
                body = event.get("o", event) if self._futures else event
                if isinstance(body, dict) and body.get("i") == number:
                    states.append(str(body["X"]))
        return "" if states == ["NEW", "CANCELED"] else f"states {states}"

    async def _far(self, http: httpx.AsyncClient) -> dict[str, str]:
        """Price and quantity of an order that rests and is large enough."""
        info = (await http.get(f"{self._paths['base']}/exchangeInfo")).json()
        (rules,) = [one for one in info["symbols"] if one["symbol"] == self._symbol]
        filters = {one["filterType"]: one for one in rules["filters"]}
        tick, lot = (float(filters["PRICE_FILTER"]["tickSize"]), float(filters["LOT_SIZE"]["stepSize"]))
        book = (
            await http.get(f"{self._paths['base']}/depth", params={"symbol": self._symbol, "limit": 5})
        ).json()
        ticks = int(float(book["bids"][0][0]) * 0.97 / tick)
        rule = filters.get("MIN_NOTIONAL") or filters["NOTIONAL"]
        least = 2.0 * float(rule.get("notional") or rule["minNotional"])
        lots = int(least / (ticks * tick) / lot) + 1
        return {"price": f"{ticks * tick:.8f}", "quantity": f"{lots * lot:.8f}"}


def _refused(answer: httpx.Response, code: int) -> str:
    found = answer.json()
    known = isinstance(found, dict) and found.get("code") == code and answer.status_code >= 400
    return "" if known else f"{answer.status_code} {answer.text}"[:200]
