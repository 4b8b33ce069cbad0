"""The same market maker on python-binance; its addresses are attributes of the client."""

import asyncio
import os

from binance import AsyncClient
from binance.exceptions import BinanceAPIException

SYMBOLS = os.environ["FINISHLINE_SYMBOLS"].split(",")
NOTIONAL, REQUOTE_S = 1000.0, 1.0


async def main() -> None:
    client = AsyncClient(os.environ["FINISHLINE_KEY"], os.environ["FINISHLINE_SECRET"])
    client.FUTURES_URL = f"{os.environ['FINISHLINE_REST']}/fapi"
    rules = {one["symbol"]: one for one in (await client.futures_exchange_info())["symbols"]}
    try:
        while True:
            for symbol in SYMBOLS:
                digits = rules[symbol]["quantityPrecision"]
                try:
                    book = await client.futures_orderbook_ticker(symbol=symbol)
                    await client.futures_cancel_all_open_orders(symbol=symbol)
                    for side, price in (("BUY", book["bidPrice"]), ("SELL", book["askPrice"])):
                        quantity = max(round(NOTIONAL / float(price), digits), 10.0**-digits)
                        order = {"symbol": symbol, "side": side, "type": "LIMIT", "timeInForce": "GTX"}
                        await client.futures_create_order(
                            **order, quantity=f"{quantity:.{digits}f}", price=price
                        )
                except BinanceAPIException as exc:
                    print(f"{symbol}: {exc}", flush=True)
            await asyncio.sleep(REQUOTE_S)
    finally:
        await client.close_connection()


if __name__ == "__main__":
    asyncio.run(main())
