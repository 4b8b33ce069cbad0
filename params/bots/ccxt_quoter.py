"""The same market maker on ccxt: only the addresses are changed, as for any bot that uses it."""

import asyncio
import os

import ccxt.async_support as ccxt

REST = os.environ["FINISHLINE_REST"]
SYMBOLS = os.environ["FINISHLINE_SYMBOLS"].split(",")
NOTIONAL, REQUOTE_S = 1000.0, 1.0


async def quote(client: ccxt.Exchange, symbol: str) -> None:
    while True:
        try:
            book = await client.fetch_order_book(symbol, 5)
            await client.cancel_all_orders(symbol)
            for side, price in (("buy", book["bids"][0][0]), ("sell", book["asks"][0][0])):
                amount = max(NOTIONAL / price, client.market(symbol)["limits"]["amount"]["min"])
                await client.create_order(symbol, "limit", side, amount, price, {"timeInForce": "GTX"})
        except ccxt.ExchangeError as exc:
            print(f"{symbol}: {exc}", flush=True)
        await asyncio.sleep(REQUOTE_S)


async def main() -> None:
    keys = {"apiKey": os.environ["FINISHLINE_KEY"], "secret": os.environ["FINISHLINE_SECRET"]}
    client = ccxt.binanceusdm(keys | {"enableRateLimit": False})
    for name, address in client.urls["api"].items():  # the only change
        if isinstance(address, str):
            client.urls["api"][name] = f"{REST}/{address.split('://')[1].partition('/')[2]}"
    try:
        await client.load_markets()
        symbols = [market["symbol"] for market in client.markets.values() if market["id"] in SYMBOLS]
        await asyncio.gather(*(quote(client, symbol) for symbol in symbols))
    finally:
        await client.close()


if __name__ == "__main__":
    asyncio.run(main())
