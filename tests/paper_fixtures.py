"""A paper exchange in the loop of the test, and clients that know only its address."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx

from mmlib.paper.accounts import Account
from mmlib.paper.setup import Serving, Setup

ROOT = Path(__file__).resolve().parent.parent
T = TypeVar("T")
KEY, SECRET_ENV, SECRET = "K" * 64, "PAPER_TEST_SECRET", "s" * 64


def account(name: str = "paper", key: str = KEY, **given: Any) -> Account:
    latency = given.pop("latency", {"entry_ms": 2, "response_ms": 1})
    return Account.model_validate(
        {"name": name, "key": key, "secret_env": SECRET_ENV, "latency": latency, **given}
    )


def setup(**given: Any) -> Setup:
    usual: dict[str, Any] = {
        "market": "simulated",
        "venue": "binanceusdm",
        "symbols": ("BTCUSDT", "ETHUSDT"),
        "accounts": (account(),),
        "rate_per_s": 100.0,
    }
    return Setup(**{**usual, **given})


def run(work: Coroutine[Any, Any, T], limit_s: float = 240.0) -> T:
    """Run a test's coroutine; the limit is for a machine ten times slower."""

    async def limited() -> T:
        async with asyncio.timeout(limit_s):
            return await work

    return asyncio.run(limited())


class Client:
    """A client of our own that signs as the documentation says and hides nothing."""

    def __init__(self, up: Serving, key: str = KEY, secret: str = SECRET) -> None:
        self._http = httpx.AsyncClient(base_url=up.server.url, trust_env=False, timeout=60.0)
        self._key, self._secret = key, secret
        self.skew_ms = 0

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(self, verb: str, path: str, **params: Any) -> tuple[int, Any, httpx.Headers]:
        """A public request."""
        answer = await self._http.request(verb, path, params=params, headers={"X-MBX-APIKEY": self._key})
        return answer.status_code, answer.json(), answer.headers

    async def signed(self, verb: str, path: str, *, body: bool = False, **params: Any) -> tuple[int, Any]:
        """A signed request; status and body."""
        params.setdefault("timestamp", int(time.time() * 1000) + self.skew_ms)
        params.setdefault("recvWindow", 60_000)
        text = urlencode(params)
        text += "&signature=" + hmac.new(self._secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        headers = {"X-MBX-APIKEY": self._key}
        if body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            answer = await self._http.request(verb, path, content=text, headers=headers)
        else:
            answer = await self._http.request(verb, f"{path}?{text}", headers=headers)
        return answer.status_code, answer.json()

    async def order(self, **given: Any) -> tuple[int, Any]:
        """A new USD-M order; a limit order that rests unless something else is given."""
        usual = {
            "symbol": "BTCUSDT",
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "quantity": "0.010",
        }
        return await self.signed("POST", "/fapi/v1/order", body=True, **{**usual, **given})


def ccxt_at(up: Serving, exchange: Any) -> Any:
    """A client of ccxt whose addresses are ours and nothing else is changed."""
    base = up.server.url

    def ours(address: Any) -> Any:
        if isinstance(address, dict):
            return {name: ours(one) for name, one in address.items()}
        scheme, _, rest = str(address).partition("://")
        host = base.replace("http", "ws", 1) if scheme in ("ws", "wss") else base
        return f"{host}/{rest.partition('/')[2]}"

    exchange.urls["api"] = ours(exchange.urls["api"])
    return exchange
