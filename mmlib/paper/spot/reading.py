"""A new spot order from a request: parameters, filters, error codes as the exchange documents them."""

from __future__ import annotations

import secrets
from decimal import Decimal

from mmlib.paper.calls import Call
from mmlib.paper.errors import ApiError, missing
from mmlib.paper.orders import Order
from mmlib.paper.params import Params
from mmlib.paper.rules import Rules
from mmlib.paper.tape import Tape

_TIFS = ("GTC", "IOC", "FOK")
_STP = ("NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH")
_KINDS = ("LIMIT", "MARKET", "LIMIT_MAKER")
_LATER = ("STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
_MOST_DIGITS = 8


def read_order(call: Call, params: Params) -> Order:
    """The order that a request describes, held against the filters of its symbol.

    Raises:
        ApiError: as documented.
    """
    exchange = call.exchange
    symbol = params.symbol(exchange.rules)
    rules, tape = exchange.rules[symbol], exchange.tapes[symbol]
    side = params.choice("side", ("BUY", "SELL"), -1117, "Invalid side.")
    kind = params.choice("type", (*_KINDS, *_LATER), -1116, "Invalid orderType.")
    if kind in _LATER:
        raise ApiError(-2010, "This order type is not supported by the paper exchange.")
    what = "Data sent for parameter 'selfTradePreventionMode' is not valid."
    stp = params.choice("selfTradePreventionMode", _STP, -1130, what, "NONE")
    tif, ticks = "GTC", 0
    if kind == "LIMIT":
        tif = params.choice("timeInForce", _TIFS, -1115, "Invalid timeInForce.")
    elif "timeInForce" in params:
        raise ApiError(-1106, "Parameter 'timeInForce' sent when not required.")
    if kind != "MARKET":
        ticks = _price(params, rules, tape, buy=side == "BUY")
    elif "price" in params:
        raise ApiError(-1106, "Parameter 'price' sent when not required.")
    lots = _quantity(params, rules, tape, side == "BUY", market=kind == "MARKET")
    if rules.notional(ticks or int(tape.mid_ticks or 0), lots) < rules.min_notional:
        raise ApiError(-1013, "Filter failure: NOTIONAL")
    return Order(
        order_id=0,
        client_id=params.client_id("newClientOrderId") or secrets.token_urlsafe(16),
        symbol=symbol,
        side=1 if side == "BUY" else -1,
        kind=kind,
        tif="GTX" if kind == "LIMIT_MAKER" else tif,
        ticks=ticks,
        lots=lots,
        created_ms=0,
        updated_ms=0,
        stp=stp,
        sent_ns=call.received_ns,
        mid_at_quote=tape.mid,
    )


def which_order(
    params: Params, number: str = "orderId", name: str = "origClientOrderId"
) -> tuple[int | None, str]:
    """How a request names an order: by id, or else by client id.

    Raises:
        ApiError: by neither.
    """
    order_id, client_id = params.maybe_integer(number), params.client_id(name)
    if order_id is None and not client_id:
        raise ApiError(-1102, f"Param '{name}' or '{number}' must be sent, but both were empty/null!")
    return order_id, client_id


def _price(params: Params, rules: Rules, tape: Tape, *, buy: bool) -> int:
    price = params.decimal("price")
    _not_too_fine(price, "price")
    ticks = rules.price.whole(price)
    if ticks is None or not 0 < ticks <= rules.max_ticks:
        raise ApiError(-1013, "Filter failure: PRICE_FILTER")
    mid = tape.mid_ticks
    if mid is not None:
        far = ticks > Decimal(mid) * rules.band if buy else ticks < Decimal(mid) / rules.band
        if far:
            raise ApiError(-1013, "Filter failure: PERCENT_PRICE_BY_SIDE")
    return ticks


def _quantity(params: Params, rules: Rules, tape: Tape, buy: bool, *, market: bool) -> int:
    if market and "quoteOrderQty" in params:
        if "quantity" in params:
            raise ApiError(-1128, "Combination of optional parameters invalid.")
        best = tape.best_ask if buy else tape.best_bid
        worth = params.decimal("quoteOrderQty")
        if not best or worth <= 0:
            raise ApiError(-1013, "Filter failure: NOTIONAL")
        return int(worth / rules.notional(best, 1))
    if "quantity" not in params:
        raise missing("quantity")
    qty = params.decimal("quantity")
    _not_too_fine(qty, "quantity")
    lots = rules.qty.whole(qty)
    if lots is None or not 0 < lots <= rules.max_lots:
        raise ApiError(-1013, "Filter failure: LOT_SIZE")
    return lots


def _not_too_fine(value: Decimal, name: str) -> None:
    exponent = value.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > _MOST_DIGITS:
        raise ApiError(-1111, f"Parameter '{name}' has too much precision.")
