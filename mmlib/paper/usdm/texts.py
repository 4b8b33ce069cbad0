"""The JSON of USD-M orders, trades and events: REST answers and user stream."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from mmlib.paper.orders import Order, Trade
from mmlib.paper.rules import Rules
from mmlib.paper.steps import plain

SIDES = {1: "BUY", -1: "SELL"}


def average(value: Decimal, rules: Rules) -> str:
    """An average price, with as many digits as the exchange writes."""
    return f"{value:.{max(rules.price.digits, 2)}f}" if value else "0.0"


def average_price(order: Order, rules: Rules) -> Decimal:
    """Of what is executed; 0 before."""
    return order.done_quote / rules.qty.value(order.done_lots) if order.done_lots else Decimal(0)


def order_answer(order: Order, rules: Rules, *, acknowledged: bool = False) -> dict[str, Any]:
    """The answer to a new, changed or cancelled order.

    Args:
        acknowledged: as ``newOrderRespType`` ACK has it: what the matching then did is not told.
    """
    done = 0 if acknowledged else order.done_lots
    return {
        "orderId": order.order_id,
        "symbol": order.symbol,
        "status": "NEW" if acknowledged else str(order.status),
        "clientOrderId": order.client_id,
        "price": rules.price.text(order.ticks),
        "avgPrice": average(Decimal(0) if acknowledged else average_price(order, rules), rules),
        "origQty": rules.qty.text(order.lots),
        "executedQty": rules.qty.text(done),
        "cumQty": rules.qty.text(done),
        "cumQuote": plain(Decimal(0) if acknowledged else order.done_quote, 5),
        "timeInForce": order.tif,
        "type": order.kind,
        "reduceOnly": order.reduce_only,
        "closePosition": False,
        "side": SIDES[order.side],
        "positionSide": "BOTH",
        "stopPrice": "0.00",
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "origType": order.kind,
        "priceMatch": "NONE",
        "selfTradePreventionMode": order.stp,
        "goodTillDate": 0,
        "updateTime": order.updated_ms,
    }


def order_state(order: Order, rules: Rules) -> dict[str, Any]:
    """An order as queries have it."""
    answer = order_answer(order, rules)
    del answer["cumQty"]
    return answer | {"time": order.created_ms}


def user_trade(trade: Trade, rules: Rules) -> dict[str, Any]:
    """An entry of userTrades."""
    return {
        "symbol": trade.symbol,
        "id": trade.trade_id,
        "orderId": trade.order_id,
        "side": SIDES[trade.side],
        "price": rules.price.text(trade.ticks),
        "qty": rules.qty.text(trade.lots),
        "realizedPnl": plain(trade.realized),
        "quoteQty": plain(rules.notional(trade.ticks, trade.lots), 5),
        "commission": plain(trade.fee),
        "commissionAsset": trade.fee_asset,
        "time": trade.time_ms,
        "positionSide": "BOTH",
        "maker": trade.maker,
        "buyer": trade.side > 0,
    }


def order_update(order: Order, rules: Rules, what: str, trade: Trade | None, time_ms: int) -> dict[str, Any]:
    """ORDER_TRADE_UPDATE; ``what`` is its execution type."""
    body: dict[str, Any] = {
        "s": order.symbol,
        "c": order.client_id,
        "S": SIDES[order.side],
        "o": order.kind,
        "f": order.tif,
        "q": rules.qty.text(order.lots),
        "p": rules.price.text(order.ticks),
        "ap": average(average_price(order, rules), rules),
        "sp": "0",
        "x": what,
        "X": str(order.status),
        "i": order.order_id,
        "l": rules.qty.text(trade.lots if trade else 0),
        "z": rules.qty.text(order.done_lots),
        "L": rules.price.text(trade.ticks if trade else 0),
        "n": plain(trade.fee) if trade else "0",
        "N": trade.fee_asset if trade else None,
        "T": time_ms,
        "t": trade.trade_id if trade else 0,
        "b": "0",
        "a": "0",
        "m": bool(trade and trade.maker),
        "R": order.reduce_only,
        "wt": "CONTRACT_PRICE",
        "ot": order.kind,
        "ps": "BOTH",
        "cp": False,
        "rp": plain(trade.realized) if trade else "0",
        "pP": False,
        "si": 0,
        "ss": 0,
        "V": order.stp,
        "pm": "NONE",
        "gtd": 0,
        "er": "0",
    }
    if trade is None:
        del body["N"]
    return {"e": "ORDER_TRADE_UPDATE", "E": time_ms, "T": time_ms, "o": body}
