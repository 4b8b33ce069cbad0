"""The spot side of the paper exchange: balances, locks, cancel-replace, amend, the WebSocket API, refusals."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from websockets.asyncio.client import connect

from mmlib.paper.setup import serving
from tests.paper_fixtures import KEY, SECRET, SECRET_ENV, Client, account, ccxt_at, run, setup

START = {"USDT": 10_000, "BTC": 1}


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_ENV, SECRET)


def spot(**given: Any) -> Any:
    return setup(venue="binance", symbols=("BTCUSDT",), accounts=(account(balances=START),), **given)


def price_of(up: Any, away: int) -> str:
    tape = up.exchange.tapes["BTCUSDT"]
    return str(tape.rules.price.text((tape.best_bid or 0) - away))


async def place(client: Client, **given: Any) -> tuple[int, Any]:
    usual = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
    return await client.signed("POST", "/api/v3/order", body=True, **{**usual, **given})


async def balances(client: Client) -> dict[str, tuple[Decimal, Decimal]]:
    _, answer = await client.signed("GET", "/api/v3/account")
    return {one["asset"]: (Decimal(one["free"]), Decimal(one["locked"])) for one in answer["balances"]}


def test_what_an_order_needs_is_locked_and_given_back() -> None:
    async def main() -> None:
        async with serving(spot()) as up, Client(up) as client:
            price = price_of(up, 500)
            status, placed = await place(client, price=price)
            assert (status, placed["status"], placed["fills"]) == (200, "NEW", [])
            needed = Decimal(price) * Decimal("0.01")
            assert (await balances(client))["USDT"] == (10_000 - needed, needed)
            _, amended = await client.signed(
                "PUT",
                "/api/v3/order/amend/keepPriority",
                symbol="BTCUSDT",
                orderId=placed["orderId"],
                newQty="0.004",
            )
            assert amended["amendedOrder"]["origQty"] == "0.00400000"
            assert (await balances(client))["USDT"][1] == Decimal(price) * Decimal("0.004")
            await client.signed("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=placed["orderId"])
            assert (await balances(client))["USDT"] == (10_000, 0)

            _, bought = await place(client, type="MARKET", timeInForce="")
            paid = sum(Decimal(one["price"]) * Decimal(one["qty"]) for one in bought["fills"])
            fee = sum(Decimal(one["commission"]) for one in bought["fills"])
            assert {one["commissionAsset"] for one in bought["fills"]} == {"BTC"}
            after = await balances(client)
            assert after["USDT"][0] == 10_000 - paid and after["BTC"][0] == 1 + Decimal("0.01") - fee

    run(main())


def test_cancel_replace_says_which_half_failed() -> None:
    async def main() -> None:
        async with serving(spot()) as up, Client(up) as client:
            _, first = await place(client, price=price_of(up, 500))
            both = {
                "symbol": "BTCUSDT",
                "side": "BUY",
                "type": "LIMIT",
                "timeInForce": "GTC",
                "quantity": "0.01",
            }
            ask = ("POST", "/api/v3/order/cancelReplace")
            status, answer = await client.signed(
                *ask,
                **both,
                price=price_of(up, 400),
                cancelReplaceMode="STOP_ON_FAILURE",
                cancelOrderId=first["orderId"],
            )
            assert (status, answer["cancelResult"], answer["newOrderResult"]) == (200, "SUCCESS", "SUCCESS")
            status, answer = await client.signed(
                *ask,
                **both,
                price=price_of(up, 400),
                cancelReplaceMode="STOP_ON_FAILURE",
                cancelOrderId=first["orderId"],
            )
            assert (status, answer["code"], answer["data"]["newOrderResult"]) == (400, -2022, "NOT_ATTEMPTED")
            status, answer = await client.signed(
                *ask,
                **both,
                price=price_of(up, 300),
                cancelReplaceMode="ALLOW_FAILURE",
                cancelOrderId=first["orderId"],
            )
            assert (status, answer["code"], answer["data"]["cancelResponse"]["code"]) == (409, -2021, -2011)

    run(main())


@pytest.fixture(scope="module")
def shared() -> Iterator[Any]:
    patch = pytest.MonkeyPatch()
    patch.setenv(SECRET_ENV, SECRET)
    loop = asyncio.new_event_loop()
    context = serving(spot())
    up = loop.run_until_complete(context.__aenter__())
    client = Client(up)
    yield loop, client
    loop.run_until_complete(client.__aexit__())
    loop.run_until_complete(context.__aexit__(None, None, None))
    loop.close()
    patch.undo()


@pytest.mark.parametrize(
    ("given", "code", "text"),
    [
        ({"price": "59000.05"}, -1013, "Filter failure: PRICE_FILTER"),
        ({"price": "59000.123456789"}, -1111, "Parameter 'price' has too much precision."),
        ({"quantity": "0.0015"}, -1013, "Filter failure: LOT_SIZE"),
        ({"price": "3000", "quantity": "0.001"}, -1013, "Filter failure: NOTIONAL"),
        ({"price": "90000"}, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
        ({"quantity": "5"}, -2010, "Account has insufficient balance for requested action."),
        (
            {"price": "60500", "type": "LIMIT_MAKER", "timeInForce": ""},
            -2010,
            "Order would immediately match and take.",
        ),
        ({"type": "LIMIT_MAKER"}, -1106, "Parameter 'timeInForce' sent when not required."),
        ({"timeInForce": "GTX"}, -1115, "Invalid timeInForce."),
        ({"symbol": "XXX"}, -1121, "Invalid symbol."),
    ],
)
def test_what_is_wrong_with_an_order_has_its_code(
    shared: Any, given: dict[str, Any], code: int, text: str
) -> None:
    loop, client = shared
    assert loop.run_until_complete(place(client, **{"price": "59000", **given})) == (
        400,
        {"code": code, "msg": text},
    )


def signed(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters of the WebSocket API, signed in the order of their names."""
    whole = {"apiKey": KEY, "timestamp": int(time.time() * 1000), "recvWindow": 60_000, **params}
    text = "&".join(f"{name}={whole[name]}" for name in sorted(whole))
    return whole | {"signature": hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()}


def test_the_websocket_api_trades_and_streams_on_one_connection() -> None:
    async def main() -> None:
        async with serving(spot()) as up, connect(f"ws{up.server.url[4:]}/ws-api/v3", proxy=None) as socket:
            events: list[Any] = []

            async def ask(method: str, params: dict[str, Any]) -> Any:
                await socket.send(json.dumps({"id": method, "method": method, "params": params}))
                while True:
                    message = json.loads(await socket.recv())
                    if "event" in message:
                        events.append(message["event"])
                    elif message["id"] == method:
                        return message

            followed = await ask("userDataStream.subscribe.signature", signed({}))
            assert followed["result"] == {"subscriptionId": 0}
            order = {
                "symbol": "BTCUSDT",
                "side": "SELL",
                "type": "LIMIT_MAKER",
                "price": price_of(up, -900),
                "quantity": "0.01",
            }
            placed = await ask("order.place", signed(order))
            assert placed["status"] == 200 and placed["result"]["symbol"] == "BTCUSDT"
            refused = await ask("order.place", signed({**order, "quantity": "0.0015"}))
            assert (refused["status"], refused["error"]["code"]) == (400, -1013)
            number = placed["result"]["orderId"]
            assert (await ask("order.status", signed({"symbol": "BTCUSDT", "orderId": number})))["result"][
                "status"
            ] == "NEW"
            await ask("order.cancel", signed({"symbol": "BTCUSDT", "orderId": number}))
            while "CANCELED" not in [one.get("X") for one in events]:
                events.append(json.loads(await socket.recv()).get("event", {}))
            assert (await ask("order.place", {**signed(order), "signature": "0"}))["error"]["code"] == -1022

    run(main())


def test_ccxt_trades_spot_unmodified() -> None:
    ccxt = pytest.importorskip("ccxt.async_support")

    async def main() -> None:
        async with serving(spot()) as up:
            client = ccxt_at(up, ccxt.binance({"apiKey": KEY, "secret": SECRET}))
            try:
                assert "BTC/USDT" in await client.load_markets()
                book = await client.fetch_order_book("BTC/USDT", 20)
                price = book["bids"][0][0] - 50
                order = await client.create_order("BTC/USDT", "limit", "buy", 0.01, price, {"postOnly": True})
                edited = await client.edit_order(order["id"], "BTC/USDT", "limit", "buy", 0.01, price - 1)
                assert edited["id"] != order["id"]
                assert [one["id"] for one in await client.fetch_open_orders("BTC/USDT")] == [edited["id"]]
                assert [one["status"] for one in await client.cancel_all_orders("BTC/USDT")] == ["canceled"]
                with pytest.raises(ccxt.InsufficientFunds):
                    await client.create_order("BTC/USDT", "limit", "buy", 5, price)
                with pytest.raises(ccxt.OrderImmediatelyFillable):
                    await client.create_order(
                        "BTC/USDT", "limit", "buy", 0.01, price + 100, {"postOnly": True}
                    )
                sold = await client.create_order("BTC/USDT", "market", "sell", 0.01)
                assert (sold["status"], sold["filled"]) == ("closed", 0.01)
                assert (await client.fetch_balance())["BTC"]["total"] == 0.99
            finally:
                await client.close()

    run(main())
