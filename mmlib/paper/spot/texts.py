"""The JSON of spot orders, trades and events: REST answers and user stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmlib.paper.orders import Order, Status, Trade
from mmlib.paper.rules import Rules
from mmlib.paper.steps import plain

SIDES = {1: "BUY", -1: "SELL"}


def tif(order: Order) -> str:
    """Time in force as clients know it: LIMIT_MAKER has none of its own."""
    return "GTC" if order.tif == "GTX" else order.tif


def acknowledged(order: Order) -> dict[str, Any]:
    """The answer to a new order as ``newOrderRespType`` ACK has it."""
    return {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        "transactTime": order.updated_ms,
    }


def result(order: Order, rules: Rules) -> dict[str, Any]:
    """The same as RESULT has it."""
    return acknowledged(order) | {
        "price": rules.price.text(order.ticks, 8),
        "origQty": rules.qty.text(order.lots, 8),
        "executedQty": rules.qty.text(order.done_lots, 8),
        "origQuoteOrderQty": "0.00000000",
        "cummulativeQuoteQty": plain(order.done_quote),
        "status": str(order.status),
        "timeInForce": tif(order),
        "type": order.kind,
        "side": SIDES[order.side],
        "workingTime": order.created_ms,
        "selfTradePreventionMode": order.stp,
    }


def full(order: Order, rules: Rules, trades: Sequence[Trade]) -> dict[str, Any]:
    """The same as FULL has it."""
    return result(order, rules) | {
        "fills": [
            {
                "price": rules.price.text(one.ticks, 8),
                "qty": rules.qty.text(one.lots, 8),
                "commission": plain(one.fee),
                "commissionAsset": one.fee_asset,
                "tradeId": one.trade_id,
            }
            for one in trades
        ]
    }


def canceled(order: Order, rules: Rules, client_id: str) -> dict[str, Any]:
    """The answer to a cancel, which has a client id of its own."""
    answer = result(order, rules) | {"origClientOrderId": order.client_id, "clientOrderId": client_id}
    del answer["workingTime"]
    return answer


def order_state(order: Order, rules: Rules) -> dict[str, Any]:
    """An order as queries have it."""
    answer = result(order, rules)
    del answer["transactTime"]
    return answer | {
        "stopPrice": "0.00000000",
        "icebergQty": "0.00000000",
        "time": order.created_ms,
        "updateTime": order.updated_ms,
        "isWorking": True,
    }


def my_trade(trade: Trade, rules: Rules) -> dict[str, Any]:
    """An entry of myTrades."""
    return {
        "symbol": trade.symbol,
        "id": trade.trade_id,
        "orderId": trade.order_id,
        "orderListId": -1,
        "price": rules.price.text(trade.ticks, 8),
        "qty": rules.qty.text(trade.lots, 8),
        "quoteQty": plain(rules.notional(trade.ticks, trade.lots)),
        "commission": plain(trade.fee),
        "commissionAsset": trade.fee_asset,
        "time": trade.time_ms,
        "isBuyer": trade.side > 0,
        "isMaker": trade.maker,
        "isBestMatch": True,
    }


def execution_report(
    order: Order, rules: Rules, what: str, trade: Trade | None, time_ms: int
) -> dict[str, Any]:
    """executionReport; ``what`` is its execution type."""
    gone = order.status is Status.CANCELED
    kind = "REPLACED" if what == "AMENDMENT" else what
    if order.status is Status.EXPIRED_IN_MATCH:
        kind = "TRADE_PREVENTION"
    return {
        "e": "executionReport",
        "E": time_ms,
        "s": order.symbol,
        "c": (order.extra or {}).get("cancel_id", "") if gone else order.client_id,
        "S": SIDES[order.side],
        "o": order.kind,
        "f": tif(order),
        "q": rules.qty.text(order.lots, 8),
        "p": rules.price.text(order.ticks, 8),
        "P": "0.00000000",
        "F": "0.00000000",
        "g": -1,
        "C": order.client_id if gone else "",
        "x": kind,
        "X": str(order.status),
        "r": "NONE",
        "i": order.order_id,
        "l": rules.qty.text(trade.lots if trade else 0, 8),
        "z": rules.qty.text(order.done_lots, 8),
        "L": rules.price.text(trade.ticks if trade else 0, 8),
        "n": plain(trade.fee) if trade else "0",
        "N": trade.fee_asset if trade else None,
        "T": time_ms,
        "t": trade.trade_id if trade else -1,
        "I": order.order_id,
        "w": order.status.open,
        "m": bool(trade and trade.maker),
        "M": False,
        "O": order.created_ms,
        "Z": plain(order.done_quote),
        "Y": plain(rules.notional(trade.ticks, trade.lots)) if trade else "0.00000000",
        "Q": "0.00000000",
        "W": order.created_ms,
        "V": order.stp,
    }
