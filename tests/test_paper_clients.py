"""Real clients, unmodified but for their addresses: the exchange's own SDKs, python-binance and ccxt pro."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mmlib.paper.setup import Serving, serving
from tests.paper_fixtures import KEY, SECRET, SECRET_ENV, account, ccxt_at, run, setup

pytestmark = pytest.mark.filterwarnings("ignore")  # what these packages warn of is theirs


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_ENV, SECRET)


def spot_setup() -> Any:
    return setup(
        venue="binance", symbols=("BTCUSDT",), accounts=(account(balances={"USDT": 10_000, "BTC": 1}),)
    )


def away(up: Serving, ticks: int) -> float:
    tape = up.exchange.tapes["BTCUSDT"]
    return float(tape.rules.price.text((tape.best_bid or 0) - ticks))


async def in_thread(call: Any, *args: Any, **given: Any) -> Any:
    """A blocking call beside the exchange, which runs in this loop."""
    return await asyncio.to_thread(call, *args, **given)


async def until(wanted: Any, got: list[Any]) -> None:
    while not any(wanted(one) for one in got):
        await asyncio.sleep(0.02)


def test_official_sdk_usdm() -> None:
    pytest.importorskip("binance_sdk_derivatives_trading_usds_futures")
    from binance_common.configuration import (
        ConfigurationRestAPI,
        ConfigurationWebSocketAPI,
        ConfigurationWebSocketStreams,
    )
    from binance_common.errors import BadRequestError
    from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import (
        DerivativesTradingUsdsFutures,
    )

    async def main() -> None:
        async with serving(setup()) as up:
            ws = f"ws{up.server.url[4:]}"
            client = DerivativesTradingUsdsFutures(
                config_rest_api=ConfigurationRestAPI(KEY, SECRET, base_path=up.server.url, timeout=60_000),
                config_ws_api=ConfigurationWebSocketAPI(
                    KEY, SECRET, stream_url=f"{ws}/ws-fapi/v1", timeout=60_000
                ),
                config_ws_streams=ConfigurationWebSocketStreams(stream_url=ws),
            )
            rest = client.rest_api
            book = (await in_thread(rest.order_book, symbol="BTCUSDT", limit=5)).data()
            assert len(book.bids) == 5
            key = (await in_thread(rest.start_user_data_stream)).data().listen_key
            streams = await client.websocket_streams.create_connection()
            events: list[Any] = []
            ticks: list[Any] = []
            (await streams.user_data(key)).on("message", events.append)
            (await streams.individual_symbol_book_ticker_streams("btcusdt")).on("message", ticks.append)
            order = {
                "symbol": "BTCUSDT",
                "side": "BUY",
                "type": "LIMIT",
                "time_in_force": "GTC",
                "quantity": 0.01,
            }
            placed = (await in_thread(rest.new_order, **order, price=away(up, 500))).data()
            assert placed.status == "NEW"
            moved = await in_thread(
                rest.modify_order,
                symbol="BTCUSDT",
                side="BUY",
                quantity=0.01,
                price=away(up, 400),
                order_id=placed.order_id,
            )
            assert moved.data().order_id == placed.order_id
            gone = (await in_thread(rest.cancel_order, symbol="BTCUSDT", order_id=placed.order_id)).data()
            assert gone.status == "CANCELED"
            with pytest.raises(BadRequestError):
                await in_thread(rest.cancel_order, symbol="BTCUSDT", order_id=placed.order_id)
            await until(lambda one: "CANCELED" in str(one), events)
            await until(lambda one: "BTCUSDT" in str(one), ticks)
            await streams.close_connection(close_session=True)

            api = await client.websocket_api.create_connection()
            answer = await api.new_order(**order, price=away(up, 500))
            number = answer.data().result.order_id
            assert (await api.query_order(symbol="BTCUSDT", order_id=number)).data().result.status == "NEW"
            assert (
                await api.cancel_order(symbol="BTCUSDT", order_id=number)
            ).data().result.status == "CANCELED"
            await api.close_connection(close_session=True)

    run(main())


def test_official_sdk_spot() -> None:
    pytest.importorskip("binance_sdk_spot")
    from binance_common.configuration import (
        ConfigurationRestAPI,
        ConfigurationWebSocketAPI,
        ConfigurationWebSocketStreams,
    )
    from binance_common.errors import BadRequestError
    from binance_sdk_spot.spot import Spot

    async def main() -> None:
        async with serving(spot_setup()) as up:
            ws = f"ws{up.server.url[4:]}"
            client = Spot(
                config_rest_api=ConfigurationRestAPI(KEY, SECRET, base_path=up.server.url, timeout=60_000),
                config_ws_api=ConfigurationWebSocketAPI(
                    KEY, SECRET, stream_url=f"{ws}/ws-api/v3", timeout=60_000
                ),
                config_ws_streams=ConfigurationWebSocketStreams(stream_url=ws),
            )
            rest = client.rest_api
            order = {
                "symbol": "BTCUSDT",
                "side": "BUY",
                "type": "LIMIT",
                "time_in_force": "GTC",
                "quantity": 0.01,
            }
            placed = (await in_thread(rest.new_order, **order, price=away(up, 500))).data()
            replaced = await in_thread(
                rest.order_cancel_replace, **order, price=away(up, 400), cancel_replace_mode="STOP_ON_FAILURE",
                cancel_order_id=placed.order_id,
            )  # fmt: skip
            assert replaced.data().new_order_result == "SUCCESS"
            with pytest.raises(BadRequestError):
                await in_thread(rest.new_order, **{**order, "quantity": 0.0015}, price=away(up, 500))
            assert {one.asset for one in (await in_thread(rest.get_account)).data().balances} == {
                "BTC",
                "USDT",
            }
            streams = await client.websocket_streams.create_connection()
            trades: list[Any] = []
            (await streams.trade("btcusdt")).on("message", trades.append)
            await until(lambda one: "BTCUSDT" in str(one), trades)
            await streams.close_connection(close_session=True)

            api = await client.websocket_api.create_connection()
            answer = await api.order_place(**order, price=away(up, 500))
            gone = await api.order_cancel(symbol="BTCUSDT", order_id=answer.data().result.order_id)
            assert gone.data().result.status == "CANCELED"
            await api.close_connection(close_session=True)

    run(main())


def test_python_binance() -> None:
    pytest.importorskip("binance.async_client")
    from binance import AsyncClient, BinanceSocketManager
    from binance.exceptions import BinanceAPIException

    async def main() -> None:
        async with serving(setup()) as up:
            ws = f"ws{up.server.url[4:]}/"
            client = AsyncClient(KEY, SECRET)
            client.FUTURES_URL = f"{up.server.url}/fapi"
            try:
                assert (await client.futures_ping()) == {}
                order = {
                    "symbol": "BTCUSDT",
                    "side": "BUY",
                    "type": "LIMIT",
                    "timeInForce": "GTC",
                    "quantity": 0.01,
                }
                manager = BinanceSocketManager(client)
                manager.FSTREAM_URL = ws
                async with manager.futures_user_socket() as socket:
                    placed = await client.futures_create_order(**order, price=away(up, 500))
                    while (await socket.recv()).get("e") != "ORDER_TRADE_UPDATE":
                        pass
                assert len(await client.futures_get_open_orders(symbol="BTCUSDT")) == 1
                await client.futures_countdown_cancel_all(symbol="BTCUSDT", countdownTime=0)
                gone = await client.futures_cancel_order(symbol="BTCUSDT", orderId=placed["orderId"])
                assert gone["status"] == "CANCELED"
                with pytest.raises(BinanceAPIException) as refused:
                    await client.futures_create_order(**{**order, "quantity": 0.0001}, price=away(up, 500))
                assert refused.value.code == -1111
                batch = [{**order, "quantity": "0.01", "price": str(away(up, 500 + k))} for k in range(3)]
                assert [
                    one["status"] for one in await client.futures_place_batch_order(batchOrders=batch)
                ] == ["NEW"] * 3
                assert (await client.futures_cancel_all_open_orders(symbol="BTCUSDT"))["code"] == 200
                async with manager.futures_depth_socket("BTCUSDT", depth="10") as depth:
                    bids = [float(price) for price, _ in (await depth.recv())["data"]["b"]]
                    assert 1 <= len(bids) <= 10 and bids == sorted(bids, reverse=True)
                assert (await client.futures_account())["totalWalletBalance"] == "100000.00000000"
            finally:
                await client.close_connection()

    run(main())


@pytest.mark.parametrize(("name", "symbol"), [("binanceusdm", "BTC/USDT:USDT"), ("binance", "BTC/USDT")])
def test_ccxt_pro(name: str, symbol: str) -> None:
    ccxt = pytest.importorskip("ccxt.pro")

    async def main() -> None:
        async with serving(setup() if name == "binanceusdm" else spot_setup()) as up:
            client = ccxt_at(up, getattr(ccxt, name)({"apiKey": KEY, "secret": SECRET, "newUpdates": True}))
            try:
                await client.load_markets()
                book = await client.watch_order_book(symbol)
                assert book["bids"][0][0] < book["asks"][0][0]
                orders = asyncio.create_task(client.watch_orders(symbol))
                while not any(party.listeners for party in up.exchange.parties.values()):
                    await asyncio.sleep(0.02)
                placed = await client.create_order(symbol, "limit", "buy", 0.01, away(up, 500))
                assert (await orders)[0]["id"] == placed["id"]
                trades = await client.watch_trades(symbol)
                assert trades[0]["price"] > 0
                answer = await client.create_order_ws(symbol, "limit", "buy", 0.01, away(up, 510))
                assert (await client.cancel_order_ws(answer["id"], symbol))["id"] == answer["id"]
                up.server.hurt("drop")
                assert (await reconnected(client, symbol))["bids"]
            finally:
                await client.close()

    run(main())


async def reconnected(client: Any, symbol: str) -> Any:
    """A book after the connection was cut; the client raises once and then connects anew."""
    while True:
        try:
            return await client.watch_order_book(symbol)
        except Exception as exc:  # the client's own error of a lost connection
            if "closed" not in str(exc).lower() and "NetworkError" not in type(exc).__mro__.__str__():
                raise
