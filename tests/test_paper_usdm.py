"""The USD-M side of the paper exchange: order life cycle, user stream, money, refusals; ccxt unmodified."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from websockets.asyncio.client import connect

from mmlib.paper.setup import serving
from tests.paper_fixtures import KEY, SECRET, SECRET_ENV, Client, account, ccxt_at, run, setup


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_ENV, SECRET)


async def events_until(socket: Any, wanted: str) -> list[dict[str, Any]]:
    """Events up to the first whose kind, or whose execution type, is ``wanted``."""
    got = []
    async for text in socket:
        event = json.loads(text)
        got.append(event)
        if wanted in (event["e"], event.get("o", {}).get("x"), event.get("o", {}).get("X")):
            return got
    raise AssertionError(f"the stream ended before {wanted}")


def test_an_order_lives_and_the_user_stream_says_so() -> None:
    async def main() -> None:
        async with serving(setup()) as up, Client(up) as client:
            _, key, _ = await client.ask("POST", "/fapi/v1/listenKey")
            async with connect(f"ws{up.server.url[4:]}/ws/{key['listenKey']}", proxy=None) as socket:
                tape = up.exchange.tapes["BTCUSDT"]
                far = tape.rules.price.text((tape.best_bid or 0) - 500)
                status, placed = await client.order(price=far, newClientOrderId="one")
                assert (status, placed["status"], placed["price"]) == (200, "NEW", far)
                (new,) = await events_until(socket, "NEW")
                assert (new["e"], new["o"]["i"], new["o"]["c"]) == (
                    "ORDER_TRADE_UPDATE",
                    placed["orderId"],
                    "one",
                )
                _, listed = await client.signed("GET", "/fapi/v1/openOrders", symbol="BTCUSDT")
                assert [one["orderId"] for one in listed] == [placed["orderId"]]
                assert (await client.order(price=far, newClientOrderId="one"))[1]["code"] == -4116
                _, gone = await client.signed(
                    "DELETE", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="one"
                )
                assert gone["status"] == "CANCELED"
                await events_until(socket, "CANCELED")
                late = await client.signed(
                    "DELETE", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="one"
                )
                assert late == (400, {"code": -2011, "msg": "Unknown order sent."})

                _, taken = await client.order(type="MARKET", timeInForce="", newOrderRespType="RESULT")
                assert (taken["status"], taken["executedQty"]) == ("FILLED", "0.010")
                events = await events_until(socket, "FILLED")
                moved = [one for one in events if one["e"] == "ACCOUNT_UPDATE"]
                assert moved[-1]["a"]["P"][0]["pa"] == "0.010"
                _, risk = await client.signed("GET", "/fapi/v2/positionRisk", symbol="BTCUSDT")
                assert risk[0]["positionAmt"] == "0.010"
                _, trades = await client.signed("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")
                assert sum(Decimal(one["qty"]) for one in trades) == Decimal("0.010")
                fees = sum(Decimal(one["commission"]) for one in trades)
                worth = sum(Decimal(one["price"]) * Decimal(one["qty"]) for one in trades)
                assert fees == pytest.approx(worth * Decimal("0.0005"), abs=Decimal("1e-7"))
                _, balance = await client.signed("GET", "/fapi/v2/balance")
                assert Decimal(balance[0]["balance"]) == 100_000 - fees

    run(main())


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"symbol": "NOSUCH"}, -1121),
        ({"side": "UP"}, -1117),
        ({"type": "SPECIAL"}, -1116),
        ({"timeInForce": "SOON"}, -1115),
        ({"timeInForce": ""}, -1102),
        ({"price": ""}, -1102),
        ({"price": "abc"}, -1100),
        ({"price": "59000.123"}, -1111),
        ({"price": "-1"}, -4001),
        ({"quantity": "0"}, -4003),
        ({"quantity": "0.0001"}, -1111),
        ({"quantity": "0.001", "price": "4000"}, -4164),
        ({"price": "90000"}, -4016),
        ({"side": "SELL", "price": "30000"}, -4024),
        ({"price": "60500", "timeInForce": "GTX"}, -5022),
        ({"quantity": "9000"}, -2019),
        ({"reduceOnly": "true"}, -2022),
        ({"newClientOrderId": "no spaces"}, -1100),
        ({"positionSide": "LONG"}, -4061),
        ({"type": "STOP_MARKET"}, -4120),
        ({"timestamp": 1}, -1021),
        ({"signature": "00"}, -1022),
        ({"recvWindow": 60_001}, -1131),
    ],
)
def test_what_is_wrong_with_an_order_has_its_code(shared: Any, given: dict[str, Any], code: int) -> None:
    loop, client, up = shared
    before = up.exchange.parties[KEY].counts.orders
    status, body = loop.run_until_complete(client.order(**{"price": "59000", **given}))
    assert (status, body["code"]) == (400, code)
    assert up.exchange.parties[KEY].counts.orders == before


@pytest.fixture(scope="module")
def shared() -> Any:
    """One exchange for requests that leave nothing behind."""
    patch = pytest.MonkeyPatch()
    patch.setenv(SECRET_ENV, SECRET)
    loop = asyncio.new_event_loop()
    context = serving(setup())
    up = loop.run_until_complete(context.__aenter__())
    client = Client(up)
    yield loop, client, up
    loop.run_until_complete(client.__aexit__())
    loop.run_until_complete(context.__aexit__(None, None, None))
    loop.close()
    patch.undo()


def test_identity_is_checked(shared: Any) -> None:
    loop, client, up = shared
    stranger, liar = Client(up, key="X" * 64), Client(up, secret="wrong")
    ask = ("GET", "/fapi/v2/balance")
    assert loop.run_until_complete(stranger.signed(*ask))[1]["code"] == -2015
    assert loop.run_until_complete(liar.signed(*ask))[1]["code"] == -1022
    client.skew_ms = 61_000
    assert loop.run_until_complete(client.signed(*ask))[1]["code"] == -1021
    client.skew_ms = 0
    assert loop.run_until_complete(client.signed(*ask))[0] == 200
    for one in (stranger, liar):
        loop.run_until_complete(one.__aexit__())


def test_ccxt_trades_unmodified() -> None:
    ccxt = pytest.importorskip("ccxt.async_support")

    async def main() -> None:
        async with serving(setup()) as up:
            client = ccxt_at(up, ccxt.binanceusdm({"apiKey": KEY, "secret": SECRET}))
            try:
                markets = await client.load_markets()
                precision = markets["BTC/USDT:USDT"]["precision"]
                assert (precision["price"], precision["amount"]) == (0.1, 0.001)
                book = await client.fetch_order_book("BTC/USDT:USDT", 20)
                assert book["bids"][0][0] < book["asks"][0][0]
                price = book["bids"][0][0] - 50
                post_only = {"timeInForce": "GTX"}
                order = await client.create_order("BTC/USDT:USDT", "limit", "buy", 0.01, price, post_only)
                assert order["status"] == "open"
                assert [one["id"] for one in await client.fetch_open_orders("BTC/USDT:USDT")] == [order["id"]]
                edited = await client.edit_order(
                    order["id"], "BTC/USDT:USDT", "limit", "buy", 0.01, price - 1
                )
                assert (edited["id"], edited["price"]) == (order["id"], price - 1)
                assert (await client.cancel_order(order["id"], "BTC/USDT:USDT"))["status"] == "canceled"
                with pytest.raises(ccxt.OrderNotFound):
                    await client.cancel_order(order["id"], "BTC/USDT:USDT")
                with pytest.raises(ccxt.InvalidOrder):
                    await client.create_order("BTC/USDT:USDT", "limit", "buy", 0.01, price + 100, post_only)
                with pytest.raises(ccxt.ExchangeError, match="-2019"):
                    await client.create_order("BTC/USDT:USDT", "limit", "buy", 900, price)
                await client.create_order("BTC/USDT:USDT", "market", "sell", 0.01)
                (position,) = await client.fetch_positions(["BTC/USDT:USDT"])
                assert (position["side"], position["contracts"]) == ("short", 0.01)
                assert sum(one["amount"] for one in await client.fetch_my_trades("BTC/USDT:USDT")) == 0.01
                assert (await client.fetch_balance())["USDT"]["total"] < 100_000
            finally:
                await client.close()

    run(main())


def test_two_accounts_see_one_market_and_not_each_other() -> None:
    async def main() -> None:
        both = (account("a"), account("b", "B" * 64, arm="B"))
        async with serving(setup(accounts=both)) as up, Client(up) as one, Client(up, "B" * 64) as two:
            price = up.exchange.tapes["BTCUSDT"].rules.price.text(
                (up.exchange.tapes["BTCUSDT"].best_bid or 0) - 300
            )
            await one.order(price=price)
            _, mine = await one.signed("GET", "/fapi/v1/openOrders")
            _, others = await two.signed("GET", "/fapi/v1/openOrders")
            assert (len(mine), others) == (1, [])

    run(main())


def test_the_dead_mans_switch_cancels_and_can_be_called_off() -> None:
    async def main() -> None:
        async with serving(setup()) as up, Client(up) as client:
            price = up.exchange.tapes["BTCUSDT"].rules.price.text(
                (up.exchange.tapes["BTCUSDT"].best_bid or 0) - 300
            )
            await client.order(price=price)
            switch = ("POST", "/fapi/v1/countdownCancelAll")
            await client.signed(*switch, symbol="BTCUSDT", countdownTime=200)
            await client.signed(*switch, symbol="BTCUSDT", countdownTime=0)
            party = up.exchange.parties[KEY]
            await asyncio.sleep(0.3)
            assert len(party.store.open()) == 1
            await client.signed(*switch, symbol="BTCUSDT", countdownTime=100)
            while party.store.open():
                await asyncio.sleep(0.01)

    run(main())


def test_batches_settle_one_by_one() -> None:
    async def main() -> None:
        async with serving(setup()) as up, Client(up) as client:
            bid = up.exchange.tapes["BTCUSDT"].best_bid or 0
            price = up.exchange.tapes["BTCUSDT"].rules.price.text(bid - 300)
            good = {
                "symbol": "BTCUSDT",
                "side": "BUY",
                "type": "LIMIT",
                "timeInForce": "GTC",
                "quantity": "0.01",
                "price": price,
            }
            orders = json.dumps([good, {**good, "quantity": "0"}, good])
            _, answers = await client.signed("POST", "/fapi/v1/batchOrders", body=True, batchOrders=orders)
            assert [one.get("code", one.get("status")) for one in answers] == ["NEW", -4003, "NEW"]
            ids = json.dumps([answers[0]["orderId"], 99, answers[2]["orderId"]])
            _, gone = await client.signed("DELETE", "/fapi/v1/batchOrders", symbol="BTCUSDT", orderIdList=ids)
            assert [one.get("code", one.get("status")) for one in gone] == ["CANCELED", -2011, "CANCELED"]

    run(main())


def test_too_many_orders_are_refused_with_headers() -> None:
    async def main() -> None:
        async with serving(setup()) as up, Client(up) as client:
            limits = up.server.kit.limits
            limits.orders = tuple(
                replace(one, seconds=10**9) for one in limits.orders
            )  # no new window meanwhile
            limits.order("paper", 299)
            price = up.exchange.tapes["BTCUSDT"].rules.price.text(
                (up.exchange.tapes["BTCUSDT"].best_bid or 0) - 300
            )
            answers = [await client.order(price=price) for _ in range(2)]
            assert [answer[1].get("code") for answer in answers] == [None, -1015]
            assert answers[1][0] == 429
            _, _, headers = await client.ask("GET", "/fapi/v1/depth", symbol="BTCUSDT", limit=1000)
            assert int(headers["x-mbx-used-weight-1m"]) >= 20

    run(main())
