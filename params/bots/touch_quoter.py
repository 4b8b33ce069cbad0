"""A market maker in sixty lines: joins the best prices of each symbol on both sides, post only, within an inventory limit."""

import asyncio
import hashlib
import hmac
import json
import os
import time
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import connect

REST, WS = os.environ["FINISHLINE_REST"], os.environ["FINISHLINE_WS"]
KEY, SECRET = os.environ["FINISHLINE_KEY"], os.environ["FINISHLINE_SECRET"]
SYMBOLS = os.environ["FINISHLINE_SYMBOLS"].split(",")
NOTIONAL, MOST_ORDERS, REQUOTE_S = 1000.0, 5, 1.0


async def ask(http: httpx.AsyncClient, verb: str, path: str, **params: object) -> dict:
    query = urlencode(params | {"timestamp": int(time.time() * 1000)})
    signature = hmac.new(SECRET.encode(), query.encode(), hashlib.sha256).hexdigest()
    answer = await http.request(verb, f"{path}?{query}&signature={signature}")
    return {"status": answer.status_code, "body": answer.json()}


async def quote(http: httpx.AsyncClient, symbol: str, side: str, state: dict) -> None:
    """Keep one order at the best price of one side."""
    price, order = state["best"][side], state["orders"].get(side)
    if order and order["price"] == price and order["id"] not in state["done"]:
        return
    if order and order["id"] not in state["done"]:
        await ask(http, "DELETE", "/fapi/v1/order", symbol=symbol, orderId=order["id"])
    state["orders"][side] = None
    qty = max(round(NOTIONAL / float(price), state["digits"]), 10.0 ** -state["digits"])
    if state["position"] * (1 if side == "BUY" else -1) >= MOST_ORDERS * qty:
        return
    new = {"symbol": symbol, "side": side, "type": "LIMIT", "timeInForce": "GTX", "price": price}
    answer = await ask(http, "POST", "/fapi/v1/order", quantity=f"{qty:.{state['digits']}f}", **new)
    if answer["status"] == 200:
        state["orders"][side] = {"id": answer["body"]["orderId"], "price": price}


async def listen(http: httpx.AsyncClient, states: dict) -> None:
    """Follow our own orders and positions."""
    key = (await http.post("/fapi/v1/listenKey")).json()["listenKey"]
    async for text in connect(f"{WS}/ws/{key}", proxy=None):
        async for message in text:
            event = json.loads(message)
            if event["e"] == "ORDER_TRADE_UPDATE" and event["o"]["X"] in ("FILLED", "CANCELED", "EXPIRED"):
                states[event["o"]["s"]]["done"].add(event["o"]["i"])
            for one in event.get("a", {}).get("P", []):
                states[one["s"]]["position"] = float(one["pa"])


async def main() -> None:
    async with httpx.AsyncClient(base_url=REST, headers={"X-MBX-APIKEY": KEY}, trust_env=False) as http:
        rules = (await http.get("/fapi/v1/exchangeInfo")).json()["symbols"]
        states = {one["symbol"]: {"digits": one["quantityPrecision"], "orders": {}, "done": set(), "position": 0.0, "at": 0.0}
                  for one in rules if one["symbol"] in SYMBOLS}  # fmt: skip
        ears = asyncio.create_task(listen(http, states))
        streams = "/".join(f"{symbol.lower()}@bookTicker" for symbol in states)
        async with connect(f"{WS}/stream?streams={streams}", proxy=None) as socket:
            async for message in socket:
                tick = json.loads(message)["data"]
                state = states[tick["s"]]
                state["best"] = {"BUY": tick["b"], "SELL": tick["a"]}
                if time.monotonic() - state["at"] >= REQUOTE_S:
                    state["at"] = time.monotonic()
                    await asyncio.gather(*(quote(http, tick["s"], side, state) for side in ("BUY", "SELL")))
        ears.cancel()


if __name__ == "__main__":
    asyncio.run(main())
