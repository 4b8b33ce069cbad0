"""USD-M endpoints that change or show orders."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson

from mmlib.paper.calls import Call, Security, Table
from mmlib.paper.errors import NO_SUCH_ORDER, ApiError, missing
from mmlib.paper.orders import Order
from mmlib.paper.params import Params
from mmlib.paper.usdm import texts
from mmlib.paper.usdm.reading import (
    check_notional,
    check_price_band,
    read_order,
    read_price,
    read_quantity,
    which_order,
)

TABLE = Table()
_SIGNED = Security.SIGNED
_MOST_IN_A_BATCH = 5
_DONE = {"code": 200, "msg": "The operation of cancel all open order is done."}


@TABLE.add("POST", "/fapi/v1/order", security=_SIGNED, weight=0, orders=1, ws="order.place")
async def new_order(call: Call) -> Any:
    """A new order."""
    return await _new(call, call.params)


@TABLE.add("POST", "/fapi/v1/order/test", security=_SIGNED, ws="order.test")
async def check_order(call: Call) -> Any:
    """Check an order as if it were placed."""
    order = read_order(call, call.params)
    return texts.order_answer(order, call.exchange.rules[order.symbol])


@TABLE.add("PUT", "/fapi/v1/order", security=_SIGNED, weight=1, orders=1, ws="order.modify")
async def modify_order(call: Call) -> Any:
    """Another price or quantity for a resting limit order."""
    return await _modify(call, call.params)


@TABLE.add("DELETE", "/fapi/v1/order", security=_SIGNED, ws="order.cancel")
async def cancel_order(call: Call) -> Any:
    """Cancel one order."""
    return await _cancel(call, call.params.symbol(call.exchange.rules), *which_order(call.params))


@TABLE.add("GET", "/fapi/v1/order", security=_SIGNED, ws="order.status")
async def query_order(call: Call) -> Any:
    """One order, open or finished."""
    return _state(call, _find(call))


@TABLE.add("GET", "/fapi/v1/openOrder", security=_SIGNED)
async def query_open_order(call: Call) -> Any:
    """One open order."""
    order = _find(call)
    if not order.status.open:
        raise NO_SUCH_ORDER
    return _state(call, order)


@TABLE.add("GET", "/fapi/v1/openOrders", security=_SIGNED)
async def open_orders(call: Call) -> Any:
    """Every open order, of one symbol or of all."""
    wanted = call.params.symbol(call.exchange.rules) if "symbol" in call.params else None
    call.extra_weight = 0 if wanted else 39
    return [_state(call, one) for one in call.party.store.open(wanted)]


@TABLE.add("GET", "/fapi/v1/allOrders", security=_SIGNED, weight=5)
async def all_orders(call: Call) -> Any:
    """Orders of a symbol, whatever became of them."""
    params, symbol = call.params, call.params.symbol(call.exchange.rules)
    first, (start, end) = params.integer("orderId", 0), params.span()
    found = [
        one
        for one in call.party.store.every(symbol)
        if one.order_id >= first and start <= one.created_ms <= end
    ]
    limit = params.limit(500, 1000)
    return [_state(call, one) for one in (found[:limit] if first else found[-limit:])]


@TABLE.add("GET", "/fapi/v1/userTrades", security=_SIGNED, weight=5)
async def user_trades(call: Call) -> Any:
    """Executions of a symbol."""
    params, symbol = call.params, call.params.symbol(call.exchange.rules)
    first, (start, end), of = params.integer("fromId", 0), params.span(), params.maybe_integer("orderId")
    found = [
        one
        for one in call.party.store.trades.values()
        if one.symbol == symbol
        and one.trade_id >= first
        and start <= one.time_ms <= end
        and of in (None, one.order_id)
    ]
    limit = params.limit(500, 1000)
    rules = call.exchange.rules[symbol]
    return [texts.user_trade(one, rules) for one in (found[:limit] if first else found[-limit:])]


@TABLE.add("DELETE", "/fapi/v1/allOpenOrders", security=_SIGNED)
async def cancel_all(call: Call) -> Any:
    """Cancel every order of a symbol."""
    symbol = call.params.symbol(call.exchange.rules)
    await call.exchange.submit(call.party, lambda at_ns: cancel_every(call, symbol, at_ns))
    return _DONE


@TABLE.add("POST", "/fapi/v1/countdownCancelAll", security=_SIGNED, weight=10)
async def countdown(call: Call) -> Any:
    """The dead man's switch: cancel every order of a symbol unless this is sent again in time."""
    symbol, wait_ms = call.params.symbol(call.exchange.rules), call.params.integer("countdownTime")
    party, exchange = call.party, call.exchange
    if wait_ms <= 0:
        party.countdown.pop(symbol, None)
    else:
        due_ns = call.received_ns + int(wait_ms * 1e6 * exchange.clock.speed)
        party.countdown[symbol] = due_ns

        def run_out(at_ns: int) -> None:
            if party.countdown.get(symbol) == due_ns:
                del party.countdown[symbol]
                cancel_every(call, symbol, at_ns)

        exchange.at(due_ns, run_out)
    return {"symbol": symbol, "countdownTime": str(wait_ms)}


@TABLE.add("POST", "/fapi/v1/batchOrders", security=_SIGNED, weight=5)
async def batch_new(call: Call) -> Any:
    """Several new orders; each succeeds or fails by itself."""
    return await _each(call, "batchOrders", _new)


@TABLE.add("PUT", "/fapi/v1/batchOrders", security=_SIGNED, weight=5)
async def batch_modify(call: Call) -> Any:
    """Several changes."""
    return await _each(call, "batchOrders", _modify)


@TABLE.add("DELETE", "/fapi/v1/batchOrders", security=_SIGNED)
async def batch_cancel(call: Call) -> Any:
    """Cancel several orders of a symbol."""
    symbol = call.params.symbol(call.exchange.rules)
    ids, names = _list(call.params, "orderIdList"), _list(call.params, "origClientOrderIdList")
    if not ids and not names:
        raise missing("orderIdList")
    if len(ids or names) > 10:
        raise ApiError(-4083, "Batch Order not more than 10 orders.")
    named: list[tuple[int | None, str]] = [(int(one), "") for one in ids] or [
        (None, str(one)) for one in names
    ]
    return list(await asyncio.gather(*(_settled(_cancel(call, symbol, *one)) for one in named)))


def cancel_every(call: Call, symbol: str, at_ns: int) -> None:
    """Cancel every order of a symbol at the moment of arrival."""
    for order in call.party.store.open(symbol):
        call.exchange.trading.cancel(call.party, order, at_ns)


async def _new(call: Call, params: Params) -> dict[str, Any]:
    order = read_order(call, params)
    rules = call.exchange.rules[order.symbol]
    wanted = params.choice(
        "newOrderRespType",
        ("ACK", "RESULT"),
        -1130,
        "Data sent for parameter 'newOrderRespType' is not valid.",
        "ACK",
    )

    def arrive(at_ns: int) -> dict[str, Any]:
        placed = call.exchange.trading.place(call.party, order, at_ns)
        return texts.order_answer(placed, rules, acknowledged=wanted == "ACK")

    return await call.exchange.submit(call.party, arrive)


async def _modify(call: Call, params: Params) -> dict[str, Any]:
    symbol, (order_id, client_id) = params.symbol(call.exchange.rules), which_order(params)
    rules, tape = call.exchange.rules[symbol], call.exchange.tapes[symbol]
    side = params.choice("side", ("BUY", "SELL"), -1117, "Invalid side.")
    ticks, lots = read_price(params, rules), read_quantity(params, rules)
    check_price_band(ticks, side == "BUY", rules, tape.mid_ticks)
    check_notional(ticks, lots, rules, tape.mid_ticks, reduce_only=False)

    def arrive(at_ns: int) -> dict[str, Any]:
        order = call.party.store.find(symbol, order_id, client_id)
        if order is None or not order.status.open:
            raise NO_SUCH_ORDER
        if texts.SIDES[order.side] != side:
            raise ApiError(-5024, "Order side cannot be changed.")
        if (ticks, lots) == (order.ticks, order.lots):
            raise ApiError(-5027, "No need to modify the order.")
        trading = call.exchange.trading
        if lots <= order.done_lots:
            trading.cancel(call.party, order, at_ns)
        elif ticks == order.ticks and lots < order.lots:
            trading.shrink(call.party, order, lots, at_ns)
        else:
            trading.move(call.party, order, ticks, lots, at_ns)
        return texts.order_answer(order, rules)

    return await call.exchange.submit(call.party, arrive)


async def _cancel(call: Call, symbol: str, order_id: int | None, client_id: str) -> dict[str, Any]:
    def arrive(at_ns: int) -> dict[str, Any]:
        order = call.party.store.find(symbol, order_id, client_id)
        order = call.exchange.trading.cancel(call.party, order, at_ns)
        return texts.order_answer(order, call.exchange.rules[symbol])

    return await call.exchange.submit(call.party, arrive)


async def _each(call: Call, name: str, one: Any) -> list[Any]:
    given = _list(call.params, name)
    if not given:
        raise missing(name)
    if len(given) > _MOST_IN_A_BATCH:
        raise ApiError(-4082, "Invalid number of batch place orders.")
    if not all(isinstance(entry, Mapping) for entry in given):
        raise ApiError(-1130, f"Data sent for parameter '{name}' is not valid.")
    return list(await asyncio.gather(*(_settled(one(call, Params(entry))) for entry in given)))


async def _settled(answer: Any) -> Any:
    """An answer, or the body of its refusal."""
    try:
        return await answer
    except ApiError as exc:
        return exc.body()


def _list(params: Params, name: str) -> list[Any]:
    if name not in params:
        return []
    try:
        found = orjson.loads(params.text(name))
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, list):
        raise ApiError(-1130, f"Data sent for parameter '{name}' is not valid.")
    return found


def _find(call: Call) -> Order:
    symbol = call.params.symbol(call.exchange.rules)
    order = call.party.store.find(symbol, *which_order(call.params))
    if order is None:
        raise NO_SUCH_ORDER
    return order


def _state(call: Call, order: Order) -> dict[str, Any]:
    return texts.order_state(order, call.exchange.rules[order.symbol])
