"""Spot endpoints that change or show orders."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from mmlib.paper.calls import Call, Security, Table
from mmlib.paper.errors import NO_SUCH_ORDER, UNKNOWN_CANCEL, ApiError
from mmlib.paper.orders import Order
from mmlib.paper.params import Params
from mmlib.paper.spot import texts
from mmlib.paper.spot.reading import read_order, which_order

TABLE = Table()
_SIGNED = Security.SIGNED
_SUCCESS, _FAILURE, _NOT_TRIED = "SUCCESS", "FAILURE", "NOT_ATTEMPTED"


@TABLE.add("POST", "/api/v3/order", security=_SIGNED, orders=1, ws="order.place")
async def new_order(call: Call) -> Any:
    """A new order."""
    return await call.exchange.submit(call.party, _placing(call, call.params))


@TABLE.add("POST", "/api/v3/order/test", security=_SIGNED, ws="order.test")
async def check_order(call: Call) -> Any:
    """Check an order as if it were placed."""
    read_order(call, call.params)
    return {}


@TABLE.add("DELETE", "/api/v3/order", security=_SIGNED, ws="order.cancel")
async def cancel_order(call: Call) -> Any:
    """Cancel one order."""
    return await call.exchange.submit(call.party, _canceling(call, *which_order(call.params)))


@TABLE.add("POST", "/api/v3/order/cancelReplace", security=_SIGNED, orders=1, ws="order.cancelReplace")
async def cancel_replace(call: Call) -> Any:
    """Cancel an order and place another, in one request."""
    params = call.params
    modes = ("STOP_ON_FAILURE", "ALLOW_FAILURE")
    mode = params.choice(
        "cancelReplaceMode", modes, -1130, "Data sent for parameter 'cancelReplaceMode' is not valid."
    )
    cancel = _canceling(call, *which_order(params, "cancelOrderId", "cancelOrigClientOrderId"))
    place = _placing(call, params)

    def arrive(at_ns: int) -> dict[str, Any]:
        canceled, first = _tried(cancel, at_ns)
        if canceled == _FAILURE and mode == "STOP_ON_FAILURE":
            placed, second = _NOT_TRIED, None
        else:
            placed, second = _tried(place, at_ns)
        answer = {
            "cancelResult": canceled,
            "newOrderResult": placed,
            "cancelResponse": first,
            "newOrderResponse": second,
        }
        if (canceled, placed) == (_SUCCESS, _SUCCESS):
            return answer
        if _SUCCESS in (canceled, placed):
            raise ApiError(-2021, "Order cancel-replace partially failed.", 409, data=answer)
        raise ApiError(-2022, "Order cancel-replace failed.", 400, data=answer)

    return await call.exchange.submit(call.party, arrive)


@TABLE.add(
    "PUT", "/api/v3/order/amend/keepPriority", security=_SIGNED, weight=4, ws="order.amend.keepPriority"
)
async def amend(call: Call) -> Any:
    """Make an order smaller; it keeps its place in the queue."""
    params, symbol = call.params, call.params.symbol(call.exchange.rules)
    order_id, client_id = which_order(params)
    rules = call.exchange.rules[symbol]
    lots = rules.qty.whole(params.decimal("newQty"))

    def arrive(at_ns: int) -> dict[str, Any]:
        order = call.party.store.find(symbol, order_id, client_id)
        if order is None or not order.status.open:
            raise NO_SUCH_ORDER
        if lots is None or not order.done_lots < lots < order.lots:
            raise ApiError(-2038, "Order amend (quantity increase) is not supported.")
        call.exchange.trading.shrink(call.party, order, lots, at_ns)
        state = texts.order_state(order, rules)
        return {"transactTime": order.updated_ms, "executionId": order.order_id, "amendedOrder": state}

    return await call.exchange.submit(call.party, arrive)


@TABLE.add("DELETE", "/api/v3/openOrders", security=_SIGNED, ws="openOrders.cancelAll")
async def cancel_all(call: Call) -> Any:
    """Cancel every order of a symbol."""
    symbol = call.params.symbol(call.exchange.rules)
    rules = call.exchange.rules[symbol]

    def arrive(at_ns: int) -> list[dict[str, Any]]:
        orders = call.party.store.open(symbol)
        if not orders:
            raise UNKNOWN_CANCEL
        return [
            texts.canceled(
                call.exchange.trading.cancel(call.party, one, at_ns), rules, secrets.token_urlsafe(16)
            )
            for one in orders
        ]

    return await call.exchange.submit(call.party, arrive)


@TABLE.add("GET", "/api/v3/order", security=_SIGNED, weight=4, ws="order.status")
async def query_order(call: Call) -> Any:
    """One order, open or finished."""
    symbol = call.params.symbol(call.exchange.rules)
    order = call.party.store.find(symbol, *which_order(call.params))
    if order is None:
        raise NO_SUCH_ORDER
    return _state(call, order)


@TABLE.add("GET", "/api/v3/openOrders", security=_SIGNED, weight=6, ws="openOrders.status")
async def open_orders(call: Call) -> Any:
    """Every open order, of one symbol or of all."""
    wanted = call.params.symbol(call.exchange.rules) if "symbol" in call.params else None
    call.extra_weight = 0 if wanted else 74
    return [_state(call, one) for one in call.party.store.open(wanted)]


@TABLE.add("GET", "/api/v3/allOrders", security=_SIGNED, weight=20, ws="allOrders")
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


@TABLE.add("GET", "/api/v3/myTrades", security=_SIGNED, weight=20, ws="myTrades")
async def my_trades(call: Call) -> Any:
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
    return [texts.my_trade(one, rules) for one in (found[:limit] if first else found[-limit:])]


def _placing(call: Call, params: Params) -> Callable[[int], dict[str, Any]]:
    """What a new order does on its arrival."""
    order = read_order(call, params)
    rules = call.exchange.rules[order.symbol]
    usual = "ACK" if order.kind == "LIMIT_MAKER" else "FULL"
    what = "Data sent for parameter 'newOrderRespType' is not valid."
    wanted = params.choice("newOrderRespType", ("ACK", "RESULT", "FULL"), -1130, what, usual)

    def arrive(at_ns: int) -> dict[str, Any]:
        placed = call.exchange.trading.place(call.party, order, at_ns)
        if wanted == "ACK":
            return texts.acknowledged(placed)
        if wanted == "RESULT":
            return texts.result(placed, rules)
        mine = [one for one in call.party.store.trades.values() if one.order_id == placed.order_id]
        return texts.full(placed, rules, mine)

    return arrive


def _canceling(call: Call, order_id: int | None, client_id: str) -> Callable[[int], dict[str, Any]]:
    """What a cancel does on its arrival."""
    symbol = call.params.symbol(call.exchange.rules)
    own_id = call.params.client_id("cancelNewClientOrderId") or secrets.token_urlsafe(16)
    if "cancelReplaceMode" not in call.params:
        own_id = call.params.client_id("newClientOrderId") or own_id

    def arrive(at_ns: int) -> dict[str, Any]:
        order = call.party.store.find(symbol, order_id, client_id)
        if order is not None and order.status.open:
            order.extra = (order.extra or {}) | {"cancel_id": own_id}
        order = call.exchange.trading.cancel(call.party, order, at_ns)
        return texts.canceled(order, call.exchange.rules[symbol], own_id)

    return arrive


def _tried(operation: Callable[[int], dict[str, Any]], at_ns: int) -> tuple[str, dict[str, Any]]:
    try:
        return _SUCCESS, operation(at_ns)
    except ApiError as exc:
        return _FAILURE, exc.body()


def _state(call: Call, order: Order) -> dict[str, Any]:
    return texts.order_state(order, call.exchange.rules[order.symbol])
